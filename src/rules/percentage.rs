//! [`Percentage`]: how much of what would be refused is refused; of a rule, and of the whole.

use std::fmt;

/// A whole number from 0 to 100. An integer, so that two programs never differ by rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percentage(u8);

impl Percentage {
    /// Everything.
    pub const FULL: Percentage = Percentage(100);
    /// Nothing.
    pub const NONE: Percentage = Percentage(0);

    /// `None` above 100.
    pub const fn new(value: u8) -> Option<Percentage> {
        if value <= 100 { Some(Percentage(value)) } else { None }
    }

    /// 0 to 100.
    pub const fn value(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

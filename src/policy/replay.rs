//! [`ReplayTable`]: has this very signature been seen inside the window?

/// Signatures seen, bounded in number and age, sharded. Reads no clock.
pub struct ReplayTable {}

impl ReplayTable {
    /// At most `capacity` signatures are remembered.
    pub fn new(_capacity: usize) -> ReplayTable {
        unimplemented!()
    }

    /// Notes a verified MAC that is valid until `expires` (unix seconds); was it there already?
    pub fn seen(&self, _mac: &[u8; 32], _expires: u64, _now: u64) -> bool {
        unimplemented!()
    }
}

//! [`PresentedSignature`]: parse and print the signature headers.

use crate::request::facts::Claims;

/// Well-formed credentials: not yet believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresentedSignature<'a> {
    /// Who the caller says it is; a well-formed service id.
    pub service_id: &'a str,
    /// Unix seconds as written (the text is what was signed; it has one spelling).
    pub timestamp: &'a str,
    /// The same as a number.
    pub unix_seconds: u64,
    /// The 32 bytes of the signature header.
    pub mac: [u8; 32],
}

/// Why there is no well-formed signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresentedFault {
    /// None or only some of the three headers.
    Missing,
    /// All three, but one is repeated or not of the exact form; which one.
    Malformed(&'static str),
}

impl<'a> PresentedSignature<'a> {
    /// Reads the three headers.
    pub fn parse(_claims: &Claims<'a>) -> Result<PresentedSignature<'a>, PresentedFault> {
        unimplemented!()
    }
}

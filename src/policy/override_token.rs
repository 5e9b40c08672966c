//! [`OverrideToken`], kept hashed; constant-time match.
//!
//! The fleet's one static token for emergencies. Only a SHA-256 of it is kept, so that neither a memory dump nor a stray
//! `Debug` shows it. A presented value is hashed and compared in constant time, with the same work and the same answer whether a
//! token is configured or not: nobody learns that there is something to guess. An empty value, a repeated header and
//! a value longer than any token never match, and count as wrong.
//!
//! Guessing is limited by the failure limit (a wrong token counts against its address) and made hopeless by length alone:
//! without `lockout` the right token passes from any address. The contract knows no least length, so a short token is taken, and
//! whoever loads it asks [`OverrideToken::is_easy_to_guess`] and says so.

use crate::request::facts::Presence;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// The fleet's one static token: only a hash of it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct OverrideToken {
    sha256: TokenHash,
}

/// The SHA-256 of an override token, static or granted: all that is kept of one.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

/// What `X-Override-Token` presents, hashed once for all that it is compared with.
#[derive(Clone)]
pub enum PresentedToken {
    /// The header did not come.
    Absent,
    /// It came, and no token can look so.
    Unusable,
    /// The hash of what came.
    Hashed(TokenHash),
}

/// Why a text is no override token. Never holds any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverrideTokenError {
    /// Nothing but white space: a file that was emptied, a variable that was not set.
    #[error("the override token is empty")]
    Empty,
    /// Another file was meant.
    #[error("the override token has {0} characters; expected at most {MAX_LENGTH}")]
    TooLong(usize),
    /// Could not stand in a header, or not arrive as it was written; where, from 1.
    #[error("character {0} of the override token is not printable ASCII")]
    NotPrintable(usize),
}

/// What a request's `X-Override-Token` is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverrideClaim {
    /// The header did not come.
    Absent,
    /// It came and is not ours, or none is configured.
    Wrong,
    /// It is ours.
    Valid,
}

const HARD_TO_GUESS: usize = 16;
const MAX_LENGTH: usize = 1024;

impl OverrideToken {
    /// Hashes the token of this text; white space around it (the newline of a file) does not belong to it.
    ///
    /// # Errors
    /// When the text is no usable token.
    pub fn from_text(text: &str) -> Result<OverrideToken, OverrideTokenError> {
        let token = text.trim_ascii();
        if token.is_empty() {
            return Err(OverrideTokenError::Empty);
        }
        if let Some(index) = token.bytes().position(|byte| !(byte.is_ascii_graphic() || byte == b' ')) {
            return Err(OverrideTokenError::NotPrintable(index + 1));
        }
        if token.len() > MAX_LENGTH {
            return Err(OverrideTokenError::TooLong(token.len()));
        }
        Ok(OverrideToken { sha256: TokenHash::of(token.as_bytes()) })
    }

    /// Is the token of this text shorter than 16 characters?
    pub fn is_easy_to_guess(text: &str) -> bool {
        text.trim_ascii().len() < HARD_TO_GUESS
    }

    /// Compares what a request presents with the configured token, if there is one.
    pub fn check(configured: Option<&OverrideToken>, presented: &PresentedToken) -> OverrideClaim {
        let hash = match presented {
            PresentedToken::Absent => return OverrideClaim::Absent,
            PresentedToken::Unusable => return OverrideClaim::Wrong,
            PresentedToken::Hashed(hash) => hash,
        };
        let (expected, exists) = match configured {
            Some(token) => (token.sha256.0, Choice::from(1)),
            None => ([0; 32], Choice::from(0)),
        };
        if bool::from(expected.ct_eq(&hash.0) & exists) { OverrideClaim::Valid } else { OverrideClaim::Wrong }
    }
}

impl PresentedToken {
    /// Hashes the header's value.
    pub fn of(presented: Presence<'_>) -> PresentedToken {
        match presented {
            Presence::Absent => PresentedToken::Absent,
            Presence::Once(value) if !value.is_empty() && value.len() <= MAX_LENGTH => {
                PresentedToken::Hashed(TokenHash::of(value))
            }
            Presence::Once(_) | Presence::Repeated => PresentedToken::Unusable,
        }
    }
}

impl TokenHash {
    /// Hashes a token.
    pub fn of(token: &[u8]) -> TokenHash {
        TokenHash(Sha256::digest(token).into())
    }

    /// The hash that reads so, 64 hex digits; `None` when the text is none.
    pub fn parse(text: &str) -> Option<TokenHash> {
        HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok().map(TokenHash)
    }

    /// 64 hex digits, for the file that keeps it. Never of a token that a person chose: a short one could be guessed from it.
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// As four numbers, which compare faster than 32 bytes.
    pub(super) fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks::<8>();
        std::array::from_fn(|place| u64::from_ne_bytes(words[place]))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// Shows that there is one, not even its hash: a short token could be guessed from that.
impl fmt::Debug for OverrideToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OverrideToken(..)")
    }
}

#[cfg(test)]
mod tests;

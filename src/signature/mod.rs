//! Who sent it, provably? The schemes on one page: what is covered, what is not, attacks and their tests.

pub mod headers;
pub mod hmac_v1;
pub mod key;
pub mod verify;

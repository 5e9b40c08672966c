//! What was sent? The bytes of a head, checked; the facts a decision may use; every reading of its path.

pub mod authority;
pub mod certificate;
pub mod client;
pub mod decode;
pub mod facts;
pub mod fault;
pub mod fields;
pub mod framing;
pub(crate) mod hash;
pub mod head;
mod line;
pub mod name;
pub mod readings;

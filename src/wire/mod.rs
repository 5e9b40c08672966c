//! Bytes on sockets: one buffer, one socket type, one body reader for both sides of the proxy.
//!
//! Everything here is used by a single task at a time on a single thread, so a socket is shared by the two directions of
//! an exchange through plain references, without locks. What kinds of connection there are, only [`stream::Stream`] knows.

pub mod body;
pub mod buffer;
pub mod h2;
pub mod pipe;
pub mod socket;
pub mod splice;
pub mod stream;
pub mod tls;

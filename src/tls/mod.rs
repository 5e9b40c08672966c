//! What do our TLS connections trust, and what do they show? Files → rustls, and the handshakes of both sides.
//!
//! | file | the question it answers |
//! |---|---|
//! | [`files`] | What is in this PEM file, or what is wrong with it and what to do? |
//! | [`certificate`] | Whose certificate is this, and until when? |
//! | [`material`] | What do a listener and an upstream present and trust? |
//! | [`handshake`] | Who is at the other end, or why did it not come about? |
//! | [`expiry`] | Which of our own certificates ends soon? |
//!
//! TLS 1.2 and 1.3 with the provider's own choice of suites (aws-lc-rs), nothing to configure: what is weak is not there. No early data: it
//! could be replayed. Sessions resume by tickets whose keys live as long as one generation of the material, so that after a reload
//! no ticket vouches for a client whose CA is gone: a ticket carries the certificate that was verified once, and nobody verifies it again.
//!
//! The files are read when a configuration is loaded, all of them or none: a generation never mixes an old certificate with a new key.
//! Revocation lists are not read; take the CA away, or let certificates live shortly.

pub mod certificate;
pub mod expiry;
pub mod files;
pub mod handshake;
pub mod material;

pub use material::{ClientMaterial, ServerMaterial, TlsMaterials};

//! [`FastHasher`]: the hash of tables that strangers cannot flood.
//!
//! Either their keys come from the configuration, or they hold a few hundred and live as long as one request. The standard
//! library's hash withstands keys chosen to collide, and costs several times as much on texts as short as a segment.

use std::hash::Hasher;

/// Mixes eight bytes at a time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FastHasher(u64);

/// The hash of these bytes.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FastHasher(bytes.len() as u64);
    hasher.write(bytes);
    hasher.finish()
}

impl FastHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for FastHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    /// The lower bits choose a place in the table, and a multiplication mixes the upper ones best.
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

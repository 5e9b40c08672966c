//! [`Blocks`]: the header blocks of a connection, read beside h2 for the one thing it hides: a `#` in `:path`.
//!
//! h2 cuts a path at its fragment before anybody can see it (`http::Uri`), so `/api/chat#/../internal` would pass as
//! `/api/chat`; in HTTP/1.1 it is refused. So each block is read here as well (RFC 7541), and nothing is kept of it but the
//! sizes of the entries a later block may refer to, and whether one is a path, and whether it holds the sign. What h2 cannot
//! read it ends the connection for; what cannot be read here is treated as if the sign were in every path that follows.

use std::collections::VecDeque;

/// Header blocks of one connection, in their order.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    block: Vec<u8>,
    /// Where the frame that is being read begins in it.
    frame: usize,
    table: VecDeque<Entry>,
    /// Bytes of the table as the specification counts them.
    held: usize,
    /// What the peer has made of the table's size.
    allowed: Option<usize>,
    is_lost: bool,
}

/// What must be known of a field that may be referred to.
#[derive(Debug, Clone, Copy)]
struct Entry {
    is_path: bool,
    has_sign: bool,
    name: usize,
    size: usize,
}

/// A text in a block: what it is, as far as anybody asks.
struct Text {
    length: usize,
    has_sign: bool,
    is_path: bool,
}

/// Not of the form of a header block.
struct Malformed;

/// The table's size as both sides have it at first.
const TABLE: usize = 4096;
/// What the specification adds to each entry.
const OVERHEAD: usize = 32;
/// More than h2 takes of one block.
const LONGEST: usize = 1 << 20;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

impl Blocks {
    /// A frame of a block begins.
    pub(super) fn begin(&mut self, is_first: bool) {
        if is_first {
            self.block.clear();
        }
        self.frame = self.block.len();
    }

    /// Bytes of it.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if self.block.len() + bytes.len() > LONGEST {
            self.is_lost = true;
        } else {
            self.block.extend_from_slice(bytes);
        }
    }

    /// The first frame of a block has ended: takes off what is not of the block.
    pub(super) fn trim(&mut self, flags: u8) {
        let mut payload = &self.block[self.frame..];
        if flags & PADDED != 0 {
            payload = match payload.split_first() {
                Some((padding, rest)) => &rest[..rest.len().saturating_sub(usize::from(*padding))],
                None => payload,
            };
        }
        if flags & PRIORITY != 0 {
            payload = payload.get(5..).unwrap_or_default();
        }
        self.block = payload.to_vec();
    }

    /// The block is whole: is there a `#` in a path of it?
    pub(super) fn end(&mut self) -> bool {
        let block = std::mem::take(&mut self.block);
        let mut has_sign = false;
        let mut rest = &block[..];
        while !rest.is_empty() && !self.is_lost {
            match self.field(&mut rest) {
                Ok(Some(entry)) => has_sign |= entry.is_path && entry.has_sign,
                Ok(None) => {}
                Err(Malformed) => self.is_lost = true,
            }
        }
        has_sign || self.is_lost
    }

    /// The next field; `None` for a change of the table's size.
    fn field(&mut self, rest: &mut &[u8]) -> Result<Option<Entry>, Malformed> {
        let first = *rest.first().ok_or(Malformed)?;
        if first & 0x80 != 0 {
            return self.entry(integer(rest, 7)?).map(Some);
        }
        if first & 0xe0 == 0x20 {
            let allowed = integer(rest, 5)?;
            if allowed > TABLE {
                return Err(Malformed);
            }
            self.allowed = Some(allowed);
            self.evict(0);
            return Ok(None);
        }
        let is_kept = first & 0x40 != 0;
        let index = integer(rest, if is_kept { 6 } else { 4 })?;
        let (is_path, name) = if index == 0 {
            let name = text(rest)?;
            (name.is_path, name.length)
        } else {
            let entry = self.entry(index)?;
            (entry.is_path, entry.name)
        };
        let value = text(rest)?;
        let entry = Entry { is_path, has_sign: value.has_sign, name, size: name + value.length + OVERHEAD };
        if is_kept {
            self.evict(entry.size);
            if entry.size <= self.allowed.unwrap_or(TABLE) {
                self.held += entry.size;
                self.table.push_front(entry);
            }
        }
        Ok(Some(entry))
    }

    fn entry(&self, index: usize) -> Result<Entry, Malformed> {
        match index.checked_sub(1).ok_or(Malformed)? {
            // No value of the static table holds the sign.
            at @ 0..61 => {
                Ok(Entry { is_path: matches!(index, 4 | 5), has_sign: false, name: NAMES[at].into(), size: 0 })
            }
            at => self.table.get(at - NAMES.len()).copied().ok_or(Malformed),
        }
    }

    /// Makes room for an entry of this size.
    fn evict(&mut self, size: usize) {
        while self.held + size > self.allowed.unwrap_or(TABLE) {
            match self.table.pop_back() {
                Some(entry) => self.held -= entry.size,
                None => return,
            }
        }
    }
}

fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let most = (1_usize << bits) - 1;
    let (first, mut behind) = rest.split_first().ok_or(Malformed)?;
    let mut value = usize::from(*first) & most;
    if value == most {
        for shift in (0..28).step_by(7) {
            let (byte, next) = behind.split_first().ok_or(Malformed)?;
            behind = next;
            value += usize::from(byte & 127) << shift;
            if byte & 128 == 0 {
                *rest = behind;
                return Ok(value);
            }
        }
        return Err(Malformed);
    }
    *rest = behind;
    Ok(value)
}

fn text(rest: &mut &[u8]) -> Result<Text, Malformed> {
    let is_coded = rest.first().ok_or(Malformed)? & 128 != 0;
    let length = integer(rest, 7)?;
    let (bytes, behind) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = behind;
    if is_coded {
        return decoded(bytes);
    }
    Ok(Text { length, has_sign: bytes.contains(&b'#'), is_path: bytes == PATH })
}

const PATH: &[u8] = b":path";

/// Reads Huffman's code. It is canonical: of the codes of one length, each is one more than the one before.
fn decoded(coded: &[u8]) -> Result<Text, Malformed> {
    let mut found = Text { length: 0, has_sign: false, is_path: false };
    let mut begun = [0; PATH.len()];
    let (mut code, mut bits) = (0_u32, 0_usize);
    for byte in coded {
        for at in (0..8).rev() {
            code = code << 1 | u32::from(byte >> at & 1);
            bits += 1;
            if bits >= CODES.len() {
                return Err(Malformed);
            }
            let (first, count, place) = CODES[bits];
            let offset = code.wrapping_sub(first);
            if offset < count {
                let sign = SIGNS[(place + offset) as usize];
                if let Some(slot) = begun.get_mut(found.length) {
                    *slot = sign;
                }
                found.length += 1;
                found.has_sign |= sign == b'#';
                (code, bits) = (0, 0);
            }
        }
    }
    found.is_path = found.length == PATH.len() && begun == PATH;
    Ok(found)
}

/// For each length of codes: the first of them, how many there are, and the place of its sign in [`SIGNS`].
const CODES: [(u32, u32, u32); 31] = {
    let mut codes = [(0, 0, 0); 31];
    let (mut length, mut code, mut place) = (1, 0_u32, 0);
    while length < 31 {
        let (mut count, mut sign) = (0, 0);
        while sign < 256 {
            if LENGTHS[sign] as usize == length {
                count += 1;
            }
            sign += 1;
        }
        codes[length] = (code, count, place);
        code = (code + count) << 1;
        place += count;
        length += 1;
    }
    codes
};

/// The signs by the length of their codes, then by value.
const SIGNS: [u8; 256] = {
    let mut signs = [0; 256];
    let (mut length, mut at) = (1, 0);
    while length < 31 {
        let mut sign = 0;
        while sign < 256 {
            if LENGTHS[sign] as usize == length {
                signs[at] = sign as u8;
                at += 1;
            }
            sign += 1;
        }
        length += 1;
    }
    signs
};

/// How many bits code each sign.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15,
    6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20,
    20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23,
    24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22,
    22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27,
    24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26,
    26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// Lengths of the names in the static table.
const NAMES: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12, 6, 4,
    4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3, 16,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// Reads a block; its verdict, and the sizes of the table's entries, the newest first.
    fn read(blocks: &mut Blocks, text: &[u8]) -> (bool, Vec<usize>) {
        blocks.begin(true);
        for part in text.chunks(3) {
            blocks.take(part);
        }
        blocks.trim(0);
        let verdict = blocks.end();
        (verdict, blocks.table.iter().map(|entry| entry.size).collect())
    }

    #[test]
    fn blocks_are_followed_as_the_examples_of_the_specification_say() {
        // RFC 7541, C.3: plain; C.4: coded. The table must come to the same.
        for blocks in [
            [
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            [
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
        ] {
            let mut all = Blocks::default();
            assert_eq!(read(&mut all, &hex(blocks[0])), (false, vec![57]));
            assert_eq!(read(&mut all, &hex(blocks[1])), (false, vec![53, 57]));
            assert_eq!(read(&mut all, &hex(blocks[2])), (false, vec![54, 53, 57]));
        }
        // C.5 with its table of 256 bytes: entries go as others come.
        let mut all = Blocks { allowed: Some(256), ..Blocks::default() };
        let first = "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d";
        assert_eq!(read(&mut all, &hex(first)), (false, vec![63, 65, 52, 42]));
        assert_eq!(read(&mut all, &hex("4803333037c1c0bf")), (false, vec![42, 63, 65, 52]));
    }

    #[test]
    fn the_sign_is_seen_in_a_path_however_it_is_written_and_nowhere_else() {
        // Its code is 0xffa in 12 bits, that of `/` 0x18 in 6.
        let coded = [0x04, 0x83, 0b0110_0011, 0b1111_1110, 0b1011_1111];
        let mut all = Blocks::default();
        assert!(read(&mut all, &coded).0);
        assert!(read(&mut all, b"\x04\x04/a#b").0, "by the name's index");
        assert!(read(&mut all, b"\x00\x05:path\x02/#").0, "by name");
        assert!(read(&mut all, b"\x10\x05:path\x02/#").0, "never to be indexed");
        assert!(read(&mut all, b"\x44\x04/a#b").0, "kept");
        assert!(read(&mut all, b"\xbe").0, "referred to");
        assert!(!read(&mut all, b"\x44\x02/a\x00\x01x\x01#").0, "in another field");
        assert!(!read(&mut all, b"\xbe").0);
        assert!(read(&mut all, b"\xbf").0, "the older one");
        assert!(!read(&mut all, b"\x20\x44\x02/a").0, "a table without room holds nothing");
        assert!(all.table.is_empty());
    }

    #[test]
    fn padding_and_priority_are_not_of_the_block() {
        let mut all = Blocks::default();
        all.begin(true);
        all.take(b"\x03\0\0\0\x05\x10\x04\x02/a###");
        all.trim(PADDED | PRIORITY);
        all.begin(false);
        all.take(b"\x00\x01x\x01y");
        assert!(!all.end() && !all.is_lost);
    }

    #[test]
    fn what_cannot_be_read_counts_as_the_worst_and_nothing_panics() {
        for block in [
            &b"\x80"[..],
            b"\xff\xff\xff\xff\xff\xff",
            b"\xbe",
            b"\x04\x05/",
            b"\x04",
            b"\x3f\xff\x7f",
            b"\x04\x84\xff\xff\xff\xff",
        ] {
            let mut all = Blocks::default();
            assert!(read(&mut all, block).0, "{block:?}");
            assert!(read(&mut all, b"\x82").0, "it stays so");
        }
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut all = Blocks::default();
            let block: Vec<u8> = (0..20)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            read(&mut all, &block);
            all.begin(true);
            all.take(&block);
            all.trim(block[0]);
            all.end();
        }
    }
}

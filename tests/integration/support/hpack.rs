//! Just enough HPACK (RFC 7541): literals out, everything in.
//!
//! Headers are sent as literals without indexing or Huffman code, so that a test can say any bytes. Answers are read whole:
//! static table, dynamic table, Huffman code.

/// Appends one header, whatever bytes it is made of.
pub(crate) fn put(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        integer(block, 0, 7, text.len());
        block.extend_from_slice(text);
    }
}

fn integer(block: &mut Vec<u8>, first: u8, bits: u32, mut value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        return block.push(first | value as u8);
    }
    block.push(first | most as u8);
    value -= most;
    while value >= 128 {
        block.push(value as u8 | 128);
        value >>= 7;
    }
    block.push(value as u8);
}

/// Reads header blocks of one connection, in their order.
#[derive(Default)]
pub(crate) struct Decoder {
    /// The newest first. Its size is never looked at: no test sends so much.
    table: Vec<(String, String)>,
}

impl Decoder {
    /// The headers of a block.
    #[track_caller]
    pub(crate) fn decode(&mut self, mut block: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while let Some(&first) = block.first() {
            if first & 0x80 != 0 {
                let index = take_integer(&mut block, 7);
                fields.push(self.entry(index));
            } else if first & 0xe0 == 0x20 {
                take_integer(&mut block, 5);
            } else {
                let is_kept = first & 0x40 != 0;
                let index = take_integer(&mut block, if is_kept { 6 } else { 4 });
                let name = if index == 0 { take_text(&mut block) } else { self.entry(index).0 };
                let field = (name, take_text(&mut block));
                if is_kept {
                    self.table.insert(0, field.clone());
                }
                fields.push(field);
            }
        }
        fields
    }

    #[track_caller]
    fn entry(&self, index: usize) -> (String, String) {
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        match index {
            8..=14 => of(":status", ["200", "204", "206", "304", "400", "404", "500"][index - 8]),
            15..=61 => of(NAMES[index - 15], if index == 16 { "gzip, deflate" } else { "" }),
            62.. => self.table[index - 62].clone(),
            _ => panic!("an answer with the entry {index}"),
        }
    }
}

fn take_integer(block: &mut &[u8], bits: u32) -> usize {
    let most = (1 << bits) - 1;
    let mut value = (block[0] & most as u8) as usize;
    *block = &block[1..];
    if value < most {
        return value;
    }
    for shift in (0..).step_by(7) {
        let byte = block[0];
        *block = &block[1..];
        value += ((byte & 127) as usize) << shift;
        if byte & 128 == 0 {
            break;
        }
    }
    value
}

fn take_text(block: &mut &[u8]) -> String {
    let is_coded = block[0] & 128 != 0;
    let length = take_integer(block, 7);
    let (text, rest) = block.split_at(length);
    *block = rest;
    let text = if is_coded { huffman(text) } else { text.to_vec() };
    String::from_utf8_lossy(&text).into_owned()
}

/// The code is canonical: of codes of one length, each is one more than the one before.
fn huffman(coded: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let (mut code, mut bits) = (0_u32, 0_u8);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        (code, bits) = (code << 1 | u32::from(bit), bits + 1);
        let mut first = 0_u32;
        for length in 1..bits {
            first = (first + LENGTHS.iter().filter(|other| **other == length).count() as u32) << 1;
        }
        let offset = code.wrapping_sub(first) as usize;
        let found = LENGTHS.iter().enumerate().filter(|(_, length)| **length == bits).nth(offset);
        if let Some((sign, _)) = found.filter(|_| code >= first) {
            text.push(sign as u8);
            (code, bits) = (0, 0);
        }
    }
    text
}

/// Names 15 to 61 of the static table.
const NAMES: [&str; 47] = [
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-
    origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-
    authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-
    security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

/// How many bits code each byte.
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

#[test]
fn answers_are_read_as_the_examples_of_the_specification_say() {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let mut decoder = Decoder::default();
    // RFC 7541, C.6.1 and C.6.2.
    let first = "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3";
    let got = decoder.decode(&hex(first));
    let expected = [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    assert_eq!(got, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(decoder.decode(&hex("4883640effc1c0bf"))[0], (":status".to_owned(), "307".to_owned()));
}

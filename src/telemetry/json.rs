//! [`JsonLine`]: one JSON object on one line, whatever bytes strangers put into it.
//!
//! Written by hand rather than with serde, because the field order and the absence of fields are part of the format and
//! because this is the writer thread's whole cost. Text is taken as UTF-8, lossily. Beyond what JSON demands, everything
//! that can break a line, move a cursor or turn text around on a terminal is escaped: control characters (C0, DEL, C1),
//! U+2028, U+2029, the bidirectional controls and U+FEFF. Answers log injection and terminal escape injection.

use crate::request::fields::put_decimal;

/// Appends one object to `out`. [`JsonLine::end`] closes it with a newline.
pub(crate) struct JsonLine<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> JsonLine<'o> {
    /// Opens the object.
    pub(crate) fn begin(out: &'o mut Vec<u8>) -> JsonLine<'o> {
        out.push(b'{');
        JsonLine { out, first: true }
    }

    /// A member whose value is text.
    pub(crate) fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        self.out.push(b'"');
        escape(self.out, value);
        self.out.push(b'"');
    }

    /// A member whose value is a word of our own, of which nothing needs escaping.
    pub(crate) fn word(&mut self, name: &'static str, value: &'static str) {
        debug_assert!(is_plain(value));
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
    }

    /// A member whose value is bytes: as UTF-8, what is none as U+FFFD.
    pub(crate) fn bytes(&mut self, name: &'static str, value: &[u8]) {
        self.name(name);
        self.out.push(b'"');
        for chunk in value.utf8_chunks() {
            escape(self.out, chunk.valid());
            if !chunk.invalid().is_empty() {
                self.out.extend_from_slice("\u{FFFD}".as_bytes());
            }
        }
        self.out.push(b'"');
    }

    /// A member whose value is a whole number.
    pub(crate) fn unsigned(&mut self, name: &'static str, value: u64) {
        self.name(name);
        put_decimal(self.out, value);
    }

    /// A member whose value is a whole number, perhaps negative.
    pub(crate) fn signed(&mut self, name: &'static str, value: i64) {
        self.name(name);
        if value < 0 {
            self.out.push(b'-');
        }
        put_decimal(self.out, value.unsigned_abs());
    }

    /// A member whose value is true or false.
    pub(crate) fn boolean(&mut self, name: &'static str, value: bool) {
        self.name(name);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A member whose value is a number as Rust prints it; `null` when it is none.
    pub(crate) fn float(&mut self, name: &'static str, value: f64) {
        self.name(name);
        if value.is_finite() {
            self.out.extend_from_slice(format!("{value}").as_bytes());
        } else {
            self.out.extend_from_slice(b"null");
        }
    }

    /// Closes the object and the line.
    pub(crate) fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }

    /// Names are words of our own and need no escape.
    fn name(&mut self, name: &'static str) {
        let before: &[u8] = if std::mem::take(&mut self.first) { b"\"" } else { b",\"" };
        self.out.reserve(name.len() + 8);
        self.out.extend_from_slice(before);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

/// Appends `text` as it stands between the quotes of a JSON string.
pub(crate) fn escape(out: &mut Vec<u8>, text: &str) {
    // without a short cut, so that it is done many bytes at a time
    let plain = text.bytes().fold(true, |plain, b| plain & matches!(b, b' '..=b'~') & (b != b'"') & (b != b'\\'));
    if plain {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut utf8 = [0; 4];
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if is_unsafe_to_show(c) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.extend_from_slice(b"\\u");
                    for shift in [12, 8, 4, 0] {
                        out.push(HEX[usize::from(*unit >> shift & 0xf)]);
                    }
                }
            }
            c => out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
        }
    }
}

/// Is this text that stands in JSON as it is? Looks at every byte without leaving early, so that many are looked at in one
/// step.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, b| plain & matches!(b, b' '..=b'~') & (b != b'"') & (b != b'\\'))
}

/// Can this character break a line, drive a terminal or turn the text around it?
pub(crate) fn is_unsafe_to_show(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200E}' | '\u{200F}' | '\u{061C}' | '\u{FEFF}')
        || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(build: impl FnOnce(&mut JsonLine<'_>)) -> String {
        let mut out = Vec::new();
        let mut line = JsonLine::begin(&mut out);
        build(&mut line);
        line.end();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn members_come_in_order_with_their_types() {
        let text = line(|l| {
            l.text("a", "x");
            l.unsigned("b", u64::MAX);
            l.signed("c", i64::MIN);
            l.boolean("d", true);
            l.float("e", 0.5);
            l.float("f", f64::NAN);
            l.unsigned("g", 0);
        });
        assert_eq!(
            text,
            "{\"a\":\"x\",\"b\":18446744073709551615,\"c\":-9223372036854775808,\"d\":true,\"e\":0.5,\"f\":null,\"g\":0}\n"
        );
    }

    #[test]
    fn an_empty_object_is_one() {
        assert_eq!(line(|_| ()), "{}\n");
    }

    #[test]
    fn what_breaks_a_line_or_drives_a_terminal_is_escaped() {
        for hostile in
            ["\n", "\r", "\u{0}", "\u{1b}[2J", "\u{7f}", "\u{85}", "\u{9b}31m", "\u{2028}", "\u{202e}", "\u{feff}"]
        {
            let text = line(|l| l.text("p", hostile));
            let inner = text.strip_suffix('\n').unwrap();
            assert!(!inner.chars().any(is_unsafe_to_show), "{hostile:?} came through: {inner:?}");
            let value: serde_json::Value = serde_json::from_str(inner).unwrap();
            assert_eq!(value["p"], hostile);
        }
    }

    #[test]
    fn bytes_that_are_no_text_become_the_replacement_character() {
        let text = line(|l| l.bytes("p", b"/a\xff\xfe\"\\/\xe2\x82"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["p"], "/a\u{fffd}\u{fffd}\"\\/\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_bytes_give_one_line_of_valid_json(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = line(|l| l.bytes("p", &bytes));
            prop_assert_eq!(text.matches('\n').count(), 1);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(value["p"].as_str().unwrap(), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn any_text_comes_back_as_it_was(text in "\\PC*|.*") {
            let json = line(|l| l.text("p", &text));
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(value["p"].as_str().unwrap(), &text);
        }
    }
}

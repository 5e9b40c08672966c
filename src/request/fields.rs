//! [`Fields`]: the header lines of a head (or trailer), checked byte by byte, kept as spans into the bytes that came.
//!
//! One strict reading (RFC 9112 section 5): a name of token characters, a colon directly behind it, a value of visible
//! characters, spaces, tabs and bytes from 0x80. Lines end in CRLF and nothing else. What other servers forgive
//! (obs-fold, a space before the colon, a bare CR or LF, NUL) is a fault here, because they forgive it differently.

use super::head::HeadFault;
use super::name::{FieldName, FieldNames, is_plain_sign};
use memchr::memchr;

/// A range of bytes in the head it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Offsets below 4 GiB: heads are limited far below.
    pub(crate) fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && u32::try_from(end).is_ok());
        Span { start: start as u32, end: end as u32 }
    }

    /// The bytes of this span in the text it was read from.
    pub fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.end as usize]
    }
}

/// One header line: its name as it came, and its value without surrounding spaces and tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpan {
    /// Which name it is.
    pub known: FieldName,
    /// The line stands there as we would write it, `name: value`. Not said of every line of which it is true.
    is_exact: bool,
    /// The name as it came.
    pub name: Span,
    /// The value without surrounding spaces and tabs.
    pub value: Span,
}

/// The same with its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'t> {
    /// Which name it is.
    pub known: FieldName,
    /// The name as it came.
    pub name: &'t [u8],
    /// The value without surrounding spaces and tabs.
    pub value: &'t [u8],
}

/// The memory of a head that was read, for the next one.
#[derive(Debug, Default)]
pub struct HeadRoom {
    text: Vec<u8>,
    spans: Vec<FieldSpan>,
}

impl HeadRoom {
    /// A copy of a head's text in this memory.
    pub(crate) fn keep(&mut self, text: &[u8]) -> Vec<u8> {
        let mut kept = std::mem::take(&mut self.text);
        kept.clear();
        kept.extend_from_slice(text);
        kept
    }

    /// Gives memory back that only a head longer than this needed, in bytes.
    pub fn trim(&mut self, longest: usize) {
        if self.text.capacity() > longest || self.spans.capacity() * size_of::<FieldSpan>() > longest {
            *self = HeadRoom::default();
        }
    }

    /// Takes the memory of a head that is no longer needed.
    pub(crate) fn take_back(&mut self, text: Vec<u8>, fields: Fields) {
        *self = HeadRoom { text, spans: fields.spans };
    }
}

/// The header lines of one head, in the order they came.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    spans: Vec<FieldSpan>,
    names: FieldNames,
}

impl Fields {
    /// Reads the lines of `text[from..]`, which must end with the empty line.
    ///
    /// # Errors
    /// Which fault, on the first line that is not of the one accepted form, or when there are more than `limit` lines.
    pub fn parse(text: &[u8], from: usize, limit: usize) -> Result<Fields, HeadFault> {
        Fields::parse_in(&mut HeadRoom::default(), text, from, limit)
    }

    /// The same in memory that other lines were kept in before.
    ///
    /// # Errors
    /// As [`Fields::parse`].
    pub(crate) fn parse_in(room: &mut HeadRoom, text: &[u8], from: usize, limit: usize) -> Result<Fields, HeadFault> {
        let mut spans = std::mem::take(&mut room.spans);
        spans.clear();
        spans.reserve(16.min(limit));
        let mut names = FieldNames::default();
        let is_plain = is_plain_text(&text[from..]);
        let mut at = from;
        loop {
            let line_end = at + find_crlf(&text[at..])?;
            if line_end == at {
                return if line_end + 2 == text.len() {
                    Ok(Fields { spans, names })
                } else {
                    Err(HeadFault::BareLineEnd)
                };
            }
            if spans.len() == limit {
                return Err(HeadFault::TooManyFields);
            }
            let span = field(text, at, line_end, is_plain)?;
            names.note(span.known);
            spans.push(span);
            at = line_end + 2;
        }
    }

    /// Name and value of each line.
    pub fn iter<'t>(&self, text: &'t [u8]) -> impl DoubleEndedIterator<Item = (&'t [u8], &'t [u8])> + use<'t, '_> {
        self.spans.iter().map(move |span| (span.name.of(text), span.value.of(text)))
    }

    /// Each line, with which name it has.
    pub fn each<'t>(&self, text: &'t [u8]) -> impl Iterator<Item = Field<'t>> + use<'t, '_> {
        self.spans.iter().map(move |span| span.of(text))
    }

    /// Is there a line of this name?
    pub fn has(&self, name: FieldName) -> bool {
        self.names.has(name)
    }

    /// The values of the lines of this name.
    pub fn values<'t>(
        &self,
        text: &'t [u8],
        name: FieldName,
    ) -> impl DoubleEndedIterator<Item = &'t [u8]> + use<'t, '_> {
        let spans = if self.has(name) { &self.spans[..] } else { &[] };
        spans.iter().filter(move |span| span.known == name).map(move |span| span.value.of(text))
    }

    /// Appends the lines that pass, each as `name: value`; those that stand side by side as they are to be written are
    /// copied at once.
    pub fn copy(&self, text: &[u8], out: &mut Vec<u8>, mut passes: impl FnMut(Field<'_>) -> bool) {
        let mut run = 0..0;
        for span in &self.spans {
            let field = span.of(text);
            if !passes(field) {
                continue;
            }
            let (start, end) = (span.name.start as usize, span.value.end as usize + 2);
            if span.is_exact && run.end == start {
                run.end = end;
                continue;
            }
            out.extend_from_slice(&text[run]);
            run = if span.is_exact {
                start..end
            } else {
                put(out, field.name, field.value);
                0..0
            };
        }
        out.extend_from_slice(&text[run]);
    }

    /// The lines as spans.
    pub fn spans(&self) -> &[FieldSpan] {
        &self.spans
    }

    /// How many lines.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

impl FieldSpan {
    fn of(self, text: &[u8]) -> Field<'_> {
        Field { known: self.known, name: self.name.of(text), value: self.value.of(text) }
    }
}

/// Appends one header line.
pub fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a whole number.
pub fn put_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // value % 10 is below 10, so the cast keeps it whole
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Where the next line ends. A line feed without carriage return is a fault; a carriage return without line feed is
/// found later, as a byte that no name or value may hold.
fn find_crlf(text: &[u8]) -> Result<usize, HeadFault> {
    match memchr(b'\n', text) {
        Some(at) if at > 0 && text[at - 1] == b'\r' => Ok(at - 1),
        Some(_) | None => Err(HeadFault::BareLineEnd),
    }
}

/// Is there no byte that a value may not hold, but for whole line ends? Asked of all lines at once, without leaving early, so
/// that many bytes are looked at in one step; where the answer is no, each line is looked at for where and what.
fn is_plain_text(lines: &[u8]) -> bool {
    let followed = lines.iter().zip(lines.iter().skip(1));
    let odd = followed.fold(0, |odd, (&byte, &next)| {
        let is_bare = (byte == b'\r') & (next != b'\n');
        let is_control = (byte < b' ') & (byte != b'\t') & (byte != b'\r') & (byte != b'\n');
        odd | u8::from(is_bare) | u8::from(is_control) | u8::from(byte == 0x7f)
    });
    odd == 0
}

/// One line, without its end. `is_plain`: its value holds nothing that it may not.
fn field(text: &[u8], start: usize, end: usize, is_plain: bool) -> Result<FieldSpan, HeadFault> {
    let line = &text[start..end];
    if matches!(line[0], b' ' | b'\t') {
        return Err(HeadFault::FoldedLine);
    }
    let colon = memchr(b':', line).ok_or(HeadFault::FieldName)?;
    let (name, raw) = (&line[..colon], &line[colon + 1..]);
    // What stands in it, all taken together: quicker than to ask of each byte.
    let signs = name.iter().fold(0, |signs, &byte| signs | SIGNS[byte as usize]);
    if name.is_empty() || signs & NO_SIGN != 0 {
        return Err(HeadFault::FieldName);
    }
    if !is_plain && !raw.iter().all(|&b| is_value_byte(b)) {
        return Err(HeadFault::FieldValue);
    }
    let is_blank = |b: u8| matches!(b, b' ' | b'\t');
    // Nearly every value has one space before it and nothing behind.
    let is_exact = matches!(raw, [b' ', first, .., last] if !is_blank(*first) && !is_blank(*last));
    let (from, to) = if is_exact {
        (1, raw.len())
    } else {
        let from = raw.iter().take_while(|&&b| is_blank(b)).count();
        let behind = raw[from..].iter().rev().take_while(|&&b| is_blank(b)).count();
        (from, raw.len() - behind)
    };
    let raw_start = end - raw.len();
    Ok(FieldSpan {
        known: if signs == 0 { FieldName::of_plain(name) } else { FieldName::Odd },
        is_exact,
        name: Span::new(start, start + colon),
        value: Span::new(raw_start + from, raw_start + to),
    })
}

/// RFC 9110 section 5.6.2 `tchar`.
pub fn is_token_byte(byte: u8) -> bool {
    SIGNS[byte as usize] != NO_SIGN
}

/// RFC 9110 section 5.5: visible ASCII, space, tab, and `obs-text`.
fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)
}

/// The comma-separated members of a list value, trimmed; empty members are passed over (RFC 9110 section 5.6.1).
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// What a byte is in a name: 0 for a letter, a digit or `-`, [`ODD_SIGN`] for any other `tchar`, else [`NO_SIGN`].
const SIGNS: [u8; 256] = {
    let mut signs = [NO_SIGN; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        signs[byte] = match b {
            _ if is_plain_sign(b) => 0,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~' => {
                ODD_SIGN
            }
            _ => NO_SIGN,
        };
        byte += 1;
    }
    signs
};
const ODD_SIGN: u8 = 1;
const NO_SIGN: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(lines: &str, passes: impl FnMut(Field<'_>) -> bool) -> String {
        let text = format!("{lines}\r\n");
        let mut out = Vec::new();
        Fields::parse(text.as_bytes(), 0, 100).unwrap().copy(text.as_bytes(), &mut out, passes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_that_pass_are_copied_in_order_and_in_one_form() {
        let lines = "A: 1\r\nB:2\r\nC: 3 \r\nD:  4\r\nE:\t5\r\nF: 6\r\nG:\r\nH: \r\nI: 7\r\n";
        let exact = "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\nG: \r\nH: \r\nI: 7\r\n";
        assert_eq!(copied(lines, |_| true), exact);
        assert_eq!(copied(lines, |_| false), "");
        for left_out in 0..9 {
            let expected: String = exact
                .split_inclusive("\r\n")
                .enumerate()
                .filter(|(at, _)| *at != left_out)
                .map(|(_, line)| line)
                .collect();
            let name = [b'A' + left_out as u8];
            assert_eq!(copied(lines, |field| field.name != name), expected);
            assert_eq!(copied(exact, |field| field.name != name), expected);
        }
    }

    #[test]
    fn a_byte_that_no_value_may_hold_is_found_wherever_it_stands() {
        let lines = format!("A: {}\r\nB: {}\r\n\r\n", "v".repeat(50), "w".repeat(37));
        let places = (3..53).chain(58..95);
        for byte in 0..=u8::MAX {
            for place in places.clone() {
                let mut text = lines.clone().into_bytes();
                text[place] = byte;
                let expected = match byte {
                    b'\n' => Some(HeadFault::BareLineEnd),
                    _ if is_value_byte(byte) => None,
                    _ => Some(HeadFault::FieldValue),
                };
                assert_eq!(Fields::parse(&text, 0, 9).err(), expected, "byte {byte:#x} at {place}");
            }
        }
    }

    #[test]
    fn values_are_those_of_the_name_in_order() {
        let text = b"Connection: a\r\nHost: h\r\nconnection:b\r\nConnection_: c\r\n\r\n";
        let fields = Fields::parse(text, 0, 100).unwrap();
        assert_eq!(fields.values(text, FieldName::Connection).collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(fields.values(text, FieldName::Te).count(), 0);
        assert!(fields.has(FieldName::Odd) && fields.has(FieldName::Host) && !fields.has(FieldName::Other));
    }
}

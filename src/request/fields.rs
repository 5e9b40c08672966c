//! [`Fields`]: the header lines of a head (or trailer), checked byte by byte, kept as spans into the bytes that came.
//!
//! One strict reading (RFC 9112 section 5): a name of token characters, a colon directly behind it, a value of visible
//! characters, spaces, tabs and bytes from 0x80. Lines end in CRLF and nothing else. What other servers forgive
//! (obs-fold, a space before the colon, a bare CR or LF, NUL) is a fault here, because they forgive it differently.

use super::head::HeadFault;
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
    /// The name as it came.
    pub name: Span,
    /// The value without surrounding spaces and tabs.
    pub value: Span,
}

/// The header lines of one head, in the order they came.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    spans: Vec<FieldSpan>,
}

impl Fields {
    /// Reads the lines of `text[from..]`, which must end with the empty line.
    ///
    /// # Errors
    /// Which fault, on the first line that is not of the one accepted form, or when there are more than `limit` lines.
    pub fn parse(text: &[u8], from: usize, limit: usize) -> Result<Fields, HeadFault> {
        let mut spans = Vec::with_capacity(16.min(limit));
        let mut at = from;
        loop {
            let line_end = at + find_crlf(&text[at..])?;
            if line_end == at {
                return if line_end + 2 == text.len() { Ok(Fields { spans }) } else { Err(HeadFault::BareLineEnd) };
            }
            if spans.len() == limit {
                return Err(HeadFault::TooManyFields);
            }
            spans.push(field(text, at, line_end)?);
            at = line_end + 2;
        }
    }

    /// Name and value of each line.
    pub fn iter<'t>(&self, text: &'t [u8]) -> impl DoubleEndedIterator<Item = (&'t [u8], &'t [u8])> + use<'t, '_> {
        self.spans.iter().map(move |span| (span.name.of(text), span.value.of(text)))
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

/// Where the next line ends. A line feed without carriage return is a fault; a carriage return without line feed is
/// found later, as a byte that no name or value may hold.
fn find_crlf(text: &[u8]) -> Result<usize, HeadFault> {
    match memchr(b'\n', text) {
        Some(at) if at > 0 && text[at - 1] == b'\r' => Ok(at - 1),
        Some(_) | None => Err(HeadFault::BareLineEnd),
    }
}

fn field(text: &[u8], start: usize, end: usize) -> Result<FieldSpan, HeadFault> {
    let line = &text[start..end];
    if matches!(line[0], b' ' | b'\t') {
        return Err(HeadFault::FoldedLine);
    }
    let colon = line.iter().position(|&b| !is_token_byte(b)).ok_or(HeadFault::FieldName)?;
    if colon == 0 || line[colon] != b':' {
        return Err(HeadFault::FieldName);
    }
    let raw = &line[colon + 1..];
    // Every byte is looked at, so that many can be looked at in one step.
    if !raw.iter().fold(true, |good, &b| good & is_value_byte(b)) {
        return Err(HeadFault::FieldValue);
    }
    let is_blank = |&b: &u8| matches!(b, b' ' | b'\t');
    let left = raw.iter().take_while(|&b| is_blank(b)).count();
    let right = raw[left..].iter().rev().take_while(|&b| is_blank(b)).count();
    let value_start = start + colon + 1 + left;
    Ok(FieldSpan { name: Span::new(start, start + colon), value: Span::new(value_start, end - right) })
}

/// RFC 9110 section 5.6.2 `tchar`.
pub fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// RFC 9110 section 5.5: visible ASCII, space, tab, and `obs-text`.
fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)
}

/// The comma-separated members of a list value, trimmed; empty members are passed over (RFC 9110 section 5.6.1).
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

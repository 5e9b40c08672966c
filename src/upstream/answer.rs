//! [`AnswerHead`]: the head of an upstream's answer, read as strictly as a request's.
//!
//! An answer that two readers could cut differently (lengths beside chunks, lengths that disagree, odd encodings) must
//! not reach a client: what one takes for the end of a body another takes for the next answer. Such an answer is 502.

use crate::request::fields::{Field, Fields, HeadRoom, Span, list_members};
use crate::request::framing::content_length;
use crate::request::name::FieldName;
use crate::wire::body::BodyLength;
use memchr::memchr;

/// The head of one answer.
#[derive(Debug)]
pub struct AnswerHead {
    text: Vec<u8>,
    status: u16,
    reason: Span,
    fields: Fields,
    length: BodyLength,
    content_length: Option<u64>,
    keep_alive: bool,
}

/// The answer is not acceptable: what is wrong, a constant word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerFault(pub &'static str);

/// The longest head an upstream may send.
pub const MAX_ANSWER_HEAD: usize = 64 * 1024;
/// The most header lines.
const MAX_FIELDS: usize = 256;

impl AnswerHead {
    /// Reads a whole head. An answer to HEAD has no body, whatever it says.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &[u8], to_head: bool) -> Result<AnswerHead, AnswerFault> {
        AnswerHead::parse_in(&mut HeadRoom::default(), text, to_head)
    }

    /// The same in the memory of a head before, which [`AnswerHead::leave`] left.
    ///
    /// # Errors
    /// As [`AnswerHead::parse`].
    pub fn parse_in(room: &mut HeadRoom, text: &[u8], to_head: bool) -> Result<AnswerHead, AnswerFault> {
        let line_end = memchr(b'\n', text).ok_or(AnswerFault("status_line"))?;
        let (status, reason, is_11) = status_line(&text[..=line_end])?;
        let fields =
            Fields::parse_in(room, text, line_end + 1, MAX_FIELDS).map_err(|fault| AnswerFault(fault.code()))?;
        let mut lengths: Option<Result<u64, AnswerFault>> = None;
        let mut encodings = 0;
        let (mut chunked, mut close, mut keep) = (false, false, false);
        for Field { known, value, .. } in fields.each(text) {
            match known {
                FieldName::ContentLength => {
                    let length = content_length(value).ok_or(AnswerFault("content_length"))?;
                    lengths = match lengths {
                        Some(Ok(other)) if other != length => Some(Err(AnswerFault("content_length"))),
                        Some(kept) => Some(kept),
                        None => Some(Ok(length)),
                    };
                }
                FieldName::TransferEncoding => {
                    encodings += 1;
                    chunked = value.eq_ignore_ascii_case(b"chunked");
                }
                FieldName::Connection => {
                    close |= list_members(value).any(|option| option.eq_ignore_ascii_case(b"close"));
                    keep |= list_members(value).any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
                }
                _ => {}
            }
        }
        let content_length = lengths.transpose()?;
        if encodings > 0 && content_length.is_some() {
            return Err(AnswerFault("length_and_encoding"));
        }
        if encodings > 1 || (encodings == 1 && (!chunked || !is_11)) {
            return Err(AnswerFault("transfer_encoding"));
        }
        let length = match (status, content_length) {
            (100..=199 | 204 | 304, _) => BodyLength::None,
            _ if to_head => BodyLength::None,
            (_, Some(length)) => BodyLength::Exactly(length),
            _ if chunked => BodyLength::Chunked,
            _ => BodyLength::UntilEnd,
        };
        let keep_alive = length != BodyLength::UntilEnd && !close && (is_11 || keep);
        let text = room.keep(text);
        Ok(AnswerHead { text, status, reason, fields, length, content_length, keep_alive })
    }

    /// Leaves its memory to the next.
    pub fn leave(self, room: &mut HeadRoom) {
        room.take_back(self.text, self.fields);
    }

    /// 100 to 999.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The phrase behind the status, possibly empty.
    pub fn reason(&self) -> &[u8] {
        self.reason.of(&self.text)
    }

    /// Name and value of each header line, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter(&self.text)
    }

    /// Is there a header line of this name?
    pub fn has(&self, name: FieldName) -> bool {
        self.fields.has(name)
    }

    /// The values of the header lines of this name, in order.
    pub fn values(&self, name: FieldName) -> impl Iterator<Item = &[u8]> {
        self.fields.values(&self.text, name)
    }

    /// Appends the header lines that pass.
    pub fn copy_fields(&self, out: &mut Vec<u8>, passes: impl FnMut(Field<'_>) -> bool) {
        self.fields.copy(&self.text, out, passes);
    }

    /// How the end of its body is told.
    pub fn length(&self) -> BodyLength {
        self.length
    }

    /// The announced length, also where no body follows (HEAD, 304).
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// May another request be sent on this connection?
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// An answer before the answer.
    pub fn is_informational(&self) -> bool {
        self.status < 200
    }
}

/// Where a head ends in what has come so far, looking from `from` on (what was looked at before): behind its empty line.
pub fn head_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(offset) = memchr(b'\n', &text[at..]) {
        at += offset + 1;
        if text[..at].ends_with(b"\r\n\r\n") {
            return Some(at);
        }
    }
    None
}

fn status_line(line: &[u8]) -> Result<(u16, Span, bool), AnswerFault> {
    const FAULT: AnswerFault = AnswerFault("status_line");
    let line = line.strip_suffix(b"\r\n").ok_or(FAULT)?;
    let is_11 = match line.get(..9) {
        Some(b"HTTP/1.1 ") => true,
        Some(b"HTTP/1.0 ") => false,
        _ => return Err(FAULT),
    };
    let (digits, rest) = line[9..].split_at_checked(3).ok_or(FAULT)?;
    if !digits.iter().all(u8::is_ascii_digit) || digits[0] == b'0' {
        return Err(FAULT);
    }
    let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match rest {
        [] => Ok((status, Span::new(12, 12), is_11)),
        [b' ', reason @ ..] if reason.iter().all(|&b| matches!(b, b'\t' | 0x20..=0x7e | 0x80..)) => {
            Ok((status, Span::new(13, line.len()), is_11))
        }
        _ => Err(FAULT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &str) -> Result<AnswerHead, AnswerFault> {
        AnswerHead::parse(format!("{lines}\r\n\r\n").as_bytes(), false)
    }

    #[test]
    fn the_end_of_a_body_is_told_one_way() {
        for (lines, length) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5", BodyLength::Exactly(5)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5", BodyLength::Exactly(5)),
            ("HTTP/1.1 200\r\nTransfer-Encoding: chunked", BodyLength::Chunked),
            ("HTTP/1.1 200 ", BodyLength::UntilEnd),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5", BodyLength::None),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5", BodyLength::None),
            ("HTTP/1.1 101 Switching", BodyLength::None),
        ] {
            assert_eq!(parse(lines).unwrap().length(), length, "{lines:?}");
        }
        assert_eq!(
            AnswerHead::parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true).unwrap().length(),
            BodyLength::None
        );
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_arrives() {
        let text = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n\r\n\r\nrest";
        let end = text.len() - b"\r\n\r\nrest".len();
        for split in 0..=text.len() {
            let first = head_end(&text[..split], 0);
            assert_eq!(first, (split >= end).then_some(end), "{split}");
            if first.is_none() {
                assert_eq!(head_end(text, split), Some(end), "{split}");
            }
        }
        for never in [&b""[..], b"\r\n", b"A\n\n", b"A\r\n\n", b"A\n\r\n", b"A\r\n\r"] {
            assert_eq!(head_end(never, 0), None);
        }
    }

    #[test]
    fn answers_that_two_readers_cut_differently_are_refused() {
        for lines in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5",
            "HTTP/1.1 200 OK\r\nContent-Length: +5",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
            "HTTP/1.1 200 OK\r\nA : b",
            "HTTP/1.1 200 OK\r\nA: b\r\n c",
            "HTTP/1.1 200 OK\nA: b",
            "HTTP/2 200 OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 099 OK",
            "HTTP/1.1 2000 OK",
            "ICY 200 OK",
            "",
        ] {
            assert!(parse(lines).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn a_connection_is_kept_only_where_both_sides_know_the_end() {
        assert!(parse("HTTP/1.1 200 OK\r\nContent-Length: 0").unwrap().keep_alive());
        assert!(!parse("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close").unwrap().keep_alive());
        assert!(!parse("HTTP/1.1 200 OK").unwrap().keep_alive());
        assert!(!parse("HTTP/1.0 200 OK\r\nContent-Length: 0").unwrap().keep_alive());
        assert!(parse("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive").unwrap().keep_alive());
    }
}

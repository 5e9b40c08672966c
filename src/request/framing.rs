//! [`Framing`] and [`ChunkReader`]: where a body ends, read one way only.
//!
//! Chunk sizes are plain hex digits; extensions that are legal are passed over, within a bound; data ends in CRLF. Attacks:
//! `+3`, `0x3`, overflow, bare LF after a size, endless extensions; the tests below have each. The reader is a state
//! machine over a buffer: it reads no socket.

use super::fields::Fields;
use super::head::HeadFault;

/// How long a request body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// This many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// A `Content-Length` value: digits alone, in 64 bits.
pub fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // 19 digits stay below 10^19 < 2^64.
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Where in a chunked body we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkReader {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// What the next bytes of a chunked body are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkStep {
    /// More bytes are needed to tell.
    NeedMore,
    /// Skip this many bytes; they are framing.
    Framing(usize),
    /// This many bytes from here are data.
    Data(usize),
    /// The body ends behind this many bytes, which are the trailer section with its empty line.
    End(usize),
}

/// The longest chunk-size line, extensions included.
const MAX_SIZE_LINE: usize = 1024;
/// The longest trailer section.
pub const MAX_TRAILERS: usize = 8 * 1024;
/// Trailer lines at most.
const MAX_TRAILER_FIELDS: usize = 64;

impl Default for ChunkReader {
    fn default() -> ChunkReader {
        ChunkReader { state: State::Size }
    }
}

impl ChunkReader {
    /// Looks at the bytes at hand and moves on. The caller takes exactly the bytes the step names before it asks again.
    ///
    /// # Errors
    /// [`HeadFault::Chunk`] or [`HeadFault::Trailer`].
    pub fn step(&mut self, input: &[u8]) -> Result<ChunkStep, HeadFault> {
        match self.state {
            State::Size => self.size_line(input),
            State::Data(left) => {
                if input.is_empty() {
                    return Ok(ChunkStep::NeedMore);
                }
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let left = left - taken as u64;
                self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                Ok(ChunkStep::Data(taken))
            }
            State::DataEnd => match input {
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Ok(ChunkStep::Framing(2))
                }
                [] | [b'\r'] => Ok(ChunkStep::NeedMore),
                _ => Err(HeadFault::Chunk),
            },
            State::Trailers => self.trailers(input),
            State::Done => Ok(ChunkStep::End(0)),
        }
    }

    fn size_line(&mut self, input: &[u8]) -> Result<ChunkStep, HeadFault> {
        let digits = input.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if digits > 16 || (digits == 0 && !input.is_empty()) {
            return Err(HeadFault::Chunk);
        }
        let Some(end) = input.iter().take(MAX_SIZE_LINE).position(|&b| b == b'\n') else {
            let begun_well = extension_is_legal(input[digits..].strip_suffix(b"\r").unwrap_or(&input[digits..]));
            return if input.len() < MAX_SIZE_LINE && begun_well {
                Ok(ChunkStep::NeedMore)
            } else {
                Err(HeadFault::Chunk)
            };
        };
        let line = input[..end].strip_suffix(b"\r").ok_or(HeadFault::Chunk)?;
        let behind = line.get(digits..).ok_or(HeadFault::Chunk)?;
        let is_whole = behind.is_empty() || behind.trim_ascii_start().starts_with(b";");
        if !is_whole || !extension_is_legal(behind) {
            return Err(HeadFault::Chunk);
        }
        // At most 16 hex digits: 64 bits.
        let size = line[..digits].iter().fold(0_u64, |sum, &b| sum << 4 | u64::from(hex_value(b)));
        self.state = if size == 0 { State::Trailers } else { State::Data(size) };
        Ok(ChunkStep::Framing(end + 1))
    }

    fn trailers(&mut self, input: &[u8]) -> Result<ChunkStep, HeadFault> {
        let end = match input {
            [] | [b'\r'] => None,
            [b'\r', b'\n', ..] => Some(2),
            _ => input.windows(4).take(MAX_TRAILERS).position(|w| w == b"\r\n\r\n").map(|at| at + 4),
        };
        match end {
            Some(end) => {
                trailer_fields(&input[..end])?;
                self.state = State::Done;
                Ok(ChunkStep::End(end))
            }
            None if input.len() >= MAX_TRAILERS => Err(HeadFault::Trailer),
            None => Ok(ChunkStep::NeedMore),
        }
    }
}

/// The lines of a trailer section.
///
/// # Errors
/// [`HeadFault::Trailer`] when a line is not of the form of a header line, or there are more than 64.
pub fn trailer_fields(section: &[u8]) -> Result<Fields, HeadFault> {
    Fields::parse(section, 0, MAX_TRAILER_FIELDS).map_err(|_| HeadFault::Trailer)
}

/// `;name=value` and the like: visible characters, spaces, tabs. What they say is not looked at.
fn extension_is_legal(text: &[u8]) -> bool {
    let starts_well = match text.trim_ascii_start() {
        [] => true,
        [first, ..] => *first == b';',
    };
    starts_well && text.iter().all(|&b| matches!(b, b'\t' | 0x20..=0x7e))
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the text whole and byte by byte; both must say the same.
    fn decode(text: &[u8]) -> Result<Vec<u8>, HeadFault> {
        let whole = run(text, text.len());
        assert_eq!(whole, run(text, 1), "{:?}", String::from_utf8_lossy(text));
        whole.map(|data| data.expect("the body is not whole"))
    }

    fn run(text: &[u8], step: usize) -> Result<Option<Vec<u8>>, HeadFault> {
        let (mut reader, mut data, mut start, mut end) = (ChunkReader::default(), Vec::new(), 0, 0);
        loop {
            match reader.step(&text[start..end])? {
                ChunkStep::NeedMore if end == text.len() => return Ok(None),
                ChunkStep::NeedMore => end = (end + step).min(text.len()),
                ChunkStep::Framing(n) => start += n,
                ChunkStep::Data(n) => {
                    data.extend_from_slice(&text[start..start + n]);
                    start += n;
                }
                ChunkStep::End(_) => return Ok(Some(data)),
            }
        }
    }

    #[test]
    fn chunks_are_joined_and_legal_extensions_passed_over() {
        assert_eq!(decode(b"3\r\nabc\r\n0\r\n\r\n").unwrap(), b"abc");
        assert_eq!(decode(b"3;a=b\r\nabc\r\nA ; x\r\n0123456789\r\n000\r\nX: y\r\n\r\n").unwrap(), b"abc0123456789");
        assert_eq!(decode(b"0\r\n\r\n").unwrap(), b"");
    }

    #[test]
    fn chunk_sizes_that_servers_read_differently_are_refused() {
        for text in [
            &b"+3\r\nabc\r\n0\r\n\r\n"[..],
            b"-3\r\nabc\r\n",
            b"0x3\r\nabc\r\n",
            b"3 \r\nabc\r\n",
            b" 3\r\nabc\r\n",
            b"3\nabc\r\n",
            b"3\r\nabcX\r\n",
            b"3\r\nabc\n0\r\n",
            b"3;a\rb\r\nabc\r\n",
            b"3;a\nb\r\nabc\r\n",
            b"3;\0\r\nabc\r\n",
            b"\r\n3\r\nabc\r\n",
            b"11111111111111111\r\n",
            b"3_0\r\n",
            b"g\r\n",
        ] {
            assert!(run(text, text.len()).is_err(), "{:?}", String::from_utf8_lossy(text));
            assert!(run(text, 1).is_err(), "{:?}", String::from_utf8_lossy(text));
        }
        let endless = [b"3;".as_slice(), &[b'a'; 2000]].concat();
        assert_eq!(run(&endless, 7), Err(HeadFault::Chunk));
    }

    #[test]
    fn trailers_are_checked_like_headers() {
        for text in [&b"0\r\nX y\r\n\r\n"[..], b"0\r\n X: y\r\n\r\n", b"0\r\nX: \0\r\n\r\n", b"0\r\nX : y\r\n\r\n"] {
            assert_eq!(run(text, text.len()), Err(HeadFault::Trailer), "{:?}", String::from_utf8_lossy(text));
        }
        let endless = [b"0\r\n".as_slice(), &b"A: b\r\n".repeat(3000)].concat();
        assert_eq!(run(&endless, 64), Err(HeadFault::Trailer));
    }

    #[test]
    fn a_content_length_is_digits_alone() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        for odd in [&b""[..], b"+1", b"1 ", b"1,1", b"0x1", b"99999999999999999999", b"\xb2"] {
            assert_eq!(content_length(odd), None);
        }
    }
}

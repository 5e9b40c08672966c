//! HTTP/1.1 messages as bytes: a strict reader of heads and bodies, for the client and the upstream of the tests.

use std::io::{self, Read};

/// Header fields in the order and spelling in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields(pub(crate) Vec<(String, String)>);

impl Fields {
    /// The single value of a name; `None` when absent. Fails when it came twice.
    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} came {} times: {values:?}", values.len());
        values.first().copied()
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

/// A body as it was framed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Fields,
    /// Did it end as its framing says? `false`: the connection ended first.
    pub(crate) complete: bool,
}

/// A reader that keeps what it read too far.
pub(crate) struct Buffered<R> {
    pub(crate) inner: R,
    pub(crate) ahead: Vec<u8>,
    /// Are chunk extensions passed over? What we send upstream must have none.
    pub(crate) extensions: bool,
}

impl<R: Read> Buffered<R> {
    pub(crate) fn new(inner: R) -> Buffered<R> {
        Buffered { inner, ahead: Vec::new(), extensions: false }
    }

    /// Reads more; `Ok(false)` at the end of the stream.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.inner.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.ahead.extend_from_slice(&chunk[..n]);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The bytes of a head up to and with its empty line; `Ok(None)`: the stream ended cleanly before the first byte.
    pub(crate) fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut seen = 0;
        loop {
            if let Some(at) = find(&self.ahead[seen..], b"\r\n\r\n") {
                return Ok(Some(self.ahead.drain(..seen + at + 4).collect()));
            }
            seen = self.ahead.len().saturating_sub(3);
            if !self.fill()? {
                if self.ahead.is_empty() {
                    return Ok(None);
                }
                return Err(bad(format!("the stream ended in a head: {:?}", Text(&self.ahead))));
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = find(&self.ahead, b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..at + 2).collect();
                return Ok(text(&line[..at]));
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn exactly(&mut self, count: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let mut left = count;
        loop {
            let take = left.min(self.ahead.len());
            into.extend(self.ahead.drain(..take));
            left -= take;
            if left == 0 {
                return Ok(());
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// A body by its length. What came before a premature end is kept.
    pub(crate) fn sized(&mut self, length: usize) -> io::Result<Body> {
        let mut body = Body::default();
        match self.exactly(length, &mut body.bytes) {
            Ok(()) => body.complete = true,
            Err(error) if ended(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(body)
    }

    /// A chunked body, strictly: lower or upper hex digits and CRLF; extensions are an error.
    pub(crate) fn chunked(&mut self) -> io::Result<Body> {
        let mut body = Body::default();
        match self.chunks(&mut body) {
            Ok(()) => body.complete = true,
            Err(error) if ended(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(body)
    }

    fn chunks(&mut self, body: &mut Body) -> io::Result<()> {
        loop {
            let mut line = self.line()?;
            if let (true, Some(extension)) = (self.extensions, line.find(';')) {
                line.truncate(extension);
                line.truncate(line.trim_end_matches([' ', '\t']).len());
            }
            if line.is_empty() || line.len() > 8 || !line.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad(format!("a chunk size {line:?}")));
            }
            let size = usize::from_str_radix(&line, 16).unwrap();
            if size == 0 {
                break;
            }
            self.exactly(size, &mut body.bytes)?;
            if !self.line()?.is_empty() {
                return Err(bad("no CRLF after a chunk".into()));
            }
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            body.trailers.0.push(field(&line)?);
        }
    }

    /// A body that ends with the connection.
    pub(crate) fn rest(&mut self) -> io::Result<Body> {
        let mut body = Body::default();
        loop {
            body.bytes.append(&mut self.ahead);
            match self.fill() {
                Ok(true) => {}
                Ok(false) => {
                    body.complete = true;
                    return Ok(body);
                }
                Err(error) if ended(&error) => return Ok(body),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Splits a head: its first line and its fields, strictly (CRLF, token names, no folding, no control characters).
pub(crate) fn split_head(head: &[u8]) -> io::Result<(String, Fields)> {
    let head = text(head);
    let mut lines = head.strip_suffix("\r\n\r\n").ok_or_else(|| bad("no empty line".into()))?.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    if first.chars().any(|c| c.is_ascii_control()) {
        return Err(bad(format!("a first line {first:?}")));
    }
    let fields = lines.map(field).collect::<io::Result<Vec<_>>>()?;
    Ok((first, Fields(fields)))
}

/// As UTF-8, else byte by byte as Latin-1: nothing is lost.
fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().map(|&byte| char::from(byte)).collect(), str::to_owned)
}

fn field(line: &str) -> io::Result<(String, String)> {
    let (name, value) = line.split_once(':').ok_or_else(|| bad(format!("a field without colon {line:?}")))?;
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) || value.chars().any(|c| c.is_ascii_control() && c != '\t') {
        return Err(bad(format!("a field {line:?}")));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

/// Did the other side end the connection, in whatever way?
pub(crate) fn ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

pub(crate) fn find(in_: &[u8], what: &[u8]) -> Option<usize> {
    in_.windows(what.len()).position(|window| window == what)
}

pub(crate) fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Bytes for a failure's message.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl std::fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.0[..self.0.len().min(600)];
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if shown.len() < self.0.len() { write!(f, "... ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

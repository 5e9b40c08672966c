//! [`Client`]: sends one request exactly as it is written, and reads what is worth knowing of the answer.
//!
//! Every request gets a connection of its own: what one of them does to a connection (a refusal closes it) says nothing about the
//! next. Answers are read by the same strict reader as an upstream's. Of a body only so much is read as a refusal of ours or a
//! health check can have, and an endless one is cut off.

use crate::config::Upstream;
use crate::request::framing::{ChunkReader, ChunkStep};
use crate::tls::TlsMaterials;
use crate::tls::handshake;
use crate::upstream::answer::{AnswerHead, MAX_ANSWER_HEAD, head_end};
use crate::wire::body::BodyLength;
use crate::wire::stream::Plain;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where the requests of one run go.
pub(super) struct Client {
    upstream: Upstream,
    tls: TlsMaterials,
    patience: Duration,
}

/// One request, apart from what every one has.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    /// As far as it was read.
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientFault {
    /// Nobody listens there, or it cannot be reached.
    #[error("cannot connect to {0}: {1}")]
    Unreachable(String, io::Error),
    /// The certificate is not believed, or it is no TLS.
    #[error("no TLS with {0}: {1}")]
    Tls(String, io::Error),
    /// A connection, and then nothing.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It broke.
    #[error("the connection ended before an answer: {0}")]
    Broken(io::Error),
    /// What came is no HTTP.
    #[error("the answer is no HTTP ({0})")]
    Malformed(&'static str),
}

/// More than a refusal or the answer to a health check has.
const MAX_BODY: usize = 64 * 1024;
/// A stream of events has no end; what is judged by its body comes at once.
const BODY_PATIENCE: Duration = Duration::from_secs(2);

trait Bytes: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Bytes for T {}

impl Client {
    /// `tls` holds what is needed where it is `https://`.
    pub(super) const fn new(upstream: Upstream, tls: TlsMaterials, patience: Duration) -> Client {
        Client { upstream, tls, patience }
    }

    /// Sends it and reads the answer.
    pub(super) async fn send(&self, request: &Request) -> Result<Answer, ClientFault> {
        let exchange = async {
            let mut stream = self.connect().await?;
            let bytes = self.bytes(request);
            stream.write_all(bytes.as_bytes()).await.map_err(ClientFault::Broken)?;
            stream.flush().await.map_err(ClientFault::Broken)?;
            Reader { stream, buffer: Vec::new() }.answer(request.method == "HEAD").await
        };
        tokio::time::timeout(self.patience, exchange).await.map_err(|_| ClientFault::TimedOut(self.patience))?
    }

    async fn connect(&self) -> Result<Box<dyn Bytes>, ClientFault> {
        let upstream = &self.upstream;
        let tcp = TcpStream::connect((upstream.lookup_host(), upstream.port))
            .await
            .map_err(|error| ClientFault::Unreachable(upstream.to_string(), error))?;
        // Without it a handshake waits for acknowledgements, and still works.
        let _ = tcp.set_nodelay(true);
        let Some(how) = &upstream.tls else { return Ok(Box::new(tcp)) };
        let secured = match self.tls.client(how) {
            Some(material) => handshake::connect(material, upstream, Plain::Tcp(tcp)).await,
            None => Err(io::Error::other("nothing to verify it with was loaded")),
        };
        match secured {
            Ok((stream, _)) => Ok(Box::new(stream)),
            Err(error) => Err(ClientFault::Tls(upstream.to_string(), error)),
        }
    }

    /// The target goes on the wire as it is, also where no server takes it.
    fn bytes(&self, request: &Request) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.target, self.upstream);
        for (name, value) in &request.headers {
            // Writing to a string does not fail.
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if !matches!(&*request.method, "GET" | "HEAD" | "OPTIONS") {
            text.push_str("Content-Length: 0\r\n");
        }
        text.push_str("User-Agent: countersign-validate\r\nAccept: */*\r\nConnection: close\r\n\r\n");
        text
    }
}

/// An answer being read.
struct Reader {
    stream: Box<dyn Bytes>,
    buffer: Vec<u8>,
}

impl Reader {
    async fn answer(mut self, to_head: bool) -> Result<Answer, ClientFault> {
        let head = self.head(to_head).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = head.fields().map(|(name, value)| (text(name), text(value))).collect();
        // What broke off, or does not end, is no refusal of ours; that there was an answer is what counts.
        let body = tokio::time::timeout(BODY_PATIENCE, self.body(head.length())).await;
        let body = body.unwrap_or(Ok(Vec::new())).unwrap_or_default();
        Ok(Answer { status: head.status(), headers, body })
    }

    async fn head(&mut self, to_head: bool) -> Result<AnswerHead, ClientFault> {
        loop {
            let end = loop {
                match head_end(&self.buffer, 0) {
                    Some(end) => break end,
                    None if self.buffer.len() > MAX_ANSWER_HEAD => {
                        return Err(ClientFault::Malformed("head_too_long"));
                    }
                    None if self.more().await? => {}
                    None => return Err(ClientFault::Broken(io::ErrorKind::UnexpectedEof.into())),
                }
            };
            let rest = self.buffer.split_off(end);
            let head = AnswerHead::parse(&self.buffer, to_head).map_err(|fault| ClientFault::Malformed(fault.0))?;
            self.buffer = rest;
            if !head.is_informational() || head.status() == SWITCHED {
                return Ok(head);
            }
        }
    }

    async fn body(&mut self, length: BodyLength) -> Result<Vec<u8>, ClientFault> {
        let wanted = match length {
            BodyLength::None => 0,
            BodyLength::Exactly(length) => usize::try_from(length).unwrap_or(usize::MAX).min(MAX_BODY),
            BodyLength::UntilEnd => MAX_BODY,
            BodyLength::Chunked => return self.chunks().await,
        };
        while self.buffer.len() < wanted && self.more().await? {}
        self.buffer.truncate(wanted);
        Ok(std::mem::take(&mut self.buffer))
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, ClientFault> {
        let mut reader = ChunkReader::default();
        let mut body = Vec::new();
        while body.len() < MAX_BODY {
            match reader.step(&self.buffer).map_err(|fault| ClientFault::Malformed(fault.code()))? {
                ChunkStep::End(_) => break,
                ChunkStep::Framing(n) => drop(self.buffer.drain(..n)),
                ChunkStep::Data(n) => body.extend(self.buffer.drain(..n)),
                ChunkStep::NeedMore if self.more().await? => {}
                ChunkStep::NeedMore => break,
            }
        }
        Ok(body)
    }

    /// Reads on; `false` at the end.
    async fn more(&mut self) -> Result<bool, ClientFault> {
        Ok(self.stream.read_buf(&mut self.buffer).await.map_err(ClientFault::Broken)? > 0)
    }
}

/// The last head there is, though it is informational.
const SWITCHED: u16 = 101;

impl Answer {
    /// The values of the header lines of this name.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// What its `Date` says, Unix seconds.
    pub(super) fn date(&self) -> Option<i64> {
        let date = self.values("date").next()?;
        Some(jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?.as_second())
    }
}

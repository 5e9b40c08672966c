//! One check: connect, and if asked for, GET and look at the answer.
//!
//! The answer is read by the same strict reader as every other answer of the upstream: what would be a 502 to a client is
//! a failed check. At most 64 KiB of body are read, and only when a JSON member is asked for. The connection is not kept.
//! What the upstream sent is never shown or logged, only what was expected of it.

use crate::config::{Health, Upstream};
use crate::request::framing::{ChunkReader, ChunkStep};
use crate::tls::TlsMaterials;
use crate::tls::handshake::{self, Protocol};
use crate::upstream::answer::{AnswerHead, MAX_ANSWER_HEAD, head_end};
use crate::wire::body::BodyLength;
use crate::wire::stream::Plain;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeFault {
    /// No connection.
    #[error("cannot connect to {upstream}: {error}")]
    Unreachable {
        /// `host:port`.
        upstream: String,
        /// Why.
        error: io::Error,
    },
    /// No TLS.
    #[error("no TLS with {upstream}: {error}")]
    Tls {
        /// `host:port`.
        upstream: String,
        /// Why.
        error: io::Error,
    },
    /// It took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The connection broke.
    #[error("the connection broke before the answer was whole: {0}")]
    Broken(io::Error),
    /// The answer is none that would be passed on.
    #[error("the answer is malformed ({0})")]
    Malformed(&'static str),
    /// Another status.
    #[error("answered {found}, expected {expected}")]
    Status {
        /// What came.
        found: u16,
        /// What was to come.
        expected: u16,
    },
    /// More body than anybody reads for a check.
    #[error("the body is longer than 64 KiB")]
    TooLong,
    /// Members were expected.
    #[error("the body is not a JSON object")]
    NotJson,
    /// One of them is missing or another.
    #[error("the member {name:?} of the body is not {expected}")]
    Member {
        /// Which.
        name: String,
        /// What was to be there.
        expected: serde_json::Value,
    },
}

/// Does the upstream answer as it should? `name`: what it is called in `Host` and in messages.
pub(super) async fn probe(
    upstream: &Upstream,
    name: &str,
    check: Option<&Health>,
    tls: &TlsMaterials,
) -> Result<(), ProbeFault> {
    let (mut stream, protocol) = open(upstream, name, tls).await?;
    let Some(check) = check else {
        // That it could be opened is the answer.
        let _ = stream.shutdown().await;
        return Ok(());
    };
    if protocol == Protocol::Http2 {
        return super::http2::ask(stream, upstream, name, check).await;
    }
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: countersign-health\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        check.path
    );
    stream.write_all(request.as_bytes()).await.map_err(ProbeFault::Broken)?;
    stream.flush().await.map_err(ProbeFault::Broken)?;
    let mut answer = Answer { stream, buffer: Vec::new() };
    let head = answer.head().await?;
    if head.status() != check.expect {
        return Err(ProbeFault::Status { found: head.status(), expected: check.expect });
    }
    if check.json.is_empty() {
        return Ok(());
    }
    members_are_there(&answer.body(head.length()).await?, &check.json)
}

/// A connection, with or without TLS.
type Opened = Box<dyn Bytes + Send>;

trait Bytes: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Bytes for T {}

async fn open(upstream: &Upstream, name: &str, tls: &TlsMaterials) -> Result<(Opened, Protocol), ProbeFault> {
    let tcp = TcpStream::connect((upstream.lookup_host(), upstream.port))
        .await
        .map_err(|error| ProbeFault::Unreachable { upstream: name.to_owned(), error })?;
    // A handshake is several small writes; without it the probe still works.
    let _ = tcp.set_nodelay(true);
    let plain = Plain::Tcp(tcp);
    let Some(how) = &upstream.tls else {
        let protocol = if upstream.http2 { Protocol::Http2 } else { Protocol::Http1 };
        return Ok((Box::new(plain), protocol));
    };
    let secured = match tls.client(how) {
        Some(material) => handshake::connect(material, upstream, plain).await,
        None => Err(io::Error::other("nothing to verify it with was loaded")),
    };
    match secured {
        Ok((stream, protocol)) => Ok((Box::new(stream), protocol)),
        Err(error) => Err(ProbeFault::Tls { upstream: name.to_owned(), error }),
    }
}

pub(super) fn members_are_there(
    body: &[u8],
    expected: &BTreeMap<String, serde_json::Value>,
) -> Result<(), ProbeFault> {
    let Ok(serde_json::Value::Object(found)) = serde_json::from_slice(body) else { return Err(ProbeFault::NotJson) };
    match expected.iter().find(|(name, value)| found.get(*name) != Some(*value)) {
        None => Ok(()),
        Some((name, value)) => Err(ProbeFault::Member { name: name.clone(), expected: value.clone() }),
    }
}

/// An answer being read.
struct Answer {
    stream: Opened,
    /// Read and not yet used.
    buffer: Vec<u8>,
}

impl Answer {
    /// The head of the final answer; those before it are passed over.
    async fn head(&mut self) -> Result<AnswerHead, ProbeFault> {
        loop {
            let end = loop {
                match head_end(&self.buffer, 0) {
                    Some(end) => break end,
                    None if self.buffer.len() > MAX_ANSWER_HEAD => {
                        return Err(ProbeFault::Malformed("head_too_long"));
                    }
                    None if self.more().await? => {}
                    None => return Err(ProbeFault::Broken(io::ErrorKind::UnexpectedEof.into())),
                }
            };
            let rest = self.buffer.split_off(end);
            let head = AnswerHead::parse(&self.buffer, false).map_err(|fault| ProbeFault::Malformed(fault.0))?;
            self.buffer = rest;
            if !head.is_informational() {
                return Ok(head);
            }
        }
    }

    async fn body(&mut self, length: BodyLength) -> Result<Vec<u8>, ProbeFault> {
        match length {
            BodyLength::None => Ok(Vec::new()),
            BodyLength::Exactly(length) => {
                let length = usize::try_from(length).ok().filter(|l| *l <= MAX_BODY).ok_or(ProbeFault::TooLong)?;
                while self.buffer.len() < length {
                    if !self.more().await? {
                        return Err(ProbeFault::Broken(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
                self.buffer.truncate(length);
                Ok(std::mem::take(&mut self.buffer))
            }
            BodyLength::UntilEnd => {
                while self.more().await? {
                    if self.buffer.len() > MAX_BODY {
                        return Err(ProbeFault::TooLong);
                    }
                }
                Ok(std::mem::take(&mut self.buffer))
            }
            BodyLength::Chunked => self.chunks().await,
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, ProbeFault> {
        let mut reader = ChunkReader::default();
        let mut body = Vec::new();
        loop {
            let step = reader.step(&self.buffer).map_err(|fault| ProbeFault::Malformed(fault.code()))?;
            match step {
                ChunkStep::End(_) => return Ok(body),
                ChunkStep::Framing(n) => drop(self.buffer.drain(..n)),
                ChunkStep::Data(n) => body.extend(self.buffer.drain(..n)),
                ChunkStep::NeedMore => {
                    if !self.more().await? {
                        return Err(ProbeFault::Broken(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
            if body.len() > MAX_BODY {
                return Err(ProbeFault::TooLong);
            }
        }
    }

    /// Reads on; `false` at the end.
    async fn more(&mut self) -> Result<bool, ProbeFault> {
        Ok(self.stream.read_buf(&mut self.buffer).await.map_err(ProbeFault::Broken)? > 0)
    }
}

/// Bytes of a body that are read for a check.
pub(super) const MAX_BODY: usize = 64 * 1024;

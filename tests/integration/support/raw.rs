//! A client that sends exactly the bytes it is given and reads answers strictly, with a deadline.

use super::DEADLINE;
use super::message::{Body, Buffered, Fields, Text, bad, ended, split_head};
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// One answer.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Vec<u8>,
    pub(crate) fields: Fields,
    pub(crate) body: Body,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} {:?} {}",
            Text(&self.head),
            Text(&self.body.bytes),
            if self.body.complete { "" } else { "(cut)" }
        )
    }
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body.bytes)
            .unwrap_or_else(|error| panic!("{error} in {:?} {:?}", self, Text(&self.body.bytes)))
    }

    /// `reason` of a refusal's body.
    #[track_caller]
    pub(crate) fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }
}

/// How a connection ended, as far as the client can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A clean end of the stream.
    Closed,
    /// A reset.
    Reset,
    /// More bytes came first.
    Bytes,
}

/// A raw connection.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: Buffered<S>,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).unwrap_or_else(|| panic!("cannot connect to {address}"))
    }

    /// Connects if something listens there.
    pub(crate) fn try_connect(address: SocketAddr) -> Option<Client> {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        stream.set_write_timeout(Some(DEADLINE)).ok()?;
        Some(Client { stream: Buffered::new(stream) })
    }

    /// Connects from another address of this machine (all of 127.0.0.0/8 is).
    #[track_caller]
    pub(crate) fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect_timeout(&address.into(), DEADLINE).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Client { stream: Buffered::new(stream) }
    }

    /// No more bytes from here; answers can still be read.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.inner.shutdown(Shutdown::Write);
    }

    /// Is there neither a byte nor an end for this long? For "nothing happens" there is no condition to poll.
    pub(crate) fn silent_for(&mut self, time: Duration) -> bool {
        self.stream.inner.set_read_timeout(Some(time)).unwrap();
        let silent = self.stream.ahead.is_empty()
            && matches!(self.stream.fill(), Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.stream.inner.set_read_timeout(Some(DEADLINE)).unwrap();
        silent
    }
}

impl<S: Read + Write> Client<S> {
    /// Sends bytes. That the other side has already hung up shows when reading, not here.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.inner.write_all(bytes.as_ref());
    }

    /// The next answer to a request of this method.
    #[track_caller]
    pub(crate) fn answer_to(&mut self, method: &str) -> Answer {
        self.try_answer(method).unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The next answer (to anything but HEAD).
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// The next answer's head alone; the body is left to be read.
    pub(crate) fn try_head(&mut self) -> io::Result<(u16, Vec<u8>, Fields)> {
        let head = self.stream.head()?.ok_or(ErrorKind::UnexpectedEof)?;
        let (line, fields) = split_head(&head)?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| line.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3))
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| bad(format!("a status line {line:?}")))?;
        Ok((status, head, fields))
    }

    pub(crate) fn try_answer(&mut self, method: &str) -> io::Result<Answer> {
        let (status, head, fields) = self.try_head()?;
        let empty = Body { complete: true, ..Body::default() };
        let body = if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            empty
        } else if fields.has("transfer-encoding") {
            if fields.has("content-length") || fields.all("transfer-encoding") != ["chunked"] {
                return Err(bad(format!("an answer framed twice: {:?}", Text(&head))));
            }
            self.stream.chunked()?
        } else if let Some(length) = fields.one("content-length") {
            let length = length.parse().map_err(|_| bad(format!("a content-length {length:?}")))?;
            self.stream.sized(length)?
        } else {
            self.stream.rest()?
        };
        Ok(Answer { status, head, fields, body })
    }

    /// Waits for the end of the connection.
    #[track_caller]
    pub(crate) fn end(&mut self) -> End {
        if !self.stream.ahead.is_empty() {
            return End::Bytes;
        }
        match self.stream.fill() {
            Ok(true) => End::Bytes,
            Ok(false) => End::Closed,
            Err(error) if ended(&error) => End::Reset,
            Err(error) => panic!("the connection was left open: {error}"),
        }
    }
}

/// One request on a connection of its own.
#[track_caller]
pub(crate) fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut client = Client::connect(address);
    client.send(request.as_ref());
    let method = if request.as_ref().starts_with(b"HEAD ") { "HEAD" } else { "GET" };
    client.answer_to(method)
}

/// GET with these further header lines, each with its CRLF.
#[track_caller]
pub(crate) fn get_with(address: SocketAddr, target: &str, lines: &str) -> Answer {
    exchange(address, format!("GET {target} HTTP/1.1\r\nHost: backend.test\r\n{lines}\r\n"))
}

/// GET from another address of this machine.
#[track_caller]
pub(crate) fn get_from(source: Ipv4Addr, address: SocketAddr, target: &str, lines: &str) -> Answer {
    let mut client = Client::connect_from(source, address);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: backend.test\r\n{lines}\r\n"));
    client.answer()
}

/// GET without anything else.
#[track_caller]
pub(crate) fn get(address: SocketAddr, target: &str) -> Answer {
    exchange(address, format!("GET {target} HTTP/1.1\r\nHost: backend.test\r\n\r\n"))
}

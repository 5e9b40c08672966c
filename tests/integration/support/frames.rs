//! An HTTP/2 client that sends exactly the frames it is told to, and reads answers with a deadline.

use super::DEADLINE;
use super::hpack::{self, Decoder};
use super::message::ended;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// What came of one stream.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// It ended as it should.
    pub(crate) whole: bool,
    /// The code it was reset with.
    pub(crate) reset: Option<u32>,
}

impl Outcome {
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The connection ended before anything came of it.
    pub(crate) fn is_nothing(&self) -> bool {
        self.status == 0 && self.reset.is_none()
    }

    /// `reason` of a refusal's body.
    #[track_caller]
    pub(crate) fn reason(&self) -> String {
        let body: serde_json::Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"));
        body["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With this code.
    GoAway(u32),
    /// Without a word.
    Silent,
}

pub(crate) struct Frames {
    stream: TcpStream,
    decoder: Decoder,
    next: u32,
    outcomes: BTreeMap<u32, Outcome>,
    /// The header block that is not whole: its stream, what came of it, and whether the stream ends with it.
    block: Option<(u32, Vec<u8>, bool)>,
    pub(crate) go_away: Option<u32>,
    /// It answers neither SETTINGS nor PING and opens no window by itself: within a header block nothing else may come.
    pub(crate) is_mute: bool,
    /// Answers to PINGs.
    pub(crate) pongs: usize,
}

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header block of literals.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        hpack::put(&mut block, name.as_bytes(), value.as_bytes());
    }
    block
}

/// The pseudo headers of a request to `backend.test`.
pub(crate) fn pseudo<'p>(method: &'p str, path: &'p str) -> [(&'p str, &'p str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", "backend.test"), (":path", path)]
}

impl Frames {
    /// Connects and says the preface and empty settings.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Frames {
        let mut frames = Frames { is_mute: false, ..Frames::silent(address) };
        frames.send(PREFACE);
        frames.send(frame(SETTINGS, 0, 0, &[]));
        frames
    }

    /// Connects and says nothing.
    #[track_caller]
    pub(crate) fn silent(address: SocketAddr) -> Frames {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Frames {
            stream,
            decoder: Decoder::default(),
            next: 1,
            outcomes: BTreeMap::new(),
            block: None,
            go_away: None,
            pongs: 0,
            is_mute: true,
        }
    }

    /// Sends bytes. `false`: the other side has hung up, as reading will tell.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Begins a request with these headers; gives its stream.
    pub(crate) fn request(&mut self, fields: &[(&str, &str)], is_whole: bool) -> u32 {
        let stream = self.open();
        let flags = END_HEADERS | if is_whole { END_STREAM } else { 0 };
        self.send(frame(HEADERS, flags, stream, &block(fields)));
        stream
    }

    /// A request of these bytes; what came of it.
    #[track_caller]
    pub(crate) fn exchange(&mut self, fields: &[(&[u8], &[u8])]) -> Outcome {
        let mut block = Vec::new();
        for (name, value) in fields {
            hpack::put(&mut block, name, value);
        }
        let stream = self.open();
        self.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
        self.outcome(stream)
    }

    /// The next stream's number, for those who write its frames themselves.
    pub(crate) fn open(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        stream
    }

    /// GET with further headers; what came of it.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str, more: &[(&str, &str)]) -> Outcome {
        let stream = self.request(&[&pseudo("GET", path)[..], more].concat(), true);
        self.outcome(stream)
    }

    /// Reads until the stream has ended, or the connection.
    #[track_caller]
    pub(crate) fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            let outcome = self.outcomes.entry(stream).or_default();
            if outcome.whole || outcome.reset.is_some() {
                return outcome.clone();
            }
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return self.outcomes[&stream].clone(),
                Err(error) if ended(&error) => return self.outcomes[&stream].clone(),
                Err(error) => panic!("stream {stream} has not ended: {error}"),
            }
        }
    }

    /// Reads until the stream's headers are there.
    #[track_caller]
    pub(crate) fn head(&mut self, stream: u32) -> Outcome {
        while self.outcomes.entry(stream).or_default().status < 200 {
            match self.turn() {
                Ok(true) => {}
                other => panic!("stream {stream} has no answer: {other:?}"),
            }
        }
        self.outcomes[&stream].clone()
    }

    /// What has come of the stream so far.
    pub(crate) fn so_far(&self, stream: u32) -> Outcome {
        self.outcomes.get(&stream).cloned().unwrap_or_default()
    }

    /// Reads until the connection has ended.
    #[track_caller]
    pub(crate) fn end(&mut self) -> End {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if ended(&error) => break,
                Err(error) => panic!("the connection was left open: {error}"),
            }
        }
        self.go_away.map_or(End::Silent, End::GoAway)
    }

    /// Takes one frame. `false`: the connection has ended.
    pub(crate) fn turn(&mut self) -> io::Result<bool> {
        let mut head = [0; 9];
        match self.stream.read_exact(&mut head) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        let [a, b, c, kind, flags, stream @ ..] = head;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload)?;
        let code = || u32::from_be_bytes(payload[payload.len() - 4..].try_into().unwrap());
        match kind {
            DATA => {
                let outcome = self.outcomes.entry(stream).or_default();
                outcome.body.extend_from_slice(&payload);
                outcome.whole = flags & END_STREAM != 0;
                if !payload.is_empty() && !self.is_mute {
                    let more = (payload.len() as u32).to_be_bytes();
                    self.send(frame(WINDOW_UPDATE, 0, 0, &more));
                    self.send(frame(WINDOW_UPDATE, 0, stream, &more));
                }
            }
            HEADERS | CONTINUATION => {
                let (_, block, is_last) =
                    self.block.get_or_insert_with(|| (stream, Vec::new(), flags & END_STREAM != 0));
                block.extend_from_slice(&payload);
                if flags & END_HEADERS != 0 {
                    let (block, is_last) = (std::mem::take(block), *is_last);
                    self.block = None;
                    let fields = self.decoder.decode(&block);
                    self.outcomes.entry(stream).or_default().take(fields, is_last);
                }
            }
            RESET => self.outcomes.entry(stream).or_default().reset = Some(code()),
            SETTINGS if flags & 1 == 0 && !self.is_mute => drop(self.send(frame(SETTINGS, 1, 0, &[]))),
            PING if flags & 1 == 0 && !self.is_mute => drop(self.send(frame(PING, 1, 0, &payload))),
            PING => self.pongs += 1,
            GOAWAY => self.go_away = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap())),
            _ => {}
        }
        Ok(true)
    }
}

impl Outcome {
    fn take(&mut self, fields: Vec<(String, String)>, is_last: bool) {
        self.whole = is_last;
        match fields.iter().find(|(name, _)| name == ":status") {
            Some((_, status)) => {
                self.status = status.parse().unwrap();
                self.fields = fields;
            }
            None => self.trailers = fields,
        }
    }
}

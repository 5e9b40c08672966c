//! A raw upstream that records the exact bytes of each request and answers from a script.

use super::eventually;
use super::message::{Body, Buffered, Fields, bad, split_head};
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// Which connection, from 0 in the order of acceptance.
    pub(crate) connection: usize,
    /// Which request of that connection, from 0.
    pub(crate) place: usize,
    /// The head, every byte.
    pub(crate) head: Vec<u8>,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Fields,
    /// Filled in when the exchange is over.
    pub(crate) body: Body,
    /// Is the exchange over?
    pub(crate) over: bool,
}

/// What the script wants after its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Read the rest of the body, if any, and the next request.
    Next,
    /// A clean end of the connection.
    Close,
    /// A reset.
    Reset,
}

/// One exchange, in the hands of the script: the head has been read, the body has not.
pub(crate) struct Exchange<'a> {
    pub(crate) request: Recorded,
    pub(crate) stream: &'a mut Buffered<TcpStream>,
    read: bool,
    stop: &'a AtomicBool,
}

impl Exchange<'_> {
    /// Sends bytes; that the peer is gone is not this side's failure.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.inner.write_all(bytes.as_ref());
    }

    /// An answer with a length.
    pub(crate) fn reply(&mut self, status: u16, body: impl AsRef<[u8]>) -> Then {
        let body = body.as_ref();
        self.send(
            [format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat(),
        );
        Then::Next
    }

    /// Reads the body.
    pub(crate) fn body(&mut self) -> io::Result<&Body> {
        if !self.read {
            self.read = true;
            let fields = &self.request.fields;
            self.request.body = match (fields.all("transfer-encoding")[..].first(), fields.one("content-length")) {
                (None, None) => Body { complete: true, ..Body::default() },
                (None, Some(length)) => {
                    self.stream.sized(length.parse().map_err(|_| bad(format!("content-length {length:?}")))?)?
                }
                (Some(&"chunked"), None) => self.stream.chunked()?,
                _ => return Err(bad(format!("framed twice or oddly: {fields:?}"))),
            };
        }
        Ok(&self.request.body)
    }

    /// Answers nothing until the peer hangs up or the test ends.
    pub(crate) fn hang(&mut self) -> Then {
        self.stream.inner.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        while !self.stop.load(Ordering::Relaxed) {
            match self.stream.fill() {
                Ok(true) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Ok(false) | Err(_) => break,
            }
        }
        Then::Close
    }
}

#[derive(Default)]
struct Log {
    accepted: usize,
    open: usize,
    requests: Vec<Recorded>,
    /// What a strict upstream could not read.
    faults: Vec<String>,
}

/// A recording upstream; it stops when dropped.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
}

impl Recorder {
    /// Answers everything with `200` and `ok`, once it has read the whole request.
    pub(crate) fn plain() -> Recorder {
        Recorder::with(|exchange| match exchange.body() {
            Ok(body) if body.complete => exchange.reply(200, "ok"),
            Ok(_) | Err(_) => Then::Close,
        })
    }

    /// Answers with the script.
    pub(crate) fn with(script: impl Fn(&mut Exchange<'_>) -> Then + Send + Sync + 'static) -> Recorder {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (log, stop) = (Arc::new(Mutex::new(Log::default())), Arc::new(AtomicBool::new(false)));
        let recorder = Recorder { address: listener.local_addr().unwrap(), log: log.clone(), stop: stop.clone() };
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (log, stop, script) = (log.clone(), stop.clone(), script.clone());
                std::thread::spawn(move || serve(stream, &log, &stop, script.as_ref()));
            }
        });
        recorder
    }

    /// Every request so far, in the order in which their heads came.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        lock(&self.log).requests.clone()
    }

    /// Requests whose target or a header holds the mark.
    pub(crate) fn marked(&self, mark: &str) -> Vec<Recorded> {
        let mark = mark.as_bytes();
        self.requests().into_iter().filter(|r| super::message::find(&r.head, mark).is_some()).collect()
    }

    /// Waits for the one request with this mark.
    #[track_caller]
    pub(crate) fn the(&self, mark: &str) -> Recorded {
        eventually(&format!("a request with {mark} upstream; faults: {:?}", self.faults()), || {
            let mut found = self.marked(mark);
            assert!(found.len() < 2, "{mark} came {} times", found.len());
            found.pop().filter(|request| request.over)
        })
    }

    /// What it could not read as strict HTTP/1.1: our proxy must never send such a thing, except where a request was
    /// cut off.
    pub(crate) fn faults(&self) -> Vec<String> {
        lock(&self.log).faults.clone()
    }

    pub(crate) fn open_connections(&self) -> usize {
        lock(&self.log).open
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, log: &Mutex<Log>, stop: &AtomicBool, script: &dyn Fn(&mut Exchange<'_>) -> Then) {
    let connection = {
        let mut log = lock(log);
        log.accepted += 1;
        log.open += 1;
        log.accepted - 1
    };
    let _ = stream.set_nodelay(true);
    let mut stream = Buffered::new(stream);
    let ended = requests(&mut stream, connection, log, stop, script);
    let mut log = lock(log);
    match ended {
        Ok(Then::Reset) => {
            let _ = socket2::SockRef::from(&stream.inner).set_linger(Some(Duration::ZERO));
        }
        Ok(_) => {
            let _ = stream.inner.shutdown(Shutdown::Write);
        }
        Err(error) => log.faults.push(format!("connection {connection}: {error}")),
    }
    log.open -= 1;
}

fn requests(
    stream: &mut Buffered<TcpStream>,
    connection: usize,
    log: &Mutex<Log>,
    stop: &AtomicBool,
    script: &dyn Fn(&mut Exchange<'_>) -> Then,
) -> io::Result<Then> {
    for place in 0.. {
        let head = match stream.head() {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(Then::Close),
            Err(error) if super::message::ended(&error) && stream.ahead.is_empty() => return Ok(Then::Close),
            Err(error) => return Err(error),
        };
        let (line, fields) = split_head(&head)?;
        let mut words = line.split(' ');
        let (method, target) = match (words.next(), words.next(), words.next(), words.next()) {
            (Some(method), Some(target), Some("HTTP/1.1"), None) => (method.to_owned(), target.to_owned()),
            _ => return Err(bad(format!("a request line {line:?}"))),
        };
        if fields.all("host").len() != 1 {
            return Err(bad(format!("not one Host: {fields:?}")));
        }
        let request =
            Recorded { connection, place, head, method, target, fields, body: Body::default(), over: false };
        let at = {
            let mut log = lock(log);
            log.requests.push(request.clone());
            log.requests.len() - 1
        };
        let mut exchange = Exchange { request, stream, read: false, stop };
        let then = script(&mut exchange);
        let read = if then == Then::Next { exchange.body().map(drop) } else { Ok(()) };
        let body = exchange.request.body;
        {
            let mut log = lock(log);
            log.requests[at].body = body;
            log.requests[at].over = true;
        }
        read?;
        if then != Then::Next {
            return Ok(then);
        }
    }
    Ok(Then::Close)
}

//! Requests made beforehand, a client that sends them one after the other, and an upstream that answers each; neither
//! allocates meanwhile.

use countersign::clock;
use countersign::signature::hmac_v1::sign;
use countersign::signature::key::{ServiceId, ServiceKey};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// The key of the one caller.
pub(crate) const KEY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const CALLER: &str = "npu-worker";

const DEADLINE: Duration = Duration::from_secs(30);
const ANSWER: &str = "HTTP/1.1 200 OK\r\ndate: Sat, 22 Nov 2025 12:00:00 GMT\r\nserver: uvicorn\r\n\
    content-length: 15\r\ncontent-type: application/json\r\n\r\n{\"status\":\"ok\"}";

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requests {
    /// GET as httpx sends it, signed, for a guarded path.
    Signed,
    /// The same with a body of 1 KiB.
    Upload,
    /// GET without a signature, for an exempt path.
    Exempt,
    /// GET without a signature, for a guarded path: 401.
    Refused,
    /// Signed, for a path that has several readings.
    Escaped,
    /// GET without a signature, to be signed.
    Outbound,
}

impl Requests {
    /// So many requests from this number on; no two are the same, as in life.
    pub(crate) fn make(self, host: SocketAddr, first: usize, count: usize) -> Vec<Vec<u8>> {
        let key = ServiceKey::from_text(KEY).expect("a key");
        let id = ServiceId::parse(CALLER).expect("an id");
        let now = clock::unix_seconds();
        (first..first + count)
            .map(|number| {
                let (method, path, body) = match self {
                    Requests::Signed | Requests::Refused | Requests::Outbound => {
                        ("GET", format!("/api/npu/results/task-{number:06}"), 0)
                    }
                    Requests::Upload => ("POST", format!("/api/npu/results/task-{number:06}"), 1024),
                    Requests::Exempt => ("GET", format!("/api/chat/sessions/{number:06}"), 0),
                    Requests::Escaped => ("GET", format!("/api/npu/results/Task%20{number:06}"), 0),
                };
                let mut head = format!(
                    "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\
                     Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nUser-Agent: python-httpx/0.28.1\r\n"
                );
                if matches!(self, Requests::Signed | Requests::Upload | Requests::Escaped) {
                    let signed = path.replace("%20", " ");
                    for (name, value) in sign(&key, &id, method, &signed, now).iter() {
                        head.push_str(&format!("{name}: {value}\r\n"));
                    }
                }
                if body > 0 {
                    head.push_str(&format!("Content-Length: {body}\r\nContent-Type: application/json\r\n"));
                }
                head.push_str("\r\n");
                head.push_str(&"x".repeat(body));
                head.into_bytes()
            })
            .collect()
    }

    fn status(self) -> &'static str {
        match self {
            Requests::Refused => "401",
            Requests::Signed | Requests::Upload | Requests::Exempt | Requests::Escaped | Requests::Outbound => "200",
        }
    }
}

/// One kept connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the sidecar listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time");
        stream.set_nodelay(true).expect("a socket option");
        Client { stream, buffer: vec![0; 1 << 16].into() }
    }

    /// Each after the answer to the one before.
    pub(crate) fn send(&mut self, kind: Requests, requests: &[Vec<u8>]) {
        for request in requests {
            self.stream.write_all(request).expect("the sidecar reads");
            let length = message(&mut self.stream, &mut self.buffer).expect("an answer");
            let status = &self.buffer[9..12];
            assert_eq!(status, kind.status().as_bytes(), "{}", String::from_utf8_lossy(&self.buffer[..length]));
        }
    }
}

/// Listens, and answers whatever comes with 200 and a few bytes.
pub(crate) fn upstream() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut buffer = vec![0; 1 << 16];
            thread::spawn(move || {
                while message(&mut stream, &mut buffer).is_some() {
                    if stream.write_all(ANSWER.as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

/// Reads one head and its body of a known length, no byte more being there; `None` when the other side has closed.
fn message(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<usize> {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return None,
            Ok(count) => filled += count,
        }
        let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let (head, body) = (&buffer[..end], filled - end - 4);
        if body >= content_length(head) {
            return Some(filled);
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let name = b"\r\ncontent-length: ";
    let Some(place) = head.windows(name.len()).position(|window| window.eq_ignore_ascii_case(name)) else { return 0 };
    let digits = head[place + name.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

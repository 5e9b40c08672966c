//! An HTTP/2 upstream with prior knowledge that records each request and answers as its path says.

use super::eventually;
use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// One request as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// It ended as it should.
    pub(crate) whole: bool,
}

impl Seen {
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }
}

#[derive(Default)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    /// Streams that wait to be let go.
    held: Notify,
    holding: AtomicUsize,
    /// Streams of `/late`, and those among them that the other side cancelled.
    ended_late: AtomicUsize,
    cancelled: AtomicUsize,
}

pub(crate) struct H2Server {
    pub(crate) address: SocketAddr,
    log: Arc<Log>,
    /// Dropped, it ends the server's thread.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl H2Server {
    /// Takes this many streams on one connection at a time.
    pub(crate) fn start(streams: u32) -> H2Server {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let serving = serve(TcpListener::from_std(listener).unwrap(), shared, streams);
                tokio::select! {
                    () = serving => {}
                    _ = stopped => {}
                }
            });
        });
        H2Server { address, log, _stop: stop }
    }

    /// Waits for the one request of this path.
    #[track_caller]
    pub(crate) fn the(&self, path: &str) -> Seen {
        eventually(&format!("{path} upstream"), || {
            let mut found = self.seen().into_iter().filter(|seen| seen.uri.contains(path)).collect::<Vec<_>>();
            assert!(found.len() < 2, "{path} came {} times", found.len());
            found.pop()
        })
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.connections.load(Ordering::Relaxed)
    }

    /// Requests of `/held` that wait for [`H2Server::let_go`].
    pub(crate) fn holding(&self) -> usize {
        self.log.holding.load(Ordering::Relaxed)
    }

    /// Requests of `/late/STATUS/LENGTH` whose streams are over: the head of their answer comes a moment before the end.
    pub(crate) fn ended_late(&self) -> usize {
        self.log.ended_late.load(Ordering::Acquire)
    }

    /// Those among them that were cancelled before.
    pub(crate) fn cancelled(&self) -> usize {
        self.log.cancelled.load(Ordering::Acquire)
    }

    pub(crate) fn let_go(&self) {
        self.log.held.notify_waiters();
    }
}

async fn serve(listener: TcpListener, log: Arc<Log>, streams: u32) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let handshake = Builder::new().max_concurrent_streams(streams).handshake(socket).await;
            let Ok(mut connection) = handshake else { return };
            // Those that only ask whether somebody listens say nothing.
            log.connections.fetch_add(1, Ordering::Relaxed);
            while let Some(Ok((request, respond))) = connection.accept().await {
                if request.uri().path() == "/go-away" {
                    connection.graceful_shutdown();
                }
                tokio::spawn(answer(Arc::clone(&log), request, respond));
            }
        });
    }
}

async fn answer(log: Arc<Log>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, mut body) = request.into_parts();
    let text = |fields: &HeaderMap| {
        fields
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect::<Vec<_>>()
    };
    let mut seen = Seen {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        fields: text(&parts.headers),
        ..Seen::default()
    };
    let path = parts.uri.path().to_owned();
    let ok = |status: u16| Response::builder().status(status);
    match path.as_str() {
        "/refused" => {
            log.seen.lock().unwrap().push(seen);
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        "/refused-once" => {
            let before = log.seen.lock().unwrap().iter().filter(|other| other.uri == seen.uri).count();
            log.seen.lock().unwrap().push(seen);
            if before == 0 {
                return respond.send_reset(Reason::REFUSED_STREAM);
            }
            let Ok(mut stream) = respond.send_response(ok(200).body(()).unwrap(), false) else { return };
            return drop(stream.send_data(Bytes::from_static(b"again"), true));
        }
        "/early" => {
            log.seen.lock().unwrap().push(seen);
            let Ok(mut stream) = respond.send_response(ok(413).body(()).unwrap(), false) else { return };
            return drop(stream.send_data(Bytes::from_static(b"enough"), true));
        }
        "/100" => drop(respond.send_informational(ok(100).body(()).unwrap())),
        "/103" => drop(respond.send_informational(ok(103).header("link", "x").body(()).unwrap())),
        "/held" => {
            let wait = log.held.notified();
            log.holding.fetch_add(1, Ordering::Relaxed);
            wait.await;
            log.holding.fetch_sub(1, Ordering::Relaxed);
        }
        _ => {}
    }
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        seen.body.extend_from_slice(&data);
    }
    if let Ok(trailers) = body.trailers().await {
        seen.whole = body.is_end_stream();
        seen.trailers = trailers.as_ref().map(text).unwrap_or_default();
    }
    log.seen.lock().unwrap().push(seen);
    match path.as_str() {
        "/nothing" => respond.send_reset(Reason::INTERNAL_ERROR),
        "/204" => drop(respond.send_response(ok(204).body(()).unwrap(), true)),
        "/empty" => drop(respond.send_response(ok(200).body(()).unwrap(), true)),
        "/head" => drop(respond.send_response(ok(200).header("content-length", "77").body(()).unwrap(), true)),
        late if late.starts_with("/late/") => {
            let (status, length) = late["/late/".len()..].split_once('/').unwrap();
            let mut head = ok(status.parse().unwrap());
            if !length.is_empty() {
                head = head.header("content-length", length);
            }
            let Ok(mut stream) = respond.send_response(head.body(()).unwrap(), false) else { return };
            let reset = std::future::poll_fn(|cx| stream.poll_reset(cx));
            if tokio::time::timeout(Duration::from_millis(200), reset).await.is_ok() {
                log.cancelled.fetch_add(1, Ordering::Release);
            }
            let _ = stream.send_data(Bytes::new(), true);
            log.ended_late.fetch_add(1, Ordering::Release);
        }
        "/half" => {
            let head = ok(200).header("content-length", "100").body(()).unwrap();
            let Ok(mut stream) = respond.send_response(head, false) else { return };
            let _ = stream.send_data(Bytes::from_static(b"half"), false);
            tokio::task::yield_now().await;
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        "/trailers" => {
            let head = ok(200).header("set-cookie", "a=1").header("set-cookie", "b=2").body(()).unwrap();
            let Ok(mut stream) = respond.send_response(head, false) else { return };
            let _ = stream.send_data(Bytes::from_static(b"with trailers"), false);
            let mut trailers = HeaderMap::new();
            trailers.insert("x-behind", "it".parse().unwrap());
            trailers.insert("set-cookie", "no".parse().unwrap());
            let _ = stream.send_trailers(trailers);
        }
        _ => {
            let head = ok(200).header("content-length", "2").body(()).unwrap();
            let Ok(mut stream) = respond.send_response(head, false) else { return };
            let _ = stream.send_data(Bytes::from_static(b"ok"), true);
        }
    }
}

//! The guarded backend: it answers everything, and notes what it was sent.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// What one request looked like when it arrived here.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Seen {
    /// The request target, byte for byte.
    pub(super) target: String,
    /// `X-Authenticated-Service`: who the sidecar says has called.
    pub(super) authenticated_service: Option<String>,
    /// `X-Forwarded-For`: from where.
    pub(super) forwarded_for: Option<String>,
    /// Header names that must never arrive: the override token, look-alikes of the identity.
    pub(super) smuggled: Vec<String>,
    /// Bytes of the body.
    pub(super) body: usize,
}

/// A running backend.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<HashMap<String, Vec<Seen>>>>,
}

impl Backend {
    /// Listens on a free port and answers from now on, for as long as the runtime lives.
    pub(super) async fn start() -> io::Result<Backend> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let backend = Backend { address: listener.local_addr()?, seen: Arc::default() };
        let seen = Arc::clone(&backend.seen);
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let seen = Arc::clone(&seen);
                let service = service_fn(move |request| answer(request, Arc::clone(&seen)));
                tokio::spawn(async move {
                    // A connection that breaks shows in the table: as an answer that did not come.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(backend)
    }

    /// What arrived under this request id.
    pub(super) fn seen(&self, request_id: &str) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(request_id).cloned().unwrap_or_default()
    }
}

async fn answer(
    request: Request<Incoming>,
    log: Arc<Mutex<HashMap<String, Vec<Seen>>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_or(0, |body| body.to_bytes().len());
    let header =
        |name: &str| head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let smuggled = head
        .headers
        .keys()
        .map(|name| name.as_str().to_owned())
        .filter(|name| {
            let plain = name.replace(['_', '.'], "-");
            plain == "x-override-token" || (plain == "x-authenticated-service" && *name != plain)
        })
        .collect();
    let seen = Seen {
        target: head.uri.to_string(),
        authenticated_service: header("x-authenticated-service"),
        forwarded_for: header("x-forwarded-for"),
        smuggled,
        body,
    };
    // Serialising a flat struct of text cannot fail.
    let text = serde_json::to_string_pretty(&seen).unwrap_or_default() + "\n";
    let id = header("x-request-id").unwrap_or_default();
    log.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default().push(seen);
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    Ok(response)
}

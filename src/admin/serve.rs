//! [`serve`]: accepts connections of the read-only listener, few and for a limited time.
//!
//! Answers slow heads, slow readers and idle connections: a head has 10 s, a connection two minutes in all, and there are
//! at most 64. Beyond that a newcomer is closed at once: it can come back, and memory stays bounded.

use super::AdminState;
use super::answer::answer;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Serves until `shutdown` resolves, then lets answers in flight finish for a moment.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>, shutdown: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    let (stop, stopping) = watch::channel(false);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(connection(stream, Arc::clone(&state), stopping.clone()));
                }
                Ok(_) => tracing::debug!(limit = MAX_CONNECTIONS, "admin listener is full"),
                Err(error) => {
                    // out of descriptors, most likely: trying again at once would only burn time
                    tracing::warn!(%error, "admin listener cannot accept");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let _ = stop.send(true);
    let finished = async { while connections.join_next().await.is_some() {} };
    // what is not finished by then is cut when the set is dropped
    let _ = tokio::time::timeout(FINISH, finished).await;
}

async fn connection(stream: TcpStream, state: Arc<AdminState>, mut stopping: watch::Receiver<bool>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (head, _) = request.into_parts();
        let response = answer(&state, &head);
        async move { Ok::<Response<Full<Bytes>>, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = tokio::time::sleep(LIFETIME) => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(FINISH, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        // strangers cause these at will
        tracing::debug!(%error, "admin connection ended");
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // an error means that the sender is gone: the same order
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// From the first byte of a head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Of a connection, whatever it does.
const LIFETIME: Duration = Duration::from_secs(120);
/// For what is in flight at the end.
const FINISH: Duration = Duration::from_secs(1);
/// After a failed accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
const MAX_HEADERS: usize = 64;
const MAX_HEAD: usize = 16 * 1024;

#[cfg(test)]
mod tests;

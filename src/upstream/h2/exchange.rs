//! One exchange: the request that comes out of a pipe becomes a stream, and its answer goes back as HTTP/1.1 would carry it.
//!
//! The request was written by us, so its framing is plain; it is read by the same reader as any other all the same. `Host`
//! becomes `:authority`, `TE: trailers` is said anew, what speaks about a connection has no place in a stream. An upgrade
//! cannot be asked for over HTTP/2: its request goes up without it. `"`, `<` and `>` in a query, which HTTP/1.1 carries and
//! `http::Uri` refuses, go up percent-encoded: they mean the same.

use crate::request::framing::{Framing, content_length};
use crate::request::head::{HeadLimits, RequestHead, find_end};
use crate::wire::buffer::{Buffer, BufferPool};
use crate::wire::h2::{Drawn, NO_TIMER, Sender, copy_fields, draw, is_of_connection, pour, put, told};
use crate::wire::socket::Socket;
use ::h2::client::{ResponseFuture, SendRequest};
use ::h2::{Reason, RecvStream};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use std::cell::Cell;
use std::fmt::Write as _;
use std::future::{pending, poll_fn};
use std::task::{Poll, ready};
use std::time::Duration;

/// What we wrote ourselves was within the limits when it was read.
const ANY: HeadLimits = HeadLimits { head: usize::MAX, target: usize::MAX, fields: usize::MAX };

/// How long the end of a stream may follow the last byte that its head announced.
const END: Duration = Duration::from_secs(1);

/// Carries one exchange to its end. A pipe that ends before an answer byte says that there is none.
pub(super) async fn carry(mut send: SendRequest<Bytes>, scheme: &'static str, pipe: Socket, buffers: &BufferPool) {
    let mut buffer = Buffer::default();
    let Some(head) = head(&pipe, &mut buffer, buffers).await else { return };
    let Some(request) = request(&head, scheme) else {
        return tracing::debug!("a request that HTTP/2 cannot carry");
    };
    let is_whole = head.framing() == Framing::None;
    let (response, stream) = match send.send_request(request, is_whole) {
        Ok(sent) => sent,
        Err(error) => return tracing::debug!(error = told(&error), "no stream to an upstream"),
    };
    // A handle that stays would keep a connection open that is to go.
    drop(send);
    let mut sender = Sender::new(stream);
    let is_delivered = Cell::new(false);
    let upload = async {
        if !is_whole {
            // Whoever forwards watches over how long it takes, and ends the pipe.
            match draw(&pipe, &mut buffer, buffers, head.framing().into(), &mut sender, NO_TIMER).await {
                // It may have answered before it stopped reading: the answer decides.
                Drawn::Whole | Drawn::Gone | Drawn::Idle => {}
                Drawn::Cut => return,
            }
        }
        pending().await
    };
    let ended = async {
        pipe.ended().await;
        if is_delivered.get() {
            // Who has all of the answer does not wait for the stream's own end; but a reset now would be a reproach.
            tokio::time::sleep(END).await;
        }
    };
    let is_cut = tokio::select! {
        biased;
        answered = answer(response, &pipe, head.method() == "HEAD", &is_delivered) => {
            if let Err(NoAnswer::Seen) = answered {
                // If it cannot be written nobody waits for it any more.
                let _ = pipe.write_all(BROKEN_OFF, NO_TIMER).await;
            }
            false
        }
        () = upload => true,
        () = ended => true,
    };
    if is_cut {
        sender.reset(Reason::CANCEL);
    }
    buffer.release(buffers);
}

async fn head(pipe: &Socket, buffer: &mut Buffer, buffers: &BufferPool) -> Option<RequestHead> {
    let mut looked_at = 0;
    loop {
        if let Some(end) = find_end(buffer.filled(), looked_at).ok()? {
            let head = RequestHead::parse(&buffer.filled()[..end], &ANY).ok()?;
            buffer.consume(end);
            return Some(head);
        }
        looked_at = buffer.filled().len();
        if pipe.read(buffer, buffers, usize::MAX).await.ok()? == 0 {
            return None;
        }
    }
}

fn request(head: &RequestHead, scheme: &'static str) -> Option<Request<()>> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if scheme == "https" { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(Authority::try_from(head.host()?).ok()?);
    uri.path_and_query = Some(path_and_query(head)?);
    let mut request = Request::new(());
    *request.method_mut() = head.method().parse().ok()?;
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    let fields = request.headers_mut();
    let is = |name: &[u8], known: HeaderName| name.eq_ignore_ascii_case(known.as_str().as_bytes());
    copy_fields(head.fields().filter(|(name, _)| !is(name, HOST) && !is(name, TE)), fields)?;
    if head.fields().any(|(name, _)| is(name, TE)) {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    Some(request)
}

fn path_and_query(head: &RequestHead) -> Option<PathAndQuery> {
    let mut text = head.path().to_owned();
    if let Some(query) = head.query() {
        text.push('?');
        for sign in query.chars() {
            // Writing to a string cannot fail.
            let _ = match sign {
                '"' | '<' | '>' => write!(text, "%{:02X}", u32::from(sign)),
                _ => text.write_char(sign),
            };
        }
    }
    PathAndQuery::try_from(text).ok()
}

/// Why there is no answer.
enum NoAnswer {
    /// The connection died, or the upstream says that it has not looked at the request: as with a kept connection of HTTP/1.1
    /// that died, a request that may be sent again is.
    Unseen,
    /// The upstream took the request and gave the stream up: nothing is ever sent again.
    Seen,
    /// It broke off after its head: what was announced and does not come tells.
    BrokenOff,
}

impl NoAnswer {
    fn of(error: &::h2::Error) -> NoAnswer {
        tracing::debug!(error = told(error), "no answer from an upstream");
        let unseen = error.is_io() || error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
        if unseen { NoAnswer::Unseen } else { NoAnswer::Seen }
    }
}

/// The beginning of a head that never comes: an answer had begun, for all who read the pipe.
const BROKEN_OFF: &[u8] = b"HTTP/1.1 ";

/// Carries the answer.
async fn answer(
    mut response: ResponseFuture,
    pipe: &Socket,
    to_head: bool,
    is_delivered: &Cell<bool>,
) -> Result<(), NoAnswer> {
    let response = loop {
        match next(&mut response).await? {
            Next::Interim(interim) => {
                let text = text(&interim, None);
                pipe.write_all(&text, NO_TIMER).await.map_err(|_| NoAnswer::BrokenOff)?;
            }
            Next::Final(response) => break response,
        }
    };
    let is_empty = to_head || matches!(response.status().as_u16(), 204 | 304);
    let length = response.headers().get(CONTENT_LENGTH);
    let (framing, line) = match length {
        _ if is_empty => (Framing::None, None),
        Some(length) => (content_length(length.as_bytes()).map_or(Framing::None, Framing::Length), None),
        None if response.body().is_end_stream() => (Framing::None, Some((&b"content-length"[..], &b"0"[..]))),
        None => (Framing::Chunked, Some((&b"transfer-encoding"[..], &b"chunked"[..]))),
    };
    pipe.write_all(&text(&response, line), NO_TIMER).await.map_err(|_| NoAnswer::BrokenOff)?;
    pour(&mut response.into_body(), framing, pipe, is_delivered).await.map_err(|_| NoAnswer::BrokenOff)
}

enum Next {
    Interim(Response<()>),
    Final(Response<RecvStream>),
}

/// The next head.
async fn next(response: &mut ResponseFuture) -> Result<Next, NoAnswer> {
    poll_fn(|cx| match response.poll_informational(cx) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Some(Ok(interim))) => Poll::Ready(Ok(Next::Interim(interim))),
        Poll::Ready(Some(Err(error))) => Poll::Ready(Err(NoAnswer::of(&error))),
        Poll::Ready(None) => {
            let response = ready!(std::pin::Pin::new(&mut *response).poll(cx));
            Poll::Ready(response.map(Next::Final).map_err(|error| NoAnswer::of(&error)))
        }
    })
    .await
}

fn text<B>(response: &Response<B>, framing: Option<(&[u8], &[u8])>) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {} \r\n", response.status().as_u16()).into_bytes();
    for (name, value) in response.headers().iter().filter(|(name, _)| !is_of_connection(name.as_str().as_bytes())) {
        put(&mut text, name.as_str().as_bytes(), value.as_bytes());
    }
    if let Some((name, value)) = framing {
        put(&mut text, name, value);
    }
    text.extend_from_slice(b"\r\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> RequestHead {
        RequestHead::parse(text.as_bytes(), &ANY).unwrap()
    }

    #[test]
    fn a_request_goes_up_as_it_is_but_for_what_speaks_about_a_connection() {
        let text = "POST /a%2Fb/..;x?q=\"<>{} HTTP/1.1\r\nHost: a.example:8\r\nX-A: 1\r\nx-a: 2\r\nCookie: a; b\r\n\
            Connection: TE\r\nTE: trailers\r\nKeep-Alive: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let got = request(&head(text), "https").unwrap();
        assert_eq!(got.uri().to_string(), "https://a.example:8/a%2Fb/..;x?q=%22%3C%3E{}");
        let fields: Vec<_> = got.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(fields, [("x-a", &b"1"[..]), ("x-a", b"2"), ("cookie", b"a; b"), ("te", b"trailers")]);
        let options = request(&head("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), "http").unwrap();
        assert_eq!((options.method().as_str(), options.uri().path()), ("OPTIONS", "*"));
    }

    #[test]
    fn every_path_that_is_read_can_be_carried_byte_for_byte() {
        for byte in (0x21..=0x7e_u8).filter(|byte| !b"#?<>`".contains(byte)) {
            let path = format!("/x{}y", char::from(byte));
            let carried = path_and_query(&head(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))).unwrap();
            assert_eq!(carried.as_str(), path);
        }
        for byte in (0x21..=0x7e_u8).filter(|byte| !b"#".contains(byte)) {
            let query = char::from(byte);
            assert!(
                path_and_query(&head(&format!("GET /?{query} HTTP/1.1\r\nHost: a\r\n\r\n"))).is_some(),
                "{query}"
            );
        }
    }
}

//! One check in HTTP/2: the same question and the same answer as in HTTP/1.1, as a stream on a connection of its own.

use super::probe::{MAX_BODY, ProbeFault, members_are_there};
use crate::config::{Health, Upstream};
use crate::upstream::answer::MAX_ANSWER_HEAD;
use crate::wire::h2::told;
use http::{Request, Uri};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};

/// Asks over a connection that speaks HTTP/2. `name`: the authority asked for.
pub(super) async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    upstream: &Upstream,
    name: &str,
    check: &Health,
) -> Result<(), ProbeFault> {
    let (send, connection) = h2::client::Builder::new()
        .enable_push(false)
        .max_header_list_size(MAX_ANSWER_HEAD as u32)
        .handshake::<_, bytes::Bytes>(stream)
        .await
        .map_err(broken)?;
    let asked = exchange(send, upstream, name, check);
    tokio::select! {
        biased;
        result = asked => result,
        ended = connection => match ended {
            Ok(()) => Err(ProbeFault::Broken(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(broken(error)),
        },
    }
}

async fn exchange(
    mut send: h2::client::SendRequest<bytes::Bytes>,
    upstream: &Upstream,
    name: &str,
    check: &Health,
) -> Result<(), ProbeFault> {
    let uri = Uri::builder().scheme(upstream.scheme()).authority(name).path_and_query(&*check.path).build();
    // The path was checked when the configuration was; what is left is what `http::Uri` refuses of it.
    let uri = uri.map_err(|_| ProbeFault::Malformed("path"))?;
    let request = Request::get(uri).header("user-agent", "countersign-health").header("accept", "*/*").body(());
    let request = request.map_err(|_| ProbeFault::Malformed("path"))?;
    let (response, _) = send.send_request(request, true).map_err(broken)?;
    let (head, mut body) = response.await.map_err(broken)?.into_parts();
    if head.status.as_u16() != check.expect {
        return Err(ProbeFault::Status { found: head.status.as_u16(), expected: check.expect });
    }
    if check.json.is_empty() {
        return Ok(());
    }
    let mut whole = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(broken)?;
        whole.extend_from_slice(&data);
        if whole.len() > MAX_BODY {
            return Err(ProbeFault::TooLong);
        }
        // Fails only when the stream is gone, which shows next.
        let _ = body.flow_control().release_capacity(data.len());
    }
    members_are_there(&whole, &check.json)
}

fn broken(error: h2::Error) -> ProbeFault {
    ProbeFault::Broken(io::Error::other(told(&error)))
}

//! The signing direction, stage by stage: facts, who asks, where to, signature, forward.

use super::downstream::{After, Client};
use super::worker::Worker;
use crate::request::head::RequestHead;

/// Serves one request whose head could be read.
pub(super) async fn serve(_client: &mut Client, _worker: &Worker, _head: &RequestHead, _place: usize) -> After {
    // No configuration can name an outbound listener before this direction is whole.
    After::Close
}

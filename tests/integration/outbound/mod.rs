//! The signing direction: what leaves is signed, goes where it should, and nobody else can make it leave.

mod clients;
mod forward_proxy;
mod keys;
mod netns;
mod refusals;
mod secure;
mod unix;
mod wire;

use super::support::free_address;
use super::support::recorder::Recorded;
use super::support::sidecar::{Builder, Sidecar};
use super::support::{KEY_A, sign};
use std::net::SocketAddr;

/// A sidecar that signs: for one destination at its address, and as a forward proxy.
struct Signing {
    sidecar: Sidecar,
    proxy: SocketAddr,
}

/// Starts one for this destination; `connect`: where its forward proxy opens tunnels.
#[track_caller]
fn signing(destination: SocketAddr, connect: &[SocketAddr]) -> Signing {
    let proxy = free_address();
    let connect: Vec<String> = connect.iter().map(ToString::to_string).collect();
    let connect = if connect.is_empty() { String::new() } else { format!("connect = {connect:?}\n") };
    let forward =
        format!("[[outbound]]\nlisten = \"{proxy}\"\nforward_proxy = true\nallow = [\"{destination}\"]\n{connect}");
    let sidecar = Builder::signing(&format!("http://{destination}")).rules(&forward).start();
    Signing { sidecar, proxy }
}

/// Does this request bear the signature of `npu-worker` for this decoded path, made a moment ago, once and nothing beside it?
#[track_caller]
fn assert_signed(request: &Recorded, decoded: &str) {
    let fields = &request.fields;
    assert_eq!(fields.one("x-service-id"), Some("npu-worker"), "{request:?}");
    let timestamp: u64 = fields.one("x-service-timestamp").unwrap().parse().unwrap();
    assert!(sign::now().abs_diff(timestamp) < 60, "{timestamp}");
    let expected = sign::signature(KEY_A, "npu-worker", &request.method, decoded, timestamp);
    assert_eq!(fields.one("x-service-signature"), Some(expected.as_str()), "signed as {decoded:?}: {request:?}");
}

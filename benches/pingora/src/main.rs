//! A proxy on Pingora that verifies hmac-v1 and does nothing else: no record, no limit, no readings of the path.
//!
//! `LISTEN UPSTREAM [ID KEY]`: without a key it is a plain proxy. One worker thread, connections kept on both sides, the
//! key prepared once: what makes it fast is switched on.

use std::env;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use sha2::Sha256;

const WINDOW: u64 = 300;
const AUTHENTICATED: &str = "x-authenticated-service";

struct Proxy {
    upstream: String,
    key: Option<Key>,
}

struct Key {
    id: String,
    prepared: Hmac<Sha256>,
}

impl Key {
    fn verifies(&self, request: &RequestHeader) -> bool {
        self.verified(request).is_some()
    }

    fn verified(&self, request: &RequestHeader) -> Option<()> {
        let header = |name: &str| request.headers.get(name)?.to_str().ok();
        let id = header("x-service-id").filter(|id| *id == self.id)?;
        let timestamp = header("x-service-timestamp")?;
        let signature = bytes_of(header("x-service-signature")?)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        if now.abs_diff(timestamp.parse().ok()?) > WINDOW {
            return None;
        }
        let mut mac = self.prepared.clone();
        let parts = [id, ":", request.method.as_str(), ":", request.uri.path(), ":", timestamp];
        for part in parts {
            mac.update(part.as_bytes());
        }
        // In constant time.
        mac.verify_slice(&signature).ok()
    }
}

/// 64 hex digits.
fn bytes_of(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |place: usize| char::from(pair[place]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(bytes)
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        let refused = self.key.as_ref().is_some_and(|key| !key.verifies(session.req_header()));
        if refused {
            session.respond_error(401).await?;
        }
        Ok(refused)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream.as_str(), false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            request.insert_header("x-forwarded-for", client.ip().to_string())?;
        }
        match &self.key {
            Some(key) => request.insert_header(AUTHENTICATED, key.id.as_str())?,
            None => drop(request.remove_header(AUTHENTICATED)),
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (listen, upstream, key) = match arguments.as_slice() {
        [listen, upstream] => (listen, upstream, None),
        [listen, upstream, id, key] => (listen, upstream, Some((id, key))),
        _ => {
            eprintln!("usage: countersign-bench-pingora LISTEN UPSTREAM [ID KEY]");
            return ExitCode::from(2);
        }
    };
    let configuration = ServerConf { threads: 1, upstream_keepalive_pool_size: 128, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let proxy = Proxy {
        upstream: upstream.clone(),
        key: key.map(|(id, key)| Key {
            id: id.clone(),
            prepared: Hmac::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length"),
        }),
    };
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}

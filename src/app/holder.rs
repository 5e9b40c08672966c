//! Who listens on a port that should be ours? What `ss -ltnp` would say, so that nobody has to look it up.
//!
//! Read from `/proc`; as another user than root only one's own processes can be named, then the answer is `None`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// The process that listens where `address` is wanted, in words: `process 1234 (uvicorn)`.
pub fn of(address: SocketAddr) -> Option<String> {
    let inode = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].iter().find_map(|table| {
        let text = std::fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| listening(line, address))
    })?;
    let socket = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors
            .flatten()
            .any(|descriptor| std::fs::read_link(descriptor.path()).is_ok_and(|to| to == Path::new(&socket)));
        if holds {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {id} ({})", name.trim()));
        }
    }
    None
}

/// The inode of the socket in this line of `/proc/net/tcp`, if it listens where `wanted` would.
fn listening(line: &str, wanted: SocketAddr) -> Option<u64> {
    const LISTEN: &str = "0A";
    let mut columns = line.split_ascii_whitespace();
    let (local, state) = (columns.nth(1)?, columns.nth(1)?);
    let inode = columns.nth(5)?;
    let (address, port) = local.split_once(':')?;
    if state != LISTEN || u16::from_str_radix(port, 16).ok()? != wanted.port() {
        return None;
    }
    let address = parse_address(address)?;
    let overlaps = address == wanted.ip() || address.is_unspecified() || wanted.ip().is_unspecified();
    overlaps.then(|| inode.parse().ok()).flatten()
}

/// Words of four bytes, each printed as a number of this machine's byte order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word =
        |at: usize| hex.get(at..at + 8).and_then(|hex| u32::from_str_radix(hex, 16).ok()).map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_process_that_listens_is_named() {
        for bound in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let Ok(listener) = TcpListener::bind(bound) else { continue };
            let address = listener.local_addr().unwrap();
            let name = of(address).unwrap();
            assert!(name.starts_with(&format!("process {} (", std::process::id())), "{bound}: {name}");
        }
    }

    #[test]
    fn nobody_is_named_for_a_free_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(of(address), None);
    }

    #[test]
    fn a_connection_is_not_a_listener() {
        let line =
            "   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4242 1";
        assert_eq!(listening(line, "127.0.0.1:8080".parse().unwrap()), None);
        let line =
            "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1";
        assert_eq!(listening(line, "127.0.0.1:8080".parse().unwrap()), Some(4242));
        assert_eq!(listening(line, "127.0.0.2:8080".parse().unwrap()), None);
        assert_eq!(listening(line, "0.0.0.0:8080".parse().unwrap()), Some(4242));
    }
}

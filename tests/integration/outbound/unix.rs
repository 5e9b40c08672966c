//! A unix socket: who may connect is told by uid, and a client's `Host` by what its library writes.

use super::super::support::recorder::Recorder;
use super::super::support::sidecar::{Builder, Sidecar};
use super::super::support::{DEADLINE, eventually, free_address};
use super::assert_signed;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// A sidecar that signs at a unix socket too; where the socket is.
#[track_caller]
fn at_a_socket(upstream: &Recorder, keys: &str) -> (Sidecar, PathBuf, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.sock");
    let outbound = format!(
        "[[outbound]]\nlisten = \"unix:{}\"\nupstream = \"http://{}\"\n{keys}",
        path.display(),
        upstream.address
    );
    let sidecar = Builder::signing(&format!("http://{}", free_address())).rules(&outbound).start_alive();
    (sidecar, path, directory)
}

fn ask(path: &PathBuf, host: &str, mark: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = format!("GET /u%2Fv HTTP/1.1\r\nHost: {host}\r\nX-Mark: {mark}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits for the first record with this fact.
#[track_caller]
fn first(sidecar: &Sidecar, name: &str, value: &str) -> Value {
    eventually("a record", || sidecar.audit().into_iter().find(|record| record[name] == value))
}

fn own_uid(path: &PathBuf) -> u32 {
    std::fs::metadata(path).unwrap().uid()
}

#[test]
fn every_name_a_library_writes_for_a_socket_is_served_and_a_page_s_is_not() {
    let upstream = Recorder::plain();
    let (sidecar, path, _directory) = at_a_socket(&upstream, "");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let destination = upstream.address.to_string();
    for (place, host) in ["localhost", "", &destination].into_iter().enumerate() {
        assert!(ask(&path, host, &format!("unix-{place}-")).starts_with("HTTP/1.1 200"), "{host}");
        assert_signed(&upstream.the(&format!("unix-{place}-")), "/u/v");
    }
    let record = first(&sidecar, "direction", "outbound");
    assert_eq!(record["client"], format!("unix:{}", own_uid(&path)));
    let answer = ask(&path, "evil.example", "evil");
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("host_not_allowed"), "{answer}");
}

#[test]
fn a_user_that_is_not_listed_is_told_so_and_nothing_leaves() {
    let upstream = Recorder::plain();
    let (sidecar, path, _directory) = at_a_socket(&upstream, "allow_uids = [4294967000]\n");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    let answer = ask(&path, "localhost", "stranger");
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("peer_not_allowed"), "{answer}");
    assert!(upstream.requests().is_empty());
    let record = first(&sidecar, "outcome", "refuse");
    assert_eq!(record["reason"], "peer_not_allowed");
    let uid = own_uid(&path);
    drop(sidecar);
    let (_sidecar, path, _directory) = at_a_socket(&upstream, &format!("allow_uids = [4294967000, {uid}]\n"));
    assert!(ask(&path, "localhost", "listed").starts_with("HTTP/1.1 200"));
    assert_signed(&upstream.the("listed"), "/u/v");
}

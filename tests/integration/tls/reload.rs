//! Renewed certificates are taken up by themselves, whole or not at all; what was taken away is gone.

use super::super::support::eventually;
use super::super::support::pki::Authority;
use super::super::support::recorder::Recorder;
use super::super::support::sidecar::Sidecar;
use super::super::support::tls::{Connector, TlsClient, Version};
use super::guarding;

fn failures(sidecar: &Sidecar) -> f64 {
    sidecar.metric("countersign_config_reloads_total", &["result=\"failed\""])
}

#[track_caller]
fn assert_lives(client: &mut TlsClient) {
    client.send("GET /files/x HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_renewed_certificate_serves_new_connections_and_the_old_ones_live() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    let mut old = Connector::trusting(&tls.authority).connect(sidecar.address);
    assert_lives(&mut old);
    let renewed = Authority::new("renewed");
    let trusts_new = Connector::trusting(&renewed);
    assert!(trusts_new.try_connect(sidecar.address).is_err());
    let pair = renewed.server();
    // The key first: for a moment the two do not belong together, which changes nothing.
    tls.files.replace("server.key", &pair.key);
    eventually("a key without its certificate to be refused", || (failures(&sidecar) >= 1.0).then_some(()));
    assert_lives(&mut Connector::trusting(&tls.authority).connect(sidecar.address));
    tls.files.replace("server.pem", &pair.cert);
    eventually("the renewed certificate", || trusts_new.try_connect(sidecar.address).ok());
    assert!(Connector::trusting(&tls.authority).try_connect(sidecar.address).is_err(), "the old one is gone");
    assert_lives(&mut old);
}

#[test]
fn a_half_written_certificate_keeps_the_old_one() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let mut sidecar = tls.builder.start();
    let pair = tls.authority.server();
    let connector = Connector::trusting(&tls.authority);
    for (broken, word) in [
        (&pair.cert[..pair.cert.len() / 2], "-----END"),
        ("", "no certificate"),
        ("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", "base64"),
    ] {
        let before = failures(&sidecar);
        std::fs::write(tls.files.path("server.pem"), broken).unwrap();
        eventually("the reload to be refused", || (failures(&sidecar) > before).then_some(()));
        assert_lives(&mut connector.connect(sidecar.address));
        eventually(word, || sidecar.process.stderr.text().contains(word).then_some(()));
    }
    std::fs::remove_file(tls.files.path("server.pem")).unwrap();
    eventually("the missing file", || sidecar.process.stderr.text().contains("there is no such file").then_some(()));
    assert_lives(&mut connector.connect(sidecar.address));
    assert!(sidecar.process.ended().is_none());
    tls.files.pair("server", &pair);
    let ok = || sidecar.metric("countersign_config_last_reload_ok", &[]) == 1.0;
    eventually("whole again", || ok().then_some(()));
    assert_lives(&mut connector.connect(sidecar.address));
}

#[test]
fn a_client_of_a_ca_that_was_taken_away_cannot_resume_either() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, ", client_ca = CA");
    let own = Authority::new("the clients'");
    tls.files.write("ca.pem", own.pem());
    let sidecar = tls.builder.start();
    let pair = own.client("npu.internal");
    let connectors = Version::BOTH.map(|version| Connector::new(&tls.authority, Some(&pair), &[version]));
    let resumed = || sidecar.metric("countersign_tls_handshakes_total", &["kind=\"resumed\""]);
    for connector in &connectors {
        for _ in 0..2 {
            assert_eq!(connector.get(sidecar.address, "/files/x", "").unwrap(), 200);
        }
    }
    assert_eq!(resumed(), 2.0, "while its CA is there, sessions resume");
    tls.files.replace("ca.pem", Authority::new("other clients'").pem());
    let generation = || sidecar.metric("countersign_config_generation", &[]) >= 2.0;
    eventually("the reload", || generation().then_some(()));
    for connector in &connectors {
        for _ in 0..3 {
            assert!(connector.get(sidecar.address, "/files/x", "").is_err());
        }
    }
    assert_eq!(resumed(), 2.0);
}

#[test]
fn tls_can_be_given_to_a_running_listener_and_taken_from_it() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    let text = sidecar.config();
    let without: String =
        text.lines().filter(|line| !line.starts_with("tls")).map(|line| format!("{line}\n")).collect();
    let connector = Connector::trusting(&tls.authority);
    let mut old = connector.connect(sidecar.address);
    assert_lives(&mut old);
    std::fs::write(sidecar.config_path(), without).unwrap();
    eventually("plain HTTP", || {
        (super::super::support::raw::get(sidecar.address, "/files/plain").status == 200).then_some(())
    });
    assert_lives(&mut old);
    std::fs::write(sidecar.config_path(), text).unwrap();
    eventually("TLS again", || connector.try_connect(sidecar.address).ok());
}

#[test]
fn the_end_of_the_certificate_is_shown_by_its_file() {
    let upstream = Recorder::plain();
    let tls = guarding(upstream.address, "");
    let sidecar = tls.builder.start();
    let label = format!("file={:?}", tls.files.path("server.pem").display().to_string());
    let end = sidecar.metric("countersign_certificate_expiry_timestamp_seconds", &[&label]);
    assert_eq!(end, 4_070_908_800.0, "2099-01-01\n{}", sidecar.metrics());
}

//! Random requests: whatever reaches the upstream is one request for each that was answered by it, with the path that was sent.

use super::super::support::frames::Frames;
use super::super::support::random::Random;
use super::super::support::recorder::Recorder;
use super::super::support::{count, seed};
use super::guarding;

const SIGNS: &[u8] = b"abcXYZ019/%.;?=&~!$'()*+,:@_-|{}[]\\^\"<>`# \x01\x7f\x80\xc3\xa9";

fn text(random: &mut Random, longest: usize) -> Vec<u8> {
    let length = random.below(longest);
    (0..length).map(|_| SIGNS[random.below(SIGNS.len())]).collect()
}

#[test]
fn random_heads_reach_the_upstream_as_they_were_or_not_at_all() {
    let mut random = Random::seeded(seed());
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..count(3, 200) {
        let (more_passed, more_refused) = five_hundred(&mut random);
        (passed, refused) = (passed + more_passed, refused + more_refused);
    }
    assert!(passed > 50 && refused > 50, "{passed} passed, {refused} were refused");
}

/// How many passed, and how many were refused.
fn five_hundred(random: &mut Random) -> (usize, usize) {
    let upstream = Recorder::plain();
    let sidecar = guarding(upstream.address);
    let mut client = Frames::connect(sidecar.address);
    let (mut passed, mut refused) = (0, 0);
    for number in 0..500 {
        let mark = format!("mark-{number}-");
        let mut path = format!("/{mark}").into_bytes();
        path.extend(text(random, 12));
        let mut name = b"x-".to_vec();
        if random.one_in(3) {
            name.extend(text(random, 4));
        } else {
            name.extend(b"any");
        }
        let value = text(random, 10);
        let authority: Vec<u8> =
            if random.one_in(4) { [b"backend", &text(random, 4)[..]].concat() } else { b"backend.test".to_vec() };
        let method = random.pick(&["GET", "POST", "PUT", "OPTIONS", "get", "G T", "CONNECT"]);
        let fields: [(&[u8], &[u8]); 5] = [
            (b":method", method.as_bytes()),
            (b":scheme", b"http"),
            (b":authority", &authority),
            (b":path", &path),
            (&name, &value),
        ];
        let outcome = client.exchange(&fields);
        let seen = upstream.marked(&mark);
        if outcome.status == 200 {
            passed += 1;
            let [only] = &seen[..] else { panic!("{} requests of one: {fields:?}", seen.len()) };
            assert_eq!(only.target.as_bytes(), path, "the path that was sent");
            assert_eq!(
                (only.method.as_str(), only.fields.one("host").map(str::as_bytes)),
                (method, Some(&authority[..]))
            );
        } else {
            refused += 1;
            assert_eq!(seen.len(), 0, "refused, and yet upstream: {fields:?}");
        }
        if client.go_away.is_some() || outcome.is_nothing() {
            client = Frames::connect(sidecar.address);
        }
    }
    assert_eq!(upstream.faults(), Vec::<String>::new());
    (passed, refused)
}

//! The signature headers: never a panic; what is accepted has exactly one spelling.
#![no_main]

use countersign::request::facts::Claims;
use countersign::signature::headers::PresentedSignature;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|lines: Vec<(u8, &[u8])>| {
    let names: [&[u8]; 5] =
        [b"X-Service-ID", b"x-service-timestamp", b"X-SERVICE-SIGNATURE", b"X-Override-Token", b"X_Service_ID"];
    let mut claims = Claims::default();
    for (name, value) in &lines {
        claims.note(names[usize::from(*name) % names.len()], value);
    }
    let Ok(presented) = PresentedSignature::parse(&claims) else { return };
    let id = presented.service_id.as_bytes();
    assert!(id.len() <= 64 && id[0].is_ascii_alphanumeric());
    assert!(id.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b)));
    assert_eq!(presented.unix_seconds.to_string(), presented.timestamp);
    for count in 0..3 {
        let of = lines.iter().filter(|(name, _)| usize::from(*name) % names.len() == count).count();
        assert_eq!(of, 1, "a header that came twice was accepted");
    }
});

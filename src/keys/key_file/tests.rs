//! What a key file may look like, and what is refused without showing it.
#![allow(clippy::unwrap_used, reason = "in tests a broken assumption must end the test")]

use super::*;
use proptest::prelude::*;

const KEY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn id(text: &str) -> ServiceId {
    ServiceId::parse(text).unwrap()
}

#[test]
fn the_fleets_files_are_read_as_they_are() {
    for text in [
        format!("SERVICE_KEY={KEY}\n"),
        format!("SERVICE_KEY={KEY}"),
        format!("# key of VM 22\r\nSERVICE_ID=npu-worker\r\nSERVICE_KEY=\"{KEY}\"\r\nREDIS_HOST=172.16.168.23\r\n"),
        format!("export SERVICE_ID='npu-worker'\nexport SERVICE_KEY='{KEY}' # rotated\nAUTH_TIMESTAMP_WINDOW=300\n"),
        format!("PATH=$PATH:/opt\nSERVICE_KEY=old\nSERVICE_KEY={KEY}\n"),
        format!("SERVICE_ID=\nSERVICE_KEY={KEY}\nnot an assignment\n"),
    ] {
        let file = KeyFile::parse(&text).unwrap().belongs_to(&id("npu-worker")).unwrap();
        assert_eq!(&**file.text, KEY, "{text}");
        assert_eq!(file.key.fingerprint(), ServiceKey::from_text(KEY).unwrap().fingerprint());
    }
}

#[test]
fn what_gives_no_key_says_why_and_shows_nothing_of_it() {
    for (text, expected) in [
        (String::new(), "no line SERVICE_KEY="),
        (KEY.to_owned(), "no line SERVICE_KEY="),
        (format!("SERVICE_KEY {KEY}"), "no line SERVICE_KEY="),
        (format!("service_key={KEY}"), "no line SERVICE_KEY="),
        ("SERVICE_KEY=".into(), "SERVICE_KEY: the key is empty"),
        ("SERVICE_KEY=aaaaaaaaa".into(), "SERVICE_KEY: the key has 9 characters"),
        (format!("SERVICE_KEY={KEY} {KEY}"), "SERVICE_KEY: line 1: there is more behind a space"),
        (format!("SERVICE_KEY='{KEY} {KEY}'"), "SERVICE_KEY: character 65 of the key"),
        (format!("SERVICE_KEY='{KEY}"), "SERVICE_KEY: line 1: a quote is not closed"),
        (format!("\nSERVICE_KEY=$({KEY})"), "SERVICE_KEY: line 2: it holds a character that a shell would act on"),
        (format!("SERVICE_KEY={KEY}\nSERVICE_ID=a b"), "SERVICE_ID: line 2: there is more"),
        (format!("SERVICE_KEY={KEY}\nSERVICE_ID=a:b"), "SERVICE_ID is not a service id"),
        (format!("SERVICE_KEY={KEY}\nSERVICE_ID=../aaaaaaaaa"), "SERVICE_ID is not a service id"),
    ] {
        let Err(fault) = KeyFile::parse(&text) else { panic!("taken: {text}") };
        assert!(fault.to_string().contains(expected), "{fault}");
        assert!(!fault.to_string().contains("aaaaaaaa"), "{fault}");
    }
}

#[test]
fn a_file_named_for_another_service_is_refused() {
    let file = KeyFile::parse(&format!("SERVICE_ID=ai-stack\nSERVICE_KEY={KEY}")).unwrap();
    let Err(fault) = file.belongs_to(&id("npu-worker")) else { panic!("taken") };
    assert_eq!(
        fault.to_string(),
        "SERVICE_ID is ai-stack, but the file is named for npu-worker; rename the file or correct the line"
    );
}

#[test]
fn a_file_of_another_service_than_the_one_wanted_is_refused_in_other_words() {
    let text = format!("SERVICE_ID=ai-stack\nSERVICE_KEY={KEY}");
    assert!(KeyFile::parse(&text).unwrap().is_of(&id("ai-stack")).is_ok());
    let Err(fault) = KeyFile::parse(&text).unwrap().is_of(&id("npu-worker")) else { panic!("taken") };
    let fault = fault.to_string();
    assert!(fault.contains("the key of npu-worker is wanted") && !fault.contains("named for"), "{fault}");
}

#[test]
fn a_short_key_is_told_one_thing() {
    let Err(fault) = KeyFile::parse("SERVICE_KEY=aaaaaaaaa") else { panic!("taken") };
    assert_eq!(fault.to_string(), "SERVICE_KEY: the key has 9 characters; at least 32 are needed");
}

#[test]
fn a_file_is_named_for_a_service() {
    assert_eq!(service_of(Path::new("/etc/keys/npu-worker.env")).unwrap(), id("npu-worker"));
    assert_eq!(service_of(Path::new("a.b.env")).unwrap(), id("a.b"));
    for name in ["npu-worker", ".env", "-a.env", "a b.env", "a:b.env", "npu-worker.env.bak", "/", "caf\u{e9}.env"] {
        assert!(service_of(Path::new(name)).is_err(), "{name}");
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_no_fault_shows_a_secret(text in "(SERVICE_KEY=|SERVICE_ID=)?[q\"'\\\\ #$\n=]{0,60}") {
        if let Err(fault) = KeyFile::parse(&text) {
            prop_assert!(!fault.to_string().contains("qq"), "{}", fault);
        }
    }
}

#[test]
fn the_second_key_of_a_rotation_may_verify_too_and_the_current_one_stays_the_first() {
    let other = "b".repeat(64);
    let print = |text: &str| ServiceKey::from_text(text).unwrap().fingerprint();
    let staged =
        format!("SERVICE_KEY={KEY}\nSERVICE_KEY_NEXT={other}\nSERVICE_KEY_NEXT_SINCE=5\nSERVICE_KEY_MADE=3\n");
    let file = KeyFile::parse(&staged).unwrap();
    assert_eq!((file.made, file.next.as_ref().map(|next| next.at)), (Some(3), Some(5)));
    let keys = file.into_keys();
    assert_eq!(keys.iter().map(|key| key.fingerprint()).collect::<Vec<_>>(), [print(KEY), print(&other)]);
    assert_eq!(keys.overlap_until, None, "nothing is on its way out");
    let overlapping = format!("SERVICE_KEY={KEY}\nSERVICE_KEY_PREVIOUS={other}\nSERVICE_KEY_PREVIOUS_UNTIL=9\n");
    let keys = KeyFile::parse(&overlapping).unwrap().into_keys();
    assert_eq!(keys.iter().map(|key| key.fingerprint()).collect::<Vec<_>>(), [print(KEY), print(&other)]);
    assert_eq!(keys.overlap_until, Some(9));
    let neither = format!("SERVICE_KEY={KEY}\nSERVICE_KEY_PREVIOUS=\nSERVICE_KEY_NEXT=''\nSERVICE_KEY_MADE=\n");
    assert_eq!(KeyFile::parse(&neither).unwrap().into_keys().iter().count(), 1);
}

#[test]
fn a_second_key_or_a_time_that_is_none_refuses_the_file_and_is_not_shown() {
    for (line, expected) in [
        ("SERVICE_KEY_NEXT=aaaaaaaaa", "SERVICE_KEY_NEXT: the key has 9 characters"),
        ("SERVICE_KEY_PREVIOUS='aaaaaaaaa", "SERVICE_KEY_PREVIOUS: line 2: a quote is not closed"),
        ("SERVICE_KEY_MADE=aaaaaaaaa", "SERVICE_KEY_MADE is not a time; expected Unix seconds"),
        ("SERVICE_KEY_MADE=-1", "SERVICE_KEY_MADE is not a time"),
    ] {
        let Err(fault) = KeyFile::parse(&format!("SERVICE_KEY={KEY}\n{line}\n")) else { panic!("taken: {line}") };
        assert!(fault.to_string().contains(expected), "{fault}");
        assert!(!fault.to_string().contains("aaaaaaaa"), "{fault}");
    }
}

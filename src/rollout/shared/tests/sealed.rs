use super::*;
use crate::rollout::shared::sealed::{Presence, RecordFault};

#[test]
fn what_is_sealed_is_opened_with_the_same_key_alone() {
    let (mut a, mut b) = two();
    a.roll_back_rule("a");
    b.roll_back();
    meet(&mut a, &mut b);
    let text = key('a').seal(&a.fleet);
    assert_eq!(key('a').open(&text), Ok(a.fleet.clone()));
    assert_eq!(key('a').seal(&b.fleet), text, "one state has one text");
    assert_eq!(key('b').open(&text), Err(RecordFault::NotOurs));
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        assert_eq!(key('a').open(&text[..end]), Err(RecordFault::NotOurs), "cut at {end}");
    }
    let altered = [
        text.replacen("\"mode\":\"log\"", "\"mode\":\"enforce\"", 1),
        text.replacen("\"lifted\":0", "\"lifted\":1", 1),
        text.replacen("enforcement 1", "enforcement 2", 1),
        format!("{text} "),
        format!(" {text}"),
        text.to_uppercase(),
    ];
    for text in altered {
        assert_eq!(key('a').open(&text), Err(RecordFault::NotOurs), "{text}");
    }
}

#[test]
fn a_record_with_a_drivers_number_that_cannot_be_counted_up_is_not_taken() {
    let (a, _) = two();
    for (fence, of_word, taken) in [
        (FENCE_END - 1, FENCE_END - 1, true),
        (FENCE_END, 1, false),
        (1, FENCE_END, false),
        (u64::MAX, u64::MAX, false),
    ] {
        let mut state = a.fleet.clone();
        (state.fence, state.word.fence) = (fence, of_word);
        let opened = key('a').open(&key('a').seal(&state));
        assert_eq!(opened.is_ok(), taken, "{fence} {of_word}: {opened:?}");
    }
}

#[test]
fn a_text_of_one_kind_or_of_one_sidecar_is_none_of_another() {
    let (a, _) = two();
    let fleet_key = key('a');
    let presence = Presence {
        name: "vm20-1".into(),
        at: 1_790_000_000_000,
        host: "vm20".into(),
        listens: vec!["0.0.0.0:8001".to_owned()],
        digest: fleet_key.digest(&a.fleet),
        revision: 7,
        mode: "log".into(),
        percentage: 100,
        held: true,
        drives: false,
        program: "0".into(),
    };
    let text = fleet_key.seal_presence(&presence);
    assert_eq!(fleet_key.open_presence("vm20-1", &text), Ok(presence));
    assert_eq!(fleet_key.open_presence("vm20-2", &text), Err(RecordFault::NotOurs));
    assert_eq!(fleet_key.open(&text), Err(RecordFault::NotOurs));
    let later = text.replace("\"at\":1790000000000", "\"at\":1790000009000");
    assert!(later != text && fleet_key.open_presence("vm20-1", &later) == Err(RecordFault::NotOurs));
    let as_record = text.replacen("countersign sidecar 1", "countersign enforcement 1", 1);
    assert_eq!(fleet_key.open(&as_record), Err(RecordFault::NotOurs));
    assert_ne!(fleet_key.salt(), key('b').salt());
}

#[test]
fn a_fleet_key_is_64_hex_digits() {
    assert!(FleetKey::from_text(&"0aF".repeat(22)[..64]).is_some());
    for wrong in ["", "abc", &"a".repeat(63), &"a".repeat(66), &"g".repeat(64), &format!("a {}", "a".repeat(62))] {
        assert!(FleetKey::from_text(wrong).is_none(), "{wrong:?}");
    }
    assert!(!format!("{:?}", key('a')).contains("aa"));
}

//! An overlap lasts as long as the old key is used, says so, and ends when it is not, or by force.

use super::super::support::eventually;
use super::*;

/// Overlaps of a second, and a use counts for an hour.
fn short(builder: Builder) -> Builder {
    builder.set("keys", "overlap", "\"1s\"").set("keys", "unused_for", "\"1h\"")
}

fn overdue(guarded: &Guarded) -> f64 {
    guarded.sidecar.metric("countersign_key_overlap_overdue", &["service_id=\"npu-worker\""])
}

#[test]
fn a_program_that_goes_on_with_the_old_key_keeps_it_valid_and_alerts() {
    for guarded in Guarded::each(short) {
        let rotated = json(&guarded.keys(&["rotate", "npu-worker", "--json"]), 0);
        let old = rotated["previous"]["fingerprint"].as_str().unwrap().to_owned();
        eventually("an overdue overlap, and its use to be told", || {
            assert_eq!(guarded.status(KEY_A), 200, "a program that loaded its key once");
            let told = listed(&guarded.sidecar.config_path());
            (told["previous"]["overdue"] == true && overdue(&guarded) == 1.0).then_some(())
        });
        eventually("a warning in the log", || {
            assert_eq!(guarded.status(KEY_A), 200, "it goes on");
            guarded.sidecar.process.stderr.text().contains("should be out of use and is not").then_some(())
        });
        let alert = ended(&guarded.keys(&["rotate", "--due"]), 1);
        for expected in [&*old, "is still used", "by 127.0.0.1", "--force npu-worker"] {
            assert!(alert.contains(expected), "{expected} not in:\n{alert}");
        }
        let refused = ended(&guarded.keys(&["rotate", "npu-worker"]), 1);
        assert!(refused.contains("not rotated") && refused.contains(&old), "{refused}");
        assert_eq!(json(&guarded.keys(&["rotate", "--due", "--json", "npu-worker"]), 1)["outcome"], "overdue");
        assert_eq!(guarded.status(KEY_A), 200, "nothing was ended");
        let ended_by_force = json(&guarded.keys(&["rotate", "--due", "--force", "npu-worker", "--json"]), 0);
        assert_eq!(ended_by_force["outcome"], "overlap_ended");
        eventually("the old key to be refused", || (guarded.status(KEY_A) == 401).then_some(()));
        assert_eq!(guarded.status(&guarded.place.key().unwrap()), 200);
        eventually("the alert to end", || (overdue(&guarded) == 0.0).then_some(()));
        assert_eq!(listed(&guarded.sidecar.config_path())["previous"], Value::Null);
    }
}

#[test]
fn an_overlap_that_nobody_needs_is_ended_when_its_time_has_come_and_not_before() {
    for guarded in Guarded::each(|builder| builder) {
        let rotate = ["rotate", "npu-worker", "--overlap", "1h"];
        ended(&guarded.keys(&rotate), 0);
        ended(&guarded.keys(&["rotate", "--due"]), 0);
        assert_eq!(guarded.status(KEY_A), 200, "it was promised");
        let refused = ended(&guarded.keys(&rotate), 1);
        assert!(refused.contains("was promised to be valid until"), "{refused}");
    }
    for guarded in Guarded::each(|builder| builder) {
        ended(&guarded.keys(&["rotate", "npu-worker", "--overlap", "1h"]), 0);
        ended(&guarded.keys(&["rotate", "--due", "--force", "npu-worker"]), 0);
        eventually("a promise to be broken by force", || (guarded.status(KEY_A) == 401).then_some(()));
    }
    for guarded in Guarded::each(short) {
        ended(&guarded.keys(&["rotate", "npu-worker"]), 0);
        eventually("the overlap to be over", || {
            let due = json(&guarded.keys(&["rotate", "--due", "npu-worker", "--json"]), 0);
            (due["outcome"] == "overlap_ended").then_some(())
        });
        eventually("the old key to be refused", || (guarded.status(KEY_A) == 401).then_some(()));
    }
}

#[test]
fn a_use_a_moment_before_the_timer_keeps_the_overlap() {
    for guarded in Guarded::each(short) {
        ended(&guarded.keys(&["rotate", "npu-worker", "--overlap", "1s"]), 0);
        let over = std::time::Instant::now() + std::time::Duration::from_millis(2100);
        eventually("the overlap to be over", || (std::time::Instant::now() > over).then_some(()));
        assert_eq!(guarded.status(KEY_A), 200, "a program that calls once a day");
        assert!(ended(&guarded.keys(&["rotate", "--due"]), 1).contains("is still used"));
        assert_eq!(guarded.status(KEY_A), 200, "nothing was ended");
    }
}

#[test]
fn services_marked_unused_alert_nobody() {
    for guarded in Guarded::each(|builder| short(builder).set("services.npu-worker", "unused", "true")) {
        ended(&guarded.keys(&["rotate", "npu-worker"]), 0);
        eventually("an overdue overlap", || {
            assert_eq!(guarded.status(KEY_A), 200);
            (listed(&guarded.sidecar.config_path())["previous"]["overdue"] == true).then_some(())
        });
        ended(&guarded.keys(&["rotate", "--due"]), 0);
        ended(&guarded.keys(&["list", "npu-worker", "--fail-below", "1000d"]), 0);
    }
}

#[test]
fn an_overlap_of_which_nobody_would_know_a_use_is_not_ended_by_itself() {
    for guarded in Guarded::each(short).filter(|guarded| matches!(guarded.place, Place::Directory(_))) {
        let Place::Directory(directory) = &guarded.place else { return };
        ended(&guarded.keys(&["rotate", "npu-worker"]), 0);
        eventually("an overdue overlap", || {
            assert_eq!(guarded.status(KEY_A), 200, "a program that loaded its key once");
            (listed(&guarded.sidecar.config_path())["previous"]["overdue"] == true).then_some(())
        });
        // Another spelling of the same directory is the same directory.
        let spelled = directory.path().join("..").join(directory.path().file_name().unwrap());
        let named = |arguments: &[&str]| guarded.keys(&[arguments, &["--dir", spelled.to_str().unwrap()]].concat());
        assert!(ended(&named(&["rotate", "--due"]), 1).contains("is still used"));
        // Without a configuration nobody tells.
        let alone = |arguments: &[&str]| {
            countersign().arg("keys").args(arguments).arg("--dir").arg(directory.path()).output().unwrap()
        };
        for arguments in [&["rotate", "--due"][..], &["rotate", "npu-worker"]] {
            let refused = ended(&alone(arguments), 1);
            assert!(refused.contains("whether it is used is not known here"), "{refused}");
        }
        assert_eq!(guarded.status(KEY_A), 200, "nothing was ended");
        ended(&alone(&["rotate", "--due", "--force", "npu-worker"]), 0);
        eventually("the old key to be refused", || (guarded.status(KEY_A) == 401).then_some(()));
    }
}

//! Two runners at once, and runners that are killed: one works, and what it leaves behind is gone on with.

use super::super::support::eventually;
use super::super::support::process::Process;
use super::super::support::redis::Redis;
use super::*;

const GHOST: &str = "countersign:verifier:ghost";

/// A Redis in which a verifier is said to run that never takes a key: a rotation waits for it.
struct Waiting {
    place: Place,
    sidecar: Sidecar,
    _upstream: Recorder,
}

impl Waiting {
    fn start() -> Option<Waiting> {
        let redis = Redis::start()?;
        redis.put("npu-worker", KEY_A);
        redis.cli(&["SET", GHOST, "1"]);
        let upstream = Recorder::plain();
        let place = Place::Redis(redis);
        let builder = Builder::guarding(upstream.address).unlimited().set("keys", "cache", "\"1s\"");
        let sidecar = place.configure(builder).start();
        Some(Waiting { place, sidecar, _upstream: upstream })
    }

    fn redis(&self) -> &Redis {
        match &self.place {
            Place::Redis(redis) => redis,
            Place::Directory(_) => unreachable!(),
        }
    }

    fn keys(&self, arguments: &[&str]) -> Output {
        keys(&self.sidecar.config_path(), arguments)
    }

    /// A rotation that has staged its key and waits.
    fn rotation(&self) -> (Process, Value) {
        let mut command = countersign();
        command.args(["keys", "rotate", "npu-worker", "--json", "--config"]).arg(self.sidecar.config_path());
        let process = Process::start(&command);
        let staged = eventually("a staged key that the real verifier takes", || {
            let next = listed(&self.sidecar.config_path())["next"]["fingerprint"].clone();
            let seen = self.redis().cli(&["HVALS", "{service:key:npu-worker}:seen"]);
            (next != Value::Null && seen == next.as_str()?).then_some(next)
        });
        (process, staged)
    }
}

/// What a process printed may come a moment after its end.
#[track_caller]
fn printed(process: &Process, text: &str) {
    eventually(text, || process.stdout.text().contains(text).then_some(()));
}

#[test]
fn one_runner_at_a_time_and_the_others_are_told() {
    let Some(waiting) = Waiting::start() else { return };
    let (mut first, staged) = waiting.rotation();
    let refused = ended(&waiting.keys(&["rotate", "npu-worker"]), 1);
    assert!(refused.contains("another rotation of this key is under way"), "{refused}");
    let busy = json(&waiting.keys(&["rotate", "--due", "--json"]), 0);
    assert_eq!(busy["outcome"], "busy", "the timer on another machine has nothing to do");
    assert_eq!(waiting.place.key().as_deref(), Some(KEY_A), "nobody switched before all verifiers have it");
    waiting.redis().cli(&["DEL", GHOST]);
    assert!(first.wait().success(), "{}", first.stderr.text());
    printed(&first, staged.as_str().unwrap());
    assert_eq!(listed(&waiting.sidecar.config_path())["fingerprint"], staged);
}

#[test]
fn a_killed_runner_is_gone_on_with_and_never_by_two() {
    let Some(waiting) = Waiting::start() else { return };
    let (first, staged) = waiting.rotation();
    drop(first);
    waiting.redis().cli(&["DEL", GHOST]);
    let resumed = eventually("the lease of the killed one to end", || {
        let output = waiting.keys(&["rotate", "npu-worker", "--json"]);
        output.status.success().then(|| json(&output, 0))
    });
    assert_eq!((&resumed["resumed"], &resumed["fingerprint"]), (&true.into(), &staged), "{resumed}");
    let told = listed(&waiting.sidecar.config_path());
    assert_eq!((&told["fingerprint"], &told["next"]), (&staged, &Value::Null));
    assert_eq!(waiting.redis().cli(&["EXISTS", "{service:key:npu-worker}:lease"]), "0");
}

#[test]
fn a_revocation_waits_for_no_rotation_and_is_not_undone_by_it() {
    let Some(waiting) = Waiting::start() else { return };
    let (mut first, _) = waiting.rotation();
    ended(&waiting.keys(&["revoke", "npu-worker"]), 0);
    waiting.redis().cli(&["DEL", GHOST]);
    assert_eq!(first.wait().code(), Some(1));
    printed(&first, "changed by somebody else");
    assert_eq!(waiting.place.key(), None);
}

#[test]
fn a_lease_that_was_lost_ends_the_work() {
    let Some(waiting) = Waiting::start() else { return };
    let (mut first, staged) = waiting.rotation();
    waiting.redis().cli(&["SET", "{service:key:npu-worker}:lease", "somebody else"]);
    assert_eq!(first.wait().code(), Some(1));
    printed(&first, "was lost");
    assert_eq!(listed(&waiting.sidecar.config_path())["next"]["fingerprint"], staged, "for the one who has it");
    assert_eq!(waiting.redis().cli(&["GET", "{service:key:npu-worker}:lease"]), "somebody else");
}

#[test]
fn nothing_is_switched_while_a_verifier_that_runs_has_not_taken_the_key() {
    let Some(waiting) = Waiting::start() else { return };
    let text = ended(&waiting.keys(&["rotate", "npu-worker"]), 1);
    assert!(text.contains("ghost has not taken") && text.contains("nothing was switched"), "{text}");
    assert_eq!(waiting.place.key().as_deref(), Some(KEY_A), "it would refuse every signer");
    let staged = listed(&waiting.sidecar.config_path())["next"]["fingerprint"].clone();
    waiting.redis().cli(&["DEL", GHOST]);
    let resumed = json(&waiting.keys(&["rotate", "npu-worker", "--json"]), 0);
    assert_eq!((&resumed["resumed"], &resumed["fingerprint"]), (&true.into(), &staged), "{resumed}");
    assert_eq!(resumed["unaware"], Value::Array(Vec::new()), "{resumed}");
}

use super::super::files::RotationId;
use super::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

const NOW: u64 = 1_763_812_800;
const DAY: u64 = 86_400;
const RETENTION: Retention = Retention { keep: 2, keep_service: Duration::from_secs(90 * DAY) };
static GO: AtomicBool = AtomicBool::new(false);

fn file(days_ago: u64, form: Form) -> Rotated {
    let id = RotationId { unix_seconds: NOW - days_ago * DAY, serial: 0 };
    Rotated { id, form, path: id.path(Path::new("/a.jsonl"), form) }
}

#[test]
fn the_newest_are_kept_whole_and_compressed() {
    let files = [file(2, Form::Compressed), file(1, Form::Plain)];
    assert_eq!(plan(&files, RETENTION, NOW), [Step::Compress(files[1].clone())]);
}

#[test]
fn what_falls_out_of_keep_is_reduced_and_later_removed() {
    let files = [
        file(90, Form::Retained),
        file(89, Form::Retained),
        file(4, Form::Plain),
        file(3, Form::Compressed),
        file(2, Form::Compressed),
        file(1, Form::Compressed),
    ];
    assert_eq!(
        plan(&files, RETENTION, NOW),
        [Step::Remove(files[0].clone()), Step::Reduce(files[2].clone()), Step::Reduce(files[3].clone())]
    );
}

#[test]
fn without_keep_service_what_falls_out_of_keep_is_removed_at_once() {
    let files = [file(3, Form::Compressed), file(2, Form::Compressed), file(1, Form::Compressed)];
    let retention = Retention { keep_service: Duration::ZERO, ..RETENTION };
    assert_eq!(plan(&files, retention, NOW), [Step::Remove(files[0].clone())]);
}

#[test]
fn a_file_older_than_keep_service_is_still_kept_while_it_is_among_the_newest() {
    let files = [file(400, Form::Compressed), file(300, Form::Compressed)];
    assert_eq!(plan(&files, RETENTION, NOW), []);
}

#[test]
fn a_clock_that_went_back_expires_nothing() {
    let files = [file(0, Form::Retained)];
    assert_eq!(plan(&files, RETENTION, NOW - 400 * DAY), []);
}

#[test]
fn an_interrupted_step_is_finished_not_doubled() {
    let files = [file(5, Form::Retained), file(5, Form::Compressed), file(1, Form::Compressed), file(1, Form::Plain)];
    assert_eq!(plan(&files, RETENTION, NOW), [Step::Remove(files[1].clone()), Step::Remove(files[3].clone())]);
}

/// A directory with one rotated file per entry of `texts`, days ago → text.
fn directory(texts: &[(u64, &str)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let current = dir.path().join("a.jsonl");
    for (days_ago, text) in texts {
        let id = RotationId { unix_seconds: NOW - days_ago * DAY, serial: 0 };
        std::fs::write(id.path(&current, Form::Plain), text).unwrap();
    }
    (dir, current)
}

fn contents(current: &Path) -> BTreeMap<String, String> {
    files::rotated(current)
        .unwrap()
        .into_iter()
        .map(|file| {
            let mut text = String::new();
            match file.form {
                Form::Plain => File::open(&file.path).unwrap().read_to_string(&mut text).unwrap(),
                _ => MultiGzDecoder::new(File::open(&file.path).unwrap()).read_to_string(&mut text).unwrap(),
            };
            (format!("{:?} {}", file.form, (NOW - file.id.unix_seconds) / DAY), text)
        })
        .collect()
}

const SERVICE: &str = "{\"outcome\":\"refuse\",\"class\":\"service\",\"path\":\"/x\\u001b\"}\n";
const EXEMPT: &str = "{\"outcome\":\"allow\",\"class\":\"exempt\",\"path\":\"\\\"class\\\":\\\"service\\\"\"}\n";
const UNREADABLE: &str = "{\"outcome\":\"refuse\",\"reason\":\"malformed_request\"}\n";
const OUTBOUND: &str = "{\"direction\":\"outbound\",\"outcome\":\"allow\"}\n";
const CHANGE: &str = "{\"event\":\"mode\",\"who\":\"file\"}\n";

#[test]
fn service_records_and_changes_outlive_all_others() {
    let old = [EXEMPT, SERVICE, OUTBOUND, UNREADABLE, CHANGE, "torn {\"class\":\"service\"\n", SERVICE].concat();
    let (_dir, current) = directory(&[(4, EXEMPT), (3, &old), (2, EXEMPT), (1, SERVICE)]);
    tend(&current, RETENTION, NOW, &GO).unwrap();
    let expected = [
        ("Compressed 1", SERVICE.to_owned()),
        ("Compressed 2", EXEMPT.to_owned()),
        ("Retained 3", [SERVICE, OUTBOUND, CHANGE, SERVICE].concat()),
    ];
    assert_eq!(contents(&current), expected.map(|(name, text)| (name.to_owned(), text)).into());

    tend(&current, RETENTION, NOW + 87 * DAY, &GO).unwrap();
    assert!(!contents(&current).contains_key("Retained 3"), "its time is over");
}

#[test]
fn unfinished_files_are_removed() {
    let (_dir, current) = directory(&[(1, SERVICE)]);
    let id = RotationId { unix_seconds: NOW - 2 * DAY, serial: 0 };
    let unfinished = files::temporary(&id.path(&current, Form::Compressed));
    std::fs::write(&unfinished, "half").unwrap();
    tend(&current, RETENTION, NOW, &GO).unwrap();
    assert!(!unfinished.exists());
    assert_eq!(contents(&current).len(), 1);
}

#[test]
fn a_stop_leaves_every_file_readable() {
    let (_dir, current) = directory(&[(4, SERVICE), (3, EXEMPT), (2, SERVICE), (1, SERVICE)]);
    let before = contents(&current);
    tend(&current, RETENTION, NOW, &AtomicBool::new(true)).unwrap();
    assert_eq!(contents(&current), before);
}

#[test]
fn a_file_that_cannot_be_reduced_stays_and_the_others_are_tended() {
    let (_dir, current) = directory(&[(3, SERVICE), (2, SERVICE), (1, SERVICE)]);
    let id = RotationId { unix_seconds: NOW - 4 * DAY, serial: 0 };
    let broken = id.path(&current, Form::Compressed);
    std::fs::write(&broken, "no gzip at all").unwrap();
    assert!(tend(&current, RETENTION, NOW, &GO).is_err());
    assert!(broken.exists());
    let forms: Vec<_> = files::rotated(&current).unwrap().into_iter().map(|file| file.form).collect();
    assert_eq!(forms, [Form::Compressed, Form::Retained, Form::Compressed, Form::Compressed]);
}

#[test]
fn what_is_made_is_as_closed_to_others_as_what_it_was_made_of() {
    let (_dir, current) = directory(&[(3, SERVICE), (2, SERVICE), (1, SERVICE)]);
    for file in files::rotated(&current).unwrap() {
        std::fs::set_permissions(&file.path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    tend(&current, RETENTION, NOW, &GO).unwrap();
    for file in files::rotated(&current).unwrap() {
        assert_eq!(std::fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ops::Range;

fn texts(path: &str) -> BTreeSet<String> {
    Readings::of(path).all().map(|reading| reading.text().to_owned()).collect()
}

/// Without the short way of clean paths.
fn slow(path: &str) -> BTreeSet<String> {
    let made = steps::readings(path).unwrap();
    (0..made.len()).map(|place| made.reading(place).text().to_owned()).collect()
}

fn first(path: &str) -> String {
    Readings::of(path).all().next().map_or_else(String::new, |reading| reading.text().to_owned())
}

/// Paths made of what the steps look for, and of what they do not.
pub(crate) fn hostile_path() -> impl Strategy<Value = String> {
    hostile_path_of(0..12)
}

pub(crate) fn hostile_path_of(pieces: Range<usize>) -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "/",
        "//",
        "/",
        "api",
        "chat",
        "internal",
        "API",
        "x",
        ".",
        "..",
        "...",
        "%2e",
        "%2E%2e",
        "%252e",
        "%2f",
        "%2F",
        "%252f",
        "%5c",
        "\\",
        ";",
        ";a=b",
        "%3b",
        "%0a",
        "%00",
        "%7f",
        "%c2%85",
        "%20",
        " ",
        "%",
        "%4",
        "%zz",
        "%41",
        "%2541",
        "%e2%84%aa",
        "%ff",
        "%c3%a9",
        "é",
        "?",
        "#",
        "~",
        "%25",
        "a.b",
        "\u{7f}",
        "\n",
    ];
    prop::collection::vec(prop::sample::select(PIECES), pieces).prop_map(|pieces| format!("/{}", pieces.concat()))
}

#[test]
fn every_reading_that_a_server_is_known_to_make_is_there() {
    for (path, reading) in [
        ("/api/%69nternal", "/api/internal"),
        ("/api%2finternal", "/api/internal"),
        ("/api/internal%0a", "/api/internal"),
        ("/api/%2569nternal", "/api/internal"),
        ("/api/chat/..%2finternal/x", "/api/internal/x"),
        ("/api/npu/../internal", "/api/internal"),
        ("/api/npu/%2e%2e/internal", "/api/internal"),
        ("/api/npu/%252e%252e/internal", "/api/internal"),
        ("/api/chat/..%5cinternal", "/api/internal"),
        ("/api\\internal", "/api/internal"),
        ("/api/internal;v=1/x", "/api/internal/x"),
        ("/api/x/..;/internal", "/api/internal"),
        ("/api/internal%3bv=1", "/api/internal"),
        ("//api///internal", "/api/internal"),
        ("/api/./internal/.", "/api/internal"),
        ("/api/internal./x ", "/api/internal/x"),
        ("/api/internal%20", "/api/internal"),
        ("/api/internal/", "/api/internal"),
        ("/api/internal//", "/api/internal"),
        ("/API/Internal", "/api/internal"),
        ("/%41%50%49", "/api"),
        ("/api/%e2%84%aaey", "/api/key"),
        ("/a/%2e%2e%2fb/../c", "/a/c"),
        ("/x%2fy/../z", "/z"),
        ("/x%2fy/../z", "/x/z"),
        ("/%ff", "/\u{fffd}"),
        ("/../../api", "/api"),
        ("/api/..", "/"),
    ] {
        assert!(texts(path).contains(reading), "{path} is not read as {reading}: {:?}", texts(path));
        assert_eq!(first(path), path);
    }
}

#[test]
fn no_reading_is_invented() {
    for (path, readings) in [
        ("/api/chat/50%off", &["/api/chat/50%off"][..]),
        ("/api/files/a%2Fb", &["/api/files/a%2Fb", "/api/files/a%2fb", "/api/files/a/b"]),
        ("/api/chat/a%09b", &["/api/chat/a%09b", "/api/chat/a\tb", "/api/chat/ab"]),
        ("/api/chat/a%20b", &["/api/chat/a%20b", "/api/chat/a b"]),
        ("/files/caf%C3%A9", &["/files/caf%C3%A9", "/files/caf%c3%a9", "/files/café"]),
        ("/%2541", &["/%2541", "/%41", "/A", "/a"]),
        ("/%252541", &["/%252541", "/%2541", "/%41"]),
        ("/openapi.json", &["/openapi.json"]),
        ("/a..b/.c/..d", &["/a..b/.c/..d"]),
        ("/api/x", &["/api/x"]),
        ("/api/x/", &["/api/x/", "/api/x"]),
        ("/", &["/"]),
        ("*", &["*"]),
    ] {
        assert_eq!(texts(path), readings.iter().map(|text| (*text).to_owned()).collect(), "{path}");
    }
}

#[test]
fn a_clean_path_is_borrowed_whatever_its_length() {
    let long = format!("/{}", "a".repeat(5000));
    for (path, count) in [("/", 1), ("/api/chat", 1), ("/api/chat/", 2), ("/a-b_c~d/x:y@z,$&'()*+!=", 1), (&long, 1)]
    {
        let readings = Readings::of(path);
        assert!(matches!(readings.extent, Extent::Clean { .. }), "{path}");
        assert_eq!(readings.all().len(), count, "{path}");
        assert!(readings.all().all(|reading| path.starts_with(reading.text())));
        assert!(matches!(readings.cleaned(), Cow::Borrowed(_)));
    }
    assert!(matches!(Readings::of("/openapi.json").extent, Extent::Clean { .. }));
}

#[test]
fn a_path_over_2_kib_is_read_only_when_it_is_clean() {
    let of_length = |length: usize, end: &str| format!("/{}{end}", "a".repeat(length - 1 - end.len()));
    for end in ["%41", ";", "\\", ".", "//", "A", ".js", "/..", "/.", "%", "\u{e9}"] {
        assert!(!Readings::of(&of_length(Readings::LONGEST, end)).is_overlong(), "{end}");
        assert!(Readings::of(&of_length(Readings::LONGEST + 1, end)).is_overlong(), "{end}");
        assert_eq!(Readings::of(&of_length(Readings::LONGEST + 1, end)).all().len(), 0, "{end}");
    }
    for end in ["a", "/", "~"] {
        assert!(!Readings::of(&of_length(Readings::LONGEST + 1, end)).is_overlong(), "{end}");
    }
}

/// Found by search: as many readings in as few bytes as could be had, and two kilobytes of all tricks at once.
const WORST: [(&str, usize); 4] = [
    ("//%3%%2f./A%0f\\;/A%2f%;%\\A/../.1%252f..", 1),
    ("/xc\\at.%252f./;2/.//0%2f2/../\\%2%%t%25...5a25%252fA.%/..%2fapi%4e%0A;%52f", 1),
    ("/a/%252e%252e/B;c//d/./e%0a/\\%252f", 60),
    (
        "/%0a%252f%5c%25%32%65..%2f//.%252e%25%32%65.%2520%253b%3b/..%252f%5c%2541/%41%253b%2f A/../%252e.%2f../x%252f\\\
         %5c%20%2f%253b%2520..%2f%2541%2fA;%41 %25%32%65A..%2f%2541",
        12,
    ),
];

#[test]
fn what_is_made_of_the_worst_paths_is_bounded_and_they_are_guarded() {
    for (piece, times) in WORST {
        let path = piece.repeat(times);
        assert!(path.len() <= Readings::LONGEST, "refused for its length already: {path}");
        assert!(naive::readings(&path).len() > Readings::MOST || path.len() > 200, "not a hard case: {path}");
        assert!(Readings::of(&path).is_overlong(), "{path}");
        assert_eq!(Readings::of(&path).all().len(), 0, "{path}");
    }
}

#[test]
fn as_many_readings_as_are_allowed_can_be_had() {
    let path = r"/Aa.b;A2%54\/%253b5%3A%65././APA///../%/..\//.%2fh%2F%252f;...;%\.3b;/..//...i/..%2fAAPI%c%2e";
    let readings = Readings::of(path);
    let bytes: usize = readings.all().map(|reading| reading.text().len()).sum();
    assert_eq!((readings.all().len(), bytes), (Readings::MOST, 16_164));
    assert_eq!(texts(path), naive::readings(path));
}

#[test]
fn the_making_ends_with_the_text_that_goes_beyond_a_bound() {
    let mut made = Made::default();
    let add = |made: &mut Made, text: String| made.add(&text, Steps::default(), Case::Kept);
    for number in 0..Readings::MOST {
        assert_eq!(add(&mut made, number.to_string()), Ok(()));
    }
    assert_eq!(add(&mut made, "one more".to_owned()), Err(made::TooMuch));
    assert_eq!(made.len(), Readings::MOST);

    // The same text over and over is work too, although it adds nothing.
    let (mut made, piece) = (Made::default(), Readings::MOST_BYTES / 8);
    for _ in 0..8 {
        assert_eq!(add(&mut made, "a".repeat(piece)), Ok(()));
    }
    assert_eq!(add(&mut made, "a".to_owned()), Err(made::TooMuch));
    assert_eq!(made.len(), 1);
}

#[test]
fn what_honest_clients_send_is_far_from_the_bound() {
    let long = |piece: &str, bytes: usize| format!("/api/files/{}/", piece.repeat(bytes / piece.len()));
    for path in [
        long("a%20b", 2000),
        long("Report%20(1).PDF", 2000),
        long("%C3%A9", 2000),
        long("a%2Fb", 2000),
        long("a%252Fb", 1300),
        long("eyJhbGciOiJIUzI1NiJ9.x-Y_z", 2000),
        long("name;v=1.5/", 2000),
        "/api/files/My%20Report%20(1).PDF;v=1//b/./c/".to_owned(),
        "/api/chat/..%252f..%2finternal/x".to_owned(),
    ] {
        let readings = Readings::of(&path);
        assert!(!readings.is_overlong(), "{path}");
        assert!(readings.all().len() <= 64, "{}: {path}", readings.all().len());
    }
}

#[test]
fn the_cleaned_reading_is_the_same_for_every_spelling() {
    for path in [
        "/api/npu/results",
        "/api/npu/results/",
        "/API/npu/Results",
        "/api/%6epu/results",
        "/api/%256epu/results",
        "//api//npu/./results",
        "/api/x/../npu/results",
        "/api/npu/results;a=b",
        "/api/npu/results%0a",
        "/api%2fnpu%5Cresults",
        "/api/npu/results. ./",
    ] {
        assert_eq!(Readings::of(path).cleaned(), "/api/npu/results", "{path}");
    }
    let long = format!("/api{}/npu/results", "/.".repeat(3000));
    assert_eq!(Readings::of(&long).cleaned(), "/api/npu/results");
    assert_ne!(Readings::of("/api/npu/results/2").cleaned(), "/api/npu/results");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn readings_are_what_a_naive_maker_makes(path in hostile_path()) {
        prop_assert_eq!(texts(&path), naive::readings(&path));
    }

    #[test]
    fn each_text_stands_there_once_within_the_bound_and_the_raw_path_first(path in hostile_path()) {
        let readings = Readings::of(&path);
        prop_assert_eq!(first(&path), path.as_str());
        prop_assert_eq!(texts(&path).len(), readings.all().len());
        prop_assert!(readings.all().len() <= Readings::MOST);
    }

    #[test]
    fn the_named_steps_make_the_reading(path in hostile_path()) {
        for reading in Readings::of(&path).all() {
            let steps: Vec<Step> = reading.steps().each().collect();
            prop_assert_eq!(naive::made(&path, &steps), reading.text());
        }
    }

    #[test]
    fn a_lowered_reading_is_marked_as_such(path in hostile_path()) {
        for reading in Readings::of(&path).all() {
            let is_low = lower_case(reading.text()) == reading.text();
            match reading.case() {
                Case::Kept => prop_assert!(!is_low),
                Case::Lowered => prop_assert!(is_low && reading.steps().has(Step::Lower)),
                Case::Either => prop_assert!(is_low && !reading.steps().has(Step::Lower)),
            }
        }
    }

    #[test]
    fn the_fast_path_reads_as_the_slow_path(path in "(/[a-z0-9_.~=*-]{0,4}){1,4}/?") {
        let slow: BTreeSet<_> = slow(&path);
        prop_assert_eq!(texts(&path), slow);
        let readings = Readings::of(&path);
        prop_assert_eq!(readings.cleaned(), steps::cleaned(&path));
    }

    #[test]
    fn the_cleaned_reading_is_one_of_the_readings(path in hostile_path()) {
        let readings = Readings::of(&path);
        prop_assert!(texts(&path).contains(&*readings.cleaned()), "{}", readings.cleaned());
    }

    #[test]
    fn any_text_is_read_without_a_panic(path in "\\PC{0,60}") {
        prop_assert!(Readings::of(&path).all().len() > 0);
    }
}

proptest! {
    // The naive maker takes milliseconds for each.
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_path_crowded_with_tricks_is_read_in_every_way_or_not_at_all(path in hostile_path_of(12..60)) {
        let (readings, naive) = (Readings::of(&path), naive::readings(&path));
        if readings.is_overlong() {
            // Steps come to the same text by several ways; that counts too, but not for more than half.
            let bytes: usize = naive.iter().map(String::len).sum();
            prop_assert!(naive.len() > Readings::MOST || 2 * bytes > Readings::MOST_BYTES, "{} {bytes}", naive.len());
        } else {
            prop_assert!(naive.len() <= Readings::MOST);
            prop_assert_eq!(texts(&path), naive);
        }
    }
}

pub(crate) mod naive;

use super::*;

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

#[test]
fn a_pattern_is_printed_as_it_can_be_written_again() {
    for (text, printed) in [
        ("/", "/"),
        ("=/", "=/"),
        ("/api", "/api"),
        ("/api/", "/api"),
        ("=/api/x", "=/api/x"),
        ("=/api/x/", "=/api/x"),
        ("/api/*/x", "/api/*/x"),
        ("/*", "/*"),
        ("/*/", "/*"),
        ("/api/openapi.json", "/api/openapi.json"),
        ("/API/Internal", "/API/Internal"),
        ("/my files/café", "/my files/café"),
        ("/.well-known", "/.well-known"),
        ("/v1:batch/@me/~x/a=b", "/v1:batch/@me/~x/a=b"),
    ] {
        assert_eq!(pattern(text).to_string(), printed);
        assert_eq!(pattern(printed), pattern(text));
    }
}

#[test]
fn what_could_only_be_a_slip_is_refused_and_says_what_to_write() {
    for (text, said) in [
        ("", "an empty path pattern"),
        ("=", "starts with `/` (or `=/` for that path alone), found ``"),
        ("api/chat", "starts with `/`"),
        ("*", "starts with `/`"),
        ("==/api", "starts with `/`"),
        (" /api", "starts with `/`"),
        ("http://host/api", "starts with `/`"),
        ("/api/%69nternal", "cannot hold `%`: write the path decoded"),
        ("/api;v=1", "cannot hold `;`"),
        ("/api?x=1", "cannot hold `?`: the query never counts"),
        ("/api#top", "cannot hold `#`"),
        ("/api\\x", "cannot hold `\\`"),
        ("/tasks/{id}", "cannot hold `{`: write `*` for one segment"),
        ("/api\n", "control character (U+000A)"),
        ("/api\u{85}", "control character (U+0085)"),
        ("/api\0", "control character (U+0000)"),
        ("//", "cannot hold `//`"),
        ("//api", "cannot hold `//`"),
        ("/api//chat", "cannot hold `//`"),
        ("/api//", "cannot hold `//`"),
        ("=//", "cannot hold `//`"),
        ("/.", "the segment `.`"),
        ("/api/../x", "the segment `..`"),
        ("/api/..", "the segment `..`"),
        ("/api/**", "one whole segment, found `**`"),
        ("/api/v*", "one whole segment, found `v*`"),
        ("/api/*.json", "one whole segment, found `*.json`"),
        ("/api/chat ", "found `chat `"),
        ("/api/ /x", "found ` `"),
        ("/api/internal.", "found `internal.`"),
        ("/...", "found `...`"),
    ] {
        let error = text.parse::<Pattern>().unwrap_err().to_string();
        assert!(error.contains(said), "{text:?}: {error}");
    }
}

#[test]
fn the_more_specific_pattern_is_greater() {
    // each row is greater than the one below it
    let rows = [
        ("/a/b/c", false),
        ("=/a/b", true),
        ("=/a/b", false),
        ("=/a/*/b", false),
        ("/a/b", true),
        ("/a/b", false),
        ("/a/*/b", true),
        ("/*/*/a/b", false),
        ("=/a", false),
        ("=/*/a", false),
        ("/a", false),
        ("/a/*", true),
        ("/a/*", false),
        ("=/", false),
        ("=/*", false),
        ("/", true),
        ("/", false),
        ("/*", true),
        ("/*/*", false),
    ];
    for pair in rows.windows(2) {
        let [greater, lesser] = [0, 1].map(|i| pattern(pair[i].0).specificity(pair[i].1));
        assert!(greater > lesser, "{pair:?}");
    }
}

#[test]
fn patterns_that_differ_only_in_which_segment_is_literal_tie() {
    assert_eq!(pattern("/a/*/c").specificity(false), pattern("/a/b/*").specificity(false));
    assert_ne!(pattern("/a/*/c").specificity(true), pattern("/a/b/*").specificity(false));
}

#[test]
fn a_pattern_covers_by_whole_segments_alone() {
    for (text, covered, not) in [
        ("/", &["/", "/x", "/x/y", ""][..], &[][..]),
        ("=/", &["/"], &["/x", "//"]),
        ("/api/x", &["/api/x", "/api/x/", "/api/x/y"], &["/api", "/api/", "/api/xy", "/api/X", "/API/x", "/"]),
        ("=/api/x", &["/api/x"], &["/api/x/", "/api/x/y", "/api"]),
        ("/a/*/c", &["/a/b/c", "/a//c", "/a/b/c/d"], &["/a/c", "/a/b", "/a/b/x/c"]),
        ("=/a/*", &["/a/b", "/a/"], &["/a", "/a/b/c"]),
    ] {
        for path in covered {
            assert!(pattern(text).covers(path), "{text} {path}");
        }
        for path in not {
            assert!(!pattern(text).covers(path), "{text} {path}");
        }
    }
}

#[test]
fn a_lowered_pattern_differs_in_case_alone() {
    assert_eq!(pattern("=/API/*/É").lowered(), pattern("=/api/*/é"));
    assert_eq!(pattern("/api").lowered(), pattern("/api"));
}

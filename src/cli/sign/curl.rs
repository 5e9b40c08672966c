//! A signed request as a curl line that can be pasted into a shell.

use super::target::Target;
use crate::signature::headers::SignatureHeaders;

/// The line. What is signed is what curl sends: it is kept from cleaning the path and from reading brackets as patterns.
pub(super) fn line(method: &str, target: &Target, headers: &SignatureHeaders) -> String {
    let mut words = vec!["curl".to_owned()];
    match method {
        "GET" => {}
        // `--request HEAD` would wait for a body.
        "HEAD" => words.push("--head".into()),
        other => words.extend(["--request".into(), quoted(other)]),
    }
    if target.path.contains("/.") || target.path.to_ascii_lowercase().contains("%2e") {
        words.push("--path-as-is".into());
    }
    let url = target.url();
    if url.contains(['[', ']', '{', '}']) {
        words.push("--globoff".into());
    }
    for (name, value) in headers.iter() {
        words.extend(["--header".into(), quoted(&format!("{name}: {value}"))]);
    }
    words.push(quoted(&url));
    words.join(" ")
}

/// As one word of a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

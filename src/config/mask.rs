//! Which parts of a configuration must never be printed?
//!
//! A file may hold, by mistake, what should stand elsewhere: a token where the name of a file belongs, a password inside a
//! URL, a key. Messages show lines of the file, on terminals and in logs. So they show the masked text: what looks
//! like a secret is `*`, byte by byte, and every span stays where it was. Rather too much is masked than too little. Only `key` of a
//! `tls` table (`upstream_tls`, `redis_tls`) is known to name a file: it stays readable, unless what stands there is the key itself.

use std::ops::Range;

/// The text with what may be a secret overwritten, every byte where it was.
pub(super) fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut start = 0;
    let mut in_tls = false;
    for line in text.split_inclusive('\n') {
        if let Some(header) = header(line) {
            in_tls = header.rsplit('.').next().is_some_and(|last| last.trim().ends_with("tls"));
        }
        for secret in secrets(line, in_tls) {
            // Blanks and quotes stay, so that the line still looks like itself.
            for byte in &mut bytes[start + secret.start..start + secret.end] {
                if !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\'') {
                    *byte = b'*';
                }
            }
        }
        start += line.len();
    }
    // Every byte of a character inside a secret was overwritten: the spans end at ASCII.
    String::from_utf8(bytes).unwrap_or_else(|_| "*".repeat(text.len()))
}

/// `inbound.tls` of `[inbound.tls]` and `[[inbound.tls]]`.
fn header(line: &str) -> Option<&str> {
    let line = line.trim_start().strip_prefix('[')?;
    let name = line.strip_prefix('[').unwrap_or(line);
    name.split_once(']').map(|(name, _)| name)
}

/// Where in a line secrets may be. `in_tls`: does it stand in a `[...tls]` table?
fn secrets(line: &str, in_tls: bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // The value of a name that sounds like a secret.
    for (equals, _) in line.match_indices('=') {
        let name = line[..equals].trim_end().trim_end_matches(['"', '\'']);
        let name_start =
            name.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').map_or(0, |i| i + 1);
        let before = line.get(..name_start).unwrap_or_default();
        let name = name.get(name_start..).unwrap_or_default().to_ascii_lowercase().replace('-', "_");
        let value = line[equals + 1..].trim_start();
        let sounds = ["token", "secret", "password", "passwd", "key"].iter().any(|word| name.contains(word));
        let is_place =
            name.ends_with("_file") || name.ends_with("keys") || value.trim_matches(['"', '\'']).starts_with('/');
        let names_a_file = name == "key" && (in_tls || is_inside_tls(before)) && !value.contains("BEGIN");
        if sounds && !is_place && !names_a_file && !value.starts_with("\"redis\"") {
            found.push(equals + 1..line.len());
        }
    }
    // user:password@ of a URL.
    for (scheme, _) in line.match_indices("://") {
        let authority = scheme + 3;
        let text = &line[authority..end_of_text(line, scheme)];
        if let Some(at) = text.rfind('@') {
            found.push(authority..authority + at);
        } else if text.strip_prefix(':').is_some_and(|rest| rest.bytes().any(|b| !b.is_ascii_digit() && b != b'/')) {
            // A password whose host was forgotten.
            found.push(authority..authority + text.trim_end().len());
        }
    }
    // Anything that could be a key.
    let mut run = 0;
    for (index, byte) in line.bytes().chain([b' ']).enumerate() {
        if byte.is_ascii_hexdigit() {
            run += 1;
        } else {
            if run >= 32 {
                found.push(index - run..index);
            }
            run = 0;
        }
    }
    found
}

/// Where the text that a URL stands in ends: at the quote that opened it, else with the line. A password may hold blanks and
/// other quotes.
fn end_of_text(line: &str, scheme: usize) -> usize {
    let before = line[..scheme].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let Some(quote) = before.chars().next_back().filter(|c| matches!(c, '"' | '\'')) else { return line.len() };
    let mut is_escaped = false;
    for (at, c) in line[scheme..].char_indices() {
        if c == quote && !is_escaped {
            return scheme + at;
        }
        is_escaped = c == '\\' && quote == '"' && !is_escaped;
    }
    line.len()
}

/// Does this end inside `tls = {` or with `tls.`?
fn is_inside_tls(before: &str) -> bool {
    if before.ends_with("tls.") {
        return true;
    }
    let Some((name, inside)) = before.rsplit_once('{') else { return false };
    let name = name.trim_end().strip_suffix('=').map(str::trim_end);
    !inside.contains('}') && name.is_some_and(|name| name.ends_with("tls"))
}

#[cfg(test)]
mod tests;

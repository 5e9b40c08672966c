//! [`Query`]: what a request asks behind its `?`. Names that nobody knows, and names said twice, are refused: who misspells a filter must
//! not take the answer to another question for the one to theirs.

/// Decoded, checked, each name at most once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads it; `known`: the names there are.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub(super) fn read(text: Option<&str>, known: &[&str]) -> Result<Query, String> {
        let mut found: Vec<(String, String)> = Vec::new();
        for part in text.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err("The query is not percent-encoded UTF-8.".to_owned());
            };
            if !known.contains(&name.as_str()) {
                let name = name.escape_debug();
                return Err(format!("`{name}` is no question here; there is {}.", listed(known)));
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(format!("`{name}` is said twice."));
            }
            found.push((name, value));
        }
        Ok(Query(found))
    }

    /// The value of this name.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// `?name`, `?name=true`: yes; `?name=false`, or nothing: no.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub(super) fn is_said(&self, name: &str) -> Result<bool, String> {
        match self.value(name) {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(other) => Err(format!("`{name}` is \"{}\"; it is `true` or `false`.", other.escape_debug())),
        }
    }
}

fn listed(known: &[&str]) -> String {
    match known {
        [] => "none".to_owned(),
        _ => known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

/// As forms are encoded: `%XX` is a byte, `+` a space.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Query, String> {
        Query::read(Some(text), &["method", "path"])
    }

    #[test]
    fn values_are_decoded_once() {
        let query = read("method=GET&path=%2fapi%2F%2561+b%C3%A9").unwrap();
        assert_eq!(query.value("method"), Some("GET"));
        assert_eq!(query.value("path"), Some("/api/%61 b\u{e9}"));
        assert_eq!(read("path").unwrap().value("path"), Some(""));
        assert_eq!(read("&&path=a=b&").unwrap().value("path"), Some("a=b"));
        assert_eq!(Query::read(None, &[]).unwrap().value("path"), None);
    }

    #[test]
    fn a_word_by_itself_is_a_yes() {
        for (text, is_said) in
            [("path", true), ("path=", true), ("path=true", true), ("path=false", false), ("", false)]
        {
            assert_eq!(read(text).unwrap().is_said("path"), Ok(is_said), "{text}");
        }
        assert!(read("path=1").unwrap().is_said("path").is_err());
    }

    #[test]
    fn what_is_unknown_repeated_or_broken_is_refused() {
        for wrong in ["x=1", "METHOD=GET", "method=a&method=b", "path=%", "path=%4", "path=%zz", "path=%ff", "%zz=1"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(Query::read(Some("x=1"), &[]).unwrap_err().contains("there is none"));
    }
}

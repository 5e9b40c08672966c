//! A URL, as far as signing goes: where it leads, and the path as it goes on the wire.

/// A URL taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Scheme and authority, `http://host:port`; absent when only a path was given.
    pub(super) origin: Option<String>,
    /// The path on the wire, at least `/`.
    pub(super) path: String,
    /// The query on the wire, without `?`.
    pub(super) query: Option<String>,
}

/// Why a text is no URL that can be signed for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetFault {
    /// No scheme, no leading slash.
    #[error("{0:?} is no URL; expected http://host:port/path, or a path that begins with /")]
    NotAUrl(String),
    /// `ftp://...`
    #[error("the scheme {0:?} is not signed for; expected http or https")]
    Scheme(String),
    /// `http:///path`
    #[error("{0:?} names no host; expected http://host:port/path")]
    NoHost(String),
}

impl Target {
    /// Takes a URL apart. What a request line cannot hold is written as `%XX`; a fragment never goes on the wire.
    pub(super) fn parse(url: &str) -> Result<Target, TargetFault> {
        let (origin, rest) = match url.split_once("://") {
            _ if url.starts_with('/') => (None, url),
            None => return Err(TargetFault::NotAUrl(url.to_owned())),
            Some((scheme, _)) if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
                return Err(TargetFault::Scheme(scheme.to_owned()));
            }
            Some((_, rest)) if rest.is_empty() || rest.starts_with(['/', '?', '#']) => {
                return Err(TargetFault::NoHost(url.to_owned()));
            }
            Some((scheme, rest)) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                (Some(format!("{scheme}://{}", &rest[..end])), &rest[end..])
            }
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(escaped(query))),
            None => (rest, None),
        };
        let path = if path.is_empty() { "/".to_owned() } else { escaped(path) };
        Ok(Target { origin, path, query })
    }

    /// The whole URL, as it is requested.
    pub(super) fn url(&self) -> String {
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}{}{query}", self.origin.as_deref().unwrap_or_default(), self.path)
    }
}

/// What a request line cannot hold, or no two servers read alike, as `%XX`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'`' | ..=b' ' | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            plain => out.push(char::from(plain)),
        }
    }
    out
}

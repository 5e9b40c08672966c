//! `GET /v1/openapi.json`: what is there to be asked? The file beside this one, OpenAPI 3.1, as it stands.
//!
//! Tests hold it against the table of paths here, and against the running program with generated requests
//! (`tests/integration/admin_socket/description.rs`).

use super::answer::{Answer, json_text};
use hyper::StatusCode;

/// The description.
pub(super) fn description() -> Answer {
    json_text(StatusCode::OK, TEXT.into())
}

const TEXT: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use super::super::routes::TABLE;
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn every_path_and_method_is_described_and_nothing_else() {
        let description: Value = serde_json::from_str(TEXT).unwrap();
        let described: BTreeSet<String> = description["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                methods.map(move |method| format!("{} {path}", method.to_ascii_uppercase()))
            })
            .collect();
        let served: BTreeSet<String> = TABLE
            .iter()
            .flat_map(|(path, methods)| methods.iter().map(move |(method, _)| format!("{method} {path}")))
            .collect();
        assert_eq!(described, served);
    }

    #[test]
    fn it_is_of_this_version() {
        let description: Value = serde_json::from_str(TEXT).unwrap();
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}

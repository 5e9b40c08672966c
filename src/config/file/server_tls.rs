//! `tls` of an inbound listener, as it is written.

use crate::config::ServerTls;
use crate::config::diagnostic::Diagnostic;
use crate::config::problems::Setting;
use crate::config::table::Table;
use std::path::PathBuf;

/// `tls`, as written.
#[derive(Debug, Clone)]
pub(in crate::config) struct FileServerTls {
    cert: Option<Setting<PathBuf>>,
    key: Option<Setting<PathBuf>>,
    client_ca: Option<Setting<PathBuf>>,
    client_required: bool,
}

const CLIENT: [(&str, bool); 2] = [("required", true), ("optional", false)];

impl FileServerTls {
    /// The files it names.
    pub(in crate::config) fn files(&self) -> impl Iterator<Item = &Setting<PathBuf>> {
        [&self.cert, &self.key, &self.client_ca].into_iter().flatten()
    }

    /// The checked shape; `None` for half of one, which was reported.
    pub(in crate::config) fn checked(&self) -> Option<ServerTls> {
        let path = |file: &Option<Setting<PathBuf>>| file.as_ref().map(|file| file.value.clone());
        Some(ServerTls {
            cert: path(&self.cert)?,
            key: path(&self.key)?,
            client_ca: path(&self.client_ca),
            client_required: self.client_required,
        })
    }
}

pub(super) fn read(mut table: Table<'_>) -> Option<FileServerTls> {
    let cert = table.path("cert");
    let key = table.path("key");
    let client_ca = table.path("client_ca");
    let client = table.word("client", &CLIENT);
    if table.is_present() {
        table.missing("cert", "`cert = \"...\"`: the listener's certificate and those between it and its CA, in PEM");
        table.missing("key", "`key = \"...\"`: its private key in PEM, readable by the sidecar alone");
        if let Some(client) = client.as_ref().filter(|_| client_ca.is_none()) {
            let message =
                format!("`{}` says nothing without `client_ca`: no certificate is asked for", table.full("client"));
            let problem = Diagnostic::error(&client.place, message).expected("`client_ca = \"...\"` beside it");
            table.problems().add(problem.fix("say who may vouch for clients, or leave `client` out"));
        }
    }
    let present = table.is_present();
    table.finish();
    let client_required = client.is_none_or(|client| client.value);
    present.then_some(FileServerTls { cert, key, client_ca, client_required })
}

//! The certificates and keys that a configuration names: are they there, and are they any good?
//!
//! Every file of every listener and upstream is read, and every problem stands where the file was named. Each listener
//! that asks for no client certificates is a warning where a service is bound to one: the binding says nothing there.

use super::check::Purpose;
use super::diagnostic::{Diagnostic, Place};
use super::file::FileConfig;
use super::problems::{Problems, Setting};
use super::{ClientTls, Config, Inbound};
use crate::clock;
use crate::keys::secret_file::{SecretFileFault, SecretReader};
use crate::tls::TlsMaterials;
use crate::tls::files::FileFault;
use crate::tls::material::{Findings, Loader};
use std::path::{Path, PathBuf};

/// Where each file was named.
pub(super) struct TlsSaid(Vec<Setting<PathBuf>>);

impl TlsSaid {
    pub(super) fn of(file: &FileConfig) -> TlsSaid {
        TlsSaid(file.tls_files().cloned().collect())
    }

    fn place(&self, path: &Path) -> Place {
        let said = self.0.iter().find(|said| said.value == path);
        said.map_or_else(|| Place::Path(path.to_owned()), |said| said.place.clone())
    }

    fn note(&self, findings: Findings, purpose: Purpose, problems: &Problems) {
        for fault in findings.faults {
            let place = self.place(&fault.path);
            // What certificates are there is up to other programs; a configuration can be checked before they have run.
            let is_absent = match &fault.what {
                FileFault::Missing | FileFault::Secret(SecretFileFault::Missing) => true,
                FileFault::Io(_)
                | FileFault::NotRegular
                | FileFault::TooLarge
                | FileFault::Secret(_)
                | FileFault::Broken(_)
                | FileFault::NoCertificate
                | FileFault::NotACertificate(_)
                | FileFault::NoKey
                | FileFault::UnusableKey(_)
                | FileFault::KeyMismatch { .. }
                | FileFault::NotACa { .. }
                | FileFault::NoSystemCa
                | FileFault::Tls(_) => false,
            };
            problems.add(if is_absent && purpose == Purpose::Check {
                Diagnostic::warning(&place, format!("{fault} (on this machine)"))
            } else {
                Diagnostic::error(&place, fault.to_string())
            });
        }
        for remark in findings.remarks {
            let problem = Diagnostic::warning(&self.place(remark.path()), remark.to_string());
            problems.add(problem.fix("renew it; the new files are taken up by themselves"));
        }
    }
}

/// Everything that the configuration presents and trusts; nothing where only its text is looked at.
pub(super) fn load(config: &Config, said: &TlsSaid, purpose: Purpose, problems: &Problems) -> TlsMaterials {
    asked_everywhere(config, problems);
    if purpose == Purpose::Inspect {
        return TlsMaterials::default();
    }
    let mut loader = Loader::new(SecretReader::of_process(), clock::unix_seconds());
    for tls in config.inbound.iter().filter_map(|inbound| inbound.tls.as_ref()) {
        said.note(loader.server(tls), purpose, problems);
    }
    let upstreams =
        config.sides().flat_map(|side| config.upstreams(side)).filter_map(|upstream| upstream.tls.as_deref());
    let redis = config.keys.redis.as_ref().and_then(|redis| redis.tls.as_ref());
    let clients: Vec<&ClientTls> = upstreams.chain(redis).collect();
    for tls in clients {
        said.note(loader.client(tls), purpose, problems);
    }
    loader.materials()
}

/// A service that is bound to a certificate can call every listener that asks for none without it.
fn asked_everywhere(config: &Config, problems: &Problems) {
    let bound = config.services.iter().filter(|(_, service)| service.certificate.is_some());
    let bound: Vec<String> = bound.map(|(id, _)| format!("`services.{id}.certificate`")).collect();
    if bound.is_empty() {
        return;
    }
    let asks = |inbound: &Inbound| inbound.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    for inbound in config.inbound.iter().filter(|inbound| !asks(inbound)) {
        let (names, listen) = (bound.join(", "), &inbound.listen);
        let message =
            format!("on {listen} nothing is asked of {names}: that listener asks for no client certificates");
        let problem = Diagnostic::warning(&Place::Nowhere, message);
        problems.add(problem.fix("add `client_ca` to its `tls`, or let nobody else reach it"));
    }
}

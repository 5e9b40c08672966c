//! `validate URL`: does a running system do what its rules say? Asked from outside, as its callers do.
//!
//! 1. `plan` makes the requests out of the rules; none of them does anything where it gets through.
//! 2. The first of them tells whether a sidecar is there at all. If nobody answers, that is the answer (exit 3).
//! 3. Where the sidecar's admin socket is within reach it says what is in force, and the rest is *announced* to it
//!    (`policy::probes`): counted nowhere, but for the malformed one, whose head nothing can be read from. Else they count like anybody's, and no more of them are sent than stay under the failure limit.
//! 4. `judge` makes a row of each answer. Rows of their own: the upstream's health, how long keys last, whether clocks agree.
//!
//! What it does not do: look at configuration files of other machines, or change anything. `explain` asks the rules, `verify` one
//! signature, `preflight` the time that has passed; this asks the thing itself.

mod announce;
mod budget;
mod client;
mod judge;
mod keys;
mod plan;
mod probing;
mod standing;
mod surroundings;
mod table;

use super::args::ConfigArgs;
use super::key_source;
use super::output::{Answer, CliError, Output};
use crate::clock;
use crate::config::{ClientTls, Config, Upstream, url_argument};
use crate::keys::secret_file::SecretReader;
use crate::policy::enforcement::Mode;
use crate::rules::percentage::Percentage;
use crate::signature::key::ServiceId;
use crate::tls::TlsMaterials;
use crate::tls::material::Loader;
use data_encoding::HEXLOWER;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

const AFTER_HELP: &str = "\
It harms nothing: GET on paths that cannot exist below the guarded ones, no body, a few requests a second. Where the
sidecar's admin socket is within reach its probes are announced, and counted nowhere; else they count as anybody's do,
and no more are sent than stay under the failure limit (--spread waits instead).

A rule that covers no method without effects (POST alone) is asked by one of its own, without a body, on a path that
cannot exist; --safe-only leaves such rules out.

Examples:
  countersign validate http://127.0.0.1:8001
  countersign validate https://172.16.168.20:8443 --config autobot.toml --ca ca.pem --mode log
  countersign validate http://172.16.168.20:8001 --service npu-worker --key-file npu-worker.env --expect-enforced

Exit codes: 0 everything that could be tried is as it should be; 1 something is not; 2 usage or configuration;
3 nobody answers there.";

/// `countersign validate`
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    /// Whose rules.
    pub config: ConfigArgs,
    /// Where the guarded system is reached, `http://host:port` or `https://host:port`
    #[arg(value_name = "URL", value_parser = url_argument)]
    pub url: Upstream,
    /// Call as this service alone (repeatable) [default: every service whose key can be read here]
    #[arg(long, value_name = "ID")]
    pub service: Vec<String>,
    /// Key file to sign with, beside those of the configuration
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// What is in force there, `log` or `N%` [default: as the admin socket says, else the configuration]
    #[arg(long, value_name = "MODE", value_parser = mode_argument)]
    pub mode: Option<(Mode, Percentage)>,
    /// Fail where a refusal is not carried out, in log mode too
    #[arg(long)]
    pub expect_enforced: bool,
    /// Send nothing but GET, HEAD and OPTIONS
    #[arg(long)]
    pub safe_only: bool,
    /// Try the right override token too: the one in this file
    #[arg(long, value_name = "FILE")]
    pub override_token_file: Option<PathBuf>,
    /// Who may vouch for an https:// URL, PEM [default: whoever the system trusts]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Certificate to show where the listener asks for one, PEM
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// Admin socket of the sidecar behind the URL, or "off" [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Not announced: send everything, a few refused requests per window of the failure limit; takes minutes
    #[arg(long)]
    pub spread: bool,
    /// How long an answer may take
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration_argument, default_value = "10s")]
    pub timeout: Duration,
}

/// `log`, `enforce` or `25%`.
fn mode_argument(text: &str) -> Result<(Mode, Percentage), String> {
    let expected = || "expected log, enforce, or a percentage like 25%".to_owned();
    match text {
        "log" => Ok((Mode::Log, Percentage::FULL)),
        "enforce" => Ok((Mode::Enforce, Percentage::FULL)),
        other => {
            let number = other.strip_suffix('%').and_then(|number| number.parse().ok()).and_then(Percentage::new);
            Ok((Mode::Enforce, number.ok_or_else(expected)?))
        }
    }
}

/// Everything a run needs that was read beforehand.
struct Wishes {
    /// As a person reads it.
    url: String,
    upstream: Upstream,
    config: Config,
    ring: keys::Ring,
    /// The services that are tried.
    callers: Vec<ServiceId>,
    override_token: Option<Zeroizing<String>>,
    args: Args,
}

/// Asks, and prints what came back.
///
/// # Errors
/// When there are no rules to ask by, or nobody answers.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let (wishes, run) = asked(args)?;
    let report = table::Report {
        url: &wishes.url,
        standing: &run.standing,
        announced: run.announced,
        notes: &run.notes,
        rows: &run.rows,
    };
    if output.is_json() {
        output.json(&report.to_json())?;
    } else {
        output.text(report.to_text(output.is_colourful()))?;
    }
    Ok(if report.has_failed() { Answer::No } else { Answer::Done })
}

/// What came of asking one path.
pub(super) struct PathAsked {
    /// An exempt path, else a service path without a signature.
    pub(super) is_exempt: bool,
    /// `None`: nobody can say.
    pub(super) good: Option<bool>,
    /// Which, and what was answered.
    pub(super) words: String,
}

/// The same for others: exempt paths, and service paths without a signature.
///
/// # Errors
/// As [`run`]; also when the sidecar takes no announcement: what is asked here must count nowhere.
pub(super) fn paths(config: ConfigArgs, url: Upstream, socket: PathBuf) -> Result<Vec<PathAsked>, CliError> {
    let args = Args {
        config,
        url,
        service: Vec::new(),
        key_file: None,
        mode: None,
        expect_enforced: false,
        safe_only: false,
        override_token_file: None,
        ca: None,
        client_cert: None,
        client_key: None,
        socket: Some(socket),
        spread: false,
        timeout: PATIENCE,
    };
    let (_, run) = asked(args)?;
    let path = |row: judge::Row| {
        let is_exempt = row.check == plan::Check::Exempt.name();
        if !is_exempt && row.check != plan::Check::Unsigned.name() {
            return None;
        }
        let good = match row.result {
            judge::Judgement::Passed => Some(true),
            judge::Judgement::Failed => Some(false),
            judge::Judgement::Unknown => None,
        };
        let request = row.request.unwrap_or(row.subject);
        Some(PathAsked { is_exempt, good, words: format!("{request}: {}", row.detail) })
    };
    if !run.announced {
        let why = run.notes.first().map_or("the sidecar takes no announcement", String::as_str);
        return Err(CliError::Failed(why.to_owned()));
    }
    Ok(run.rows.into_iter().filter_map(path).collect())
}

/// How long an answer may take, when nobody says.
const PATIENCE: Duration = Duration::from_secs(10);

fn asked(args: Args) -> Result<(Wishes, probing::Run), CliError> {
    let Some(config) = key_source::configuration(&args.config)? else {
        let path = args.config.path().display();
        return Err(CliError::Usage(format!(
            "there is no {path}; name the configuration of the sidecar behind the URL with --config"
        )));
    };
    let services = service_ids(&args.service)?;
    let named = args.key_file.as_deref().map(|path| (path, services.first().cloned()));
    let ring = keys::gather(named, &args.config, &config)?;
    if let Some(id) = services.iter().find(|id| ring.key(id).is_none()) {
        return Err(CliError::Usage(format!("no key of {id} can be read here; name its file with --key-file")));
    }
    let callers = if services.is_empty() { ring.ids().to_vec() } else { services };
    let override_token = args.override_token_file.as_deref().map(override_token).transpose()?;
    let (upstream, tls) = reached_by(&args)?;
    let url = format!("{}://{upstream}", upstream.scheme());
    let ttl = keys::time_to_live(&args.config, if args.service.is_empty() { &[] } else { &callers })?;
    let client = client::Client::new(upstream.clone(), tls, args.timeout);
    let wishes = Wishes { url, upstream, config, ring, callers, override_token, args };
    let mut run = key_source::block_on(probing::run(&wishes, &client))?;
    run.rows.extend(ttl);
    Ok((wishes, run))
}

fn service_ids(texts: &[String]) -> Result<Vec<ServiceId>, CliError> {
    let id = |text: &String| {
        ServiceId::parse(text).ok_or_else(|| {
            CliError::Usage(format!(
                "{text:?} is no service id; expected 1 to 64 of A-Z a-z 0-9 . _ - beginning with a letter or digit"
            ))
        })
    };
    texts.iter().map(id).collect()
}

fn override_token(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let fault = |what: String| CliError::Usage(format!("{}: {what}", path.display()));
    let text = SecretReader::of_process().read(path).map_err(|error| fault(error.to_string()))?;
    let token = text.trim().to_owned();
    let is_printable = token.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if token.is_empty() || !is_printable {
        return Err(fault("holds no override token".to_owned()));
    }
    Ok(Zeroizing::new(token))
}

/// Where the requests go, and what is needed to believe who answers.
fn reached_by(args: &Args) -> Result<(Upstream, TlsMaterials), CliError> {
    let mut upstream = args.url.clone();
    let identity = args.client_cert.clone().zip(args.client_key.clone());
    if upstream.tls.is_none() {
        if args.ca.is_some() || identity.is_some() {
            return Err(CliError::Usage("--ca and --client-cert are for https:// URLs".to_owned()));
        }
        return Ok((upstream, TlsMaterials::default()));
    }
    let tls = ClientTls { ca: args.ca.clone(), name: None, identity };
    let mut loader = Loader::new(SecretReader::of_process(), clock::unix_seconds());
    let findings = loader.client(&tls);
    if let Some(fault) = findings.faults.first() {
        return Err(CliError::Usage(fault.to_string()));
    }
    upstream.tls = Some(Arc::new(tls));
    Ok((upstream, loader.materials()))
}

/// A word that stands in no real path.
fn made_up_word() -> Result<String, CliError> {
    let bytes = clock::random_bytes::<6>().map_err(|error| CliError::Failed(format!("no random bytes: {error}")))?;
    Ok(format!("countersign-validate-{}", HEXLOWER.encode(&bytes)))
}

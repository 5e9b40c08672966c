//! `sign`: the headers of a signed request, or a ready curl line.
//!
//! Signs exactly as an outbound listener would: the path of the URL as it goes on the wire, decoded, without its query. The
//! key comes from a file, the configuration or the environment, never from an argument, and is never printed.

mod curl;
mod target;

use super::args::ConfigArgs;
use super::key_source;
use super::output::{Answer, CliError, Output};
use crate::clock;
use crate::config::check;
use crate::config::env::Environment;
use crate::config::{Keys, OwnKey, ServiceIdentity};
use crate::keys::key_file::{KeyFile, service_of};
use crate::keys::secret_file::SecretReader;
use crate::signature::headers::SignatureHeaders;
use crate::signature::hmac_v1::{self, SignedPaths, signed_text};
use crate::signature::key::{ServiceId, ServiceKey};
use std::path::{Path, PathBuf};
use target::Target;

const AFTER_HELP: &str = "\
The key comes from --key-file, else from the [service] or the [keys].dir of the configuration, else from the environment
(SERVICE_ID with SERVICE_KEY_FILE or SERVICE_KEY). A signature is good for the window of whoever verifies it, 300
seconds as a rule.

Examples:
  countersign sign POST http://127.0.0.1:8001/api/npu/results/42 --curl
  countersign sign GET /api/internal/status --key-file /etc/countersign/keys/npu-worker.env
  countersign sign GET http://127.0.0.1:8001/api/internal --service ai-stack --json";

/// `countersign sign`
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    /// Which file.
    pub config: ConfigArgs,
    /// Method of the request; upper and lower case are different methods
    pub method: String,
    /// URL of the request, or its path alone
    pub url: String,
    /// Sign as this service [default: the key file's or the configuration's]
    #[arg(long, value_name = "ID")]
    pub service: Option<String>,
    /// Key file to sign with, `NAME=value` lines with SERVICE_KEY
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Sign for this time, in Unix seconds [default: now]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=999_999_999_999))]
    pub timestamp: Option<u64>,
    /// Print a ready curl line instead of the headers
    #[arg(long)]
    pub curl: bool,
}

/// Answers the verb.
///
/// # Errors
/// When there is no key to sign with, or nothing that could be signed.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    let target = Target::parse(&args.url).map_err(|fault| CliError::Usage(fault.to_string()))?;
    if args.method.is_empty() || !args.method.bytes().all(is_token) {
        let found = &args.method;
        return Err(CliError::Usage(format!("{found:?} is no method; expected a word like GET or POST")));
    }
    let line = match (args.curl, &target.origin) {
        (true, None) => {
            return Err(CliError::Usage("--curl needs a whole URL, such as http://127.0.0.1:8001/path".into()));
        }
        (curl, _) => curl,
    };
    let signer = signer(&args)?;
    let time = args.timestamp.unwrap_or_else(clock::unix_seconds);
    let headers = hmac_v1::sign(&signer.key, &signer.id, &args.method, &target.path, time);
    if output.is_json() {
        output.json(&as_json(&args.method, &target, &signer, &headers))?;
    } else if line {
        output.text(curl::line(&args.method, &target, &headers))?;
    } else {
        output.text(&headers)?;
    }
    Ok(Answer::Done)
}

fn as_json(method: &str, target: &Target, signer: &Signer, headers: &SignatureHeaders) -> serde_json::Value {
    let fields: serde_json::Map<_, _> = headers.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let path = SignedPaths::of(&target.path);
    let mut answer = serde_json::json!({
        "headers": fields,
        "signed_text": signed_text(&headers.service_id, method, path.decoded(), &headers.timestamp),
        "key": signer.key.fingerprint().to_string(),
    });
    if target.origin.is_some() {
        answer["curl"] = curl::line(method, target, headers).into();
    }
    answer
}

/// Who signs.
struct Signer {
    id: ServiceId,
    key: ServiceKey,
}

fn signer(args: &Args) -> Result<Signer, CliError> {
    let wanted = match &args.service {
        None => None,
        Some(text) => Some(ServiceId::parse(text).ok_or_else(|| {
            CliError::Usage(format!(
                "{text:?} is no service id; expected 1 to 64 of A-Z a-z 0-9 . _ - beginning with a letter or digit"
            ))
        })?),
    };
    if let Some(path) = &args.key_file {
        return from_file(path, wanted);
    }
    let config = key_source::configuration(&args.config)?;
    let (keys, own) = match config {
        Some(config) => (config.keys, config.service),
        None => (Keys::default(), from_environment()?),
    };
    let service = match (wanted, own) {
        (None, Some(own)) => own,
        (Some(id), Some(own)) if own.id == id => own,
        (Some(id), _) => ServiceIdentity { id, key: OwnKey::Directory },
        (None, None) => {
            return Err(CliError::Usage(
                "nobody to sign as; name a --service ID, a --key-file FILE, or set [service].id".into(),
            ));
        }
    };
    match key_source::signing_key(&keys, &service)? {
        Some(key) => Ok(Signer { id: service.id, key }),
        None => Err(CliError::Usage(format!(
            "there is no key for {id} in {place}; make one with `countersign keys generate {id}`, or name a --key-file",
            id = service.id,
            place = key_source::place_of(&keys, &service.key)
        ))),
    }
}

/// The id is the one asked for, the one the file says, or the one it is named for.
fn from_file(path: &Path, wanted: Option<ServiceId>) -> Result<Signer, CliError> {
    let fault = |fault| CliError::Usage(format!("{}: {fault}", path.display()));
    let file = KeyFile::read(&SecretReader::of_process(), path).map_err(fault)?;
    let id = match (wanted, &file.id) {
        (Some(id), _) => id,
        (None, Some(id)) => id.clone(),
        (None, None) => service_of(path).map_err(|_| {
            CliError::Usage(format!("{}: does not say whose key it is; add --service ID", path.display()))
        })?,
    };
    Ok(Signer { id: id.clone(), key: file.is_of(&id).map_err(fault)?.key })
}

/// What the fleet's environment says of this service, where there is no configuration.
fn from_environment() -> Result<Option<ServiceIdentity>, CliError> {
    check::identity(&Environment::of_process()).map_err(|problems| CliError::Configuration(Box::new(problems)))
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;

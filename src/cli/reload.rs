//! `countersign reload`: load the configuration anew, whole or not at all.

use super::control::{SidecarArgs, sudo_user};
use super::enforce::add;
use super::output::{Answer, CliError, Output};
use clap::Args as ClapArgs;
use hyper::Method;
use serde_json::json;

/// Lets an edited configuration take effect; a bad one changes nothing, and its problems are printed.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// Asks for it and says what came of it.
///
/// # Errors
/// When the configuration is refused, or the sidecar cannot be reached.
pub fn run(args: Args, output: &Output) -> Result<Answer, CliError> {
    // The configuration that says where the socket is may be the one that is broken.
    let mut body = json!({});
    add(&mut body, "sudo_user", sudo_user());
    let told = args.sidecar.find_whole()?.done(&Method::POST, "/v1/reload", Some(&body))?;
    if output.is_json() {
        output.json(&told)?;
    } else {
        output.text(format!("reloaded: generation {}", told["generation"]))?;
        let keys: Vec<&str> =
            told["needs_restart"].as_array().into_iter().flatten().filter_map(|key| key.as_str()).collect();
        if !keys.is_empty() {
            output.text(format!("needs a restart to take effect: {}", keys.join(", ")))?;
        }
    }
    Ok(Answer::Done)
}

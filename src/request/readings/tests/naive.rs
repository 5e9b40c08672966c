//! The same from the words of the contract, by trying every subset, with nothing shared but the decoder.

use super::*;

pub(super) fn readings(raw: &str) -> BTreeSet<String> {
    forms(raw).into_iter().map(|(text, _)| text).collect()
}

/// Each text, and whether lower-casing was part of how it was made.
pub(crate) fn forms(raw: &str) -> BTreeSet<(String, bool)> {
    let mut all = BTreeSet::new();
    for subset in 0..1_u16 << Step::ALL.len() {
        let steps: Vec<Step> = Step::ALL
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| subset & 1 << bit != 0)
            .map(|(_, step)| step)
            .collect();
        let has = |step| steps.contains(&step);
        let orphan = (has(Step::DotsFirst) && !has(Step::Decode))
            || (has(Step::DotsBetween) && !has(Step::DecodeAgain))
            || (has(Step::DecodeAgain) && !has(Step::Decode));
        if !orphan {
            all.insert((made(raw, &steps), has(Step::Lower)));
        }
    }
    all
}

pub(super) fn made(raw: &str, steps: &[Step]) -> String {
    steps.iter().fold(raw.to_owned(), |text, step| after(*step, &text))
}

fn after(step: Step, text: &str) -> String {
    let segments = text.split('/');
    match step {
        Step::DotsFirst | Step::DotsBetween | Step::Dots => resolved(text),
        Step::Decode | Step::DecodeAgain => crate::request::decode::percent_decoded(text).into_owned(),
        Step::Controls => text.chars().filter(|char| !char.is_control()).collect(),
        Step::Backslashes => text.split('\\').collect::<Vec<_>>().join("/"),
        Step::Parameters => segments.map(|s| s.split(';').next().unwrap()).collect::<Vec<_>>().join("/"),
        Step::Slashes => {
            let mut text = text.to_owned();
            while text.contains("//") {
                text = text.replace("//", "/");
            }
            text
        }
        Step::Trailing => {
            let cut = segments.map(|s| s.trim_end_matches(['.', ' '])).collect::<Vec<_>>().join("/");
            let short = cut.trim_end_matches('/');
            if short.is_empty() { "/".to_owned() } else { short.to_owned() }
        }
        Step::Lower => text.chars().flat_map(char::to_lowercase).collect(),
    }
}

/// RFC 3986, 5.2.4, letter by letter.
fn resolved(text: &str) -> String {
    let (mut input, mut output) = (text.to_owned(), String::new());
    while !input.is_empty() {
        if input.starts_with("/./") || input == "/." {
            input = format!("/{}", input.get(3..).unwrap_or_default());
        } else if input.starts_with("/../") || input == "/.." {
            input = format!("/{}", input.get(4..).unwrap_or_default());
            output.truncate(output.rfind('/').unwrap_or(0));
        } else {
            let end = input[1..].find('/').map_or(input.len(), |end| end + 1);
            output.push_str(&input[..end]);
            input = input[end..].to_owned();
        }
    }
    output
}

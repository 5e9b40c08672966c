//! The rows as a table for people, and where to go on with `--stay`.

use super::cases::RESULTS;
use super::judge::Row;
use super::setup::Addresses;
use std::fmt::Write as _;

const HEADINGS: [&str; 5] = ["CASE", "REQUEST", "ANSWER", "RECORDED", "BACKEND SAW"];
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// The table and its verdict.
pub(super) fn render(rows: &[Row], colour: bool) -> String {
    let cells: Vec<[String; 5]> = rows.iter().map(cells).collect();
    let width =
        |at: usize| cells.iter().map(|row| row[at].len()).chain([HEADINGS[at].len()]).max().unwrap_or_default();
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    let mut line = |mark: &str, cells: [&str; 5]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "{mark} {}", padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    line("  ", HEADINGS);
    let (good, bad) = if colour {
        (format!("{GREEN}ok{PLAIN}"), format!("{RED}NO{PLAIN}"))
    } else {
        ("ok".to_owned(), "NO".to_owned())
    };
    for (row, cells) in rows.iter().zip(&cells) {
        line(if row.as_promised { &good } else { &bad }, cells.each_ref().map(String::as_str));
        for difference in &row.differs {
            line("  ", [&format!("  {difference}"), "", "", "", ""]);
        }
    }
    let kept = rows.iter().filter(|row| row.as_promised).count();
    let _ = write!(text, "\n{kept} of {} requests came out as the contract says.", rows.len());
    text
}

fn cells(row: &Row) -> [String; 5] {
    let answer = format!("{} {}", row.status, row.told.as_deref().unwrap_or_default());
    let mut recorded = row.recorded("outcome").unwrap_or("nothing").to_owned();
    // Where the record says what the caller was told, once is enough.
    if let Some(reason) = row.recorded("reason").filter(|reason| row.told.as_deref() != Some(*reason)) {
        let _ = write!(recorded, ": {reason}");
    }
    if let Some(cause) = row.recorded("cause") {
        let _ = write!(recorded, " ({cause})");
    }
    let saw = match row.arrived.as_slice() {
        [] => "-".to_owned(),
        [seen] => seen.authenticated_service.clone().unwrap_or_else(|| "nobody proved".to_owned()),
        several => format!("{} requests", several.len()),
    };
    [row.case.to_owned(), format!("{} {}", row.method, row.target), answer, recorded, saw]
}

/// What can be tried while it stays. `signature`: the header lines of a signature made now.
pub(super) fn invitation(addresses: &Addresses, signature: &str) -> String {
    let Addresses { guarded, signing, forward_proxy, backend, admin, directory } = addresses;
    let directory = directory.display();
    let signature: String = signature.lines().fold(String::new(), |mut text, line| {
        let _ = write!(text, " -H '{line}'");
        text
    });
    format!(
        "
It stays until Ctrl-C, in mode enforce.

  guarded    http://{guarded}
  signing    http://{signing} (signs as npu-worker, and sends to the guarded address)
             http://{forward_proxy} (the same as HTTP_PROXY)
  backend    http://{backend} (not guarded: compare)
  admin      http://{admin}/metrics /healthz /readyz
  records    {directory}/audit.jsonl, and what left in outbound.jsonl
  edit       {directory}/countersign.toml (mode = \"log\" takes effect at once)

A browser's path; a guarded path; the same with the override token; the same signed (for the next 5 minutes):

  curl -i http://{guarded}/api/chat/1
  curl -i -X POST http://{guarded}{RESULTS}
  curl -i -X POST -H @{directory}/override-header http://{guarded}{RESULTS}
  curl -i -X POST{signature} http://{guarded}{RESULTS}

A program that knows nothing of signatures, through the signing sidecar: with another base URL; with a proxy:

  curl -i -X POST http://{signing}{RESULTS}
  curl -i -X POST -x http://{forward_proxy} http://{guarded}{RESULTS}

Ask before you send, and watch what is recorded:

  countersign explain --config {directory}/countersign.toml POST {RESULTS}
  tail -f {directory}/audit.jsonl
"
    )
}

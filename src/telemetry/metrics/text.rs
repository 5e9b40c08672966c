//! [`plain_text`]: the same numbers for a scraper that reads only the older Prometheus text format.
//!
//! OpenMetrics names a counter's family without `_total`, the older format with it; the older one knows no `# UNIT` and
//! needs no `# EOF`. Nothing else differs in what we write.

/// Rewrites what [`Metrics::openmetrics`](super::Metrics::openmetrics) wrote.
pub fn plain_text(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len() + 1_024);
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // written once the type is known
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take() {
                out.extend(["# HELP ", name, suffix, " ", text, "\n"]);
            }
            out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            out.extend([line, "\n"]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_counters_get_their_suffix_and_nothing_else_changes() {
        let openmetrics = "# HELP a Help a.\n# TYPE a counter\n# UNIT a x\na_total{x=\"1\"} 1\n# HELP b B\n# TYPE b gauge\nb 2\n# EOF\n";
        let plain =
            "# HELP a_total Help a.\n# TYPE a_total counter\na_total{x=\"1\"} 1\n# HELP b B\n# TYPE b gauge\nb 2\n";
        assert_eq!(plain_text(openmetrics), plain);
    }
}

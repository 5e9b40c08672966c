//! Announced tests stay out of every figure but their own.

use super::*;

#[test]
fn an_announced_probe_is_counted_by_itself_and_nowhere_else() {
    let metrics = Metrics::new(2, ["known"]);
    let before = series(&metrics);
    for presents in [Presents::Nothing, Presents::Claims("known"), Presents::Override("wrong"), Presents::BadId] {
        let probe = Decision { is_probe: true, ..service(ENFORCE, presents) };
        metrics.worker(0).decided(&probe, Some("known"), 1_000, Instant::now());
    }
    let changed = series(&metrics).into_iter().filter(|(name, value)| before.get(name) != Some(value));
    assert_eq!(changed.collect::<Vec<_>>(), [("countersign_probes_total".to_owned(), 4.0)]);
}

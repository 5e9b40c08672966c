//! [`DrawnWindow`]: the actual percentage: which share of recent service-class requests was drawn in.
//!
//! A state machine over the cumulative counts, fed when metrics are read: no timer runs. The share is over the time since
//! the reading that is [`WINDOW`] old, or since the oldest one there is. Without a request in that time there is no
//! share, and none is made up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Past readings: when, drawn in, drawn out.
#[derive(Debug, Default)]
pub(super) struct DrawnWindow {
    readings: VecDeque<(Instant, u64, u64)>,
}

impl DrawnWindow {
    /// Takes a reading; the share in percent since the beginning of the window.
    pub(super) fn read(&mut self, now: Instant, drawn_in: u64, drawn_out: u64) -> Option<f64> {
        // the newest reading that is old enough is where the window begins
        while self.readings.get(1).is_some_and(|(then, ..)| now.saturating_duration_since(*then) >= WINDOW) {
            self.readings.pop_front();
        }
        let (_, before_in, before_out) = self.readings.front().copied().unwrap_or((now, 0, 0));
        if self.readings.back().is_none_or(|(then, ..)| now.saturating_duration_since(*then) >= STEP) {
            self.readings.push_back((now, drawn_in, drawn_out));
        }
        let (new_in, new_out) = (drawn_in.saturating_sub(before_in), drawn_out.saturating_sub(before_out));
        let all = new_in + new_out;
        (all > 0).then(|| new_in as f64 * 100.0 / all as f64)
    }
}

/// How far back the share looks.
const WINDOW: Duration = Duration::from_secs(300);
/// Readings that follow each other faster are not kept, so their number is bounded.
const STEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_the_window_and_no_requests_give_none() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = DrawnWindow::default();
        assert_eq!(window.read(at(0), 0, 0), None);
        assert_eq!(window.read(at(10), 1, 3), Some(25.0));
        assert_eq!(window.read(at(150), 2, 4), Some(100.0 / 3.0));
        assert_eq!(window.read(at(300), 2, 4), Some(100.0 / 3.0), "since 0 s");
        assert_eq!(window.read(at(310), 2, 4), Some(50.0), "since 10 s");
        assert_eq!(window.read(at(450), 2, 4), None, "since 150 s");
    }

    #[test]
    fn a_first_reading_counts_from_the_start() {
        assert_eq!(DrawnWindow::default().read(Instant::now(), 3, 1), Some(75.0));
    }

    #[test]
    fn frequent_readings_are_not_all_kept() {
        let start = Instant::now();
        let mut window = DrawnWindow::default();
        for milliseconds in 0..1_000_000 {
            window.read(start + Duration::from_millis(milliseconds), milliseconds, 0);
        }
        assert!(window.readings.len() <= 62, "{}", window.readings.len());
    }
}

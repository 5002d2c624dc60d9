//! Figures of measured times.

use std::time::Duration;

/// The number of times in `start..end`.
pub fn between(times: &[Duration], start: Duration, end: Duration) -> usize {
    times.iter().filter(|time| (start..end).contains(*time)).count()
}

/// The percentile by the nearest-rank method: the smallest value that at least `percent` of the values do not exceed.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The time in milliseconds, to a tenth.
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_given_to_a_tenth() {
        assert!((milliseconds(Duration::from_micros(1260)) - 1.3).abs() < f64::EPSILON);
    }

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let hundred: Vec<_> = (1..=100).map(Duration::from_secs).collect();
        assert_eq!(percentile(&hundred, 50), Duration::from_secs(50));
        assert_eq!(percentile(&hundred, 99), Duration::from_secs(99));
        assert_eq!(percentile(&hundred[..1], 99), Duration::from_secs(1));
        assert_eq!(percentile(&hundred[..3], 50), Duration::from_secs(2));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}

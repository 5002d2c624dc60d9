//! The bins of the time axis.

use std::ops::Range;
use std::time::Duration;

use super::panel::scale_step;
use super::stats::between;

/// A stretch of time.
pub type Bin = Range<Duration>;

/// Divides `from..to` into equal bins of about a twentieth of the time axis's step width, but at least ten of the
/// `calls` per second long.
pub fn bins(calls: u32, drill: Duration, from: Duration, to: Duration) -> Vec<Bin> {
    let length = to.saturating_sub(from);
    let wanted = (scale_step(drill.as_secs_f64()) / 20.0).max(10.0 / f64::from(calls));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = (length.as_secs_f64() / wanted).round() as u32;
    (0..count).map(|index| from + length * index / count..from + length * (index + 1) / count).collect()
}

/// The number of times per second in the bin.
#[allow(clippy::cast_precision_loss)]
pub fn rate(times: &[Duration], bin: &Bin) -> f64 {
    between(times, bin.start, bin.end) as f64 / bin.end.saturating_sub(bin.start).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_leave_no_gap_and_no_overlap() {
        let end = Duration::from_secs(3);
        let bins: Vec<_> = bins(50, Duration::from_millis(250), Duration::ZERO, end);
        assert_eq!(bins.len(), 15);
        assert_eq!((bins[0].start, bins[14].end), (Duration::ZERO, end));
        assert!(bins.windows(2).all(|pair| pair[0].end == pair[1].start));
    }
}

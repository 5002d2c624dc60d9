//! What the axes of the plot are marked in, and the steps that the time is cut into.

use std::ops::Range;
use std::time::Duration;

use crate::record::between;
use crate::script::RATE;

/// From when to when.
pub type Bin = Range<Duration>;

/// Equal steps of about a twentieth of what the time axis is marked in, but no less than ten calls long.
pub fn bins(drill: Duration, from: Duration, to: Duration) -> Vec<Bin> {
    let length = to.saturating_sub(from);
    let wanted = (scale_step(drill.as_secs_f64()) / 20.0).max(10.0 / f64::from(RATE));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = (length.as_secs_f64() / wanted).round() as u32;
    (0..count).map(|index| from + length * index / count..from + length * (index + 1) / count).collect()
}

/// How many of these times there are in a second of the bin.
#[allow(clippy::cast_precision_loss)]
pub fn rate(times: &[Duration], bin: &Bin) -> f64 {
    between(times, bin.start, bin.end) as f64 / bin.end.saturating_sub(bin.start).as_secs_f64()
}

/// A round number of which three to six make up `most`.
pub fn scale_step(most: f64) -> f64 {
    let magnitude = 10_f64.powf(most.max(1e-3).log10().floor());
    let steps = [0.2, 0.5, 1.0, 2.0].map(|step| step * magnitude);
    steps.into_iter().find(|step| most / step < 6.5).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_leave_no_gap_and_no_overlap() {
        let end = Duration::from_secs(3);
        let bins: Vec<_> = bins(Duration::from_millis(250), Duration::ZERO, end);
        assert_eq!(bins.len(), 15);
        assert_eq!((bins[0].start, bins[14].end), (Duration::ZERO, end));
        assert!(bins.windows(2).all(|pair| pair[0].end == pair[1].start));
    }

    #[test]
    fn a_scale_has_a_few_round_steps() {
        for (most, step) in [(55.0, 10.0), (70.0, 20.0), (47.0, 10.0), (9.0, 2.0), (600.0, 100.0), (1.0, 0.2)]
        {
            assert!((scale_step(most) - step).abs() < 1e-9, "{most}: {}", scale_step(most));
        }
    }
}

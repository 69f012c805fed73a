//! Medians and percentiles of what was measured.

use std::time::Duration;

/// How often everything is measured: the median of five is what is told.
pub(crate) const ROUNDS: usize = 5;

/// The value below which `part` (0 to 1) of the values lie.
///
/// # Panics
/// When there are none.
pub(crate) fn percentile(values: &mut [Duration], part: f64) -> Duration {
    values.sort_unstable();
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of samples are small"
    )]
    let index = ((values.len() as f64 * part).ceil() as usize).saturating_sub(1);
    *values
        .get(index)
        .expect("something must have been measured")
}

/// The middle one.
///
/// # Panics
/// When there are none.
pub(crate) fn median<T: PartialOrd + Copy>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("figures are numbers"));
    *sorted
        .get(sorted.len() / 2)
        .expect("something must have been measured")
}

/// In milliseconds, as people read them.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// The lowest and the highest.
pub(crate) fn range(values: &[f64]) -> String {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(0.0, f64::max);
    format!("{lowest:.2} to {highest:.2}")
}

//! Instruction counts of the calls that matter most, as callgrind counts them.
//!
//! `benches/hot_path.rs` has the calls, `baseline.json` the committed figures, and `src/main.rs` compares the two.

/// How many calls are counted together: enough that what surrounds them, and a rare step of one of them, does not show.
pub const CALLS: usize = 100;

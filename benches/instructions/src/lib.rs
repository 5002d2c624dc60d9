//! Instruction counts of the most important calls, counted by callgrind.
//!
//! `benches/hot_path.rs` makes the calls, `baseline.json` has the committed counts, and `src/main.rs` compares them.

/// The calls per count: enough to make the overhead of counting, and rare steps of single calls, negligible.
pub const CALLS: usize = 100;

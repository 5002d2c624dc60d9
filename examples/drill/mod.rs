//! The parts that the outage drill and the replicas drill share. The laboratory uses `panel.rs` and `svg.rs`, too.

// Each program uses its own selection.
#![allow(dead_code)]

pub mod args;
pub mod output;
pub mod panel;
pub mod scale;
pub mod stats;
pub mod svg;

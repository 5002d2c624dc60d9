//! The outage laboratory simulates well-known kinds of outage against steadfast's own layers.
//!
//! A scenario describes the outage and the callers (`scenario.rs`); a policy is a stack of layers around the calls
//! (`policy.rs`). `play.rs` plays one scenario with one policy and one seed, and `record.rs` computes the figures.

pub mod contest;
pub mod front;
pub mod musts;
pub mod plan;
pub mod play;
pub mod plot;
pub mod policy;
pub mod record;
pub mod report;
pub mod scenario;
pub mod study;
pub mod upstream;

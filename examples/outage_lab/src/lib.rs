//! The outage laboratory simulates well-known kinds of outage against steadfast's own layers.
//!
//! A scenario describes the outage and the callers (`scenario/`); a policy is a stack of layers around the calls
//! (`policy.rs`). The upstream (`upstream.rs`) follows a plan (`plan.rs`), and the network (`network.rs`) leads to its
//! replicas. `play.rs` plays one scenario with one policy and one seed. `record.rs` holds the calls of a run, and
//! `figures.rs` computes the figures.

pub mod arrivals;
pub mod body;
pub mod client;
pub mod contest;
pub mod figures;
pub mod front;
pub mod musts;
pub mod network;
pub mod networks;
pub mod plan;
pub mod play;
pub mod plot;
pub mod policy;
pub mod record;
pub mod report;
pub mod scenario;
pub mod study;
pub mod upstream;

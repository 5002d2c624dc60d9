//! The outage laboratory: the outages that the field knows, played in simulated time against steadfast's own layers.

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

//! Private mechanisms that several layers share. Each file says why it exists.

pub(crate) mod arc_pool;
pub(crate) mod clock;
pub(crate) mod frame_quota;
pub(crate) mod log_events;
pub(crate) mod rng;
pub(crate) mod shared_settings;
pub(crate) mod signals;
pub(crate) mod sync;
pub(crate) mod wall_clock;
pub(crate) mod when_ready;

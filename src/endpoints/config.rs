//! The settings of the endpoints of an upstream, and their builder.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "reqwest")]
use http::Version;

#[cfg(feature = "reqwest")]
use super::lanes::room_over;
use super::lanes::{ANY, LaneSettings};
use crate::ConfigError;

/// Configures [`Endpoints`](super::Endpoints), whose page has an example. [`build`](Self::build) checks the values.
#[derive(Debug, Clone)]
pub struct EndpointsBuilder {
    pub(super) name: Option<Arc<str>>,
    pub(super) max_endpoints: usize,
    pub(super) settings: EjectionSettings,
    /// `None` if not set: the owner of the endpoints decides.
    pub(super) max_lanes: Option<usize>,
    pub(super) max_lane_age: Duration,
    /// The number of attempts in one lane before the first answer shows the protocol.
    pub(super) first_room: u32,
    pub(super) seed: Option<u64>,
}

/// The settings that decide when an endpoint is ejected, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct EjectionSettings {
    pub(super) consecutive_faults: u32,
    pub(super) fault_share: f64,
    pub(super) eject_for: Duration,
    pub(super) max_eject_for: Duration,
}

/// The largest number of endpoints: one for each bit of a word.
pub(super) const MAX_ENDPOINTS: usize = 64;

impl EndpointsBuilder {
    pub(super) const fn new() -> Self {
        Self {
            name: None,
            max_endpoints: MAX_ENDPOINTS,
            settings: EjectionSettings {
                consecutive_faults: 3,
                fault_share: 0.5,
                eject_for: Duration::from_secs(1),
                max_eject_for: Duration::from_secs(8),
            },
            max_lanes: None,
            max_lane_age: Duration::from_secs(60),
            first_room: ANY,
            seed: None,
        }
    }

    /// Sets the upstream's name, for events and errors. Default: none. A `Client` refuses a name here, because each
    /// upstream has its own.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn get_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    #[cfg(feature = "reqwest")]
    pub(crate) const fn get_max_endpoints(&self) -> usize {
        self.max_endpoints
    }

    /// Sets the lanes of an upstream of a client. The protocol of the first call may be known.
    #[cfg(feature = "reqwest")]
    pub(crate) fn with_lanes(self, default_max: usize, protocol: Option<Version>) -> Self {
        let first_room = protocol.map_or(ANY, room_over);
        Self { max_lanes: Some(self.max_lanes.unwrap_or(default_max)), first_room, ..self }
    }

    /// Switches the lanes off.
    #[cfg(feature = "reqwest")]
    pub(crate) fn without_lanes(self) -> Self {
        Self { max_lanes: Some(1), ..self }
    }

    #[cfg(feature = "reqwest")]
    pub(crate) const fn get_seed(&self) -> Option<u64> {
        self.seed
    }

    /// Sets the largest number of endpoints: 1 to 64. The first addresses of the stream are used; up to 10,000
    /// further ones wait until an endpoint is removed. A `Client` uses a random choice of its addresses instead, so
    /// that processes share the load. Default: 64.
    pub fn max_endpoints(mut self, endpoints: usize) -> Self {
        self.max_endpoints = endpoints;
        self
    }

    /// Sets the number of faults in a row after which an endpoint is ejected: 1 to 100. A timeout without any answer
    /// meanwhile, or a connection that cannot be established, ejects the endpoint at once. Default: 3.
    pub fn consecutive_faults(mut self, faults: u32) -> Self {
        self.settings.consecutive_faults = faults;
        self
    }

    /// Sets the share of faults, from 0.01 to 1, at which an endpoint is ejected. The share is taken over at least 20
    /// attempts within 5 s. Default: 0.5.
    pub fn fault_share(mut self, share: f64) -> Self {
        self.settings.fault_share = share;
        self
    }

    /// Sets the time of the first ejection, from 10 ms to an hour. It doubles with each failed probe, and varies at
    /// random by a quarter. A time above 8 s needs a higher [`max_eject_for`](Self::max_eject_for). Default: 1 s.
    pub fn eject_for(mut self, time: Duration) -> Self {
        self.settings.eject_for = time;
        self
    }

    /// Sets the longest time of an ejection before the jitter, from [`eject_for`](Self::eject_for) to a day. A
    /// `Retry-After` of several faults in a row can ask for more, up to five minutes. Default: 8 s, so that the probe
    /// of an endpoint that comes back is due after at most 10 s.
    pub fn max_eject_for(mut self, time: Duration) -> Self {
        self.settings.max_eject_for = time;
        self
    }

    /// Sets the largest number of [lanes](super) if the upstream has a single address: 1 to 64. One switches lanes off.
    /// Default: 64 in a `Client`, otherwise 1. With more than one, each service that [`build`](Self::build) gets from
    /// its function must have connections of its own.
    ///
    /// Over HTTP/1, each lane has one connection; beyond the largest number, attempts share lanes.
    pub fn max_lanes(mut self, lanes: usize) -> Self {
        self.max_lanes = Some(lanes);
        self
    }

    /// Sets the age at which a [lane](super) gets a new connection, from 1 s to a day. Each lane's age varies by a
    /// quarter. Default: 60 s.
    ///
    /// A balancer sends a new connection to any of its instances, so the load spreads after the upstream has been scaled
    /// up, or restarted.
    pub fn max_lane_age(mut self, age: Duration) -> Self {
        self.max_lane_age = age;
        self
    }

    pub(super) fn lane_settings(&self) -> LaneSettings {
        LaneSettings { max: self.max_lanes.unwrap_or(1), max_age: self.max_lane_age, room: self.first_room }
    }

    /// Makes the choices and the jitter repeatable. In a `Client`, the seed also decides which addresses are used
    /// beyond the maximum, so give each process another seed. Default: random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        let EjectionSettings { consecutive_faults, fault_share, eject_for, max_eject_for } = self.settings;
        ConfigError::check("endpoints.max_endpoints", self.max_endpoints, 1..=MAX_ENDPOINTS)?;
        ConfigError::check("endpoints.consecutive_faults", consecutive_faults, 1..=100)?;
        ConfigError::check("endpoints.fault_share", fault_share, 0.01..=1.0)?;
        ConfigError::check("endpoints.eject_for", eject_for, Duration::from_millis(10)..=HOUR)?;
        ConfigError::check("endpoints.max_eject_for", max_eject_for, eject_for..=24 * HOUR)?;
        ConfigError::check("endpoints.max_lanes", self.max_lanes.unwrap_or(1), 1..=MAX_ENDPOINTS)?;
        ConfigError::check("endpoints.max_lane_age", self.max_lane_age, Duration::from_secs(1)..=24 * HOUR)?;
        Ok(())
    }
}

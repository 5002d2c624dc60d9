//! The addresses that the task and the attempts share, and the delivery of the news.
//!
//! The sink must see the changes in the order in which they happened, but it runs outside of every lock. So each
//! change queues its news under the lock, and one thread at a time delivers the queue. If another thread queues news
//! meanwhile, it leaves the delivery to the first thread.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use super::addresses::{AddressChange, KnownAddresses};
use super::news::{AddressNews, DiscoverySettings, IDLE, Sink};
use crate::BoxError;
use crate::internal::log_events;

/// The longest wait after a failure, before the jitter.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// The age of the last look-up at which the addresses are outdated: in refresh intervals, and at least the time after
/// which the endpoints have dropped their connections.
const OUTDATED_AFTER: u32 = 3;

/// The longest wait for the look-up of outdated addresses, the "client response timer" of RFC 8767.
const OUTDATED_FOR: Duration = Duration::from_millis(1800);

/// The shortest time before a hinted look-up. Each failure doubles it.
const MIN_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Shared {
    name: Arc<str>,
    upstream: Arc<str>,
    refresh: Duration,
    sink: Sink,
    state: Mutex<DiscoveryState>,
    /// True from the first use after a long idle time until the next answer: the addresses may be those of former
    /// instances.
    is_outdated: AtomicBool,
}

struct DiscoveryState {
    known: KnownAddresses,
    rng: SmallRng,
    /// The number of consecutive failures.
    failures: u32,
    /// The end of the last look-up.
    answered_at: Option<Instant>,
    /// The time of the first use after a long idle time.
    outdated_since: Option<Instant>,
    undelivered: VecDeque<AddressNews>,
    is_delivering: bool,
}

/// The time between two look-ups.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefreshPause {
    pub(super) time: Duration,
    pub(super) time_after_hint: Duration,
}

/// Ends a delivery, also if the sink panics.
struct Delivery<'a> {
    shared: &'a Shared,
    is_over: bool,
}

// ===== impl Shared =====

impl Shared {
    pub(super) fn new(name: Arc<str>, upstream: Arc<str>, settings: &DiscoverySettings, sink: Sink) -> Self {
        let state = DiscoveryState {
            known: KnownAddresses::new(settings.max_addresses, settings.seed),
            rng: SmallRng::seed_from_u64(settings.seed),
            failures: 0,
            answered_at: None,
            outdated_since: None,
            undelivered: VecDeque::new(),
            is_delivering: false,
        };
        Self {
            name,
            upstream,
            refresh: settings.refresh,
            sink,
            state: Mutex::new(state),
            is_outdated: AtomicBool::new(false),
        }
    }

    /// Records and reports the end of a look-up. Returns the time until the next look-up.
    pub(super) fn answered(&self, answer: Result<Vec<IpAddr>, BoxError>) -> RefreshPause {
        let mut state = self.lock();
        let (failures, error) = match answer {
            Ok(answer) => {
                let changes = state.known.answered(answer);
                state.queue_changes(changes);
                (0, None)
            }
            Err(error) => (state.failures.saturating_add(1), Some(error)),
        };
        state.answered_at = Some(Instant::now());
        let failures_before = std::mem::replace(&mut state.failures, failures);
        let pause = state.pause(self.refresh);
        let kept = state.known.current().count();
        drop(state);
        match error {
            Some(error) if failures_before == 0 => {
                log_events::lookup_failed(&self.upstream, &self.name, error, kept);
            }
            None if failures_before > 0 => log_events::lookup_recovered(&self.upstream, &self.name),
            _ => {}
        }
        self.deliver();
        self.is_outdated.store(false, Relaxed);
        pause
    }

    /// Records the first use since the last look-up began.
    pub(super) fn used_again(&self) {
        let mut state = self.lock();
        let now = Instant::now();
        let outdated_after = (self.refresh * OUTDATED_AFTER).max(IDLE);
        let is_old = |at: Instant| now.saturating_duration_since(at) >= outdated_after;
        // While the resolver fails, the known addresses are used, and no call waits for a look-up.
        let is_known = self.is_outdated.load(Relaxed);
        if !is_known && state.failures == 0 && state.answered_at.is_some_and(is_old) {
            state.outdated_since = Some(now);
            self.is_outdated.store(true, Relaxed);
        }
    }

    /// True if the addresses may be outdated, because the name was idle for long. After [`OUTDATED_FOR`] without
    /// an answer, they are used nevertheless (RFC 8767, section 5).
    #[inline]
    pub(super) fn is_outdated(&self) -> bool {
        self.is_outdated.load(Relaxed) && self.is_still_outdated()
    }

    #[cold]
    fn is_still_outdated(&self) -> bool {
        let since = self.lock().outdated_since;
        let is_short = since.is_some_and(|since| since.elapsed() < OUTDATED_FOR);
        if !is_short {
            self.is_outdated.store(false, Relaxed);
        }
        is_short
    }

    pub(super) fn switch_family(&self, address: IpAddr) {
        let mut state = self.lock();
        let changes = state.known.switch_family(address);
        state.queue_changes(changes);
        drop(state);
        self.deliver();
    }

    pub(super) fn other_family(&self) -> Vec<IpAddr> {
        self.lock().known.other_family().collect()
    }

    /// Reports that the name is idle if `stop` returns true, and returns the result of `stop`. The lock orders this
    /// report before all reports of the next task.
    pub(super) fn idle(&self, stop: impl FnOnce() -> bool) -> bool {
        let mut state = self.lock();
        let is_idle = stop();
        if is_idle {
            state.known.paused();
            state.undelivered.push_back(AddressNews::Idle);
        }
        drop(state);
        self.deliver();
        is_idle
    }

    fn deliver(&self) {
        if std::mem::replace(&mut self.lock().is_delivering, true) {
            return;
        }
        let mut delivery = Delivery { shared: self, is_over: false };
        while let Some(news) = delivery.next() {
            (self.sink)(news);
        }
    }

    fn lock(&self) -> MutexGuard<'_, DiscoveryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// ===== impl DiscoveryState =====

impl DiscoveryState {
    fn queue_changes(&mut self, changes: Vec<AddressChange>) {
        if !changes.is_empty() {
            self.undelivered.push_back(AddressNews::Changed(changes));
        }
    }

    /// Chooses the time until the next look-up.
    fn pause(&mut self, refresh: Duration) -> RefreshPause {
        let doublings = self.failures.min(16); // More doublings change nothing.
        let time = match doublings {
            0 => refresh,
            _ => refresh.saturating_mul(1 << (doublings - 1)).min(MAX_BACKOFF),
        };
        let jitter = self.rng.random_range(0.8..1.2);
        RefreshPause { time: time.mul_f64(jitter), time_after_hint: MIN_PAUSE * (1 << doublings) }
    }
}

// ===== impl Delivery =====

impl Delivery<'_> {
    /// Takes the next news. If there is none, ends the delivery under the same lock, so that no news stays behind.
    fn next(&mut self) -> Option<AddressNews> {
        let mut state = self.shared.lock();
        let news = state.undelivered.pop_front();
        self.is_over = news.is_none();
        state.is_delivering = news.is_some();
        news
    }
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.lock().is_delivering = false;
        }
    }
}

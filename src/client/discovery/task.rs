//! The task that looks up a name.

use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::news::IDLE;
use super::resolver::Resolver;
use super::shared::{RefreshPause, Shared};
use super::signals::{STOPPED, Signals, UNUSED};
use crate::BoxError;

/// The time limit of a look-up. The resolver of the operating system gives up earlier, but a resolver that never
/// answers must not end the discovery.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(60);

/// The task owns copies of what a look-up needs, so that it does not keep the [`NameDiscovery`] alive.
pub(super) struct RefreshTask {
    name: Arc<str>,
    resolver: Resolver,
    running: Running,
    shared: Weak<Shared>,
}

/// Marks the task as running. The drop clears the mark, wherever the task is dropped.
struct Running {
    signals: Arc<Signals>,
    /// True if the task has cleared the mark itself. The mark can then belong to the next task.
    is_cleared: bool,
}

// ===== impl RefreshTask =====

impl RefreshTask {
    /// The caller has set the state to `USED`.
    pub(super) fn new(
        name: Arc<str>,
        resolver: Resolver,
        signals: &Arc<Signals>,
        shared: &Arc<Shared>,
    ) -> Self {
        let running = Running { signals: Arc::clone(signals), is_cleared: false };
        Self { name, resolver, running, shared: Arc::downgrade(shared) }
    }

    /// Looks the name up until the name is idle or its [`NameDiscovery`] is dropped.
    pub(super) async fn run(mut self) {
        loop {
            self.running.signals.clear();
            let idle_at = Instant::now() + IDLE;
            let answer = self.look_up().await;
            let Some(pause) = self.shared.upgrade().map(|shared| shared.answered(answer)) else { return };
            if !self.wait(pause, idle_at).await {
                return;
            }
        }
    }

    /// Returns at least one address, or an error.
    async fn look_up(&self) -> Result<Vec<IpAddr>, BoxError> {
        match timeout(LOOK_UP_LIMIT, self.resolver.resolve(&self.name)).await {
            Ok(Ok(answer)) if answer.is_empty() => Err("the answer has no address".into()),
            Ok(answer) => answer,
            Err(_late) => Err(format!("no answer within {LOOK_UP_LIMIT:?}").into()),
        }
    }

    /// Waits until the next look-up is due. False if the task must end.
    async fn wait(&mut self, pause: RefreshPause, idle_at: Instant) -> bool {
        let now = Instant::now();
        let next = now + pause.time;
        let hinted = next.min(now + pause.time_after_hint);
        loop {
            let signals = &self.running.signals;
            let is_used = signals.is_used();
            let due = match is_used {
                true if signals.is_hinted.load(Relaxed) => hinted,
                true => next,
                false => idle_at,
            };
            if timeout_at(due, signals.changed.notified()).await.is_ok() {
                continue;
            }
            if is_used {
                return true;
            }
            if self.stop() {
                return false;
            }
        }
    }

    /// Ends the task, unless the name has just been used.
    fn stop(&mut self) -> bool {
        let running = &mut self.running;
        let clear = || {
            running.is_cleared = running.signals.change(UNUSED, STOPPED);
            running.is_cleared
        };
        self.shared.upgrade().is_none_or(|shared| shared.idle(clear))
    }
}

// ===== impl Running =====

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_cleared {
            self.signals.state.store(STOPPED, Relaxed);
        }
    }
}

//! The handle of a discovery. The first use starts its task.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::news::{DiscoverySettings, Sink};
use super::resolver::Resolver;
use super::shared::Shared;
use super::signals::{STOPPED, Signals, UNUSED, USED};
use super::task::RefreshTask;

/// Keeps the addresses of one name up to date. Dropping it ends its task.
pub(crate) struct NameDiscovery {
    name: Arc<str>,
    resolver: Resolver,
    signals: Arc<Signals>,
    pub(super) shared: Arc<Shared>,
    /// The last task. The lock also serializes the starts of tasks.
    task: Mutex<Option<AbortHandle>>,
}

impl NameDiscovery {
    /// Creates the discovery of `name`, for the events of `upstream`. The first use starts the task.
    ///
    /// If `sink` owns the `NameDiscovery`, neither is ever dropped.
    pub(crate) fn new(
        name: Arc<str>,
        upstream: Arc<str>,
        resolver: Resolver,
        settings: DiscoverySettings,
        sink: Sink,
    ) -> Self {
        let shared = Arc::new(Shared::new(Arc::clone(&name), upstream, &settings, sink));
        Self { name, resolver, signals: Arc::default(), shared, task: Mutex::default() }
    }

    /// Records a use of the name. Starts the task if none runs, unless the caller is outside of a tokio runtime.
    /// Returns false if the addresses are not to be used: the name was idle for long, so they may be outdated.
    ///
    /// Every call does this. Usually it costs two relaxed loads.
    pub(crate) fn used(&self) -> bool {
        if self.signals.state.load(Relaxed) != USED {
            self.first_use();
        }
        !self.shared.is_outdated()
    }

    /// Asks for an early look-up, because an attempt could not connect. A hint also counts as a use.
    ///
    /// A hinted look-up begins at least 1 s after the end of the last one.
    pub(crate) fn hint(&self) {
        if !self.signals.is_hinted.swap(true, Relaxed) {
            let _ = self.used();
            self.signals.changed.notify_one();
        }
    }

    /// Records that `address`, one of [`other_family`](Self::other_family), worked while connections to the family in
    /// use failed. Reports the changes to the sink, here or in the thread that is reporting other news.
    pub(crate) fn switch_family(&self, address: IpAddr) {
        self.shared.switch_family(address);
    }

    /// Returns the addresses of the last answer in the family that is not in use, for the fail-over of a connection.
    pub(crate) fn other_family(&self) -> Vec<IpAddr> {
        self.shared.other_family()
    }

    #[cold]
    fn first_use(&self) {
        self.shared.used_again();
        if self.signals.change(UNUSED, USED) {
            self.signals.changed.notify_one();
        } else if let Ok(runtime) = Handle::try_current() {
            self.start(&runtime);
        }
    }

    /// Starts a task if none runs.
    fn start(&self, runtime: &Handle) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if self.signals.change(STOPPED, USED) {
            let (name, resolver) = (Arc::clone(&self.name), self.resolver.clone());
            let run = RefreshTask::new(name, resolver, &self.signals, &self.shared).run();
            // Without the span of the caller: the task outlives the call. A runtime that is shutting down drops the
            // task at once, which sets the state back to `STOPPED`.
            *task = Some(runtime.spawn(run).abort_handle());
        }
    }
}

impl Drop for NameDiscovery {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl fmt::Debug for NameDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameDiscovery").field("name", &self.name).finish_non_exhaustive()
    }
}

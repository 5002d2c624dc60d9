//! What the calls to an upstream share: its permits, and how long one of them may be waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::thread::LocalKey;

use tokio::time::Instant;

use super::config::{BulkheadBuilder, BulkheadSettings, check_max_concurrent};
use super::permits::Permits;
use crate::internal::arc_pool::{Pooled, PooledArc, Spares};
use crate::internal::clock;
use crate::internal::shared_settings::SharedSettings;
use crate::internal::sync::atomic::AtomicU64;
use crate::internal::sync::atomic::Ordering::Relaxed;
use crate::internal::sync::oneshot;
use crate::{ConfigError, ErrorInfo, ErrorKind};

/// The shared permits of a bulkhead.
///
/// A clone is another handle to the same permits: make it once for an upstream, keep it to look at and to resize, and
/// hand it to the layers.
///
/// Default: 128 calls at a time, 128 more in the queue, for at most a second.
///
/// ```
/// /// use steadfast::bulkhead::Bulkhead;
///
/// let bulkhead = Bulkhead::builder()
///     .max_concurrent(64)
///     .max_waiting(16)
///     .max_wait(Duration::from_millis(200))
///     .build()?;
/// assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (0, 0));
/// bulkhead.resize(32)?;
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[doc(alias = "compartment")]
#[doc(alias = "semaphore")]
#[doc(alias = "concurrency limit")]
#[derive(Debug, Clone)]
pub struct Bulkhead(PooledArc<BulkheadInner>);

#[derive(Debug)]
struct BulkheadInner {
    name: Option<Arc<str>>,
    settings: SharedSettings<BulkheadSettings>,
    permits: Permits<Permit>,
    refused: AtomicU64,
}

impl Bulkhead {
    /// A builder that starts from the default.
    pub const fn builder() -> BulkheadBuilder {
        BulkheadBuilder::new()
    }

    /// Another bulkhead with the same configuration and none of the calls, called `name`.
    pub fn fresh(&self, name: impl Into<Arc<str>>) -> Self {
        let settings = self.0.settings.read(|settings| *settings);
        Self::new(Some(name.into()), self.max_concurrent(), settings)
    }

    fn new(name: Option<Arc<str>>, max_concurrent: usize, settings: BulkheadSettings) -> Self {
        Self(PooledArc::new(BulkheadInner {
            name,
            settings: SharedSettings::new(settings),
            permits: Permits::new(max_concurrent),
            refused: AtomicU64::new(0),
        }))
    }

    /// The upstream's name.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    pub(super) fn shared_name(&self) -> Option<&Arc<str>> {
        self.0.name.as_ref()
    }

    /// How many calls are let through at a time.
    pub fn max_concurrent(&self) -> usize {
        self.0.permits.size()
    }

    /// How many calls hold a permit, those included that have waited for it and have yet to notice.
    pub fn in_flight(&self) -> usize {
        self.0.permits.in_use()
    }

    /// How many calls wait for one.
    pub fn waiting(&self) -> usize {
        self.0.permits.waiting()
    }

    /// How many calls were refused so far.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }

    /// Counts a refusal; returns what the call ends with.
    pub(super) fn refuse(&self) -> ErrorInfo {
        self.0.refused.fetch_add(1, Relaxed);
        let max_concurrent = self.max_concurrent();
        let upstream = self.name().unwrap_or_default();
        tracing::debug!(target: "steadfast::bulkhead", upstream, max_concurrent, "the bulkhead is full");
        ErrorInfo::refusal(ErrorKind::BulkheadFull { max_concurrent }, self.shared_name())
    }

    /// Lets this many calls through at a time from now on: 1 to 1,000,000. Those in flight finish; a smaller size is
    /// reached as they do.
    pub fn resize(&self, max_concurrent: usize) -> Result<(), ConfigError> {
        let more = self.0.permits.resize(check_max_concurrent(max_concurrent)?);
        (0..more).for_each(|_| drop(Permit(self.clone())));
        Ok(())
    }

    /// A permit, if one is free.
    #[inline]
    pub(super) fn try_acquire(&self) -> Option<Permit> {
        self.0.permits.take().then(|| Permit(self.clone()))
    }

    /// A place in the queue for a permit, if there is one.
    ///
    /// The future gives `None` when the wait is over in vain.
    pub(super) fn queue(&self, deadline: Option<Instant>) -> Option<Waiting> {
        let BulkheadSettings { max_waiting, max_wait } = self.0.settings.read(|settings| *settings);
        if self.waiting() >= max_waiting {
            return None; // It needs no clock.
        }
        let now = Instant::now();
        // Who may not wait takes no place: a permit could come there, and would be missing elsewhere.
        let until = clock::earliest(deadline, clock::after(now, max_wait)).filter(|end| *end > now)?;
        let mut slot = WaitSlot::take(self.clone(), max_waiting)?;
        Some(Box::pin(async move {
            let permit = tokio::time::timeout_at(until, &mut slot.permit).await.ok()?.ok()?;
            // Nothing is sent once the deadline has passed; a permit that came in time for the queue is good.
            (!clock::has_passed(deadline)).then_some(permit)
        }))
    }
}

/// A wait for a permit: only who has to queue pays for the box.
pub(super) type Waiting = Pin<Box<dyn Future<Output = Option<Permit>> + Send + Sync>>;

impl BulkheadBuilder {
    /// The bulkhead, empty.
    ///
    /// # Errors
    ///
    /// If a setting is out of its range.
    pub fn build(self) -> Result<Bulkhead, ConfigError> {
        self.validate()?;
        Ok(Bulkhead::new(self.name, self.max_concurrent, self.settings))
    }
}

impl Default for Bulkhead {
    fn default() -> Self {
        Self::builder().build().expect("the default is valid")
    }
}

impl Pooled for BulkheadInner {
    fn spares() -> &'static LocalKey<Spares<Self>> {
        thread_local! {
            static SPARES: Spares<BulkheadInner> = const { Spares::new() };
        }
        &SPARES
    }
}

/// The right to talk to the upstream, given back on drop.
#[derive(Debug)]
pub struct Permit(Bulkhead);

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if let Some(waiter) = self.0.0.permits.put_back() {
            // Where the waiter has just left, the permit is dropped here again, and goes to the one after.
            let _left = waiter.send(Self(self.0.clone()));
        }
    }
}

impl Permit {
    pub(super) fn shared_name(&self) -> Option<&Arc<str>> {
        self.0.shared_name()
    }
}

/// A place in the queue, given back on drop.
pub(super) struct WaitSlot {
    bulkhead: Bulkhead,
    number: u64,
    pub(super) permit: oneshot::Receiver<Permit>,
}

impl WaitSlot {
    pub(super) fn take(bulkhead: Bulkhead, max_waiting: usize) -> Option<Self> {
        let permit = || Permit(bulkhead.clone());
        let (number, permit) = bulkhead.0.permits.queue(max_waiting, permit)?;
        Some(Self { bulkhead, number, permit })
    }
}

impl Drop for WaitSlot {
    fn drop(&mut self) {
        self.bulkhead.0.permits.leave(self.number, &mut self.permit);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn two() -> Bulkhead {
        Bulkhead::builder().max_concurrent(2).build().unwrap()
    }

    #[test]
    fn a_permit_comes_back_when_it_is_dropped() {
        let bulkhead = two();
        let permits = [bulkhead.try_acquire().unwrap(), bulkhead.try_acquire().unwrap()];
        assert!(bulkhead.try_acquire().is_none());
        assert_eq!(bulkhead.in_flight(), 2);
        drop(permits);
        assert_eq!(bulkhead.in_flight(), 0);
        assert!(bulkhead.try_acquire().is_some());
    }

    #[test]
    fn a_smaller_size_takes_what_is_free_and_then_what_comes_back() {
        let bulkhead = Bulkhead::builder().max_concurrent(4).build().unwrap();
        let held: Vec<_> = (0..3).map(|_| bulkhead.try_acquire().unwrap()).collect();
        bulkhead.resize(2).unwrap();
        assert!(bulkhead.try_acquire().is_none());
        let mut held = held.into_iter();
        drop(held.next());
        assert!(bulkhead.try_acquire().is_none(), "two are still in flight");
        drop(held.next());
        assert!(bulkhead.try_acquire().is_some());
    }

    #[test]
    fn growing_again_does_not_overshoot() {
        let bulkhead = Bulkhead::builder().max_concurrent(4).build().unwrap();
        let held: Vec<_> = (0..4).map(|_| bulkhead.try_acquire().unwrap()).collect();
        bulkhead.resize(1).unwrap();
        bulkhead.resize(3).unwrap();
        drop(held);
        let held: Vec<_> = std::iter::from_fn(|| bulkhead.try_acquire()).collect();
        assert_eq!(held.len(), 3);
    }

    #[test]
    fn a_bulkhead_that_cannot_work_is_refused_by_field() {
        let field = |builder: BulkheadBuilder| builder.build().unwrap_err().field();
        assert_eq!(field(Bulkhead::builder().max_concurrent(0)), "bulkhead.max_concurrent");
        assert_eq!(field(Bulkhead::builder().max_concurrent(usize::MAX)), "bulkhead.max_concurrent");
        assert_eq!(field(Bulkhead::builder().max_waiting(usize::MAX)), "bulkhead.max_waiting");
        assert_eq!(field(Bulkhead::builder().max_wait(Duration::MAX)), "bulkhead.max_wait");
        assert_eq!(two().resize(0).unwrap_err().field(), "bulkhead.max_concurrent");
        assert_eq!(two().max_concurrent(), 2);
    }
}

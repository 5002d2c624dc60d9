//! The handle of a bulkhead, through which all calls to one upstream share permits and settings.

use std::pin::Pin;
use std::sync::Arc;
use std::thread::LocalKey;
use std::time::Duration;

use tokio::time::Instant;

use super::config::{BulkheadBuilder, BulkheadSettings, check_max_concurrent};
use super::permits::{Permits, QueuePlace};
use crate::internal::arc_pool::{Pooled, PooledArc, Spares};
use crate::internal::shared_settings::SharedSettings;
use crate::internal::sync::atomic::AtomicU64;
use crate::internal::sync::atomic::Ordering::Relaxed;
use crate::internal::{clock, log_events};
use crate::{ConfigError, ErrorInfo, ErrorKind};

/// A set of permits that bounds the number of calls in flight to one upstream.
///
/// All clones share the same permits. Make one bulkhead for each upstream, give clones to the layers, and keep one to
/// inspect or resize the bulkhead.
///
/// Default: 128 calls in flight, and up to 10,000 in the queue.
///
/// ```
/// use std::time::Duration;
/// use steadfast::bulkhead::Bulkhead;
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
    /// Returns a builder with the default settings.
    pub const fn builder() -> BulkheadBuilder {
        BulkheadBuilder::new()
    }

    /// Makes another bulkhead, for the upstream `name`, with the same settings. All its permits are free.
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

    /// Returns the upstream's name.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    pub(super) fn shared_name(&self) -> Option<&Arc<str>> {
        self.0.name.as_ref()
    }

    /// Returns the number of permits, which is the largest number of calls in flight.
    pub fn max_concurrent(&self) -> usize {
        self.0.permits.size()
    }

    /// Returns the number of permits in use. A permit on its way to a waiter counts as in use.
    pub fn in_flight(&self) -> usize {
        self.0.permits.in_use()
    }

    /// Returns the number of calls that wait for a permit.
    pub fn waiting(&self) -> usize {
        self.0.permits.waiting()
    }

    /// Returns the number of refused calls so far.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }

    /// Counts and logs a refusal. Returns the error for the refused call.
    pub(super) fn refuse(&self) -> ErrorInfo {
        self.0.refused.fetch_add(1, Relaxed);
        let max_concurrent = self.max_concurrent();
        log_events::bulkhead_refused(self.name().unwrap_or_default(), max_concurrent);
        ErrorInfo::refusal(ErrorKind::BulkheadFull { max_concurrent }, self.shared_name())
    }

    /// Changes the number of permits: 1 to 1,000,000. Calls in flight keep their permits, so a smaller number is
    /// reached only as these calls end.
    ///
    /// # Errors
    ///
    /// `max_concurrent` is out of its range. The number of permits does not change.
    pub fn resize(&self, max_concurrent: usize) -> Result<(), ConfigError> {
        let more = self.0.permits.resize(check_max_concurrent(max_concurrent)?);
        (0..more).for_each(|_| drop(Permit::new(self.clone())));
        Ok(())
    }

    /// Takes a permit, if one is free. Never overtakes a call in the queue.
    #[inline]
    pub(super) fn try_acquire(&self) -> Option<Permit> {
        self.0.permits.take().then(|| Permit::new(self.clone()))
    }

    /// Joins the queue for a permit. Returns `None` if the call has no time to wait.
    ///
    /// The future resolves to `None` if the wait ends without a permit, or if the permit comes after the deadline.
    pub(super) fn queue(&self, deadline: Option<Instant>) -> Option<Waiting> {
        let BulkheadSettings { max_waiting, max_wait } = self.0.settings.read(|settings| *settings);
        if max_waiting == 0 || max_wait.is_zero() {
            return None; // A bulkhead without a queue refuses without reading the clock.
        }
        let now = Instant::now();
        let patience = match deadline {
            Some(deadline) => now + self.patience(deadline.saturating_duration_since(now)),
            None => clock::after(now, self.time_to_show(max_wait))?,
        };
        // A call without time to wait must not join the queue: it could take a permit that another call can use.
        if patience <= now {
            return None;
        }
        let mut slot = WaitSlot::take(self.clone(), now, patience, max_waiting);
        Some(Box::pin(async move {
            let mut end = now;
            loop {
                let window = slot.bulkhead.time_to_show(max_wait);
                // The task may have been polled late.
                end = clock::after(end.max(Instant::now()), window).map_or(patience, |end| end.min(patience));
                match tokio::time::timeout_at(end, &mut slot.place.permit).await {
                    // A permit that comes just as the wait ends is used, unless the deadline has passed, too.
                    Ok(permit) => return permit.ok().filter(|_| !clock::has_passed(deadline)),
                    Err(_) if end < patience && slot.may_stay(end, patience) => {}
                    Err(_) => return None,
                }
            }
        }))
    }

    /// Returns the time in which the upstream has to show by an answer that it does not hang: `max_wait`, or more if
    /// it usually takes long for an answer. A call without a deadline waits for this time at most.
    fn time_to_show(&self, max_wait: Duration) -> Duration {
        max_wait.max(self.0.permits.hold_time.of_an_answer().saturating_mul(2))
    }

    /// Returns the time that a call can wait, if `left` is the time until its deadline: all but the time that an
    /// attempt needs.
    fn patience(&self, left: Duration) -> Duration {
        let share = clock::share_of(left);
        let hold = self.0.permits.hold_time.for_each_answer();
        left.saturating_sub(hold.map_or(share, |hold| share.min(hold.saturating_mul(4))))
    }
}

/// A wait for a permit. The box is allocated only for a call that joins the queue.
pub(super) type Waiting = Pin<Box<dyn Future<Output = Option<Permit>> + Send + Sync>>;

impl BulkheadBuilder {
    /// Builds the bulkhead. All its permits are free.
    ///
    /// # Errors
    ///
    /// A setting is out of its range.
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

/// The right to have one attempt in flight. Dropping the permit returns it.
#[derive(Debug)]
pub struct Permit {
    bulkhead: Bulkhead,
    /// The time at which the attempt first had to wait for the upstream.
    waiting_since: Option<Instant>,
    is_answered: bool,
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        let permits = &self.bulkhead.0.permits;
        if let Some(since) = self.waiting_since {
            permits.hold_time.add(since.elapsed(), self.is_answered);
        }
        if let Some(waiter) = permits.put_back(self.is_answered) {
            // If the waiter has just left, `_left` holds the permit, and dropping `_left` puts the permit back.
            let _left = waiter.send(Self::new(self.bulkhead.clone()));
        }
    }
}

impl Permit {
    const fn new(bulkhead: Bulkhead) -> Self {
        Self { bulkhead, waiting_since: None, is_answered: false }
    }

    /// Notes that the attempt waits for the upstream. An attempt that never waits needs no clock.
    #[inline]
    pub(super) fn waits(&mut self) {
        if self.waiting_since.is_none() {
            self.waiting_since = Some(Instant::now());
        }
    }

    /// Notes that the upstream has answered.
    #[inline]
    pub(super) fn answered(&mut self) {
        self.is_answered = true;
    }

    pub(super) fn shared_name(&self) -> Option<&Arc<str>> {
        self.bulkhead.shared_name()
    }
}

/// A call's place in the queue. Dropping the place takes the call out of the queue.
pub(super) struct WaitSlot {
    bulkhead: Bulkhead,
    pub(super) place: QueuePlace<Permit>,
}

impl WaitSlot {
    pub(super) fn take(bulkhead: Bulkhead, now: Instant, patience: Instant, max_waiting: usize) -> Self {
        let permit = || Permit::new(bulkhead.clone());
        let place = bulkhead.0.permits.queue(now, patience, max_waiting, permit);
        Self { bulkhead, place }
    }

    /// True if the call may wait on: the upstream has answered meanwhile, and the queue is short enough, or was so
    /// when the call last asked.
    fn may_stay(&mut self, now: Instant, patience: Instant) -> bool {
        self.bulkhead.0.permits.has_hope(&mut self.place, now, patience)
    }
}

impl Drop for WaitSlot {
    fn drop(&mut self) {
        self.bulkhead.0.permits.leave(&mut self.place);
    }
}

#[cfg(test)]
mod tests {
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
    fn a_smaller_size_takes_free_permits_and_then_released_ones() {
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

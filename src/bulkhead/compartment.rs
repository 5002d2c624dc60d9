//! The permits of a bulkhead, and the queue for them.

use std::pin::Pin;
use std::thread::LocalKey;
use std::time::Duration;

use tokio::time::Instant;

use crate::ConfigError;
use crate::deadline;
use crate::error::MAX_DURATION;
use crate::handle::{Handle, Shared, Spares};
use crate::http::body::Watch;
use crate::message::sealed::Sealed;
use crate::sync::Semaphore;
use crate::sync::atomic::Ordering::{Acquire, Relaxed};
use crate::sync::atomic::{AtomicU64, AtomicUsize, fence};

/// The shared permits of a bulkhead.
///
/// A clone is another handle to the same permits: make it once for an upstream, keep it to look at and to resize, and
/// hand it to the layers.
///
/// Default: 128 calls at a time, 128 more in the queue, for at most a second.
///
/// ```
/// use std::time::Duration;
/// use steadfast::bulkhead::Compartment;
///
/// let compartment = Compartment::builder()
///     .max_concurrent(64)
///     .max_waiting(16)
///     .max_wait(Duration::from_millis(200))
///     .build()?;
/// assert_eq!((compartment.in_flight(), compartment.waiting()), (0, 0));
/// compartment.resize(32)?;
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Compartment(Handle<Inner>);

/// Its atomics are relaxed, but for the fence in `has_surplus`: a count stands for itself.
#[derive(Debug)]
struct Inner {
    semaphore: Semaphore,
    max_concurrent: AtomicUsize,
    max_waiting: usize,
    max_wait: Duration,
    waiting: AtomicUsize,
    refused: AtomicU64,
    /// Permits that a smaller size has yet to take out of circulation.
    surplus: AtomicUsize,
}

impl Compartment {
    /// A builder that starts from the default.
    pub const fn builder() -> CompartmentBuilder {
        CompartmentBuilder { max_concurrent: 128, max_waiting: 128, max_wait: Duration::from_secs(1) }
    }

    /// Another compartment with the same configuration and none of the calls.
    pub fn fresh(&self) -> Self {
        Self::new(&CompartmentBuilder {
            max_concurrent: self.max_concurrent(),
            max_waiting: self.0.max_waiting,
            max_wait: self.0.max_wait,
        })
    }

    fn new(config: &CompartmentBuilder) -> Self {
        Self(Handle::new(Inner {
            semaphore: Semaphore::new(config.max_concurrent),
            max_concurrent: AtomicUsize::new(config.max_concurrent),
            max_waiting: config.max_waiting,
            max_wait: config.max_wait,
            waiting: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            surplus: AtomicUsize::new(0),
        }))
    }

    /// How many calls are let through at a time.
    pub fn max_concurrent(&self) -> usize {
        self.0.max_concurrent.load(Relaxed)
    }

    /// How many calls hold a permit, those included that have waited for it and have yet to notice.
    pub fn in_flight(&self) -> usize {
        // What is neither free nor about to be taken out of circulation; as of one moment only where nothing moves.
        let circulating = self.max_concurrent() + self.0.surplus.load(Relaxed);
        circulating.saturating_sub(self.0.semaphore.available_permits())
    }

    /// How many calls wait for one.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Relaxed)
    }

    /// How many calls were refused so far.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }

    /// Notes a refusal; returns how many calls are let through at a time.
    pub(super) fn refuse(&self) -> usize {
        self.0.refused.fetch_add(1, Relaxed);
        let max_concurrent = self.max_concurrent();
        tracing::debug!(target: "steadfast::bulkhead", max_concurrent, "the bulkhead is full");
        max_concurrent
    }

    /// Lets this many calls through at a time from now on: 1 to 1,000,000. Those in flight finish; a smaller size is
    /// reached as they do.
    pub fn resize(&self, max_concurrent: usize) -> Result<(), ConfigError> {
        let new = check_max_concurrent(max_concurrent)?;
        let old = self.0.max_concurrent.swap(new, Relaxed);
        if new >= old {
            (0..new - old).for_each(|_| self.0.put_back());
        } else {
            // What is free now goes at once; the rest, when it comes back.
            self.0.surplus.fetch_add(old - new, Relaxed);
            self.0.shrink();
        }
        Ok(())
    }

    /// A permit, if one is free.
    pub(super) fn try_acquire(&self) -> Option<Permit> {
        self.0.semaphore.try_acquire().ok().map(|permit| {
            permit.forget();
            Permit(self.clone())
        })
    }

    /// A place in the queue for a permit, if there is one.
    ///
    /// The future gives `None` when the wait is over in vain.
    pub(super) fn queue(&self, deadline: Option<Instant>) -> Option<Waiting> {
        let now = Instant::now();
        let until =
            deadline::earliest(deadline, deadline::after(now, self.0.max_wait)).filter(|end| *end > now)?;
        let place = Place::take(self.clone())?;
        Some(Box::pin(async move {
            let permit = tokio::time::timeout_at(until, place.0.0.semaphore.acquire()).await.ok()?.ok()?;
            // Nothing is sent once the deadline has passed; a permit that came in time for the queue is good.
            if deadline::has_passed(deadline) {
                return None;
            }
            permit.forget();
            Some(Permit(place.0.clone()))
        }))
    }
}

/// A wait for a permit: only who has to queue pays for the box.
pub(super) type Waiting = Pin<Box<dyn Future<Output = Option<Permit>> + Send + Sync>>;

impl Default for Compartment {
    fn default() -> Self {
        Self::builder().build().expect("the default is valid")
    }
}

impl Shared for Inner {
    fn spares() -> &'static LocalKey<Spares<Self>> {
        thread_local! {
            static SPARES: Spares<Inner> = const { Spares::new() };
        }
        &SPARES
    }
}

impl Inner {
    /// Puts a permit back into circulation, unless there is one too many.
    fn put_back(&self) {
        if !self.take_surplus() {
            self.semaphore.add_permits(1);
            // A resize that came between found this permit in use.
            self.shrink();
        }
    }

    /// Takes free permits out of circulation, as long as there are too many.
    fn shrink(&self) {
        while self.has_surplus() && self.semaphore.forget_permits(1) > 0 {
            if !self.take_surplus() {
                self.semaphore.add_permits(1);
            }
        }
    }

    /// Who frees a permit asks after that; who adds to the surplus looks for free permits after that. One of the two
    /// has to see the other, or a permit stays in circulation.
    fn has_surplus(&self) -> bool {
        // Both have written the semaphore's count: `forget_permits` writes it, releasing, even if nothing is free. So
        // who frees a permit after it has read what was released there, and acquires it here.
        fence(Acquire);
        self.surplus.load(Relaxed) > 0
    }

    /// Relaxed: if the surplus is missed here, `put_back` looks again.
    fn take_surplus(&self) -> bool {
        self.surplus.fetch_update(Relaxed, Relaxed, |surplus| surplus.checked_sub(1)).is_ok()
    }
}

/// The right to talk to the upstream, given back on drop.
#[derive(Debug)]
pub struct Permit(Compartment);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.put_back();
    }
}

/// A permit is held while the body is read; without a bulkhead there is none. Dropping it is all there is to do.
impl Sealed for Option<Permit> {}

impl<D> Watch<D> for Option<Permit> {}

/// A place in the queue, given back on drop.
struct Place(Compartment);

impl Place {
    fn take(compartment: Compartment) -> Option<Self> {
        let one_more = |waiting: usize| (waiting < compartment.0.max_waiting).then_some(waiting + 1);
        let taken = compartment.0.waiting.fetch_update(Relaxed, Relaxed, one_more);
        taken.is_ok().then(|| Self(compartment))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Relaxed);
        // A waiter that was dropped in its turn gave its permit back to the semaphore, past `put_back`.
        self.0.0.shrink();
    }
}

// ===== CompartmentBuilder =====

/// Configures a [`Compartment`].
#[derive(Debug, Clone, Copy)]
pub struct CompartmentBuilder {
    max_concurrent: usize,
    max_waiting: usize,
    max_wait: Duration,
}

impl CompartmentBuilder {
    /// How many calls are let through at a time: 1 to 1,000,000. Default 128.
    pub const fn max_concurrent(mut self, calls: usize) -> Self {
        self.max_concurrent = calls;
        self
    }

    /// How many more may wait for one of them to end; 0 refuses at once. Default 128.
    pub const fn max_waiting(mut self, calls: usize) -> Self {
        self.max_waiting = calls;
        self
    }

    /// How long a call may wait, within its deadline; zero refuses at once. Default 1 s.
    pub const fn max_wait(mut self, time: Duration) -> Self {
        self.max_wait = time;
        self
    }

    /// The compartment, empty.
    pub fn build(self) -> Result<Compartment, ConfigError> {
        check_max_concurrent(self.max_concurrent)?;
        ConfigError::check("bulkhead.max_waiting", self.max_waiting, 0..=1_000_000)?;
        ConfigError::check("bulkhead.max_wait", self.max_wait, Duration::ZERO..=MAX_DURATION)?;
        Ok(Compartment::new(&self))
    }
}

fn check_max_concurrent(calls: usize) -> Result<usize, ConfigError> {
    ConfigError::check("bulkhead.max_concurrent", calls, 1..=1_000_000)
}

#[cfg(all(test, steadfast_loom))]
mod models;

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Compartment {
        Compartment::builder().max_concurrent(2).build().unwrap()
    }

    #[test]
    fn a_permit_comes_back_when_it_is_dropped() {
        let compartment = two();
        let permits = [compartment.try_acquire().unwrap(), compartment.try_acquire().unwrap()];
        assert!(compartment.try_acquire().is_none());
        assert_eq!(compartment.in_flight(), 2);
        drop(permits);
        assert_eq!(compartment.in_flight(), 0);
        assert!(compartment.try_acquire().is_some());
    }

    #[test]
    fn a_smaller_size_takes_what_is_free_and_then_what_comes_back() {
        let compartment = Compartment::builder().max_concurrent(4).build().unwrap();
        let held: Vec<_> = (0..3).map(|_| compartment.try_acquire().unwrap()).collect();
        compartment.resize(2).unwrap();
        assert!(compartment.try_acquire().is_none());
        let mut held = held.into_iter();
        drop(held.next());
        assert!(compartment.try_acquire().is_none(), "two are still in flight");
        drop(held.next());
        assert!(compartment.try_acquire().is_some());
    }

    #[test]
    fn growing_again_does_not_overshoot() {
        let compartment = Compartment::builder().max_concurrent(4).build().unwrap();
        let held: Vec<_> = (0..4).map(|_| compartment.try_acquire().unwrap()).collect();
        compartment.resize(1).unwrap();
        compartment.resize(3).unwrap();
        drop(held);
        let held: Vec<_> = std::iter::from_fn(|| compartment.try_acquire()).collect();
        assert_eq!(held.len(), 3);
    }

    #[test]
    fn a_compartment_that_cannot_work_is_refused_by_field() {
        let field = |builder: CompartmentBuilder| builder.build().unwrap_err().field();
        assert_eq!(field(Compartment::builder().max_concurrent(0)), "bulkhead.max_concurrent");
        assert_eq!(field(Compartment::builder().max_concurrent(usize::MAX)), "bulkhead.max_concurrent");
        assert_eq!(field(Compartment::builder().max_waiting(usize::MAX)), "bulkhead.max_waiting");
        assert_eq!(field(Compartment::builder().max_wait(Duration::MAX)), "bulkhead.max_wait");
        assert_eq!(two().resize(0).unwrap_err().field(), "bulkhead.max_concurrent");
        assert_eq!(two().max_concurrent(), 2);
    }
}

//! The permits of a bulkhead, and their way to the calls that wait for them.
//!
//! # Implementation
//!
//! The atomic integer `free` counts the free permits. A call takes a permit with one atomic write to `free`, and
//! returns the permit with another. `tokio::sync::Semaphore` needs four writes instead of two, and cannot shrink
//! below the number of permits in use.
//!
//! A *claim* is a right to one returned permit, and there are two kinds. Each waiter has a claim to receive a permit.
//! If the size shrinks below the number of permits in use, each permit above the size adds a claim to withdraw a
//! permit. The *surplus* is the number of claims to withdraw.
//!
//! While claims exist, `free` is `CLAIMED` instead of a count. A call that returns a permit then takes a lock, and
//! gives the permit to one claim: a claim of the surplus, if there is one, or else the claim of the waiter that the
//! [`WaitQueue`] chooses. A new call finds `CLAIMED` and takes no permit, so it cannot overtake the queue. When the
//! last claim ends, `free` counts again, from zero. Only claims make a call take the lock, and read the clock for the
//! queue.
//!
//! A waiter receives its permit through a oneshot channel. The permit is sent after the lock is released, so that no
//! task is woken under the lock. There is one exception: if a permit is free when a call joins the queue, the permit
//! is sent under the lock. This wakes no task, because the call has not begun to wait.
//!
//! # Memory ordering
//!
//! All atomic accesses are relaxed. A permit guards no memory, so the next holder need not see the writes of the
//! previous holder. `free` changes by read-modify-writes, so no permit is lost or taken twice. Only the change from
//! `CLAIMED` back to a count is a plain store. This store is safe, because while `free` is `CLAIMED`, only the holder
//! of the lock changes `free`. The lock orders all accesses to the claims.
//!
//! # Cancellation
//!
//! A waiter can leave at any time, and no permit is lost:
//!
//! - If no permit has been assigned to the waiter, its claim is removed.
//! - If a permit has been sent, it lies in the channel. Dropping the channel drops the permit, which returns itself.
//! - If a permit has been assigned but not yet sent, the waiter closes the channel. The sending then fails, and the
//!   sender drops the permit, which returns itself.

use std::sync::PoisonError;

use tokio::time::Instant;

use super::hold_time::HoldTime;
use super::queue::{Forecast, WaitQueue};
use crate::internal::sync::atomic::AtomicUsize;
use crate::internal::sync::atomic::Ordering::Relaxed;
use crate::internal::sync::{Mutex, MutexGuard, oneshot};

/// A counted set of permits, and the queue for them. `P` is the guard that a waiter receives.
#[derive(Debug)]
pub(super) struct Permits<P> {
    /// The number of free permits, or `CLAIMED`.
    free: AtomicUsize,
    /// The configured number of permits. Written only under the lock.
    size: AtomicUsize,
    /// The time that permits are held.
    pub(super) hold_time: HoldTime,
    claims: Mutex<Claims<P>>,
}

/// The value of `free` while claims exist: no permit is free, and returned permits go to claims. Only the holder of
/// the lock stores or replaces this value.
const CLAIMED: usize = usize::MAX;

/// The claims on returned permits.
#[derive(Debug)]
struct Claims<P> {
    /// The number of permits to withdraw. A returned permit goes to a waiter only if this number is zero.
    surplus: usize,
    queue: WaitQueue<oneshot::Sender<P>>,
    /// The number of attempts that have ended with an answer while calls waited.
    answered: u64,
}

/// A call's place in the queue.
#[derive(Debug)]
pub(super) struct QueuePlace<P> {
    /// The number of the waiter; `None` if its permit came at once.
    number: Option<u64>,
    /// The channel through which the permit comes. It closes if a newcomer displaces the waiter.
    pub(super) permit: oneshot::Receiver<P>,
    /// True if the queue is expected to be empty before the waiter must leave.
    pub(super) is_hopeful: bool,
    /// The number of answers that the waiter has seen.
    answered: u64,
}

impl<P> Permits<P> {
    pub(super) fn new(size: usize) -> Self {
        Self {
            free: AtomicUsize::new(size),
            size: AtomicUsize::new(size),
            hold_time: HoldTime::default(),
            claims: Mutex::new(Claims { surplus: 0, queue: WaitQueue::new(), answered: 0 }),
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size.load(Relaxed)
    }

    /// Returns the number of permits in use. A permit on its way to a waiter counts as in use.
    pub(super) fn in_use(&self) -> usize {
        let claims = self.claims();
        let circulating = self.size() + claims.surplus;
        match self.free.load(Relaxed) {
            CLAIMED => circulating,
            free => circulating.saturating_sub(free),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.claims().queue.len()
    }

    /// Takes a permit, if one is free.
    #[inline]
    pub(super) fn take(&self) -> bool {
        let taken = self.free.fetch_update(Relaxed, Relaxed, |free| match free {
            0 | CLAIMED => None,
            free => Some(free - 1),
        });
        taken.is_ok()
    }

    /// Puts back the permit of an attempt, which has ended with or without an answer. If the permit goes to a waiter,
    /// returns the waiter's channel, and the caller must send the permit.
    #[inline]
    pub(super) fn put_back(&self, is_answered: bool) -> Option<oneshot::Sender<P>> {
        if self.add_free() { None } else { self.settle_a_claim(is_answered) }
    }

    fn add_free(&self) -> bool {
        let added = self.free.fetch_update(Relaxed, Relaxed, |free| (free != CLAIMED).then(|| free + 1));
        added.is_ok()
    }

    #[cold]
    fn settle_a_claim(&self, is_answered: bool) -> Option<oneshot::Sender<P>> {
        let mut claims = self.claims();
        if self.add_free() {
            return None; // The last claim ended before the lock was taken.
        }
        claims.answered += u64::from(is_answered);
        let waiter = if claims.surplus > 0 {
            claims.surplus -= 1;
            None
        } else {
            claims.queue.pop(Instant::now(), self.forecast())
        };
        self.end_claims(&claims);
        waiter
    }

    /// Takes a place in the queue, in which the call can wait until `patience`. If `max_waiting` calls wait already,
    /// the oldest of them leaves. If a permit is free by now, it is sent to the new place at once.
    pub(super) fn queue(
        &self,
        now: Instant,
        patience: Instant,
        max_waiting: usize,
        permit: impl FnOnce() -> P,
    ) -> QueuePlace<P> {
        let (sender, receiver) = oneshot::channel();
        let mut claims = self.claims();
        let before = self.free.fetch_update(Relaxed, Relaxed, |free| match free {
            CLAIMED => None,
            0 => Some(CLAIMED),
            free => Some(free - 1),
        });
        let answered = claims.answered;
        if before.is_ok_and(|free| free > 0) {
            let _received = sender.send(permit());
            return QueuePlace { number: None, permit: receiver, is_hopeful: true, answered };
        }
        let place = claims.queue.join(sender, now, patience, self.forecast(), max_waiting);
        drop(claims);
        drop(place.displaced); // Wakes the displaced waiter, after the lock is released.
        QueuePlace { number: Some(place.number), permit: receiver, is_hopeful: place.is_hopeful, answered }
    }

    /// True if an attempt has ended with an answer since this waiter last asked, or since it joined the queue, and if
    /// the queue is expected to be empty before `patience`. A waiter that has been hopeful once stays so: a wrong
    /// prediction must not empty the queue.
    pub(super) fn has_hope(&self, place: &mut QueuePlace<P>, now: Instant, patience: Instant) -> bool {
        let claims = self.claims();
        place.is_hopeful |= claims.queue.is_hopeful(now, patience, self.forecast());
        let has_answered = std::mem::replace(&mut place.answered, claims.answered) != claims.answered;
        has_answered && place.is_hopeful
    }

    /// Removes a waiter from the queue. A permit that is on its way to the waiter returns itself.
    pub(super) fn leave(&self, place: &mut QueuePlace<P>) {
        // Close first: otherwise the drop of the sender below wakes the waiter, under the lock.
        place.permit.close();
        let Some(number) = place.number else { return };
        let mut claims = self.claims();
        if claims.queue.leave(number) {
            self.end_claims(&claims);
        }
    }

    fn forecast(&self) -> Forecast {
        Forecast { hold: self.hold_time.for_each_answer(), permits: self.size() }
    }

    /// Changes the number of permits. Permits in use stay in use. Returns the number of new permits, which the caller
    /// must add with [`put_back`](Self::put_back).
    pub(super) fn resize(&self, size: usize) -> usize {
        let mut claims = self.claims();
        let before = self.size();
        self.size.store(size, Relaxed);
        let over = before.saturating_sub(size);
        // Free permits are withdrawn at once. If they do not suffice, the rest is added to the surplus.
        let free = self.free.fetch_update(Relaxed, Relaxed, |free| match free {
            CLAIMED => None,
            free => Some(free.checked_sub(over).unwrap_or(CLAIMED)),
        });
        claims.surplus += over.saturating_sub(free.unwrap_or(0));
        size.saturating_sub(before)
    }

    /// Lets `free` count again if no claim is left.
    fn end_claims(&self, claims: &Claims<P>) {
        if claims.surplus == 0 && claims.queue.is_empty() {
            // A plain store is safe: while `free` is `CLAIMED`, only the holder of the lock changes it.
            self.free.store(0, Relaxed);
        }
    }

    fn claims(&self) -> MutexGuard<'_, Claims<P>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, steadfast_loom))]
mod models;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use super::*;

    /// The permits, and a simple record of their expected state.
    struct Accounted {
        permits: Permits<()>,
        size: usize,
        held: usize,
        queue: VecDeque<QueuePlace<()>>,
        is_overload: bool,
    }

    /// Longer than the test, which therefore meets no overload but that of a full queue.
    const PATIENCE: Duration = Duration::from_secs(60 * 60);

    const STEPS: usize = 8;
    const MAX_WAITING: usize = 2;

    impl Accounted {
        fn full(size: usize) -> Self {
            let permits = Permits::new(size);
            assert!((0..size).all(|_| permits.take()));
            Self { permits, size, held: size, queue: VecDeque::new(), is_overload: false }
        }

        fn step(&mut self, step: usize) {
            match step {
                0 => self.take(),
                1 => self.put_back(),
                2 => self.wait(),
                3 => self.leave(0),
                4 => self.leave(1),
                size => self.resize(size - 4),
            }
            self.check();
        }

        fn take(&mut self) {
            let is_free = self.held < self.size;
            assert_eq!(self.permits.take(), is_free);
            self.held += usize::from(is_free);
        }

        fn put_back(&mut self) {
            if let Some(held) = self.held.checked_sub(1) {
                self.held = held;
                self.put_in();
            }
        }

        fn put_in(&self) {
            if let Some(waiter) = self.permits.put_back(true) {
                waiter.send(()).unwrap();
            }
        }

        fn wait(&mut self) {
            let now = Instant::now();
            let displaced = if self.queue.len() < MAX_WAITING { None } else { self.queue.pop_front() };
            let place = self.permits.queue(now, now + PATIENCE, MAX_WAITING, || ());
            if let Some(mut displaced) = displaced {
                assert!(displaced.permit.try_recv().is_err());
                self.is_overload = true;
            }
            self.queue.push_back(place);
        }

        fn leave(&mut self, index: usize) {
            if let Some(mut place) = self.queue.remove(index) {
                self.permits.leave(&mut place);
                assert!(place.permit.try_recv().is_err());
            }
        }

        fn resize(&mut self, size: usize) {
            let more = self.permits.resize(size);
            assert_eq!(more, size.saturating_sub(self.size));
            self.size = size;
            (0..more).for_each(|_| self.put_in());
        }

        /// Checks that the free permits have gone to the first waiters, in an overload to the last, and that no other
        /// waiter has a permit.
        fn check(&mut self) {
            while self.held < self.size && !self.queue.is_empty() {
                let served = if self.is_overload { self.queue.pop_back() } else { self.queue.pop_front() };
                assert!(served.unwrap().permit.try_recv().is_ok());
                self.held += 1;
            }
            self.is_overload &= !self.queue.is_empty();
            assert!(self.queue.iter_mut().all(|place| place.permit.try_recv().is_err()));
            let seen = (self.permits.size(), self.permits.in_use(), self.permits.waiting());
            assert_eq!(seen, (self.size, self.held, self.queue.len()));
        }
    }

    #[test]
    fn every_sequence_of_operations_keeps_the_account_right() {
        const LENGTH: u32 = 6;
        for sequence in 0..STEPS.pow(LENGTH) {
            let mut permits = Accounted::full(3);
            (0..LENGTH).for_each(|at| permits.step(sequence / STEPS.pow(at) % STEPS));
        }
    }
}

//! The permits, and the queue for them.
//!
//! A call that finds a permit takes it in one step and puts it back in one step, and that is all that the threads share.
//! When somebody waits, or when a smaller size has yet to be reached, what comes back is spoken for: the count says so,
//! and a lock decides whose it is.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use crate::internal::sync::atomic::AtomicUsize;
use crate::internal::sync::atomic::Ordering::Relaxed;
use crate::internal::sync::{Mutex, MutexGuard, oneshot};

/// Permits, of which `P` is given to who has waited for one.
#[derive(Debug)]
pub(super) struct Permits<P> {
    /// How many are free, or `SPOKEN_FOR`. It stands for itself, so its accesses are relaxed.
    free: AtomicUsize,
    /// How many there should be. Written under the lock.
    size: AtomicUsize,
    claims: Mutex<Claims<P>>,
}

/// None is free, and what comes back is somebody's. Only who holds the lock makes it so, and only he ends it.
const SPOKEN_FOR: usize = usize::MAX;

/// Whose permits are that come back.
#[derive(Debug)]
struct Claims<P> {
    /// So many go out of circulation, before anybody gets one.
    surplus: usize,
    /// Who waits, first come first served.
    waiters: BTreeMap<u64, oneshot::Sender<P>>,
    next: u64,
}

/// A place in the queue: its number, and where the permit comes in.
pub(super) type QueuePlace<P> = (u64, oneshot::Receiver<P>);

impl<P> Permits<P> {
    pub(super) fn new(size: usize) -> Self {
        let claims = Claims { surplus: 0, waiters: BTreeMap::new(), next: 0 };
        Self { free: AtomicUsize::new(size), size: AtomicUsize::new(size), claims: Mutex::new(claims) }
    }

    pub(super) fn size(&self) -> usize {
        self.size.load(Relaxed)
    }

    /// How many are not free, those included that are on their way to somebody who has waited.
    pub(super) fn in_use(&self) -> usize {
        let claims = self.claims();
        let circulating = self.size() + claims.surplus;
        match self.free.load(Relaxed) {
            SPOKEN_FOR => circulating,
            free => circulating.saturating_sub(free),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.claims().waiters.len()
    }

    /// Takes a permit, if one is free.
    #[inline]
    pub(super) fn take(&self) -> bool {
        let taken = self.free.fetch_update(Relaxed, Relaxed, |free| match free {
            0 | SPOKEN_FOR => None,
            free => Some(free - 1),
        });
        taken.is_ok()
    }

    /// Puts a permit back. If somebody has waited for it, that is who gets it.
    #[inline]
    pub(super) fn put_back(&self) -> Option<oneshot::Sender<P>> {
        if self.add_free() { None } else { self.settle_a_claim() }
    }

    fn add_free(&self) -> bool {
        let added = self.free.fetch_update(Relaxed, Relaxed, |free| (free != SPOKEN_FOR).then(|| free + 1));
        added.is_ok()
    }

    #[cold]
    fn settle_a_claim(&self) -> Option<oneshot::Sender<P>> {
        let mut claims = self.claims();
        if self.add_free() {
            return None; // The last claim has ended in between.
        }
        let waiter = if claims.surplus > 0 {
            claims.surplus -= 1;
            None
        } else {
            claims.waiters.pop_first().map(|(_, waiter)| waiter)
        };
        self.end_claims(&claims);
        waiter
    }

    /// A place in the queue, unless it has this many already. If a permit is free by now, it lies there.
    pub(super) fn queue(&self, max_waiting: usize, permit: impl FnOnce() -> P) -> Option<QueuePlace<P>> {
        let mut claims = self.claims();
        if claims.waiters.len() >= max_waiting {
            return None;
        }
        let before = self.free.fetch_update(Relaxed, Relaxed, |free| match free {
            SPOKEN_FOR => None,
            0 => Some(SPOKEN_FOR),
            free => Some(free - 1),
        });
        let is_free = before.is_ok_and(|free| free > 0);
        let (sender, receiver) = oneshot::channel();
        let number = claims.next;
        claims.next += 1;
        if is_free {
            let _received = sender.send(permit());
        } else {
            claims.waiters.insert(number, sender);
        }
        Some((number, receiver))
    }

    /// A waiter leaves. If a permit is on its way to him already, it comes back from where it arrives.
    pub(super) fn leave(&self, number: u64, permit: &mut oneshot::Receiver<P>) {
        // Or the sender, dropped under the lock, would wake him.
        permit.close();
        let mut claims = self.claims();
        if claims.waiters.remove(&number).is_some() {
            self.end_claims(&claims);
        }
    }

    /// From now on there are this many. Those in use stay so until they are put back. Returns how many more there are
    /// than before: it is for the caller to put them in.
    pub(super) fn resize(&self, size: usize) -> usize {
        let mut claims = self.claims();
        let before = self.size();
        self.size.store(size, Relaxed);
        let over = before.saturating_sub(size);
        // What is free goes at once, the rest when it comes back.
        let free = self.free.fetch_update(Relaxed, Relaxed, |free| match free {
            SPOKEN_FOR => None,
            free => Some(free.checked_sub(over).unwrap_or(SPOKEN_FOR)),
        });
        claims.surplus += over.saturating_sub(free.unwrap_or(0));
        size.saturating_sub(before)
    }

    /// Without a claim, what comes back is free.
    fn end_claims(&self, claims: &Claims<P>) {
        if claims.surplus == 0 && claims.waiters.is_empty() {
            // Nobody else changes what is spoken for.
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

    use super::*;

    /// Permits, and the plainest account of them.
    struct Accounted {
        permits: Permits<()>,
        size: usize,
        held: usize,
        queue: VecDeque<QueuePlace<()>>,
    }

    const STEPS: usize = 8;
    const MAX_WAITING: usize = 2;

    impl Accounted {
        fn full(size: usize) -> Self {
            let permits = Permits::new(size);
            assert!((0..size).all(|_| permits.take()));
            Self { permits, size, held: size, queue: VecDeque::new() }
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
            if let Some(waiter) = self.permits.put_back() {
                waiter.send(()).unwrap();
            }
        }

        fn wait(&mut self) {
            let place = self.permits.queue(MAX_WAITING, || ());
            assert_eq!(place.is_some(), self.queue.len() < MAX_WAITING);
            self.queue.extend(place);
        }

        fn leave(&mut self, index: usize) {
            if let Some((number, mut permit)) = self.queue.remove(index) {
                self.permits.leave(number, &mut permit);
                assert!(permit.try_recv().is_err());
            }
        }

        fn resize(&mut self, size: usize) {
            let more = self.permits.resize(size);
            assert_eq!(more, size.saturating_sub(self.size));
            self.size = size;
            (0..more).for_each(|_| self.put_in());
        }

        /// Who came first has what is free, and nobody else has anything.
        fn check(&mut self) {
            while self.held < self.size && !self.queue.is_empty() {
                let (_, mut permit) = self.queue.pop_front().unwrap();
                assert!(permit.try_recv().is_ok());
                self.held += 1;
            }
            assert!(self.queue.iter_mut().all(|(_, permit)| permit.try_recv().is_err()));
            let seen = (self.permits.size(), self.permits.in_use(), self.permits.waiting());
            assert_eq!(seen, (self.size, self.held, self.queue.len()));
        }
    }

    #[test]
    fn whatever_happens_in_whatever_order_the_account_is_right() {
        const LENGTH: u32 = 6;
        for sequence in 0..STEPS.pow(LENGTH) {
            let mut permits = Accounted::full(3);
            (0..LENGTH).for_each(|at| permits.step(sequence / STEPS.pow(at) % STEPS));
        }
    }
}

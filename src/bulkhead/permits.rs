//! The permits, and the queue for them.
//!
//! A call that finds a permit takes it in one step and puts it back in one step, and that is all that the threads share.
//! When somebody waits, or when a smaller size has yet to be reached, what comes back is spoken for: the count says so,
//! and a lock decides whose it is.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{Mutex, MutexGuard, oneshot};

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
pub(super) type Place<P> = (u64, oneshot::Receiver<P>);

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
    pub(super) fn queue(&self, max_waiting: usize, permit: impl FnOnce() -> P) -> Option<Place<P>> {
        let mut claims = self.claims();
        let has_room = claims.waiters.len() < max_waiting;
        let before = self.free.fetch_update(Relaxed, Relaxed, |free| match free {
            SPOKEN_FOR => None,
            0 => has_room.then_some(SPOKEN_FOR),
            free => Some(free - 1),
        });
        let is_free = before.is_ok_and(|free| free > 0);
        if !is_free && !has_room {
            return None;
        }
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
    pub(super) fn leave(&self, number: u64) {
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

//! The floor: hand-written services with the semantics of steadfast's layers, but without any generality.
//!
//! The services are correct: a permit is released when the body is dropped, results of an older generation are
//! ignored, a tripped circuit refuses, and a failed attempt is retried within a budget and after a backoff. The
//! unhealthy paths are as short as possible: a full bulkhead has no queue, an open circuit closes without a probe,
//! and there is no jitter.

mod alone;
mod stack;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::upstream::Broken;

pub use self::{
    alone::{Breaker, Bulkhead},
    stack::Stack,
};

#[derive(Debug)]
pub enum Error {
    Upstream(Broken),
    CircuitOpen,
    BulkheadFull,
    Timeout,
}

/// The state that the calls to an upstream share, behind one reference count.
#[derive(Debug)]
pub struct State {
    /// The circuit's generation: even while closed, odd while open.
    gate: AtomicU64,
    /// The time at which an open circuit closes, in milliseconds since the epoch.
    closes_at: AtomicU64,
    /// The generation in the upper bits, the failures in a row in the lower 16 bits.
    consecutive: AtomicU64,
    /// The tokens, in thousandths.
    budget: AtomicU64,
    permits: Semaphore,
    epoch: Instant,
}

const TRIPS_AT: u64 = 10;
const FULL: u64 = 10_000;
const HANG: Duration = Duration::from_secs(1);

impl State {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: AtomicU64::new(0),
            closes_at: AtomicU64::new(0),
            consecutive: AtomicU64::new(0),
            budget: AtomicU64::new(2000),
            permits: Semaphore::new(128),
            epoch: Instant::now(),
        })
    }

    pub fn is_closed(&self) -> bool {
        self.gate.load(Acquire) % 2 == 0
    }

    pub fn free_permits(&self) -> usize {
        self.permits.available_permits()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Admits a call and returns its generation.
    fn enter(&self) -> Result<u64, Error> {
        let gate = self.gate.load(Acquire);
        if gate % 2 == 0 { Ok(gate) } else { self.enter_open(gate) }
    }

    #[cold]
    fn enter_open(&self, gate: u64) -> Result<u64, Error> {
        if self.millis() < self.closes_at.load(Relaxed) {
            return Err(Error::CircuitOpen);
        }
        let _ = self.gate.compare_exchange(gate, gate + 1, AcqRel, Relaxed);
        Ok(gate + 1)
    }

    fn leave(&self, generation: u64, failed: bool) {
        if self.gate.load(Acquire) != generation {
            return;
        }
        let word = self.consecutive.load(Relaxed);
        if failed {
            self.failed(generation);
        } else if word & 0xffff > 0 && word >> 16 == generation {
            let _ = self.consecutive.compare_exchange(word, generation << 16, Relaxed, Relaxed);
        }
    }

    #[cold]
    fn failed(&self, generation: u64) {
        let base = |word: u64| if word >> 16 == generation { word } else { generation << 16 };
        let before = self.consecutive.fetch_update(Relaxed, Relaxed, |word| Some(base(word) + 1));
        if before.is_ok_and(|before| base(before) & 0xffff >= TRIPS_AT - 1) {
            self.closes_at.store(self.millis() + 1000, Relaxed);
            let _ = self.gate.compare_exchange(generation, generation + 1, AcqRel, Relaxed);
        }
    }

    /// Deposits the tokens of a success. A full budget is only read, not written.
    fn deposit(&self) {
        let mut tokens = self.budget.load(Relaxed);
        while tokens < FULL {
            match self.budget.compare_exchange_weak(tokens, (tokens + 600).min(FULL), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(newer) => tokens = newer,
            }
        }
    }

    fn acquire(&self) -> Result<(), Error> {
        self.permits.try_acquire().map(tokio::sync::SemaphorePermit::forget).map_err(|_| Error::BulkheadFull)
    }

    fn release(&self) {
        self.permits.add_permits(1);
    }

    fn withdraw(&self) -> bool {
        self.budget.fetch_update(Relaxed, Relaxed, |tokens| tokens.checked_sub(1300)).is_ok()
    }
}

/// The admission and the permit of a call, released on drop.
struct Hold {
    state: Arc<State>,
    /// The generation of the admission, until the outcome is recorded.
    generation: Option<u64>,
    permit: bool,
    /// The time of the first `Pending`.
    since: Option<Instant>,
}

impl Hold {
    fn new(state: &Arc<State>) -> Self {
        Self { state: Arc::clone(state), generation: None, permit: false, since: None }
    }

    fn enter(&mut self) -> Result<(), Error> {
        self.generation = Some(self.state.enter()?);
        Ok(())
    }

    fn acquire(&mut self) -> Result<(), Error> {
        self.state.acquire()?;
        self.permit = true;
        Ok(())
    }

    fn settle(&mut self, failed: bool) {
        if let Some(generation) = self.generation.take() {
            self.state.leave(generation, failed);
        }
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.permit) {
            self.state.release();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A call that its caller drops counts as a failure if it has waited for `HANG` or longer.
        if let (Some(_), Some(since)) = (self.generation, self.since) {
            self.settle(since.elapsed() >= HANG);
        }
        self.release();
    }
}

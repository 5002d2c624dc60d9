//! The look-ups of a name, as the client makes them: one at first, and one every 5 s ± 20 %.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use steadfast::endpoints::Change;
use tokio::time::{Instant, Sleep, sleep};

use super::Target;
use crate::upstream::Upstream;

/// The mean time between two look-ups. Each time is drawn between 0.8 and 1.2 times the mean.
pub const REFRESH_ADDRESSES: Duration = Duration::from_secs(5);

/// The number of consecutive answers without an address after which the address is removed.
const ABSENCES: u32 = 3;

/// The stream of the changes that the look-ups find.
#[derive(Debug)]
pub struct LookUps {
    upstream: Upstream,
    /// The known replicas, each with the number of consecutive answers without it.
    known: Vec<(usize, u32)>,
    changes: VecDeque<Change<Target>>,
    pause: Pin<Box<Sleep>>,
    rng: SmallRng,
}

impl LookUps {
    pub fn new(upstream: Upstream, seed: u64) -> Self {
        let mut look_ups = Self {
            upstream,
            known: vec![],
            changes: VecDeque::new(),
            pause: Box::pin(sleep(Duration::ZERO)),
            rng: SmallRng::seed_from_u64(seed),
        };
        look_ups.look_up();
        look_ups
    }

    fn look_up(&mut self) {
        let Self { upstream, known, changes, .. } = self;
        let answer = upstream.running();
        known.retain_mut(|(replica, absences)| {
            *absences = if answer.contains(replica) { 0 } else { *absences + 1 };
            if *absences == ABSENCES {
                changes.push_back(Change::Remove(Target::Replica(*replica)));
            }
            *absences < ABSENCES
        });
        for replica in answer {
            if !known.iter().any(|(known, _)| *known == replica) {
                known.push((replica, 0));
                changes.push_back(Change::Insert(Target::Replica(replica)));
            }
        }
        let pause = REFRESH_ADDRESSES.mul_f64(self.rng.random_range(0.8..1.2));
        self.pause.as_mut().reset(Instant::now() + pause);
    }
}

impl Stream for LookUps {
    type Item = Result<Change<Target>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Poll::Ready(Some(Ok(change)));
            }
            ready!(self.pause.as_mut().poll(cx));
            self.look_up();
        }
    }
}

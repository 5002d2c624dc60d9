//! The client of a process: its stack of layers, and the circuits in it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use steadfast::circuit_breaker::{CircuitBreaker, State};
use steadfast::{CallOptions, Error, ResponseExt};
use tokio::time::{Instant, timeout};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use crate::body;
use crate::scenario::Patience;
use crate::upstream::{AttemptCounter, UpstreamRequest};

/// The result of a call, as its caller sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Fresh,
    /// A stale response.
    Stale {
        /// The age that the response states.
        age: Duration,
        /// The time at which the upstream gave the answer, counted from the start.
        given_at: Duration,
    },
    Failed,
    /// Failed before any attempt: refused by a layer of the client, or at the deadline while the call was queued.
    Unsent,
}

/// The client of a process.
#[derive(Debug)]
pub struct Client {
    pub service: BoxCloneSyncService<UpstreamRequest, Answer, Error<io::Error>>,
    pub circuits: Circuits,
}

impl Client {
    /// Makes a call with the patience of its caller.
    pub async fn answer(&self, mut request: UpstreamRequest, patience: Patience) -> Answer {
        if let Patience::Timeout(time) = patience {
            request.extensions_mut().insert(CallOptions::new().timeout(time));
        }
        let attempts = AttemptCounter::of(&request);
        let call = self.service.clone().oneshot(request);
        let result = match patience {
            Patience::Client | Patience::Timeout(_) => call.await,
            Patience::Drop(after) => match timeout(after, call).await {
                Ok(result) => result,
                Err(_) => return Answer::Failed,
            },
        };
        result.unwrap_or(if attempts.made() == 0 { Answer::Unsent } else { Answer::Failed })
    }
}

/// The circuits of the upstreams that have been called so far.
#[derive(Debug, Clone, Default)]
pub struct Circuits(Arc<Mutex<CircuitsInner>>);

#[derive(Debug, Default)]
struct CircuitsInner {
    all: Vec<CircuitBreaker>,
    /// The times at which a circuit opened.
    openings: Vec<Instant>,
}

impl Circuits {
    /// The number of times that a circuit opened so far.
    pub fn trips(&self) -> u64 {
        self.inner().all.iter().map(|circuit| circuit.snapshot().trips).sum()
    }

    /// The times at which a circuit opened.
    pub fn openings(&self) -> Vec<Instant> {
        self.inner().openings.clone()
    }

    /// Adds a circuit, and spawns a task that records its openings.
    pub(crate) fn add(&self, circuit: &CircuitBreaker) {
        self.inner().all.push(circuit.clone());
        let (mut states, circuits) = (circuit.watch(), self.clone());
        tokio::spawn(async move {
            while states.changed().await.is_ok() {
                if *states.borrow_and_update() == State::Open {
                    circuits.inner().openings.push(Instant::now());
                }
            }
        });
    }

    fn inner(&self) -> MutexGuard<'_, CircuitsInner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the whole body and classifies the answer.
pub(crate) async fn read<B>(response: http::Response<B>) -> Result<Answer, Error<io::Error>>
where
    B: http_body::Body,
{
    let (is_good, age) = (response.status().is_success(), response.stale().map(|stale| stale.age));
    let Ok(body) = response.into_body().collect().await else { return Ok(Answer::Failed) };
    Ok(match age {
        Some(age) => Answer::Stale { age, given_at: body::given_at(&body.to_bytes()) },
        None if is_good => Answer::Fresh,
        None => Answer::Failed,
    })
}

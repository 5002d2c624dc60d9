//! The upstream: a model of a service with faults.
//!
//! The upstream finishes every request that it has accepted, even if the caller is gone: a timeout takes no load off
//! a real server either. The finish time of a request is computed when the request arrives, so the model needs no
//! tasks of its own. The exception is a replica that is killed: its requests break.
//!
//! As a tower service, the upstream sends each request to a random replica. A [`Pool`](crate::network::Pool) sends
//! its requests over connections to single replicas.

mod received;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Empty;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use steadfast::Error;
use tokio::time::{Instant, sleep_until};
use tower::Service;

pub use self::received::{AtReplica, AttemptCounter, Received};
use crate::body::{AnswerBody, Schedule};
use crate::plan::{Fault, Model, Plan, Reply, Stop};

/// A request to an upstream.
pub type UpstreamRequest = Request<Empty<Bytes>>;

/// The result of an attempt.
pub type UpstreamResult = Result<Response<AnswerBody>, Error<io::Error>>;

/// A future that ends with the attempt.
pub type UpstreamFuture = Pin<Box<dyn Future<Output = UpstreamResult> + Send>>;

/// An upstream that follows its plan.
#[derive(Debug, Clone)]
pub struct Upstream(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    plan: Plan,
    start: Instant,
    rng: SmallRng,
    /// The finish times of the requests in progress, for each replica.
    finishes: Vec<BinaryHeap<Reverse<Instant>>>,
    /// The end of each replica's queue, on the scale of [`Plan::work_until`].
    queued: Vec<Duration>,
    received: Received,
}

/// The end of an attempt.
#[derive(Debug)]
enum Fate {
    Answered(Answered),
    Refused,
    Hung,
    /// The replica is killed at this time.
    Broken(Instant),
}

/// The answer to an attempt.
#[derive(Debug)]
struct Answered {
    at: Instant,
    status: StatusCode,
    /// The `Retry-After` in seconds.
    retry_after: Option<u32>,
    /// `None` for a body that arrives with the head.
    body: Option<Schedule>,
}

/// The time of an answer that takes no work.
const QUICK: Duration = Duration::from_millis(5);

// ===== impl Upstream =====

impl Upstream {
    pub fn new(plan: Plan, seed: u64) -> Self {
        assert!(!plan.replicas.is_empty(), "an upstream needs a replica");
        let (received, replicas) = (Received::new(&plan.replicas), plan.replicas.len());
        Self(Arc::new(Mutex::new(State {
            plan,
            start: Instant::now(),
            rng: SmallRng::seed_from_u64(seed),
            finishes: vec![BinaryHeap::new(); replicas],
            queued: vec![Duration::ZERO; replicas],
            received,
        })))
    }

    /// The requests received so far.
    pub fn received(&self) -> Received {
        self.state().received.clone()
    }

    /// The replicas that run now.
    pub fn running(&self) -> Vec<usize> {
        let state = self.state();
        state.plan.running(state.start.elapsed()).collect()
    }

    /// True if the replica accepts connections now, and keeps those that it has.
    pub fn listens(&self, replica: usize) -> bool {
        let state = self.state();
        state.plan.listens(replica, state.start.elapsed())
    }

    /// A random replica among those that accept connections now.
    pub fn any_listening(&self) -> Option<usize> {
        let State { plan, start, rng, .. } = &mut *self.state();
        let now = start.elapsed();
        pick(plan.running(now).filter(|replica| plan.listens(*replica, now)), rng)
    }

    /// Sends a request to a replica.
    pub fn send(&self, replica: usize, request: &UpstreamRequest) -> UpstreamFuture {
        let (fate, start) = {
            let mut state = self.state();
            (state.receive(replica, request), state.start)
        };
        Box::pin(fate.end(start))
    }

    /// Counts an attempt that found no replica, and returns its error.
    pub fn refuse(&self, request: &UpstreamRequest) -> Error<io::Error> {
        let mut state = self.state();
        let at = state.start.elapsed();
        state.received.count(at, None, request);
        refused()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A balancer of layer 7 sends each request to a random replica.
impl Service<UpstreamRequest> for Upstream {
    type Response = Response<AnswerBody>;
    type Error = Error<io::Error>;
    type Future = UpstreamFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: UpstreamRequest) -> Self::Future {
        let replica = {
            let State { plan, start, rng, .. } = &mut *self.state();
            pick(plan.running(start.elapsed()), rng)
        };
        match replica {
            Some(replica) => self.send(replica, &request),
            None => Box::pin(std::future::ready(Err(self.refuse(&request)))),
        }
    }
}

/// A random one of the replicas.
fn pick(mut replicas: impl Iterator<Item = usize> + Clone, rng: &mut SmallRng) -> Option<usize> {
    let count = replicas.clone().count();
    if count == 0 { None } else { replicas.nth(rng.random_range(0..count)) }
}

fn refused() -> Error<io::Error> {
    Error::from_upstream(io::ErrorKind::ConnectionRefused.into())
}

// ===== impl State =====

impl State {
    fn receive(&mut self, replica: usize, request: &UpstreamRequest) -> Fate {
        let now = Instant::now();
        let fault = self.plan.fault_of(replica, now - self.start);
        let reached = (fault != Fault::Refuses).then_some(replica);
        self.received.count(now - self.start, reached, request);
        let fate = self.fate(replica, now, fault, request);
        match self.killed_at(replica) {
            Some(killed) if !matches!(&fate, Fate::Answered(Answered { at, .. }) if *at <= killed) => {
                Fate::Broken(killed)
            }
            _ => fate,
        }
    }

    fn killed_at(&self, replica: usize) -> Option<Instant> {
        let replica = self.plan.replicas[replica];
        (replica.stop == Stop::Killed).then(|| self.start + replica.stops)
    }

    fn fate(&mut self, replica: usize, now: Instant, fault: Fault, request: &UpstreamRequest) -> Fate {
        let quick = |status| Answered::new(now + QUICK, status);
        let slowness = if let Fault::Slow(times) = fault { times } else { 1.0 };
        match fault {
            Fault::Refuses => Fate::Refused,
            Fault::Hangs => Fate::Hung,
            Fault::RetryAfter(seconds) => Fate::Answered(Answered {
                retry_after: Some(seconds),
                ..quick(StatusCode::SERVICE_UNAVAILABLE)
            }),
            Fault::QuickErrors { share, status } if self.rng.random_bool(share) => {
                Fate::Answered(quick(status))
            }
            _ => {
                let finish = self.work(replica, now, slowness);
                let fails = matches!(fault, Fault::Fails(share) if self.rng.random_bool(share));
                Fate::Answered(match finish {
                    Some(finish) if !fails => {
                        self.reply(finish, self.plan.reply(request.uri().path(), fault))
                    }
                    finish => Answered::new(finish.unwrap_or(now), StatusCode::SERVICE_UNAVAILABLE),
                })
            }
        }
    }

    fn reply(&mut self, at: Instant, reply: Reply) -> Answered {
        match reply {
            Reply::Ok => Answered::new(at, StatusCode::OK),
            Reply::InternalError => Answered::new(at, StatusCode::INTERNAL_SERVER_ERROR),
            Reply::Body(shape) => {
                let body = Some(Schedule::draw(shape, at, &mut self.rng));
                Answered { body, ..Answered::new(at, StatusCode::OK) }
            }
        }
    }

    /// Accepts a request and returns its finish time, or `None` if the queue is full.
    fn work(&mut self, replica: usize, now: Instant, slowness: f64) -> Option<Instant> {
        let finishes = &mut self.finishes[replica];
        while finishes.peek().is_some_and(|finish| finish.0 <= now) {
            finishes.pop();
        }
        let finish = match self.plan.model {
            Model::Steady(latency) => now + latency.mul_f64(self.rng.random_range(0.5..1.5) * slowness),
            Model::Contended { base, each } => {
                let others = u32::try_from(finishes.len()).unwrap_or(u32::MAX);
                now + (base + each * others).mul_f64(slowness)
            }
            Model::Queue { workers, work, places } => {
                if finishes.len() >= workers + places {
                    return None;
                }
                // One queue that is as fast as all workers together. Its length is work and not time, because a
                // waiting request is processed at the speed of a later time, which may differ from the present speed.
                let share = work / u32::try_from(workers).unwrap_or(u32::MAX);
                let begin = self.queued[replica].max(self.plan.work_until(now - self.start));
                self.queued[replica] = begin + share;
                self.start + self.plan.time_of(begin + work)
            }
        };
        finishes.push(Reverse(finish));
        Some(finish)
    }
}

// ===== impl Fate =====

impl Fate {
    /// Waits for the end of an attempt. `start` is the start of the run.
    async fn end(self, start: Instant) -> UpstreamResult {
        match self {
            Self::Hung => std::future::pending().await,
            Self::Refused => Err(refused()),
            Self::Broken(at) => {
                sleep_until(at).await;
                Err(Error::from_upstream(io::ErrorKind::ConnectionReset.into()))
            }
            Self::Answered(Answered { at, status, retry_after, body }) => {
                sleep_until(at).await;
                let mut response = Response::new(AnswerBody::new(at - start, body));
                *response.status_mut() = status;
                if let Some(seconds) = retry_after {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                Ok(response)
            }
        }
    }
}

impl Answered {
    const fn new(at: Instant, status: StatusCode) -> Self {
        Self { at, status, retry_after: None, body: None }
    }
}

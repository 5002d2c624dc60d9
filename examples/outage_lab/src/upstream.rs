//! The upstream: a model of a service with faults, as a tower service.
//!
//! The upstream finishes every request that it has accepted, even if the caller is gone: a timeout takes no load off
//! a real server either. The finish time of a request is computed when the request arrives, so the model needs no
//! tasks of its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Empty;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use steadfast::Error;
use tokio::time::{Instant, sleep_until};
use tower::Service;

use crate::body::{AnswerBody, Schedule};
use crate::plan::{Fault, Model, Plan, Reply};

/// A request to an upstream.
pub type UpstreamRequest = Request<Empty<Bytes>>;

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

/// The requests that have reached an upstream. Orders count only as duplicates.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// The attempts in each hundredth of a second.
    pub attempts: Vec<u32>,
    /// The attempts that are retries, in each hundredth of a second.
    pub retries: Vec<u32>,
    /// Orders that were sent more than once.
    pub duplicates: u32,
}

/// The number of attempts of a call. An extension of the request, shared by its copies.
#[derive(Debug, Clone, Default)]
pub struct AttemptCounter(Arc<AttemptCounterInner>);

#[derive(Debug, Default)]
struct AttemptCounterInner {
    made: AtomicU32,
    /// The attempts whose connections were not refused.
    sent: AtomicU32,
}

impl AttemptCounter {
    /// The counter of a request.
    pub fn of(request: &UpstreamRequest) -> Self {
        request.extensions().get::<Self>().expect("every call counts its attempts").clone()
    }

    /// The number of attempts so far.
    pub fn made(&self) -> u32 {
        self.0.made.load(Ordering::Relaxed)
    }
}

impl Upstream {
    pub fn new(plan: Plan, seed: u64) -> Self {
        assert!(plan.replicas > 0, "an upstream needs a replica");
        let finishes = vec![BinaryHeap::new(); plan.replicas];
        let queued = vec![Duration::ZERO; plan.replicas];
        Self(Arc::new(Mutex::new(State {
            plan,
            start: Instant::now(),
            rng: SmallRng::seed_from_u64(seed),
            finishes,
            queued,
            received: Received::default(),
        })))
    }

    /// The requests received so far.
    pub fn received(&self) -> Received {
        self.state().received.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of an attempt.
#[derive(Debug)]
enum Fate {
    Answered(Answered),
    Refused,
    Hung,
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

impl Answered {
    const fn new(at: Instant, status: StatusCode) -> Self {
        Self { at, status, retry_after: None, body: None }
    }
}

impl State {
    fn receive(&mut self, request: &UpstreamRequest) -> Fate {
        let now = Instant::now();
        let replica = self.rng.random_range(0..self.plan.replicas);
        let fault =
            if self.plan.one_faulty && replica > 0 { Fault::None } else { self.plan.fault(now - self.start) };
        self.count(now, request, fault);
        let slowness = if let Fault::Slow(times) = fault { times } else { 1.0 };
        match fault {
            Fault::Refuses => Fate::Refused,
            Fault::Hangs => Fate::Hung,
            Fault::RetryAfter(seconds) => Fate::Answered(Answered {
                retry_after: Some(seconds),
                ..Answered::new(now + Duration::from_millis(5), StatusCode::SERVICE_UNAVAILABLE)
            }),
            Fault::None | Fault::Fails(_) | Fault::Slow(_) | Fault::Replies(_) => {
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

    fn count(&mut self, now: Instant, request: &UpstreamRequest, fault: Fault) {
        let counter = AttemptCounter::of(request);
        let is_retry = counter.0.made.fetch_add(1, Ordering::Relaxed) > 0;
        let was_sent = fault != Fault::Refuses && counter.0.sent.fetch_add(1, Ordering::Relaxed) > 0;
        if request.method() == Method::POST {
            self.received.duplicates += u32::from(was_sent);
            return;
        }
        let hundredth = usize::try_from((now - self.start).as_millis() / 10).unwrap_or(usize::MAX);
        if self.received.attempts.len() <= hundredth {
            self.received.attempts.resize(hundredth + 1, 0);
            self.received.retries.resize(hundredth + 1, 0);
        }
        self.received.attempts[hundredth] += 1;
        self.received.retries[hundredth] += u32::from(is_retry);
    }
}

impl Service<UpstreamRequest> for Upstream {
    type Response = Response<AnswerBody>;
    type Error = Error<io::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: UpstreamRequest) -> Self::Future {
        let (fate, start) = {
            let mut state = self.state();
            (state.receive(&request), state.start)
        };
        Box::pin(async move {
            match fate {
                Fate::Hung => std::future::pending().await,
                Fate::Refused => Err(Error::from_upstream(io::ErrorKind::ConnectionRefused.into())),
                Fate::Answered(Answered { at, status, retry_after, body }) => {
                    sleep_until(at).await;
                    let mut response = Response::new(AnswerBody::new(at - start, body));
                    *response.status_mut() = status;
                    if let Some(seconds) = retry_after {
                        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                    }
                    Ok(response)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Phase, Route};

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(model: Model, phases: &[(u64, Fault)]) -> Plan {
        let phases =
            phases.iter().map(|(until, fault)| Phase { until: Duration::from_secs(*until), fault: *fault });
        Plan { phases: phases.collect(), ..Plan::healthy(model) }
    }

    fn get() -> UpstreamRequest {
        get_path("items/1")
    }

    fn get_path(path: &str) -> UpstreamRequest {
        let request =
            Request::get(format!("http://sku.internal/{path}")).extension(AttemptCounter::default());
        request.body(Empty::new()).unwrap()
    }

    async fn takes(upstream: &mut Upstream) -> (Duration, Option<StatusCode>) {
        let start = Instant::now();
        let answer = upstream.call(get()).await;
        (start.elapsed(), answer.ok().map(|response| response.status()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_contended_upstream_gets_slower_with_each_request() {
        let model = Model::Contended { base: SECOND, each: SECOND / 100 };
        let mut upstream = Upstream::new(plan(model, &[(60, Fault::None)]), 1);
        let (first, second) = (upstream.call(get()), upstream.call(get()));
        drop((first, second)); // The upstream goes on with dropped requests.
        assert_eq!(takes(&mut upstream).await.0, SECOND + SECOND / 50);
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(takes(&mut upstream).await.0, SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_worked_off_in_order_and_refuses_beyond_its_places() {
        let model = Model::Queue { workers: 2, work: SECOND, places: 2 };
        let mut upstream = Upstream::new(plan(model, &[(60, Fault::None)]), 1);
        let begun: Vec<_> = (0..4).map(|_| upstream.call(get())).collect();
        assert_eq!(takes(&mut upstream).await, (Duration::ZERO, Some(StatusCode::SERVICE_UNAVAILABLE)));
        let start = Instant::now();
        let mut ends = vec![];
        for call in begun {
            call.await.unwrap();
            ends.push(start.elapsed());
        }
        assert_eq!(ends, [SECOND, SECOND * 3 / 2, SECOND * 2, SECOND * 5 / 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_request_is_processed_at_the_speed_of_its_turn() {
        let model = Model::Queue { workers: 1, work: SECOND, places: 9 };
        let phases = [(2, Fault::Slow(4.0)), (60, Fault::None)];
        let mut upstream = Upstream::new(plan(model, &phases), 1);
        drop(upstream.call(get()));
        // The two slow seconds do half of the first request. One and a half requests remain.
        assert_eq!(takes(&mut upstream).await.0, SECOND * 7 / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_attempt_was_not_sent() {
        let mut upstream =
            Upstream::new(plan(Model::Steady(SECOND), &[(1, Fault::Refuses), (2, Fault::Hangs)]), 1);
        let counter = AttemptCounter::default();
        let post = || {
            let request = Request::post("http://sku.internal/orders/1").extension(counter.clone());
            request.body(Empty::new()).unwrap()
        };
        assert!(upstream.call(post()).await.is_err());
        tokio::time::sleep(SECOND).await;
        drop(upstream.call(post()));
        assert_eq!(upstream.received().duplicates, 0);
        drop(upstream.call(post()));
        assert_eq!(upstream.received().duplicates, 1);
        assert!(upstream.received().attempts.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_attempt_of_a_call_is_a_retry() {
        let mut upstream = Upstream::new(plan(Model::Steady(SECOND), &[(60, Fault::None)]), 1);
        let (one, other) = (get(), get());
        drop((upstream.call(one.clone()), upstream.call(other), upstream.call(one)));
        assert_eq!((upstream.received().attempts[0], upstream.received().retries[0]), (3, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_several_replicas_is_faulty() {
        let mut hung = 0;
        let plan =
            Plan { replicas: 4, one_faulty: true, ..plan(Model::Steady(SECOND), &[(1, Fault::Hangs)]) };
        let mut upstream = Upstream::new(plan, 1);
        for _ in 0..400 {
            hung += u32::from(tokio::time::timeout(2 * SECOND, upstream.call(get())).await.is_err());
        }
        assert!((70..130).contains(&hung), "{hung}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_route_answers_500_beside_a_healthy_one_and_fails_with_503_like_the_others() {
        let routes = vec![Route { path: "/broken", reply: Reply::InternalError }];
        let phases = [(1, Fault::None), (2, Fault::Fails(1.0)), (3, Fault::Hangs)];
        let mut upstream = Upstream::new(Plan { routes, ..plan(Model::Steady(SECOND / 50), &phases) }, 1);
        let statuses = async |upstream: &mut Upstream| {
            let mut statuses = vec![];
            for path in ["broken", "healthy"] {
                let answer = tokio::time::timeout(SECOND / 10, upstream.call(get_path(path))).await;
                statuses.push(answer.map_or(0, |answer| answer.unwrap().status().as_u16()));
            }
            tokio::time::sleep(SECOND).await;
            statuses
        };
        assert_eq!(statuses(&mut upstream).await, [500, 200]);
        assert_eq!(statuses(&mut upstream).await, [503, 503]);
        assert_eq!(statuses(&mut upstream).await, [0, 0]);
    }
}

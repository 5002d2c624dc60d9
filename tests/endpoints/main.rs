//! The endpoints of an upstream: where an attempt goes, what a fault does, and how an endpoint comes back.

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod discovery;
mod ejected;
mod hard_cases;
mod lanes;
mod retries;

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use steadfast::endpoints::{
    Change, EjectionCause, EndpointState, EndpointStatus, Endpoints, EndpointsBuilder, EndpointsService,
    fixed,
};
use steadfast::retry::{RetryBudget, RetryLayer, RetryPolicy, RetryService};
use steadfast::timeout::{TimeoutLayer, TimeoutService};
use steadfast::{BoxError, Error, ErrorKind};
use tokio::time::{Instant, sleep};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt};

use support::{Script, Step, TestBody, get, post, send};

const MS: Duration = Duration::from_millis(1);

/// The behaviour of an instance.
#[derive(Debug, Clone, PartialEq)]
enum Mode {
    /// Answers 200 after this time.
    Well(Duration),
    /// Answers with this status at once, and with a `Retry-After` in seconds if there is one.
    Status(u16, Option<u32>),
    /// Never answers.
    Hang,
    /// Breaks the connection.
    Reset,
    /// Refuses connections.
    Refuse,
    /// The body breaks off.
    Broken,
    /// The head comes at once, and the body never ends.
    Stalled,
}

use Mode::{Broken, Hang, Refuse, Reset, Stalled, Status, Well};

/// One instance of the upstream.
#[derive(Debug, Clone)]
struct Instance(Arc<InstanceState>);

#[derive(Debug)]
struct InstanceState {
    mode: Mutex<Mode>,
    requests: AtomicUsize,
    posts: AtomicUsize,
    made: AtomicUsize,
}

impl Instance {
    /// Answers after 5 ms.
    fn new() -> Self {
        Self(Arc::new(InstanceState {
            mode: Mutex::new(Well(5 * MS)),
            requests: AtomicUsize::new(0),
            posts: AtomicUsize::new(0),
            made: AtomicUsize::new(0),
        }))
    }

    fn set(&self, mode: Mode) {
        *self.0.mode.lock().unwrap() = mode;
    }

    /// The number of requests since the last call of this method.
    fn requests(&self) -> usize {
        self.0.requests.swap(0, Relaxed)
    }

    /// The number of times that the service of the endpoint was made.
    fn made(&self) -> usize {
        self.0.made.load(Relaxed)
    }

    async fn answer(self, request: Request<()>) -> Result<Response<TestBody>, io::Error> {
        let mode = self.0.mode.lock().unwrap().clone();
        if mode == Refuse {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.0.requests.fetch_add(1, Relaxed);
        self.0.posts.fetch_add(usize::from(request.method() == Method::POST), Relaxed);
        let whole = Script::pieces(&["whole"]).sized();
        match mode {
            Well(after) => {
                sleep(after).await;
                Ok(Response::new(whole.start()))
            }
            Status(status, retry_after) => {
                let mut response = Response::new(whole.start());
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                if let Some(seconds) = retry_after {
                    response.headers_mut().insert("retry-after", seconds.into());
                }
                Ok(response)
            }
            Hang => pending().await,
            Reset => Err(io::ErrorKind::ConnectionReset.into()),
            Broken => Ok(Response::new(Script::pieces(&["ha"]).then(Step::Fail).stating(5).start())),
            Stalled => Ok(Response::new(Script::pieces(&["ha"]).then(Step::Stall).stating(5).start())),
            Refuse => unreachable!("nothing was sent"),
        }
    }
}

type Connection = BoxCloneSyncService<Request<()>, Response<TestBody>, Error<io::Error>>;

type Stack = RetryService<TimeoutService<EndpointsService<usize, Connection>>>;

fn retries(budget: Option<RetryBudget>) -> RetryLayer {
    let retry = RetryLayer::new(RetryPolicy::builder().seed(7).build().unwrap());
    match budget {
        Some(budget) => retry.budget(budget),
        None => retry.without_budget(),
    }
}

/// Instances, and their endpoints.
struct Upstream {
    instances: Vec<Instance>,
    endpoints: Endpoints<usize, Connection>,
}

impl Upstream {
    /// Instances that answer after 5 ms.
    fn of(count: usize) -> Self {
        Self::with(count, |builder| builder)
    }

    fn with(count: usize, change: impl FnOnce(EndpointsBuilder) -> EndpointsBuilder) -> Self {
        Self::discovered(count, fixed(0..count), change)
    }

    fn discovered<E: Into<BoxError>>(
        count: usize,
        changes: impl futures_util::Stream<Item = Result<Change<usize>, E>> + Send + 'static,
        change: impl FnOnce(EndpointsBuilder) -> EndpointsBuilder,
    ) -> Self {
        let instances: Vec<Instance> = (0..count).map(|_| Instance::new()).collect();
        let all = instances.clone();
        let make = move |address: &usize| {
            let instance = all[*address].clone();
            instance.0.made.fetch_add(1, Relaxed);
            let send = tower::service_fn(move |request| instance.clone().answer(request));
            BoxCloneSyncService::new(send.map_err(Error::from_upstream))
        };
        let builder = change(Endpoints::builder().name("sku").seed(7));
        Self { instances, endpoints: builder.build(changes, make).unwrap() }
    }

    fn service(&self) -> EndpointsService<usize, Connection> {
        EndpointsService::new(self.endpoints.clone())
    }

    /// A stack with retries and a time limit of 1 s for an attempt.
    fn stack(&self, budget: Option<RetryBudget>) -> Stack {
        ServiceBuilder::new()
            .layer(retries(budget))
            .layer(TimeoutLayer::new(1000 * MS))
            .service(self.service())
    }

    /// Makes `count` GETs, one after the other, every 20 ms. Returns the number of good answers.
    async fn calls(&self, count: usize) -> usize {
        let stack = self.stack(None);
        let mut answered = 0;
        for _ in 0..count {
            let began = Instant::now();
            let is_good = send(&stack, get()).await.is_ok_and(|response| response.status() == 200);
            answered += usize::from(is_good);
            sleep((20 * MS).saturating_sub(began.elapsed())).await;
        }
        answered
    }

    fn requests(&self) -> Vec<usize> {
        self.instances.iter().map(Instance::requests).collect()
    }

    fn status(&self, address: usize) -> EndpointStatus<usize> {
        self.endpoints.list().into_iter().find(|endpoint| *endpoint.address() == address).unwrap()
    }

    fn state(&self, address: usize) -> EndpointState {
        self.status(address).state()
    }
}

// ===== Attempts at healthy endpoints =====

#[tokio::test(start_paused = true)]
async fn healthy_endpoints_get_equal_shares() {
    let upstream = Upstream::of(4);
    assert_eq!(upstream.calls(400).await, 400);
    let requests = upstream.requests();
    assert!(requests.iter().all(|requests| (70..130).contains(requests)), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_gets_little() {
    let upstream = Upstream::of(4);
    upstream.instances[0].set(Well(50 * MS));
    upstream.calls(1000).await;
    let requests = upstream.requests();
    assert!(requests[0] <= 1000 / 16, "a quarter of its share: {requests:?}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_counts_until_its_body_has_ended() {
    let upstream = Upstream::of(1);
    let response = send(&upstream.service(), get()).await.unwrap();
    assert_eq!(upstream.status(0).in_flight(), 1);
    assert_eq!(upstream.status(0).latency(), Some(5 * MS));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!((&body[..], upstream.status(0).in_flight()), (&b"whole"[..], 0));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_attempt_leaks_no_count() {
    let upstream = Upstream::of(1);
    for wait in [0, 1, 10] {
        let service = upstream.service();
        let mut call = Box::pin(send(&service, get()));
        tokio::select! {
            biased;
            _ = &mut call => panic!("not yet"),
            () = sleep(wait * MS / 5) => {}
        }
        assert!(upstream.status(0).in_flight() <= 1);
        drop(call);
        assert_eq!((upstream.status(0).in_flight(), upstream.state(0)), (0, EndpointState::Available));
    }
    drop(send(&upstream.service(), get()).await.unwrap());
    assert_eq!(upstream.status(0).in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_service_of_an_endpoint_is_made_for_its_first_attempt() {
    let upstream = Upstream::of(2);
    assert_eq!((upstream.instances[0].made(), upstream.instances[1].made()), (0, 0));
    upstream.calls(100).await;
    assert_eq!((upstream.instances[0].made(), upstream.instances[1].made()), (1, 1));
    upstream.endpoints.drop_services();
    upstream.calls(100).await;
    assert_eq!((upstream.instances[0].made(), upstream.instances[1].made()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn responses_that_are_not_http_are_served_as_well() {
    let make = |address: &usize| {
        let address = *address;
        let answer = move |_: steadfast::Call<()>| async move { Ok::<_, io::Error>(address) };
        tower::service_fn(answer).map_err(Error::<io::Error>::from_upstream)
    };
    let endpoints = Endpoints::builder().build(fixed([3]), make).unwrap();
    let classifier = steadfast::classify::from_fn(|result| match result {
        Ok(3) => steadfast::Outcome::Success,
        _ => steadfast::Outcome::transient(),
    });
    let service = EndpointsService::new(endpoints.clone()).classifier(classifier).non_http();
    assert_eq!(service.oneshot(steadfast::Call::new(())).await.unwrap(), 3);
    assert_eq!(endpoints.list()[0].in_flight(), 0);
}

#[test]
fn settings_that_cannot_work_are_refused_by_field() {
    let field = |builder: EndpointsBuilder| builder.build(fixed([1]), |_: &i32| ()).unwrap_err().field();
    let new = Endpoints::builder;
    assert_eq!(field(new().max_endpoints(0)), "endpoints.max_endpoints");
    assert_eq!(field(new().max_endpoints(65)), "endpoints.max_endpoints");
    assert_eq!(field(new().consecutive_faults(0)), "endpoints.consecutive_faults");
    assert_eq!(field(new().fault_share(0.0)), "endpoints.fault_share");
    assert_eq!(field(new().fault_share(f64::NAN)), "endpoints.fault_share");
    assert_eq!(field(new().eject_for(Duration::ZERO)), "endpoints.eject_for");
    assert_eq!(field(new().eject_for(20 * 1000 * MS)), "endpoints.max_eject_for");
    assert_eq!(field(new().max_eject_for(Duration::MAX)), "endpoints.max_eject_for");
    assert_eq!(field(new().max_lanes(0)), "endpoints.max_lanes");
    assert_eq!(field(new().max_lanes(65)), "endpoints.max_lanes");
    assert_eq!(field(new().max_lane_age(999 * MS)), "endpoints.max_lane_age");
    assert_eq!(field(new().max_lane_age(Duration::MAX)), "endpoints.max_lane_age");
}

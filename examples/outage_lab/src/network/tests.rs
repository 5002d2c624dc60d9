use std::time::Duration;

use futures_core::Stream;
use http::Version;
use http_body_util::Empty;
use steadfast::endpoints::Change;
use tokio::time::{Instant, sleep, timeout};
use tower::Service;

use super::{LookUps, Pool, Protocol, Target};
use crate::plan::{Fault, Model, Phase, Plan, Replica, Stop};
use crate::upstream::{AttemptCounter, Upstream, UpstreamRequest};

const SECOND: Duration = Duration::from_secs(1);

/// Replicas that take exactly one second and never stop at all, or at these times.
fn upstream(stops: &[Option<(u64, Stop)>], phases: &[(u64, Fault)]) -> Upstream {
    let replica = |stop: &Option<(u64, Stop)>| match *stop {
        Some((second, stop)) => Replica { stops: Duration::from_secs(second), stop, ..Replica::ALWAYS },
        None => Replica::ALWAYS,
    };
    let phase = |&(until, fault): &(u64, Fault)| Phase { until: Duration::from_secs(until), fault };
    let model = Model::Contended { base: SECOND, each: Duration::ZERO };
    let (replicas, phases) = (stops.iter().map(replica).collect(), phases.iter().map(phase).collect());
    Upstream::new(Plan { replicas, phases, one_faulty: true, ..Plan::healthy(model) }, 1)
}

fn request() -> UpstreamRequest {
    let request = UpstreamRequest::new(Empty::new());
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(AttemptCounter::default());
    UpstreamRequest::from_parts(parts, body)
}

/// True if a request is answered.
async fn is_answered(pool: &Pool) -> bool {
    pool.clone().call(request()).await.is_ok()
}

/// The number of replicas that got a request.
fn reached(upstream: &Upstream) -> usize {
    upstream.received().replicas.iter().filter(|at| !at.attempts.is_empty()).count()
}

#[tokio::test(start_paused = true)]
async fn http_1_uses_the_last_idle_connection_again() {
    let upstream = upstream(&[None; 64], &[]);
    let pool = Pool::new(upstream.clone(), Target::Any, Protocol::Http1);
    let start = Instant::now();
    for _ in 0..10 {
        assert!(is_answered(&pool).await);
    }
    assert_eq!((reached(&upstream), start.elapsed()), (1, 10 * SECOND + Duration::from_millis(1)));
}

#[tokio::test(start_paused = true)]
async fn http_1_opens_a_connection_for_each_request_in_flight_and_http_2_shares_one() {
    for (protocol, version, shared) in
        [(Protocol::Http1, Version::HTTP_11, false), (Protocol::Http2, Version::HTTP_2, true)]
    {
        let upstream = upstream(&[None; 64], &[]);
        let mut pool = Pool::new(upstream.clone(), Target::Any, protocol);
        let in_flight: Vec<_> = (0..10).map(|_| tokio::spawn(pool.call(request()))).collect();
        for call in in_flight {
            assert_eq!(call.await.unwrap().unwrap().version(), version);
        }
        assert_eq!(reached(&upstream) == 1, shared, "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_closes_its_connection_over_http_1_only() {
    for (protocol, is_closed) in [(Protocol::Http1, true), (Protocol::Http2, false)] {
        let upstream = upstream(&[None; 64], &[]);
        let pool = Pool::new(upstream.clone(), Target::Any, protocol);
        for _ in 0..2 {
            assert!(timeout(SECOND / 2, is_answered(&pool)).await.is_err());
        }
        assert_eq!(reached(&upstream) == 2, is_closed, "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_in_flight_breaks_with_a_killed_replica_and_not_with_one_that_stops_gracefully() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for stop in [Stop::Graceful, Stop::Killed] {
            let upstream = upstream(&[Some((2, stop)), None], &[]);
            let pinned = Pool::new(upstream.clone(), Target::Replica(0), protocol);
            assert!(is_answered(&pinned).await);
            sleep(SECOND / 2).await;
            assert_eq!(is_answered(&pinned).await, stop == Stop::Graceful);
            // No new request uses the old connection.
            sleep(SECOND).await;
            let error = pinned.clone().call(request()).await.unwrap_err();
            assert!(error.is_connect(), "{error}");
            assert!(is_answered(&Pool::new(upstream, Target::Any, protocol)).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_replica_accepts_connections() {
    let upstream = upstream(&[None], &[(1, Fault::Hangs), (2, Fault::None)]);
    let pool = Pool::new(upstream, Target::Any, Protocol::Http2);
    assert!(timeout(3 * SECOND, is_answered(&pool)).await.is_err());
    assert!(is_answered(&pool).await);
}

#[tokio::test(start_paused = true)]
async fn an_address_is_removed_when_three_answers_lack_it() {
    let upstream = upstream(&[Some((7, Stop::Graceful)), None], &[]);
    let mut look_ups = Box::pin(LookUps::new(upstream, 1));
    let mut next = async || {
        let change = std::future::poll_fn(|cx| look_ups.as_mut().poll_next(cx)).await;
        (change.unwrap().unwrap(), Instant::now())
    };
    let start = next().await.1;
    assert_eq!(next().await.0, Change::Insert(Target::Replica(1)));
    let (change, at) = next().await;
    assert_eq!(change, Change::Remove(Target::Replica(0)));
    assert!((15..26).contains(&(at - start).as_secs()), "{:?}", at - start);
}

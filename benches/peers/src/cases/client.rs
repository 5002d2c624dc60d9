//! End to end over loopback: a client and a server over HTTP/1.1 connections that are kept alive.

use std::convert::Infallible;
use std::fmt::Debug;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reqwest_retry::RetryTransientMiddleware;
use reqwest_retry::policies::ExponentialBackoff;
use steadfast::last_known_good::LastKnownGood;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::measure::{Clock, Sample, Subject, Suite, Tally, Value, runtime};

const BODY: &[u8] = br#"{"id":42,"sku":"A-1042","name":"a thing in a box","price":{"cents":1999,"currency":"EUR"},"stock":17}"#;

pub fn add(suite: &mut Suite) {
    suite.group("end to end, 64 calls in flight", |group| {
        group.batch(Duration::from_millis(60));
        for (library, subject) in clients(|| Site::on_two_threads(64)) {
            let run = group.run(subject);
            group.row(group.name.clone(), library, Value::Rate(run));
        }
    });
    // With one thread, no thread has to be woken for a call, so the cost that a client adds is visible.
    suite.group("end to end, 1 call in flight, client and server on one thread", |group| {
        group.batch(Duration::from_millis(10));
        for (library, subject) in clients(|| Site::on_one_thread(1)) {
            let run = group.time(library, subject);
            group.baseline = group.baseline.or(Some(run));
        }
        let edges = steadfast::Client::builder()
            .without_total_timeout()
            .without_attempt_timeout()
            .without_retry()
            .without_circuit_breaker()
            .without_bulkhead()
            .without_buffer_body();
        group.time("steadfast, edges only", of_steadfast(edges, Site::on_one_thread(1)));
    });
}

/// The clients. The bare client is first.
fn clients(site: impl Fn() -> Site) -> [(&'static str, Subject); 4] {
    let (client, bare_site) = (bare(), site());
    let url = bare_site.url.clone();
    let alone = bare_site.load(move || client.get(&url).send());

    let builder = steadfast::Client::builder;
    let default = of_steadfast(builder(), site());
    let with_cache = of_steadfast(builder().last_known_good(LastKnownGood::builder()), site());

    let backoff = ExponentialBackoff::builder().build_with_max_retries(3);
    let retry = RetryTransientMiddleware::new_with_policy(backoff);
    let client = reqwest_middleware::ClientBuilder::new(bare()).with(retry).build();
    let middleware_site = site();
    let url = middleware_site.url.clone();
    let middleware = middleware_site.load(move || client.get(&url).send());
    [
        ("reqwest alone", alone),
        ("steadfast", default),
        ("steadfast, with last known good", with_cache),
        ("reqwest-middleware + reqwest-retry", middleware),
    ]
}

fn bare() -> reqwest::Client {
    reqwest::Client::builder().retry(reqwest::retry::never()).build().expect("a client")
}

fn of_steadfast(builder: steadfast::ClientBuilder, site: Site) -> Subject {
    let client = builder.reqwest_client(bare()).build().expect("a client");
    let url = site.url.clone();
    site.load(move || client.get(&url).send())
}

/// The runtime of a client, and the server that the client calls.
struct Site {
    runtime: Runtime,
    url: String,
    in_flight: u64,
}

impl Site {
    /// Runs the server in a separate thread, until the process ends.
    fn on_two_threads(in_flight: u64) -> Self {
        let (listener, url) = listen();
        std::thread::spawn(|| runtime().block_on(serve(listener)));
        Self { runtime: runtime(), url, in_flight }
    }

    fn on_one_thread(in_flight: u64) -> Self {
        let (listener, url) = listen();
        let runtime = runtime();
        runtime.spawn(serve(listener));
        Self { runtime, url, in_flight }
    }

    /// Keeps `in_flight` calls in flight, each of which reads the whole body.
    fn load<F, E>(self, send: impl Fn() -> F + Clone + Send + 'static) -> Subject
    where
        F: Future<Output = Result<reqwest::Response, E>> + Send + 'static,
        E: Debug + 'static,
    {
        Box::new(move |calls| {
            let each = calls.div_ceil(self.in_flight);
            let (mut tally, mut took) = (Tally::default(), Vec::new());
            tally.time(each * self.in_flight, || {
                let mut tasks = JoinSet::new();
                for _ in 0..self.in_flight {
                    tasks.spawn_on(one_after_the_other(send.clone(), each), self.runtime.handle());
                }
                took = self.runtime.block_on(tasks.join_all()).concat();
            });
            took.sort_unstable();
            Sample { p99: took.get(took.len() * 99 / 100).copied(), ..tally.sample() }
        })
    }
}

/// Makes sequential calls and returns the time of each.
async fn one_after_the_other<F, E>(send: impl Fn() -> F, calls: u64) -> Vec<Duration>
where
    F: Future<Output = Result<reqwest::Response, E>>,
    E: Debug,
{
    let mut took = Vec::new();
    for _ in 0..calls {
        let clock = Clock::start();
        let response = send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.bytes().await.expect("a whole body"), BODY);
        took.push(clock.elapsed().0);
    }
    took
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.set_nonblocking(true).expect("a non-blocking socket, for tokio");
    let address = listener.local_addr().expect("bound");
    (listener, format!("http://{address}/v1/items/42"))
}

/// Answers every request with the same small JSON.
async fn serve(listener: TcpListener) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let answer = service_fn(async |_| {
            let mut response = Response::new(Full::new(Bytes::from_static(BODY)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok::<_, Infallible>(response)
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

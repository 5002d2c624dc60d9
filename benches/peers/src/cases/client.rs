//! End to end over loopback: a client, and a server in a thread of its own, over HTTP/1.1 connections that are kept.

use std::convert::Infallible;
use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::sync::mpsc;
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
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::measure::{Clock, Sample, Subject, Suite, Tally, Value, runtime};

const BODY: &[u8] = br#"{"id":42,"sku":"A-1042","name":"a thing in a box","price":{"cents":1999,"currency":"EUR"},"stock":17}"#;

pub fn add(suite: &mut Suite) {
    suite.group("end to end, 64 calls in flight", |group| {
        group.batch(Duration::from_millis(60));
        let url = serve();
        for (library, subject) in clients(&url, 64) {
            let run = group.run(subject);
            group.row(group.name.clone(), library, Value::Rate(run));
        }
    });
    // One at a time, so that what a client allocates for a call can be told from what its tasks do.
    suite.group("end to end, 1 call in flight", |group| {
        group.batch(Duration::from_millis(30));
        let url = serve();
        for (library, subject) in clients(&url, 1) {
            let run = group.time(library, subject);
            group.baseline = group.baseline.or(Some(run));
        }
        let edges = steadfast::Client::builder()
            .reqwest_client(bare())
            .without_last_known_good()
            .without_total_timeout()
            .without_attempt_timeout()
            .without_retry()
            .without_circuit_breaker()
            .without_bulkhead()
            .without_buffer_body()
            .build()
            .unwrap();
        group.time("steadfast, edges only", of_steadfast(edges, url, 1));
    });
}

/// The clients, the bare one first.
fn clients(url: &str, in_flight: u64) -> [(&'static str, Subject); 4] {
    let (client, to) = (bare(), url.to_owned());
    let alone = load(in_flight, move || client.get(&to).send());

    let builder = || steadfast::Client::builder().reqwest_client(bare());
    let whole = of_steadfast(builder().build().unwrap(), url.to_owned(), in_flight);
    let without = builder().without_last_known_good().build().unwrap();
    let without = of_steadfast(without, url.to_owned(), in_flight);

    let backoff = ExponentialBackoff::builder().build_with_max_retries(3);
    let retry = RetryTransientMiddleware::new_with_policy(backoff);
    let client = reqwest_middleware::ClientBuilder::new(bare()).with(retry).build();
    let to = url.to_owned();
    let middleware = load(in_flight, move || client.get(&to).send());
    [
        ("reqwest alone", alone),
        ("steadfast", whole),
        ("steadfast, no last known good", without),
        ("reqwest-middleware + reqwest-retry", middleware),
    ]
}

fn bare() -> reqwest::Client {
    reqwest::Client::builder().retry(reqwest::retry::never()).build().unwrap()
}

fn of_steadfast(client: steadfast::Client, url: String, in_flight: u64) -> Subject {
    load(in_flight, move || client.get(&url).send())
}

/// So many calls at a time, each of which reads the whole body.
fn load<F, E>(in_flight: u64, send: impl Fn() -> F + Clone + Send + 'static) -> Subject
where
    F: Future<Output = Result<reqwest::Response, E>> + Send + 'static,
    E: Debug + 'static,
{
    let runtime = runtime();
    Box::new(move |calls| {
        let each = calls.div_ceil(in_flight);
        let mut tasks = JoinSet::new();
        let (mut tally, mut took) = (Tally::default(), Vec::new());
        tally.time(each * in_flight, || {
            for _ in 0..in_flight {
                tasks.spawn_on(one_after_the_other(send.clone(), each), runtime.handle());
            }
            took = runtime.block_on(std::mem::take(&mut tasks).join_all()).concat();
        });
        took.sort_unstable();
        Sample { p99: took.get(took.len() * 99 / 100).copied(), ..tally.sample() }
    })
}

/// How long each of so many calls took.
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

/// Starts a server that answers everything with the same small JSON, until the process ends.
fn serve() -> String {
    let (tell, address) = mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            tell.send(listener.local_addr().expect("bound")).expect("somebody asks");
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let _ = stream.set_nodelay(true);
                let answer = service_fn(async |_| {
                    let mut response = Response::new(Full::new(Bytes::from_static(BODY)));
                    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                    Ok::<_, Infallible>(response)
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
    });
    format!("http://{}/v1/items/42", address.recv().expect("the server's address"))
}

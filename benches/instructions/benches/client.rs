//! Counts the instructions of a whole call: a GET over loopback, through steadfast's default client and through reqwest
//! alone. `cargo run -- --client` runs it. Steadfast's client has four endpoints in one case. In the others, it calls
//! one address, with lanes, as by default, and without.
//!
//! This process is the server, and starts itself as the client under callgrind. The server is therefore not counted.
//! The start and the first calls of a client are not counted either: of two clients, one makes [`CALLS`] calls more,
//! and the difference between their counts is the cost of these calls.
//!
//! The server waits before it answers, so that every call yields. The counts of one build differ by less than 0.1 %
//! from run to run. The compiler, reqwest and hyper move both counts, so none is committed: compare two states of the
//! crate on one machine.

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Debug;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use steadfast::endpoints::Endpoints;
use tokio::runtime::{Builder, Runtime};

/// Calls before the counted ones.
const WARM_UP: u64 = 100;
/// The counted calls.
const CALLS: u64 = 1_000;
/// The time from a request to its answer.
const WAIT: Duration = Duration::from_millis(1);
/// The name with several addresses.
const FOUR: &str = "four.test";
/// The number of its addresses.
const ENDPOINTS: u64 = 4;
const BODY: &[u8] = b"hello";

/// The connections that the server has accepted.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [client, protocol, in_flight, url, calls] = arguments.as_slice() {
        return be_client(client, protocol == "HTTP/2", in_flight.parse()?, url, calls.parse()?);
    }
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    thread::spawn(|| runtime().block_on(serve(listener)));

    let url = |host: &str| format!("http://{host}:{port}/v1/items/42");
    let (one, four) = (url("127.0.0.1"), url(FOUR));
    for (protocol, in_flight) in
        [("HTTP/1", 1), ("HTTP/1", 10), ("HTTP/1", 30), ("HTTP/2", 1), ("HTTP/2", 10)]
    {
        let count = |client, most| per_call(&Case { client, protocol, in_flight, url: &one }, 1..=most);
        // The connections of a pool, of lanes.
        let (pool, lanes) = if protocol == "HTTP/1" { (in_flight + 2, in_flight + 2) } else { (1, 2) };
        let bare = count("reqwest", pool)?;
        let (one_lane, lanes) = (count("one lane", pool)?, count("lanes", lanes)?);
        println!(
            "GET over {protocol}, {in_flight} in flight: {lanes} instructions, {:+.1} % beside one lane ({one_lane}); \
             bare reqwest {bare}",
            change(lanes, one_lane),
        );
    }
    let case = |client, url| Case { client, protocol: "HTTP/1", in_flight: 1, url };
    let one = per_call(&case("lanes", &one), 1..=1)?;
    // The first call to a name with several addresses uses a connection without a pin.
    let four = per_call(&case("lanes", &four), ENDPOINTS..=ENDPOINTS + 1)?;
    println!("GET over HTTP/1 with {ENDPOINTS} endpoints: {four}, {:+.1} %", change(four, one));
    Ok(())
}

/// The change from `before` to `now`, in percent.
fn change(now: u64, before: u64) -> f64 {
    (now as f64 / before as f64 - 1.0) * 100.0
}

/// The current-thread runtime of the server, and of a client.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

// ===== The client =====

/// Makes calls, `in_flight` at a time.
fn be_client(
    client: &str,
    is_http2: bool,
    in_flight: u64,
    url: &str,
    calls: u64,
) -> Result<(), Box<dyn Error>> {
    let reqwest = move || {
        let builder = reqwest::Client::builder();
        if is_http2 { builder.http2_prior_knowledge() } else { builder }
    };
    if client == "reqwest" {
        // Like steadfast's reqwest, without retries of its own.
        let client = reqwest().retry(reqwest::retry::never()).build()?;
        runtime().block_on(call(calls, in_flight, || client.get(url).send()));
        return Ok(());
    }
    let addresses = (1..=ENDPOINTS as u32)
        .map(|number| Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + number - 1).into());
    let builder = steadfast::Client::builder().resolve_to_addrs(FOUR, addresses);
    let builder = if is_http2 { builder.reqwest_builder(reqwest) } else { builder };
    let client = match client {
        "lanes" => builder.build()?,
        "one lane" => builder.endpoints(Endpoints::builder().max_lanes(1)).build()?,
        other => return Err(format!("unknown client {other}").into()),
    };
    runtime().block_on(call(calls, in_flight, || client.get(url).send()));
    Ok(())
}

async fn call<F, E>(calls: u64, in_flight: u64, send: impl Fn() -> F)
where
    F: Future<Output = Result<reqwest::Response, E>>,
    E: Debug,
{
    let call = || async {
        let response = send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.bytes().await.expect("a whole body"), BODY);
    };
    // The first answer shows the protocol.
    call().await;
    let caller = || async {
        for _ in 0..calls / in_flight {
            call().await;
        }
    };
    join_all((0..in_flight).map(|_| caller())).await;
}

// ===== The count =====

/// The client of a count, and its calls.
struct Case<'a> {
    client: &'a str,
    protocol: &'a str,
    in_flight: u64,
    url: &'a str,
}

/// The instructions of one call, once the client is warm.
fn per_call(case: &Case<'_>, connections: RangeInclusive<u64>) -> Result<u64, Box<dyn Error>> {
    let warm_up = count(case, &connections, WARM_UP)?;
    let all = count(case, &connections, WARM_UP + CALLS)?;
    Ok(all.saturating_sub(warm_up) / CALLS)
}

/// The instructions of a process that makes `calls` calls.
fn count(case: &Case<'_>, allowed: &RangeInclusive<u64>, calls: u64) -> Result<u64, Box<dyn Error>> {
    let before = CONNECTIONS.load(Ordering::Relaxed);
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let Case { client, protocol, in_flight, url } = case;
    valgrind.arg(std::env::current_exe()?);
    valgrind.args([client, protocol, &*in_flight.to_string(), url, &calls.to_string()]);
    // reqwest would call a proxy instead of the server.
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        valgrind.env_remove(proxy);
    }
    let output = valgrind.output()?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("a client failed under valgrind:\n{report}").into());
    }
    let connections = CONNECTIONS.load(Ordering::Relaxed) - before;
    let has_kept = allowed.contains(&connections);
    assert!(has_kept, "{client} over {protocol}, {in_flight} in flight: {connections} connections");
    let collected = report.lines().find_map(|line| line.split_once("Collected : "));
    Ok(collected.ok_or("valgrind printed no count")?.1.trim().parse()?)
}

// ===== The server =====

/// Answers every request with the same five bytes.
async fn serve(listener: TcpListener) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        stream.set_nodelay(true).expect("a socket");
        let answer = service_fn(async |_| {
            tokio::time::sleep(WAIT).await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(BODY))))
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        tokio::spawn(async move { builder.serve_connection(TokioIo::new(stream), answer).await });
    }
}

//! Counts the instructions of a whole call: a GET over HTTP/1 and loopback, through steadfast's default client and
//! through reqwest alone. `cargo run -- --client` runs it. Steadfast's client has one endpoint, and then four.
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
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
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
const ENDPOINTS: u8 = 4;
const BODY: &[u8] = b"hello";

/// The connections that the server has accepted.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [client, url, calls] = arguments.as_slice() {
        return be_client(client, url, calls.parse()?);
    }
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    thread::spawn(|| runtime().block_on(serve(listener)));

    let url = |host: &str| format!("http://{host}:{port}/v1/items/42");
    let one = per_call("steadfast", &url("127.0.0.1"), 1)?;
    let four = per_call("steadfast", &url(FOUR), ENDPOINTS)?;
    let bare = per_call("reqwest", &url("127.0.0.1"), 1)?;
    println!("client GET over HTTP/1: {one} instructions (bare reqwest {bare})");
    println!("  with {ENDPOINTS} endpoints: {four}, {:+.1} %", (four as f64 / one as f64 - 1.0) * 100.0);
    Ok(())
}

/// The current-thread runtime of the server, and of a client.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

// ===== The client =====

/// Makes calls, one after the other.
fn be_client(client: &str, url: &str, calls: u64) -> Result<(), Box<dyn Error>> {
    match client {
        "steadfast" => {
            let addresses = (1..=ENDPOINTS).map(|number| Ipv4Addr::new(127, 0, 0, number).into());
            let client = steadfast::Client::builder().resolve_to_addrs(FOUR, addresses).build()?;
            runtime().block_on(call(calls, || client.get(url).send()));
        }
        "reqwest" => {
            // Like steadfast's reqwest, without retries of its own.
            let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
            runtime().block_on(call(calls, || client.get(url).send()));
        }
        other => return Err(format!("unknown client {other}").into()),
    }
    Ok(())
}

async fn call<F, E>(calls: u64, send: impl Fn() -> F)
where
    F: Future<Output = Result<reqwest::Response, E>>,
    E: Debug,
{
    for _ in 0..calls {
        let response = send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.bytes().await.expect("a whole body"), BODY);
    }
}

// ===== The count =====

/// The instructions of one call, once the client is warm.
fn per_call(client: &str, url: &str, endpoints: u8) -> Result<u64, Box<dyn Error>> {
    let warm_up = count(client, url, endpoints, WARM_UP)?;
    let all = count(client, url, endpoints, WARM_UP + CALLS)?;
    Ok(all.saturating_sub(warm_up) / CALLS)
}

/// The instructions of a process that makes `calls` calls.
fn count(client: &str, url: &str, endpoints: u8, calls: u64) -> Result<u64, Box<dyn Error>> {
    let before = CONNECTIONS.load(Ordering::Relaxed);
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(std::env::current_exe()?).args([client, url, &calls.to_string()]);
    // reqwest would call a proxy instead of the server.
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        valgrind.env_remove(proxy);
    }
    let output = valgrind.output()?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("a client failed under valgrind:\n{report}").into());
    }
    // The first call to a name with several addresses uses a connection without a pin.
    let most = if endpoints == 1 { 1 } else { u64::from(endpoints) + 1 };
    let connections = CONNECTIONS.load(Ordering::Relaxed) - before;
    assert!((u64::from(endpoints)..=most).contains(&connections), "a client keeps its connections");
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
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

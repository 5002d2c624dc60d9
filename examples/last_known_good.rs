//! A service is killed and restarted in the middle of an outage. Its last-known-good cache survives on disk and
//! answers.
//!
//! `cargo run --release --example last_known_good`

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{env, fs, io, process};

use axum::{Router, extract::Path as Captured, routing::get};
use steadfast::last_known_good::LastKnownGood;
use steadfast::stores::DiskStore;
use steadfast::{BoxError, Client, ResponseExt};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, stdin};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    match &env::args().skip(1).collect::<Vec<_>>()[..] {
        [prices, file] => serve(prices, Path::new(file)).await,
        _ => play().await,
    }
}

// ===== The service: a process of its own =====

/// Reads paths from stdin, calls the upstream for each, and prints the answer or the error.
async fn serve(prices: &str, file: &Path) -> Result<(), BoxError> {
    // These three lines keep the entries across a restart.
    let store = DiskStore::open(file)?;
    let cache = LastKnownGood::builder().store(store.clone()).max_age(Duration::from_secs(3600));
    let http = Client::builder().last_known_good(cache).build()?;

    let mut paths = BufReader::new(stdin()).lines();
    while let Some(path) = paths.next_line().await? {
        let answer = ask(&http, &format!("{prices}{path}")).await;
        println!("{}", answer.unwrap_or_else(|error| format!("no answer: {error}")));
    }
    // Closing the store writes the queued entries. A killed process loses the entries of about the last second.
    Ok(store.close().await?)
}

async fn ask(http: &Client, url: &str) -> Result<String, BoxError> {
    let response = http.get(url).send().await?;
    let freshness = match response.stale() {
        Some(stale) => format!("as of {} s ago: {}", stale.age.as_secs(), stale.cause),
        None => "fresh".to_owned(),
    };
    Ok(format!("{}, {freshness}", response.text().await?))
}

// ===== The outage =====

async fn play() -> Result<(), BoxError> {
    let file = Temporary(env::temp_dir().join(format!("steadfast-example-{}", process::id())));
    let clock = Clock(Instant::now());
    let upstream = Upstream::start(SocketAddr::from(([127, 0, 0, 1], 0)), "9.99").await?;
    let address = upstream.address;

    clock.say("the upstream is up; the service starts with an empty cache");
    let mut service = Service::start(address, &file.0)?;
    service.get(&clock, &["/prices/42", "/prices/7"]).await?;

    upstream.stop().await;
    clock.say("the upstream is down: it refuses connections");
    sleep(Duration::from_secs(1)).await;
    service.get(&clock, &["/prices/42", "/prices/7"]).await?;
    sleep(Duration::from_secs(1)).await;
    service.get(&clock, &["/prices/42", "/prices/13"]).await?;

    service.process.kill().await?;
    clock.say("the service is killed: its memory is lost, its file remains");
    let mut service = Service::start(address, &file.0)?;
    clock.say("the service starts again; the upstream is still down");
    service.get(&clock, &["/prices/42", "/prices/7"]).await?;
    sleep(Duration::from_secs(1)).await;
    service.get(&clock, &["/prices/42"]).await?;

    let upstream = Upstream::start(address, "10.49").await?;
    clock.say("the upstream is back, with new prices");
    service.get(&clock, &["/prices/42", "/prices/7"]).await?;

    upstream.stop().await;
    clock.say("the upstream is down again");
    sleep(Duration::from_secs(1)).await;
    service.get(&clock, &["/prices/42"]).await?;
    service.end().await
}

/// Prints events with the time since the start.
struct Clock(Instant);

impl Clock {
    fn say(&self, event: &str) {
        println!("{:4.1} s  {event}", self.0.elapsed().as_secs_f32());
    }
}

/// A file that is removed on drop.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The service: a child process of this program.
struct Service {
    process: Child,
    paths: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Service {
    fn start(prices: SocketAddr, file: &Path) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(format!("http://{prices}")).arg(file).kill_on_drop(true);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (paths, answers) = process.stdin.take().zip(process.stdout.take()).expect("they are piped");
        Ok(Self { process, paths, answers: BufReader::new(answers).lines() })
    }

    async fn get(&mut self, clock: &Clock, paths: &[&str]) -> io::Result<()> {
        for path in paths {
            self.paths.write_all(format!("{path}\n").as_bytes()).await?;
            let answer = self.answers.next_line().await?.unwrap_or_default();
            clock.say(&format!("    GET {path:<10}  →  {answer}"));
        }
        Ok(())
    }

    /// Closes the service's stdin and waits for the process to exit.
    async fn end(mut self) -> Result<(), BoxError> {
        drop(self.paths);
        self.process.wait().await?;
        Ok(())
    }
}

/// The upstream. Every item has the same price.
struct Upstream {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<io::Result<()>>,
}

impl Upstream {
    async fn start(address: SocketAddr, price: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let item = async move |Captured(sku): Captured<u32>| format!("{sku} costs {price}");
        let prices = Router::new().route("/prices/{sku}", get(item));
        let serve = axum::serve(listener, prices).with_graceful_shutdown(async { drop(stopped.await) });
        Ok(Self { address, stop, server: tokio::spawn(serve.into_future()) })
    }

    /// Stops the server and waits until the last connection is closed.
    async fn stop(self) {
        drop(self.stop);
        drop(self.server.await);
    }
}

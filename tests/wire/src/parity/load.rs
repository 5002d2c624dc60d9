//! Calls that are dropped, and many calls at once.

use std::sync::Arc;
use std::task::Poll;

use futures_util::future::{join_all, poll_fn};
use tokio::runtime::{Builder, Handle};

use super::bench::Bench;
use super::runtimes::on_a_thread;
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;
use crate::clients::Client;

const STALL: &str = "http://a.test/stall/none";

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("1,000 calls dropped at various moments, then a call", dropped),
        row("5,000 GETs at once", |bench| many(bench, 5_000)),
        row("300 streamed answers open at once", open_streams),
        row("200 small answers awaited together, then read", |bench| many(bench, 200)),
    ]
}

/// Polls a call `polls` times, with a wait for a wake-up between two polls, and drops it.
async fn polled(client: Client, url: &'static str, polls: usize) {
    let mut call = Box::pin(client.get(url));
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 || call.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        left -= 1;
        // The last poll is not followed by a wake-up.
        if left == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Drops calls at several moments: before the first poll, after one to three polls, once the request has arrived,
/// with the head, within the body.
///
/// The client has a runtime of its own, so that all tasks of the runtime belong to the client.
async fn dropped(bench: Bench) -> Result<Seen, BoxError> {
    on_a_thread(move || {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(drop_many(&bench))
    })
    .await
}

async fn drop_many(bench: &Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    let rounds = if bench.long { 1_000 } else { 143 };
    for _ in 0..rounds {
        for polls in 0..4 {
            polled(client.clone(), "http://a.test/hello", polls).await;
        }
        arrived(&client, bench).await;
        drop(client.get(STALL).await.map_err(|failure| failure.to_string())?);
        let mut response = client.get(STALL).await.map_err(|failure| failure.to_string())?;
        response.chunk().await?;
    }
    // If a permit, a slot or a stream has leaked, these calls are not all answered.
    let requests = bench.a.log.requests() + 100;
    at_once(&client, &format!("http://a.test/held/{requests}"), 100, &mut seen).await;
    drop(client);
    bench.a.log.is_idle().await;
    seen.note("open connections", 0);
    while Handle::current().metrics().num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
    seen.note("tasks left", 0);
    Ok(seen)
}

/// Drops a call whose request has arrived, and that has no answer.
async fn arrived(client: &Client, bench: &Bench) {
    let log = Arc::clone(&bench.a.log);
    let requests = log.requests() + 1;
    tokio::select! {
        _ = client.get("http://a.test/never") => {}
        () = log.has_requests(requests) => {}
    }
}

async fn many(bench: Bench, calls: usize) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    at_once(&bench.client()?, "http://a.test/late/50", calls, &mut seen).await;
    Ok(seen)
}

/// No answer ends, so all are open together.
async fn open_streams(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    let answers = join_all((0..300).map(|_| client.get(STALL))).await;
    seen.note("answered", if answers.iter().all(Result::is_ok) { "all" } else { "fewer" });
    Ok(seen)
}

/// Awaits all the answers, and then reads them.
async fn at_once(client: &Client, url: &str, calls: usize, seen: &mut Seen) {
    let results = join_all((0..calls).map(|_| client.get(url))).await;
    let mut answered = 0;
    for response in results.into_iter().flatten() {
        answered += usize::from(response.bytes().await.is_ok());
    }
    seen.note("answered", if answered == calls { "all" } else { "fewer" });
}

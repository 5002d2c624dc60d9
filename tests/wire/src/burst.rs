//! A burst: 5,000 GETs at once to a healthy server that takes 50 ms.
//!
//! The bulkhead lets 128 attempts through at a time. The least time of the burst is therefore the time that bare
//! reqwest needs with 128 calls at a time. The command prints times, so the tables of the page do without them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::BoxError;
use crate::clients::{Client, Which};
use crate::parity::bench::{Bench, Over};

const CALLS: usize = 5_000;
const AT_A_TIME: usize = 128;

/// Plays the burst over both protocols, and prints a table. A call without an answer is a problem.
pub(crate) async fn run() -> Result<Vec<String>, BoxError> {
    let mut problems = Vec::new();
    println!(
        "| {CALLS} GETs at once, server takes 50 ms | answered | time | × bare, {AT_A_TIME} at a time |"
    );
    println!("|---|---|---|---|");
    for over in [Over::Http1, Over::Http2] {
        let (answered, least) = play(Which::Bare, over, AT_A_TIME).await?;
        print(&format!("bare, {AT_A_TIME} at a time, {over:?}"), answered, least, least);
        let (answered, time) = play(Which::Steadfast, over, CALLS).await?;
        print(&format!("steadfast, all at once, {over:?}"), answered, time, least);
        if answered < CALLS {
            problems.push(format!("steadfast answers {answered} of {CALLS} calls over {over:?}"));
        }
    }
    Ok(problems)
}

fn print(what: &str, answered: usize, time: Duration, least: Duration) {
    let ratio = time.as_secs_f64() / least.as_secs_f64();
    println!("| {what} | {answered} | {:.2} s | {ratio:.2} |", time.as_secs_f64());
}

/// Makes the calls, at most `at_a_time` at a time. Returns the number of whole answers, and the time.
async fn play(which: Which, over: Over, at_a_time: usize) -> Result<(usize, Duration), BoxError> {
    let bench = Bench::start(which, over, false)?;
    let client = bench.client()?;
    let permits = Arc::new(Semaphore::new(at_a_time));
    // The first call connects, so that the burst does not measure it.
    call(&client, &permits).await;
    let begun = Instant::now();
    let answers = join_all((0..CALLS).map(|_| call(&client, &permits))).await;
    Ok((answers.into_iter().filter(|answered| *answered).count(), begun.elapsed()))
}

async fn call(client: &Client, permits: &Semaphore) -> bool {
    let _permit = permits.acquire().await;
    match client.get("http://a.test/late/50").await {
        Ok(response) => response.bytes().await.is_ok(),
        Err(_) => false,
    }
}

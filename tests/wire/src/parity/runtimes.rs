//! A client that outlives a runtime, and a client in many threads.

use std::thread;

use tokio::runtime::{Builder, Handle, Runtime};

use super::bench::Bench;
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;
use crate::clients::Client;

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("one runtime ends, another takes the client", one_ends),
        row("a runtime ends during a call, another takes the client", ends_during_a_call),
        row("eight threads share a client", threads),
        row("a client built outside any runtime", outside),
    ]
}

fn runtime() -> Result<Runtime, BoxError> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Runs `work` on a thread without a runtime.
pub(super) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BoxError> + Send + 'static,
) -> Result<T, BoxError> {
    let (done, result) = tokio::sync::oneshot::channel();
    thread::spawn(move || done.send(work()));
    result.await.map_err(|_| "the thread panicked")?
}

/// One call in a runtime of its own, which ends before the function returns.
fn call(client: &Client, path: &str) -> Result<Seen, BoxError> {
    Ok(runtime()?.block_on(one(client, path)))
}

async fn one(client: &Client, path: &str) -> Seen {
    let mut seen = Seen::new();
    seen.response(path, client.get(format!("http://a.test/{path}")).await).await;
    seen
}

fn merge(into: &mut Seen, name: &str, from: &Seen) {
    into.failed |= from.failed;
    into.note(name, from.lines().join(", "));
}

async fn one_ends(bench: Bench) -> Result<Seen, BoxError> {
    let client = bench.client()?;
    on_a_thread(move || {
        let mut seen = Seen::new();
        for name in ["first", "second", "third"] {
            merge(&mut seen, name, &call(&client, name)?);
        }
        Ok(seen)
    })
    .await
}

async fn ends_during_a_call(bench: Bench) -> Result<Seen, BoxError> {
    let (client, log) = (bench.client()?, std::sync::Arc::clone(&bench.a.log));
    on_a_thread(move || {
        let mut seen = Seen::new();
        for requests in 1..=3 {
            let runtime = runtime()?;
            let of_task = client.clone();
            runtime.spawn(async move { of_task.get("http://a.test/never").await });
            runtime.block_on(log.has_requests(requests));
        }
        merge(&mut seen, "after", &call(&client, "after")?);
        Ok(seen)
    })
    .await
}

/// The threads wait for their calls, and the runtime of the row drives them.
async fn threads(bench: Bench) -> Result<Seen, BoxError> {
    let client = bench.client()?;
    let runtime = Handle::current();
    on_a_thread(move || {
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let (client, runtime) = (client.clone(), runtime.clone());
                thread::spawn(move || runtime.block_on(one(&client, "hello")))
            })
            .collect();
        let mut seen = Seen::new();
        for call in calls {
            merge(&mut seen, "thread", &call.join().map_err(|_| "the thread panicked")?);
        }
        Ok(seen)
    })
    .await
}

async fn outside(bench: Bench) -> Result<Seen, BoxError> {
    on_a_thread(move || {
        let client = bench.client()?;
        call(&client, "hello")
    })
    .await
}

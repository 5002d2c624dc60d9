//! The load: calls at a steady rate, whatever the answers.

use std::error::Error as StdError;
use std::time::Duration;

use reqwest::Method;
use steadfast::ResponseExt as _;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval_at, timeout};

use super::replica::{BODY, ID};
use crate::BoxError;
use crate::clients::{Client, Failure};

/// GETs a second.
pub(super) const GETS: u32 = 200;

/// POSTs a second, in scenarios that have POSTs.
pub(super) const POSTS: u32 = 50;

/// The limit of a call. It is longer than the total time of both clients.
const MAX_CALL: Duration = Duration::from_secs(12);

/// A call, as its caller observed it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) is_post: bool,
    pub(super) start: Instant,
    pub(super) end: Instant,
    /// The attempts that the client reports. Bare reqwest reports none, and makes one.
    pub(super) attempts: u32,
    /// The reason if the call has no fresh answer.
    pub(super) failure: Option<String>,
}

/// A generator of calls.
#[derive(Debug)]
pub(super) struct Load {
    stop: oneshot::Sender<()>,
    offering: JoinHandle<Vec<Call>>,
}

impl Load {
    pub(super) fn start(client: Client, url: String, has_posts: bool) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, offering: tokio::spawn(offer(client, url, has_posts, stopped)) }
    }

    /// Ends the load, and returns the calls when the last one has ended.
    pub(super) async fn stop(self) -> Result<Vec<Call>, BoxError> {
        let _ = self.stop.send(());
        let mut calls = self.offering.await?;
        calls.sort_by_key(|call| call.start);
        Ok(calls)
    }
}

async fn offer(
    client: Client,
    url: String,
    has_posts: bool,
    mut stopped: oneshot::Receiver<()>,
) -> Vec<Call> {
    let second = Duration::from_secs(1);
    let now = Instant::now();
    let mut gets = interval_at(now, second / GETS);
    // Half an interval later, so that no POST starts together with a GET.
    let mut posts = interval_at(now + second / GETS / 2, second / POSTS);
    let mut calls = JoinSet::new();
    for id in 1.. {
        let method = tokio::select! {
            biased;
            _ = &mut stopped => break,
            _ = posts.tick(), if has_posts => Method::POST,
            _ = gets.tick() => Method::GET,
        };
        calls.spawn(call(client.clone(), method, url.clone(), id, Instant::now()));
    }
    calls.join_all().await
}

async fn call(client: Client, method: Method, url: String, id: u64, start: Instant) -> Call {
    let is_post = method == Method::POST;
    let (attempts, failure) = match timeout(MAX_CALL, answer(&client, method, &url, id)).await {
        Ok((attempts, answer)) => (attempts, answer.err()),
        Err(_) => (1, Some(format!("no end after {MAX_CALL:?}"))),
    };
    Call { id, is_post, start, end: Instant::now(), attempts, failure }
}

/// Sends a request, and reads the answer. Returns the number of attempts, and the reason if the answer is not fresh.
async fn answer(client: &Client, method: Method, url: &str, id: u64) -> (u32, Result<(), String>) {
    let is_post = method == Method::POST;
    let change = |request: reqwest::RequestBuilder| {
        let request = request.header(ID, id);
        if is_post { request.body("a POST") } else { request }
    };
    match client.send(method, url, change).await {
        Ok(response) => (response.attempts(), check(response, id).await),
        Err(Failure::Bare(error)) => (1, Err(chain(&error))),
        Err(Failure::Steadfast(error)) => (error.attempts(), Err(chain(&error))),
    }
}

/// Checks that a response is a fresh answer to the call.
async fn check(response: reqwest::Response, id: u64) -> Result<(), String> {
    if response.status() != 200 {
        return Err(response.status().to_string());
    }
    let is_own =
        response.headers().get(ID).is_some_and(|value| value.as_bytes() == id.to_string().as_bytes());
    let body = response.bytes().await.map_err(|error| chain(&error))?;
    if body == BODY && is_own { Ok(()) } else { Err("200 for another call".to_owned()) }
}

/// The texts of an error and of its causes.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let texts = std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string);
    texts.collect::<Vec<_>>().join(": ")
}

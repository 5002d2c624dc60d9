//! The checks that take more than one call, or a setting of their own.

use std::future;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use http::Method;

use super::case::{Case, Protocol, Times};
use super::clients::{self, Setting};
use super::fault::Fault;
use super::observe::{self, Answer};
use super::rows::{LIMIT, run_all, within_limit};
use super::server::Server;
use crate::BoxError;

/// A check, by the calls that it makes.
#[derive(Debug)]
enum Check {
    /// Many calls, all of which must be answered, by a server that is never at fault.
    Calls { method: Method, fault: Fault, calls: usize, at_once: usize },
    /// A POST whose first stream the server refuses.
    Refused { times: Times, fault: Fault, setting: Setting },
    /// A POST with a timeout so short that its attempts are cut while they connect.
    CutWhileConnecting { protocol: Protocol },
    /// A body that cannot be decoded, read inside the attempt.
    Undecodable { protocol: Protocol },
}

/// Runs the checks, and returns those that fail.
pub(crate) fn checks(long: bool) -> Result<Vec<String>, BoxError> {
    let mut checks = vec![
        Check::Calls { method: Method::HEAD, fault: Fault::HeadEndsInHeaders, calls: 30, at_once: 1 },
        Check::Calls { method: Method::HEAD, fault: Fault::HeadEndsInData, calls: 30, at_once: 1 },
        Check::Calls { method: Method::GET, fault: Fault::NotModified, calls: 30, at_once: 1 },
    ];
    let posts = if long { 400 } else { 60 };
    for fault in [Fault::GoAwayBelowEvery { streams: 20 }, Fault::GoAwayAfterEvery { streams: 20 }] {
        checks.push(Check::Calls { method: Method::GET, fault, calls: 60, at_once: 1 });
        checks.push(Check::Calls { method: Method::POST, fault, calls: posts, at_once: 1 });
    }
    for method in [Method::GET, Method::POST] {
        let fault = Fault::GoAwayBelowEvery { streams: 20 };
        checks.push(Check::Calls { method, fault, calls: 40, at_once: 40 });
    }
    for setting in [Setting::Defaults, Setting::WithoutRetry, Setting::OneFailureOpens] {
        let fault = Fault::RefusedFirstStream;
        checks.push(Check::Refused { times: Times::Always, fault, setting });
        checks.push(Check::Refused { times: Times::Once, fault: Fault::GoAwayBelow, setting });
    }
    checks.extend([Protocol::Http1, Protocol::Http2].map(|protocol| Check::Undecodable { protocol }));
    checks.extend([Protocol::Http1, Protocol::Http2].map(|protocol| Check::CutWhileConnecting { protocol }));
    let run = async |check: &Check| {
        let hung = || Ok(Some(format!("must hold: {check:?}: hung")));
        tokio::time::timeout(LIMIT, check.run()).await.unwrap_or_else(|_| hung())
    };
    Ok(run_all(&checks, run)?.into_iter().flatten().collect())
}

impl Check {
    /// The problem, if there is one.
    async fn run(&self) -> Result<Option<String>, BoxError> {
        match self {
            Self::Calls { method, fault, calls, at_once } => {
                all_answered(method, *fault, *calls, *at_once).await
            }
            Self::Refused { times, fault, setting } => refused_is_free(*times, *fault, *setting).await,
            Self::Undecodable { protocol } => undecodable_is_final(*protocol).await,
            Self::CutWhileConnecting { protocol } => cut_while_connecting_is_unsent(*protocol).await,
        }
    }
}

async fn all_answered(
    method: &Method,
    fault: Fault,
    calls: usize,
    at_once: usize,
) -> Result<Option<String>, BoxError> {
    let server = Server::start(fault, Times::Always, Protocol::Http2).await?;
    let client = clients::bare(Protocol::Http2)?;
    let bare = count(calls, at_once, || client.request(method.clone(), server.url()).send()).await;

    let server = Server::start(fault, Times::Always, Protocol::Http2).await?;
    let client = clients::steadfast(Protocol::Http2, Setting::OneFailureOpens)?;
    let ours = count(calls, at_once, || client.request(method.clone(), server.url()).send()).await;

    let processed = server.script().requests.count().processed();
    let upstream = client.upstream_at(server.url())?;
    let trips = upstream.circuit_breaker().map_or(0, |breaker| breaker.snapshot().trips);
    let holds = ours == calls && processed == calls && trips == 0;
    Ok((!holds).then(|| {
        format!(
            "must hold: {fault}, {method}, {at_once} at a time: {ours} of {calls} answered (bare {bare}), \
             {processed} processed, the circuit opened {trips} times"
        )
    }))
}

/// Makes this number of calls, and counts those that are answered whole.
async fn count<F, E>(calls: usize, at_once: usize, call: impl Fn() -> F) -> usize
where
    F: Future<Output = Result<reqwest::Response, E>>,
{
    let is_answered = async |call: F| match call.await {
        Ok(response) => [200, 304].contains(&response.status().as_u16()) && response.bytes().await.is_ok(),
        Err(_) => false,
    };
    let answered = stream::iter((0..calls).map(|_| is_answered(call()))).buffer_unordered(at_once);
    answered.filter(|is_answered| future::ready(*is_answered)).count().await
}

/// A POST that the server has declared as not processed is sent again, without a token and without a failure.
async fn refused_is_free(times: Times, fault: Fault, setting: Setting) -> Result<Option<String>, BoxError> {
    let case = Case { fault, times, protocol: Protocol::Http2, method: Method::POST };
    let seen = within_limit(observe::steadfast(&case, setting)).await?;
    let holds = seen.answer == Answer::Whole(200)
        && seen.requests.processed() == 1
        && seen.tokens_lost <= 0
        && seen.retries == 0
        && !seen.has_tripped;
    Ok((!holds).then(|| {
        format!(
            "must hold: {case}, {setting:?}: {}, {} requests, budget {} tenths, {} retries paid, tripped: {}",
            seen.answer, seen.requests, -seen.tokens_lost, seen.retries, seen.has_tripped
        )
    }))
}

/// A body that cannot be decoded is requested once, and is no failure of the upstream.
async fn undecodable_is_final(protocol: Protocol) -> Result<Option<String>, BoxError> {
    let case = Case { fault: Fault::CorruptGzip, times: Times::Always, protocol, method: Method::GET };
    let seen = within_limit(observe::steadfast(&case, Setting::BufferEachBody)).await?;
    let fails = matches!(seen.answer, Answer::Broken(_));
    let holds = fails && seen.requests.processed() == 1 && seen.retries == 0 && !seen.has_tripped;
    Ok((!holds).then(|| format!("must hold: {case}, buffered: {seen:?}")))
}

/// Nothing was sent on a connection that was not established, even if the time of an attempt was up first.
async fn cut_while_connecting_is_unsent(protocol: Protocol) -> Result<Option<String>, BoxError> {
    let server = Server::start(Fault::ConnectHangs, Times::Always, protocol).await?;
    let client = clients::steadfast(protocol, Setting::Defaults)?;
    let call = client.post(server.url()).body("pay").timeout(Duration::from_millis(600)).send();
    Ok(match call.await {
        Ok(response) => Some(format!("must hold: a hanging connect is no answer: {}", response.status())),
        Err(error) if error.maybe_sent() || error.attempts() < 2 => {
            Some(format!("must hold: a POST that is cut while it connects was not sent: {error:?}"))
        }
        Err(_) => None,
    })
}

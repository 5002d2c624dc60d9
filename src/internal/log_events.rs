//! The log events of the crate, in one place. Every event names its upstream, except the event of a failed disk
//! write, because one write concerns many upstreams. If the upstream has no name, the field is empty; events of the
//! cache may name the origin instead. `tests/events.rs` checks the names.
//!
//! The targets are the names of the layers, so that a filter such as `steadfast::retry=debug` works. The target of
//! events about stores is `steadfast::last_known_good`.

use std::fmt::Display;
#[cfg(feature = "disk")]
use std::path::Path;
use std::time::Duration;

/// A circuit has opened without being forced.
pub(crate) fn circuit_opened(upstream: &str, from: &str, to: &str, is_shadow: bool) {
    let consequence = if is_shadow { "no call is refused in shadow mode" } else { "calls are refused" };
    tracing::warn!(
        target: "steadfast::circuit_breaker",
        upstream,
        from,
        to,
        "the circuit opened; {consequence}"
    );
}

/// A circuit has changed to a state other than `Open`, or was forced or reset into the state that it already had.
pub(crate) fn circuit_changed(upstream: &str, from: &str, to: &str) {
    tracing::info!(target: "steadfast::circuit_breaker", upstream, from, to, "the circuit changed its state");
}

/// A bulkhead has refused a call.
pub(crate) fn bulkhead_refused(upstream: &str, max_concurrent: usize) {
    tracing::debug!(
        target: "steadfast::bulkhead",
        upstream,
        max_concurrent,
        "the bulkhead refused a call: no permit was free"
    );
}

/// An attempt has failed or was throttled because of `cause`, and a retry follows after the backoff.
pub(crate) fn retry_scheduled(upstream: &str, retry: u32, backoff: Duration, cause: impl Display) {
    tracing::debug!(
        target: "steadfast::retry",
        upstream,
        retry,
        ?backoff,
        %cause,
        "a retry follows after the backoff"
    );
}

/// The upstream did not process an attempt, or the attempt was a probe that failed. So the request is sent again at
/// once.
pub(crate) fn attempt_resent(upstream: &str, cause: impl Display, was_probe: bool) {
    let reason =
        if was_probe { "the probe of an endpoint failed" } else { "the upstream did not process it" };
    tracing::debug!(
        target: "steadfast::retry",
        upstream,
        %cause,
        "the attempt is sent again at once: {reason}"
    );
}

/// A call ends without a further retry, because of `reason`.
pub(crate) fn retry_not_made(upstream: &str, attempts: u32, reason: &str) {
    tracing::debug!(
        target: "steadfast::retry",
        upstream,
        attempts,
        reason,
        "the call ends without a further retry"
    );
}

/// An endpoint has been ejected.
pub(crate) fn endpoint_ejected(upstream: &str, address: &str, cause: &str, time: Duration) {
    tracing::warn!(
        target: "steadfast::endpoints",
        upstream,
        address,
        cause,
        ?time,
        "the endpoint is ejected; it gets probes, and attempts only if no other endpoint looks well"
    );
}

/// A lane has been ejected. A single lane says little to an operator, so this is no warning.
pub(crate) fn lane_ejected(upstream: &str, address: &str, cause: &str, time: Duration) {
    tracing::debug!(
        target: "steadfast::endpoints",
        upstream,
        address,
        cause,
        ?time,
        "the lane is ejected"
    );
}

/// An ejected lane gets attempts again.
pub(crate) fn lane_returned(upstream: &str, address: &str) {
    tracing::debug!(target: "steadfast::endpoints", upstream, address, "the lane is available again");
}

/// An ejected endpoint has failed its probe, and stays ejected for this time.
pub(crate) fn endpoint_probe_failed(upstream: &str, address: &str, time: Duration) {
    tracing::debug!(
        target: "steadfast::endpoints",
        upstream,
        address,
        ?time,
        "the probe of the endpoint failed; it stays ejected"
    );
}

/// An upstream has a new endpoint.
pub(crate) fn endpoint_added(upstream: &str, address: &str) {
    tracing::debug!(target: "steadfast::endpoints", upstream, address, "the endpoint is added");
}

/// An address has a new lane, with connections of its own.
pub(crate) fn lane_added(upstream: &str, address: &str) {
    tracing::debug!(target: "steadfast::endpoints", upstream, address, "a lane is added, or replaced by one with new connections");
}

/// The discovery has reported too many addresses, so this one is forgotten. Emitted once for an upstream.
pub(crate) fn address_ignored(upstream: &str, address: &str, waiting: usize) {
    tracing::warn!(
        target: "steadfast::endpoints",
        upstream,
        address,
        waiting,
        "too many addresses wait for a place among the endpoints; this one is ignored"
    );
}

/// An endpoint is gone, and gets no new attempts.
pub(crate) fn endpoint_removed(upstream: &str, address: &str) {
    tracing::debug!(target: "steadfast::endpoints", upstream, address, "the endpoint is removed");
}

/// An ejected endpoint gets attempts again.
pub(crate) fn endpoint_returned(upstream: &str, address: &str) {
    tracing::info!(target: "steadfast::endpoints", upstream, address, "the endpoint is available again");
}

/// The stream of an upstream's addresses has returned an error.
pub(crate) fn discovery_failed(upstream: &str, error: impl Display, known: usize) {
    tracing::warn!(
        target: "steadfast::endpoints",
        upstream,
        %error,
        known,
        "the discovery failed; the known endpoints are kept"
    );
}

/// A stale response has answered a call.
pub(crate) fn stale_served(upstream: &str, age: Duration, cause: impl Display) {
    tracing::info!(
        target: "steadfast::last_known_good",
        upstream,
        age_s = age.as_secs(),
        %cause,
        "served a stale response"
    );
}

/// A store behind the cache has failed, or has not answered in time.
pub(crate) fn store_failed(upstream: &str, error: impl Display) {
    tracing::debug!(
        target: "steadfast::last_known_good",
        upstream,
        %error,
        "the store failed or timed out; the cache goes on without it"
    );
}

/// The first look-up in an outage of the resolver has failed. The `kept` known addresses of `name` stay in use.
#[cfg(feature = "reqwest")]
pub(crate) fn lookup_failed(upstream: &str, name: &str, error: impl Display, kept: usize) {
    let consequence = if kept == 0 { "no address is known" } else { "the known addresses stay in use" };
    tracing::warn!(
        target: "steadfast::endpoints",
        upstream,
        name,
        %error,
        kept,
        "the look-up of the addresses failed; {consequence}"
    );
}

/// A look-up of the addresses of `name` has succeeded after failures.
#[cfg(feature = "reqwest")]
pub(crate) fn lookup_recovered(upstream: &str, name: &str) {
    tracing::info!(
        target: "steadfast::endpoints",
        upstream,
        name,
        "the look-up of the addresses succeeds again"
    );
}

/// The disk store has lost a batch of entries, because the write failed.
#[cfg(feature = "disk")]
pub(crate) fn disk_write_failed(path: &Path, entries: usize, error: impl Display) {
    tracing::warn!(
        target: "steadfast::last_known_good",
        path = %path.display(),
        %error,
        entries,
        "the disk store could not write; the entries of this batch are lost"
    );
}

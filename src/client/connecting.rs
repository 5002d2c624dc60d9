//! Tells whether a request still waits for its connection.
//!
//! reqwest's connect timeout is one for all calls. A call with a short timeout of its own can therefore be cut while
//! it still connects. Nothing was sent then, so even a POST may be sent again, but reqwest's future does not show how
//! far it is.
//!
//! So a layer around reqwest's connector sets a thread-local flag while a connection is being established. hyper
//! polls the connector inside the poll of the request that waits for it, or else in a task of its own. The same poll
//! of `ReqwestFuture` reads the flag, so no other task can run in between. If the flag is lost, the request counts as
//! possibly sent.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tower::util::Oneshot;
use tower::{Layer, Service};

thread_local! {
    static IS_CONNECTING: Cell<bool> = const { Cell::new(false) };
}

/// Polls a request. Also returns true if the request waits for its connection.
pub(super) fn poll_request<T>(poll: impl FnOnce() -> T) -> (T, bool) {
    let around = IS_CONNECTING.replace(false);
    let polled = poll();
    (polled, IS_CONNECTING.replace(around))
}

/// The layer around reqwest's connector.
#[derive(Debug, Clone, Copy)]
pub(super) struct WatchConnecting;

impl<S> Layer<S> for WatchConnecting {
    type Service = WatchedConnector<S>;

    fn layer(&self, connector: S) -> WatchedConnector<S> {
        WatchedConnector(Arc::new(connector))
    }
}

/// reqwest's connector. reqwest clones it for each request, but few requests need a connection, so only those clone
/// the connector itself.
#[derive(Debug)]
pub(super) struct WatchedConnector<S>(Arc<S>);

impl<S> Clone for WatchedConnector<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Service<D> + Clone, D> Service<D> for WatchedConnector<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = WatchedConnect<Oneshot<S, D>>;

    // Always ready: each connection waits itself until its clone of the connector is ready.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: D) -> Self::Future {
        WatchedConnect(Oneshot::new(S::clone(&self.0), destination))
    }
}

/// A connection that is being established.
#[pin_project]
pub(super) struct WatchedConnect<F>(#[pin] F);

impl<F: Future> Future for WatchedConnect<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let polled = self.project().0.poll(cx);
        if polled.is_pending() {
            IS_CONNECTING.set(true);
        }
        polled
    }
}

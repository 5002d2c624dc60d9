//! Services to put below a layer. Each binary of this package makes one known mistake and does not compile; its comments
//! that begin with `//~` are parts of the expected compiler message. `.ci/diagnostics` compares.

use std::future::Ready;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use tower::Service;

/// A service that answers `Req` with `Res`, or fails with `E`.
pub struct Upstream<Req, Res, E>(PhantomData<fn(Req) -> Result<Res, E>>);

impl<Req, Res, E> Upstream<Req, Res, E> {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<Req, Res, E> Clone for Upstream<Req, Res, E> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<Req, Res, E> Service<Req> for Upstream<Req, Res, E> {
    type Response = Res;
    type Error = E;
    type Future = Ready<Result<Res, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        unreachable!("only the types count")
    }
}

/// Demands a service, as a server or a router does.
pub fn serve<Req>(_: impl Service<Req>) {}

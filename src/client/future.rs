//! The future of a call through the client.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;

use super::ClientError;
use super::handle::Client;
use super::response::into_reqwest;
use super::stack::StackFuture;
use crate::{Call, Error, ErrorKind};

/// The future of a call through a [`Client`].
///
/// The future is `Unpin`, as reqwest's is: the call is boxed when it begins.
///
/// # Cancel safety
///
/// Dropping the future returns every permit, probe and token of the call.
#[must_use = "nothing is sent before it is polled"]
pub struct ResponseFuture(ClientStage);

// The large variant is not boxed, because it is short-lived.
#[allow(clippy::large_enum_variant)]
enum ClientStage {
    /// Not polled yet: the total time has not begun, and the call holds no permit, probe or token.
    Fresh(Option<(Client, Call<reqwest::Request>)>),
    Called(Pin<Box<StackFuture>>),
    /// The request could not be built.
    Failed(Option<reqwest::Error>),
}

impl ResponseFuture {
    pub(super) const fn new(client: Client, call: Call<reqwest::Request>) -> Self {
        Self(ClientStage::Fresh(Some((client, call))))
    }

    pub(super) const fn failed(error: reqwest::Error) -> Self {
        Self(ClientStage::Failed(Some(error)))
    }
}

impl Future for ResponseFuture {
    type Output = Result<reqwest::Response, ClientError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let stage = &mut self.get_mut().0;
        if let ClientStage::Fresh(call) = stage {
            if Handle::try_current().is_err() {
                // Without a runtime, timers and sockets would panic.
                return Poll::Ready(Err(Error::new(ErrorKind::NoRuntime)));
            }
            let (client, call) = call.take().expect("polled after it had panicked");
            *stage = ClientStage::Called(Box::pin(client.call_stack(call)));
        }
        match stage {
            ClientStage::Called(future) => Poll::Ready(match ready!(future.as_mut().poll(cx)) {
                Ok(response) => Ok(into_reqwest(response)),
                Err(error) => Err(error),
            }),
            ClientStage::Failed(error) => {
                let error = error.take().expect("polled after it was ready");
                Poll::Ready(Err(Error::from_upstream(error)))
            }
            ClientStage::Fresh(_) => unreachable!("the call has begun"),
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("client::ResponseFuture")
    }
}

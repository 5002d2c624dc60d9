//! The future of a call through the client.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;

use super::ClientError;
use super::handle::Client;
use super::response::into_reqwest;
use super::stack::StackFuture;
use crate::{Call, Error};

/// The future of a call through a [`Client`].
///
/// # Cancel safety
///
/// Dropping the future returns every permit, probe and token of the call.
#[must_use = "nothing is sent before it is polled"]
#[pin_project]
pub struct ResponseFuture(#[pin] ClientStage);

// The large variant is not boxed, because the small ones are short-lived or rare.
#[allow(clippy::large_enum_variant)]
#[pin_project(project = ClientStageProj)]
enum ClientStage {
    /// Not polled yet: the total time has not begun, and the call holds no permit, probe or token.
    Fresh(Option<(Client, Call<reqwest::Request>)>),
    Called(#[pin] StackFuture),
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
        let mut stage = self.project().0;
        loop {
            match stage.as_mut().project() {
                ClientStageProj::Fresh(call) => {
                    let (client, call) = call.take().expect("polled after it had panicked");
                    stage.set(ClientStage::Called(client.call_stack(call)));
                }
                ClientStageProj::Called(future) => {
                    return Poll::Ready(match ready!(future.poll(cx)) {
                        Ok(response) => Ok(into_reqwest(response)),
                        Err(error) => Err(error),
                    });
                }
                ClientStageProj::Failed(error) => {
                    let error = error.take().expect("polled after it was ready");
                    return Poll::Ready(Err(Error::from_upstream(error)));
                }
            }
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("client::ResponseFuture")
    }
}

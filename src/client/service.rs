//! Sends calls through the client, and makes the client a tower service.

use std::task::{Context, Poll};

use tower::Service;

use super::ClientError;
use super::future::ResponseFuture;
use super::handle::Client;
use crate::Call;

impl Client {
    /// Sends a request or a [`Call`].
    ///
    /// A timeout on the request bounds the whole call, unless the call has a timeout of its own.
    ///
    /// # Errors
    ///
    /// Fails if there is no response. A response with an error status is not an error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future returns every permit, probe and token that it holds.
    pub fn execute(&self, request: impl Into<Call<reqwest::Request>>) -> ResponseFuture {
        ResponseFuture::new(self.clone(), request.into())
    }
}

impl Service<Call<reqwest::Request>> for Client {
    type Response = reqwest::Response;
    type Error = ClientError;
    type Future = ResponseFuture;

    // Always ready: the call itself waits until the stack of its upstream is ready.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<reqwest::Request>) -> ResponseFuture {
        self.execute(call)
    }
}

impl Service<reqwest::Request> for Client {
    type Response = reqwest::Response;
    type Error = ClientError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: reqwest::Request) -> ResponseFuture {
        self.execute(request)
    }
}

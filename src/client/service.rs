use std::task::{Context, Poll};

use tower::Service;

use super::ClientError;
use super::future::ResponseFuture;
use super::handle::Client;
use crate::Call;

impl Client {
    /// Sends a request, or a [`Call`] of one.
    ///
    /// A timeout that is set on the request becomes that of the whole call, unless the call has one of its own.
    ///
    /// # Errors
    ///
    /// If there is no answer: not for any status that the upstream answers with.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it gives back whatever it held: permits, places, tokens.
    pub fn execute(&self, request: impl Into<Call<reqwest::Request>>) -> ResponseFuture {
        ResponseFuture::new(self.clone(), request.into())
    }
}

impl Service<Call<reqwest::Request>> for Client {
    type Response = reqwest::Response;
    type Error = ClientError;
    type Future = ResponseFuture;

    // The stack of an upstream is polled ready by the call.
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

//! Converts `http` responses to reqwest's.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::reqwest_service::keep_url;
use crate::BoxError;
use crate::http::client_errors::{Fault, SharedError, causes, fault_of};
use crate::last_known_good::RequestUri;

/// Converts a response, and keeps its URL. A stale response gets the URL of the request.
pub(super) fn into_reqwest<B>(mut response: Response<B>) -> reqwest::Response
where
    B: Body<Data = Bytes, Error = BoxError> + Send + Sync + 'static,
{
    if let Some(RequestUri(uri)) = response.extensions_mut().remove() {
        if let Ok(url) = reqwest::Url::parse(&uri) {
            keep_url(response.extensions_mut(), url);
        }
    }
    response.map(|body| reqwest::Body::wrap(ClientBody(body))).into()
}

/// The body of a response. reqwest wraps each error of this body in an error of its own. The body inside comes from
/// reqwest as well, so its errors are wrapped already. `ClientBody` replaces an inner error that only wraps a cause,
/// so that the chain of causes repeats no line.
#[pin_project]
struct ClientBody<B>(#[pin] B);

impl<B> Body for ClientBody<B>
where
    B: Body<Data = Bytes, Error = BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.project()
            .0
            .poll_frame(cx)
            .map_err(|error| if causes(&*error).any(is_wrapper) { BrokeOff(error).into() } else { error })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// The error of a failed body. It replaces an error of reqwest that only wraps the cause.
struct BrokeOff(BoxError);

impl fmt::Display for BrokeOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_whole = fault_of(&*self.0) == Fault::Caller;
        f.write_str(if is_whole { "response body cannot be decoded" } else { "response body broke off" })
    }
}

impl fmt::Debug for BrokeOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for BrokeOff {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        causes(&*self.0).find(|error| !is_wrapper(*error) && !error.is::<SharedError>())
    }
}

/// True if the error only says that a body has failed, as the outer error of reqwest does.
fn is_wrapper(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref().is_some_and(reqwest::Error::is_body)
}

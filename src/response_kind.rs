//! HTTP or not: what becomes of a response on its way up, and of what a layer holds for its sake.

use std::future::Ready;

use http::{HeaderMap, Response};
use http_body::Body;

use crate::EndpointId;
use crate::http::body::{BodyObserver, ObservedBody};
use crate::http::discard::Drain;
use crate::sealed::Sealed;
use crate::stop_reason::Attempts;

/// Marks a layer whose responses are `http::Response`s: what it holds for a response is given back when the body has
/// been read or dropped. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Http;

/// Marks a layer whose responses are plain values: what it holds is given back when the response has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct NonHttp;

/// What a layer can do with responses of type `Res`. Implemented by [`Http`] and [`NonHttp`] only.
pub trait ResponseKind<Res>: Sealed + Copy {
    /// The response that is handed on, with `O` to observe its body.
    type Observed<O: BodyObserver>;

    /// Reads what is left of a response, so that its connection can be used again.
    type Leftover: Future<Output = ()>;

    /// Hands on `response`, and keeps `observer` until its end.
    fn observe<O: BodyObserver>(self, response: Res, observer: O) -> Self::Observed<O>;

    /// Throws `response` away.
    fn discard(self, response: Res) -> Self::Leftover;

    /// The headers of a response, if it has any.
    fn headers(self, response: &Res) -> Option<&HeaderMap>;

    /// What the layers below have noted on a response.
    fn note<T: Clone + Send + Sync + 'static>(self, response: &Res) -> Option<&T>;

    /// Notes something on a response, where there is a place for it.
    fn add_note<T: Clone + Send + Sync + 'static>(self, response: &mut Res, note: T);

    /// How many attempts a response took.
    fn attempts(self, response: &Res) -> u32 {
        self.note(response).map_or(1, |attempts: &Attempts| attempts.made)
    }

    /// The endpoint that a response came from, where there is a choice of them.
    fn endpoint(self, response: &Res) -> Option<EndpointId> {
        self.note(response).copied()
    }
}

impl<B: Body> ResponseKind<Response<B>> for Http {
    type Observed<O: BodyObserver> = Response<ObservedBody<B, O>>;
    type Leftover = Drain<B>;

    #[inline]
    fn observe<O: BodyObserver>(self, response: Response<B>, observer: O) -> Self::Observed<O> {
        response.map(|body| ObservedBody::new(body, observer))
    }

    fn discard(self, response: Response<B>) -> Drain<B> {
        Drain::new(response.into_body())
    }

    fn headers(self, response: &Response<B>) -> Option<&HeaderMap> {
        Some(response.headers())
    }

    fn note<T: Clone + Send + Sync + 'static>(self, response: &Response<B>) -> Option<&T> {
        response.extensions().get()
    }

    fn add_note<T: Clone + Send + Sync + 'static>(self, response: &mut Response<B>, note: T) {
        response.extensions_mut().insert(note);
    }
}

impl<Res> ResponseKind<Res> for NonHttp {
    type Observed<O: BodyObserver> = Res;
    type Leftover = Ready<()>;

    #[inline]
    fn observe<O: BodyObserver>(self, response: Res, _observer: O) -> Res {
        response
    }

    fn discard(self, _response: Res) -> Ready<()> {
        std::future::ready(())
    }

    fn headers(self, _response: &Res) -> Option<&HeaderMap> {
        None
    }

    fn note<T>(self, _response: &Res) -> Option<&T> {
        None
    }

    fn add_note<T>(self, _response: &mut Res, _note: T) {}
}

impl Sealed for Http {}
impl Sealed for NonHttp {}

//! HTTP or plain: what becomes of the thing that a layer holds for the sake of a response.

use std::future::Ready;

use http::Response;
use http_body::Body;

use crate::http::body::{Watch, WatchedBody};
use crate::http::discard::Drain;

/// Marks a layer whose responses are `http::Response`s: what it holds for a response is let go when the body has
/// been read or dropped. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Http;

/// Marks a layer whose responses are plain values: what it holds is let go when the response has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct NonHttp;

/// How a hold of a layer goes with a response of type `Res`. Implemented by [`Http`] and [`Plain`] only.
pub trait Attach<Res, H>: sealed::Sealed {
    /// The response that is handed on.
    type Response;

    /// Hands on `response`, with what is held for it.
    fn attach(response: Res, hold: H) -> Self::Response;
}

impl<B, H> Attach<Response<B>, H> for Http
where
    B: Body,
    H: Watch<B::Data>,
{
    type Response = Response<WatchedBody<B, H>>;

    #[inline]
    fn attach(response: Response<B>, hold: H) -> Self::Response {
        response.map(|body| WatchedBody::new(body, hold))
    }
}

impl<Res, H> Attach<Res, H> for NonHttp {
    type Response = Res;

    #[inline]
    fn attach(response: Res, _hold: H) -> Res {
        response
    }
}

/// How a response that nobody wants is thrown away. Implemented by [`Http`] and [`Plain`] only.
pub trait Discard<Res>: sealed::Sealed {
    /// Reads what is left of a response, so that its connection can be used again.
    type Leftover: Future<Output = ()>;

    /// Throws `response` away.
    fn discard(response: Res) -> Self::Leftover;

    /// Notes something on a response, where there is a place for it.
    fn annotate<T: Clone + Send + Sync + 'static>(response: &mut Res, note: T);
}

impl<B: Body> Discard<Response<B>> for Http {
    type Leftover = Drain<B>;

    fn discard(response: Response<B>) -> Drain<B> {
        Drain::new(response.into_body())
    }

    fn annotate<T: Clone + Send + Sync + 'static>(response: &mut Response<B>, note: T) {
        response.extensions_mut().insert(note);
    }
}

impl<Res> Discard<Res> for NonHttp {
    type Leftover = Ready<()>;

    fn discard(_response: Res) -> Ready<()> {
        std::future::ready(())
    }

    fn annotate<T>(_response: &mut Res, _note: T) {}
}

pub(crate) mod sealed {
    /// Keeps the sets of markers and of watches closed.
    pub trait Sealed {}
    impl Sealed for super::Http {}
    impl Sealed for super::NonHttp {}
}

//! How a layer observes, holds and annotates a response, HTTP or not.
//!
//! A layer may hold a resource, such as a permit, until a response ends. An `http::Response` ends with its body. Any
//! other response has no body, and ends when it arrives. A layer holds a marker, [`Http`] or [`NonHttp`], so that one
//! implementation of the layer serves both kinds.
//!
//! # Moves
//!
//! Every layer passes a result on by value. Such a move stalls the processor if the result was just written to
//! memory. So a layer inspects the result by reference, and moves it only once, where the response type changes
//! ([`ResponseKind::observe`], [`ResponseKind::pass_on`]). Parts of a future that only some calls need, such as the
//! wait in a queue, are boxed, so that the future stays small.

use std::future::Ready;

use http::{Extensions, HeaderMap, Response, StatusCode, Version};
use http_body::Body;

use crate::attempts::Attempts;
use crate::http::body::{BodyObserver, ObservedBody};
use crate::http::broken_body::BrokenBody;
use crate::http::held_body::{HeldBody, HoldResponse};
use crate::sealed::Sealed;
use crate::{EndpointId, Error, Judge, Outcome, RetryTerms};

/// Marks the response of another host, to which the upstream has redirected the request. Stored in the extensions of
/// the response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfRedirectTarget;

/// Marks a response that may be to another request than the one that the layers saw: a redirect was offered, or the
/// cookies differ. Stored in the extensions of the response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToOtherRequest;

/// Marks a response whose connection leads to another endpoint than the chosen one, because no connection to the
/// chosen endpoint could be established. Stored in the extensions of the response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectedElsewhere;

/// Removes the marks of a failed response, before a stale response takes over the extensions of the failed one.
pub(crate) fn remove_marks(extensions: &mut Extensions) {
    extensions.remove::<BrokenBody>();
    extensions.remove::<OfRedirectTarget>();
    extensions.remove::<ToOtherRequest>();
    extensions.remove::<NoBody>();
    extensions.remove::<ConnectedElsewhere>();
    extensions.remove::<RetryTerms>();
}

/// Marks the response to a HEAD request, which may state the length of a body that does not follow. Stored in the
/// extensions of the response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoBody;

/// Marks a layer for `http::Response`s. This is the default. The layer releases what it holds for a response when the
/// body has been read or dropped.
#[derive(Debug, Clone, Copy, Default)]
pub struct Http;

/// Marks a layer for responses of other types. The layer releases what it holds for a response when the response
/// arrives.
#[doc(alias = "Plain")]
#[derive(Debug, Clone, Copy, Default)]
pub struct NonHttp;

/// How a layer treats responses of type `Res`. Implemented only by [`Http`] and [`NonHttp`].
#[diagnostic::on_unimplemented(
    message = "the layer is set to `{Self}` and cannot treat the response `{Res}`",
    label = "the service below this layer responds with `{Res}`",
    note = "a layer expects `http::Response<B>` with `B: http_body::Body`; for other responses, call `.non_http()` on it"
)]
pub trait ResponseKind<Res>: Sealed + Copy {
    /// The type of a response whose body `O` observes; for [`NonHttp`], `Res` itself.
    type Observed<O: BodyObserver>;

    /// The type of a response that is passed on, or held in memory; for [`NonHttp`], `Res` itself.
    type Held;

    /// A future that reads a response into memory. Ready with `None` if the response cannot be held.
    type Hold: Future<Output = Option<Self::Held>>;

    /// Attaches `observer` to the response until the response ends.
    fn observe<O: BodyObserver>(self, response: Res, observer: O) -> Self::Observed<O>;

    /// Passes on the response as it is. This is a move of the response.
    fn pass_on(self, response: Res) -> Self::Held;

    /// Returns the future that holds `response` in memory. The future releases what the layers below hold for the
    /// response.
    fn hold(self, response: Res) -> Self::Hold;

    /// Returns the status; `None` for a response that is not HTTP.
    fn status(self, response: &Res) -> Option<StatusCode>;

    /// Returns the headers; `None` for a response that is not HTTP.
    fn headers(self, response: &Res) -> Option<&HeaderMap>;

    /// Returns the version of the protocol; `None` for a response that is not HTTP.
    fn version(self, response: &Res) -> Option<Version>;

    /// Returns an extension that a layer below has attached to the response; `None` without one.
    fn extension<T: Clone + Send + Sync + 'static>(self, response: &Res) -> Option<&T>;

    /// Attaches an extension to the response. Does nothing for a response that is not HTTP.
    fn set_extension<T: Clone + Send + Sync + 'static>(self, response: &mut Res, value: T);

    /// Attaches the number of attempts to the response. Does nothing for a response that is not HTTP.
    fn set_attempts(self, response: &mut Self::Held, attempts: Attempts);

    /// Returns the exact length of the body; `None` if it is not known, or for a response that is not HTTP.
    fn body_length(self, response: &Res) -> Option<u64>;

    /// Returns the number of attempts that led to the response.
    fn attempts(self, response: &Res) -> u32 {
        self.extension(response).map_or(1, |attempts: &Attempts| attempts.made)
    }

    /// Returns the endpoint that sent the response; `None` if no layer below chooses among endpoints.
    fn endpoint(self, response: &Res) -> Option<EndpointId> {
        self.extension(response).copied()
    }
}

/// The facts about an attempt that a layer below has attached to the response.
pub(crate) trait AttemptFacts<Res>: ResponseKind<Res> {
    /// Returns the mark of a response whose body broke off while a layer below read it.
    fn broken(self, response: &Res) -> Option<&BrokenBody> {
        self.extension(response)
    }

    /// Returns the verdict on an attempt. A response whose body broke off is judged as an error.
    #[inline]
    fn judge<E>(self, judge: &impl Judge<Res, E>, result: Result<&Res, &Error<E>>) -> Outcome {
        match result.ok().and_then(|response| self.broken(response)) {
            Some(broken) => judge_broken(judge, broken),
            None => judge.classify(result),
        }
    }

    /// Returns the terms on which a retry may follow the response.
    fn retry_terms(self, response: &Res) -> RetryTerms {
        self.extension(response).copied().unwrap_or_default()
    }

    /// True if the chosen endpoint could not be reached, so that another one has answered.
    fn is_from_elsewhere(self, response: &Res) -> bool {
        self.extension::<ConnectedElsewhere>(response).is_some()
    }

    /// True if another host, to which the upstream has redirected the request, has answered.
    fn is_of_redirect_target(self, response: &Res) -> bool {
        self.extension::<OfRedirectTarget>(response).is_some()
    }

    /// True if the response is not to the request that the layers saw, so that it must not be stored.
    fn is_to_other_request(self, response: &Res) -> bool {
        self.extension::<ToOtherRequest>(response).is_some()
    }
}

impl<Res, K: ResponseKind<Res>> AttemptFacts<Res> for K {}

#[cold]
fn judge_broken<Res, E>(judge: &impl Judge<Res, E>, broken: &BrokenBody) -> Outcome {
    judge.classify(Err(&broken.error()))
}

impl<B: Body> ResponseKind<Response<B>> for Http {
    type Observed<O: BodyObserver> = Response<ObservedBody<B, O>>;
    type Held = Response<HeldBody<B>>;
    type Hold = HoldResponse<B>;

    #[inline]
    fn observe<O: BodyObserver>(self, response: Response<B>, observer: O) -> Self::Observed<O> {
        response.map(|body| ObservedBody::new(body, observer))
    }

    #[inline]
    fn pass_on(self, response: Response<B>) -> Response<HeldBody<B>> {
        response.map(HeldBody::passed_on)
    }

    fn hold(self, response: Response<B>) -> HoldResponse<B> {
        HoldResponse::new(response)
    }

    fn status(self, response: &Response<B>) -> Option<StatusCode> {
        Some(response.status())
    }

    fn headers(self, response: &Response<B>) -> Option<&HeaderMap> {
        Some(response.headers())
    }

    fn version(self, response: &Response<B>) -> Option<Version> {
        Some(response.version())
    }

    fn extension<T: Clone + Send + Sync + 'static>(self, response: &Response<B>) -> Option<&T> {
        response.extensions().get()
    }

    fn body_length(self, response: &Response<B>) -> Option<u64> {
        response.body().size_hint().exact()
    }

    fn set_extension<T: Clone + Send + Sync + 'static>(self, response: &mut Response<B>, value: T) {
        response.extensions_mut().insert(value);
    }

    fn set_attempts(self, response: &mut Response<HeldBody<B>>, attempts: Attempts) {
        response.extensions_mut().insert(attempts);
    }
}

impl<Res> ResponseKind<Res> for NonHttp {
    type Observed<O: BodyObserver> = Res;
    type Held = Res;
    type Hold = Ready<Option<Res>>;

    #[inline]
    fn observe<O: BodyObserver>(self, response: Res, _observer: O) -> Res {
        response
    }

    #[inline]
    fn pass_on(self, response: Res) -> Res {
        response
    }

    fn hold(self, response: Res) -> Ready<Option<Res>> {
        std::future::ready(Some(response))
    }

    fn status(self, _response: &Res) -> Option<StatusCode> {
        None
    }

    fn headers(self, _response: &Res) -> Option<&HeaderMap> {
        None
    }

    fn version(self, _response: &Res) -> Option<Version> {
        None
    }

    fn extension<T>(self, _response: &Res) -> Option<&T> {
        None
    }

    fn body_length(self, _response: &Res) -> Option<u64> {
        None
    }

    fn set_extension<T>(self, _response: &mut Res, _value: T) {}

    fn set_attempts(self, _response: &mut Res, _attempts: Attempts) {}
}

impl Sealed for Http {}
impl Sealed for NonHttp {}

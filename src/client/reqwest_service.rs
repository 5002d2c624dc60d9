//! Wraps a `reqwest::Client` as a tower service, and converts its responses and errors for the layers. To support
//! another HTTP client, start in `http/client_errors/`, where the errors of each client are classified.
//!
//! # The thread-locals that correctness needs
//!
//! If a connection fails before any redirect, nothing was sent, and even a POST may be retried. If the connection to
//! the target of a redirect fails, the redirecting host may already have processed the POST. reqwest's error is the
//! same in both cases, and reqwest calls a redirect policy without any reference to the request.
//!
//! So a policy made by [`watch_redirects`] sets a thread-local value. reqwest runs the policy inside the poll of
//! [`ReqwestFuture`], and the same poll reads the value, so no other task can run in between. If the client was not
//! declared with `with_watched_redirects`, a request counts as possibly sent after any failed connection.
//!
//! The same value tells whether another host is at fault. A circuit breaker must not count such a fault against the
//! host that redirected.
//!
//! A second thread-local tells, in the same way, whether a request still waits for its connection; see
//! `connecting.rs`.

use std::cell::Cell;
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Extensions, Method, Response};
use pin_project::pin_project;
use reqwest::redirect::Policy;
use reqwest::{ResponseBuilderExt as _, Url};
use tokio::runtime::Handle;
use tower::Service;

use super::connecting::poll_request;
#[cfg(feature = "cookies")]
use super::cookie_store::CookieStore;
use super::pins::AddressObserver;
use crate::http::client_errors::is_unsent;
use crate::internal::signals::{Wait, raise_wait, time_is_up};
use crate::response_kind::{ConnectedElsewhere, NoBody, OfRedirectTarget, ToOtherRequest};
use crate::{Call, Error, ErrorKind};

/// A `reqwest::Client` at the bottom of a stack of layers.
///
/// A request is a [`Call`], which carries all options, or a bare `reqwest::Request`, which carries only a timeout. A
/// [`DeadlineLayer`](crate::deadline::DeadlineLayer) also cuts the call of a bare request, but the layers below do
/// not know the deadline. A response is an `http::Response`, and an error contains [reqwest's error](Error::inner).
/// To get a `reqwest::Response` with its URL, use `reqwest::Response::from(response.map(reqwest::Body::wrap))`.
///
/// reqwest retries some protocol errors by itself. Only one layer should retry, so build the client with
/// `.retry(reqwest::retry::never())`.
///
/// ```
/// use std::time::Duration;
/// use steadfast::{Call, ReqwestService, deadline::DeadlineLayer};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
/// let service = ServiceBuilder::new()
///     .layer(DeadlineLayer::new(Duration::from_secs(3)))
///     .service(ReqwestService::new(client.clone()));
/// let request = client.get("http://sku.internal/v1/items/42").build()?;
/// let response = service.oneshot(Call::new(request)).await?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "Upstream")]
#[doc(alias = "middleware")]
#[derive(Debug, Clone)]
pub struct ReqwestService {
    client: reqwest::Client,
    /// True if the client was declared with [`with_watched_redirects`](Self::with_watched_redirects).
    is_watched: bool,
    /// The pin of the client, if it belongs to an endpoint.
    site: Option<Arc<AddressObserver>>,
    /// The cookie store of the client, if the layers see its cookies.
    #[cfg(feature = "cookies")]
    cookies: Option<CookieStore>,
}

impl ReqwestService {
    /// Wraps a client with any redirect policy.
    ///
    /// A POST is not retried after a failed connection, or if an HTTP/2 server has not processed the POST. The failed
    /// request may be to the target of a redirect, so the POST counts as possibly sent. A failed connection to the
    /// target counts as a fault of the host that redirected. To avoid both, use
    /// [`with_watched_redirects`](Self::with_watched_redirects).
    pub const fn new(client: reqwest::Client) -> Self {
        Self {
            client,
            is_watched: false,
            site: None,
            #[cfg(feature = "cookies")]
            cookies: None,
        }
    }

    /// Wraps a client whose redirect policy comes from [`watch_redirects`], or follows no redirects.
    ///
    /// Before any redirect, even a POST can be sent again if its connection fails, or if an HTTP/2 server has not
    /// processed it. If a redirect leads to another host, the faults of that host are marked; see
    /// [`is_of_redirect_target`](crate::ErrorInfo::is_of_redirect_target).
    pub fn with_watched_redirects(client: reqwest::Client) -> Self {
        Self { is_watched: true, ..Self::new(client) }
    }

    pub(super) fn observed_by(self, site: AddressObserver) -> Self {
        Self { site: Some(Arc::new(site)), ..self }
    }
}

impl Service<reqwest::Request> for ReqwestService {
    type Response = Response<reqwest::Body>;
    type Error = Error<reqwest::Error>;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.client, cx).map_err(Error::from_upstream)
    }

    fn call(&mut self, request: reqwest::Request) -> ReqwestFuture {
        // reqwest panics without a runtime.
        let has_runtime = Handle::try_current().is_ok();
        ReqwestFuture {
            unwatched_origin: (!self.is_watched).then(|| origin_hash(request.url())),
            is_head: request.method() == Method::HEAD,
            response: has_runtime.then(|| self.client.call(request)),
            redirect: Redirect::None,
            site: self.site.clone(),
            has_other_cookies: false,
            has_waited: false,
        }
    }
}

impl Service<Call<reqwest::Request>> for ReqwestService {
    type Response = Response<reqwest::Body>;
    type Error = Error<reqwest::Error>;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<reqwest::Request>::poll_ready(self, cx)
    }

    fn call(&mut self, call: Call<reqwest::Request>) -> ReqwestFuture {
        #[cfg(feature = "cookies")]
        if call.has_cookies_of_store() {
            return self.call_with_current_cookies(call.into_inner());
        }
        self.call(call.into_inner())
    }
}

#[cfg(feature = "cookies")]
impl ReqwestService {
    pub(super) fn with_cookies(self, cookies: Option<CookieStore>) -> Self {
        Self { cookies, ..self }
    }

    /// Sends the request without the cookies that the layers saw, because reqwest adds the current cookies of the
    /// store. If the current cookies differ, the response must not be stored as the response to the request that the
    /// layers saw.
    fn call_with_current_cookies(&mut self, mut request: reqwest::Request) -> ReqwestFuture {
        let seen = request.headers_mut().remove(http::header::COOKIE);
        let url = request.url().clone();
        let is_current =
            |service: &Self| service.cookies.as_ref().is_some_and(|store| store.cookies(&url) == seen);
        // reqwest reads the store during `call`, so the cookies are compared before and after.
        let was_current = is_current(self);
        let mut future = self.call(request);
        future.has_other_cookies = !(was_current && is_current(self));
        future
    }
}

/// The future of [`ReqwestService`].
#[pin_project]
pub struct ReqwestFuture {
    /// `None` if there is no runtime.
    #[pin]
    response: Option<<reqwest::Client as Service<reqwest::Request>>::Future>,
    is_head: bool,
    /// The hash of the request's origin, if the redirects are not watched.
    unwatched_origin: Option<u64>,
    /// The last redirect that a policy from `watch_redirects` was asked about.
    redirect: Redirect,
    site: Option<Arc<AddressObserver>>,
    /// True if the request is sent with other cookies than those that the layers saw.
    has_other_cookies: bool,
    /// True once a poll has returned `Pending`. reqwest rejects an invalid request in the first poll, so a later
    /// rejection is about a redirected request.
    has_waited: bool,
}

/// A redirect, compared with the origin that the call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redirect {
    None,
    /// To the origin that the call is for.
    SameOrigin,
    /// To another origin. `first` is the hash of the origin that the call is for.
    OtherOrigin {
        first: u64,
    },
}

impl Future for ReqwestFuture {
    type Output = Result<Response<reqwest::Body>, Error<reqwest::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(response) = this.response.as_pin_mut() else {
            return Poll::Ready(Err(Error::new(ErrorKind::NoRuntime)));
        };
        let around = REDIRECT.replace(*this.redirect);
        let (polled, is_connecting) = poll_request(|| response.poll(cx));
        *this.redirect = REDIRECT.replace(around);
        match polled {
            Poll::Pending => {
                if let Some(limit) =
                    time_is_up().filter(|_| is_connecting && *this.redirect == Redirect::None)
                {
                    // The time of the attempt is up before there was a connection, so nothing was sent.
                    return Poll::Ready(Err(Error::of_time_up(limit).with_sent(false)));
                }
                *this.has_waited = true;
                if matches!(*this.redirect, Redirect::OtherOrigin { .. }) {
                    raise_wait(Wait::RedirectTarget);
                }
                Poll::Pending
            }
            Poll::Ready(Ok(response)) => {
                // The policy may not have followed the redirect, so the URL of the response decides.
                let origin = match *this.redirect {
                    Redirect::OtherOrigin { first } => Some(first),
                    _ => *this.unwatched_origin,
                };
                // The connection to the target of a redirect says nothing about the pin.
                let site = this.site.as_ref().filter(|_| *this.redirect == Redirect::None);
                let is_elsewhere = site.is_some_and(|site| site.answered(|| response.remote_addr()));
                let to_other_host = origin.is_some_and(|origin| origin_hash(response.url()) != origin);
                let mut response = from_reqwest(response);
                if is_elsewhere {
                    response.extensions_mut().insert(ConnectedElsewhere);
                }
                if to_other_host {
                    response.extensions_mut().insert(OfRedirectTarget);
                }
                if to_other_host || *this.redirect != Redirect::None || *this.has_other_cookies {
                    response.extensions_mut().insert(ToOtherRequest);
                }
                if *this.is_head {
                    response.extensions_mut().insert(NoBody);
                }
                Poll::Ready(Ok(response))
            }
            Poll::Ready(Err(error)) => {
                let is_connect = error.is_connect() && *this.redirect == Redirect::None;
                this.site.iter().filter(|_| is_connect).for_each(|site| site.unreachable());
                Poll::Ready(Err(from_reqwest_error(
                    error,
                    *this.redirect,
                    this.unwatched_origin.is_none(),
                    *this.has_waited,
                )))
            }
        }
    }
}

#[cold]
fn from_reqwest_error(
    error: reqwest::Error,
    redirect: Redirect,
    is_watched: bool,
    has_waited: bool,
) -> Error<reqwest::Error> {
    let (is_unsent, is_not_followed) = (is_unsent(&error), error.is_redirect());
    let mut error = Error::from_upstream(error);
    if error.attempts() == 0 && has_waited {
        // The redirected request is invalid; the request before the redirect was sent and answered.
        error = error.with_attempts(1).with_sent(true);
    }
    match redirect {
        // No redirect was followed, so no earlier request was sent.
        Redirect::None if is_unsent && is_watched => error.with_sent(false),
        Redirect::OtherOrigin { .. } if !is_not_followed => error.at_redirect_target(),
        _ => error,
    }
}

impl fmt::Debug for ReqwestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReqwestFuture")
    }
}

thread_local! {
    /// Set by a watched policy during a poll of [`ReqwestFuture`], and read by the same poll. See the module docs.
    static REDIRECT: Cell<Redirect> = const { Cell::new(Redirect::None) };
}

/// Wraps a redirect policy, so that a retry knows whether a redirect was followed.
///
/// reqwest reports a failed connection in the same way for the first host and for the target of a redirect. In the
/// first case, nothing was sent. In the second, a POST has been processed already and must not be sent again.
/// Under a policy without this wrapper, a POST counts as possibly sent after a failed connection, and is not retried.
///
/// A [`Client`](crate::Client) that builds its own reqwest client applies this wrapper. If you build the reqwest
/// client yourself, wrap its policy, too:
///
/// ```
/// use reqwest::redirect::Policy;
///
/// let http = reqwest::Client::builder()
///     .redirect(steadfast::watch_redirects(Policy::limited(3)))
///     .retry(reqwest::retry::never())
///     .build()?;
/// let client = steadfast::Client::builder().reqwest_client(http).with_watched_redirects().build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn watch_redirects(policy: Policy) -> Policy {
    watch_shared(Arc::new(policy))
}

/// Wraps a policy that several reqwest clients share.
pub(super) fn watch_shared(policy: Arc<Policy>) -> Policy {
    Policy::custom(move |attempt| {
        let (first, next) = (attempt.previous().first().map(origin_hash), origin_hash(attempt.url()));
        REDIRECT.set(match first {
            Some(first) if first != next => Redirect::OtherOrigin { first },
            _ => Redirect::SameOrigin,
        });
        policy.redirect(attempt)
    })
}

/// Returns a hash of scheme, host and port.
fn origin_hash(url: &Url) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    (url.scheme(), url.host_str(), url.port_or_known_default()).hash(&mut hasher);
    hasher.finish()
}

/// Converts a response. The URL would be lost, so it is stored in an extension that reqwest reads.
fn from_reqwest(response: reqwest::Response) -> Response<reqwest::Body> {
    let url = response.url().clone();
    let mut response = Response::from(response);
    keep_url(response.extensions_mut(), url);
    response
}

/// Stores a URL in the extensions. The type of the extension is private to reqwest, so only a response builder can
/// insert it.
pub(super) fn keep_url(extensions: &mut Extensions, url: Url) {
    let mut builder = Response::builder();
    if let Some(of_builder) = builder.extensions_mut() {
        std::mem::swap(of_builder, extensions);
    }
    if let Ok(built) = builder.url(url).body(()) {
        *extensions = built.into_parts().0.extensions;
    }
}

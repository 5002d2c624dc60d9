//! [`Call`], a request with its options, and the traits through which layers read a request.
//!
//! # Facts travel in types
//!
//! Layers do not import each other, and a user's layer may move a call to another task. So facts for the layers below
//! travel with the request, as [`CallOptions`], and facts for the layers above travel in the error or the response's
//! extensions. A thread-local would lose its value in a `tokio::spawn` between two layers. In an earlier design, a
//! POST was sent four times for this reason.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

use crate::internal::clock;
use crate::{EndpointId, EndpointSet};

/// Whether a request may be sent again.
#[doc(alias = "idempotent")]
#[doc(alias = "Resend")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetrySafety {
    /// It may be sent again as often as needed: sending the request twice has the same effect as sending it once.
    Idempotent,
    /// It may be sent again only if no part of the earlier attempt can have reached the upstream, or if the upstream
    /// has declared that attempt [not processed](crate::Outcome::NotProcessed).
    UnlessSent,
    /// It may be sent only once.
    Never,
}

/// The options that travel down with a call: the caller's wishes, and facts from the layers above.
///
/// The options are one small `Copy` value, stored in a [`Call`] or in the extensions of an `http::Request`. Every
/// layer, including your own, can read them through [`HasCallOptions`].
///
/// | option | set by |
/// |---|---|
/// | [timeout](Self::timeout), [retry safety](Self::retry_safety), [no stale answer](Self::without_last_known_good) | the caller |
/// | [length of the body](Self::body_length) | the caller or `Client` |
/// | [deadline](Self::deadline) | the caller or [`DeadlineLayer`](crate::deadline::DeadlineLayer) |
/// | [attempt](Self::attempt), [whether another may follow](Self::another_may_follow), [whether it may probe](Self::may_probe), [endpoints tried](Self::tried_endpoints) | [`RetryLayer`](crate::retry::RetryLayer), for each attempt |
///
/// ```
/// use std::time::Duration;
/// use steadfast::{CallOptions, HasCallOptions, RetrySafety};
///
/// let mut request = http::Request::post("http://pay.internal/v1/charges").body(()).unwrap();
/// let options = CallOptions::new().timeout(Duration::from_secs(2)).retry_safety(RetrySafety::Never);
/// request.extensions_mut().insert(options);
/// assert_eq!(request.options().get_timeout(), Some(Duration::from_secs(2)));
/// ```
#[doc(alias = "Options")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallOptions {
    deadline: Option<Instant>,
    timeout: Option<Duration>,
    body_length: Option<NonZeroU64>,
    tried: EndpointSet,
    /// The number of attempts before this one.
    earlier_attempts: u32,
    retry_safety: Option<RetrySafety>,
    flags: Flags,
}

/// The options that are true or false, as a bit set: options travel with every call, so they are small.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Flags(u8);

impl Flags {
    const NONE: Self = Self(0);
    /// No stale response may answer the call.
    const NEVER_STALE: Self = Self(1);
    /// A retry has declared this attempt to be the last. Not set by default, so that a retry writes no options for
    /// the first attempt of a healthy call.
    const LAST_ATTEMPT: Self = Self(2);
    /// Every layer below checks the deadline after its own waits.
    const DEADLINE_IS_CHECKED: Self = Self(4);
    /// A retry would not send the request again after a failed probe of an endpoint.
    const NO_PROBE: Self = Self(16);
    /// The `Cookie` header comes from the client's cookie store, which adds the current cookies below the layers.
    #[cfg(feature = "cookies")]
    const COOKIES_OF_STORE: Self = Self(8);

    const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    const fn with(self, flag: Self, is_set: bool) -> Self {
        if is_set { Self(self.0 | flag.0) } else { Self(self.0 & !flag.0) }
    }
}

impl CallOptions {
    /// Creates options that leave all decisions to the request and the layers.
    pub const fn new() -> Self {
        Self {
            deadline: None,
            timeout: None,
            body_length: None,
            tried: EndpointSet::new(),
            earlier_attempts: 0,
            retry_safety: None,
            flags: Flags::NONE,
        }
    }

    /// Sets the time limit of the whole call, which a [`DeadlineLayer`](crate::deadline::DeadlineLayer) enforces.
    /// Default: the time limit of that layer.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the deadline of this call. Every layer ends its own waits by the deadline. A
    /// [`DeadlineLayer`](crate::deadline::DeadlineLayer) also cuts the call and the reading of the body, and may move
    /// the deadline earlier, never later.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// If `checked`, promises that every layer below checks the deadline after its own waits. No layer then needs a
    /// timer or a clock read to bound the waits of another layer.
    pub(crate) const fn deadline_is_checked(mut self, checked: bool) -> Self {
        self.flags = self.flags.with(Flags::DEADLINE_IS_CHECKED, checked);
        self
    }

    /// Returns the deadline; `None` if no deadline is set, or if the layers below check it.
    pub(crate) fn unchecked_deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| !self.flags.has(Flags::DEADLINE_IS_CHECKED))
    }

    /// Returns the instant at which the wait for a service that is not ready must end. The timeout of the call counts
    /// as well: without a `DeadlineLayer` above, no layer has turned the timeout into a deadline.
    pub(crate) fn end_of_wait(&self) -> Option<Instant> {
        let own = self.timeout.and_then(|timeout| clock::after(Instant::now(), timeout));
        clock::earliest(own, self.deadline)
    }

    /// Sets whether the request may be sent again. Default: the request itself decides, an HTTP request by its method
    /// and headers.
    pub const fn retry_safety(mut self, safety: RetrySafety) -> Self {
        self.retry_safety = Some(safety);
        self
    }

    /// Sets the retry safety: [`Idempotent`](RetrySafety::Idempotent) for `true`,
    /// [`UnlessSent`](RetrySafety::UnlessSent) for `false`.
    pub const fn idempotent(self, idempotent: bool) -> Self {
        self.retry_safety(if idempotent { RetrySafety::Idempotent } else { RetrySafety::UnlessSent })
    }

    /// Sets the length of the request's body in bytes, if it is known. The length lengthens the attempt time of
    /// [`TimeoutLayer::share_of`](crate::timeout::TimeoutLayer::share_of). Zero counts as unknown.
    ///
    /// `Client` sets this option for each body of known length, unless the caller has set it.
    pub const fn body_length(mut self, bytes: u64) -> Self {
        self.body_length = NonZeroU64::new(bytes);
        self
    }

    /// Forbids a stale response as the answer to this call.
    pub const fn without_last_known_good(mut self) -> Self {
        self.flags = self.flags.with(Flags::NEVER_STALE, true);
        self
    }

    /// Sets the number of the attempt, counted from 1, and whether another attempt may follow. Called by a retry.
    pub const fn attempt(mut self, number: u32, another_may_follow: bool) -> Self {
        self.earlier_attempts = number.saturating_sub(1);
        self.flags = self.flags.with(Flags::LAST_ATTEMPT, !another_may_follow);
        self
    }

    /// Sets whether the attempt may [probe](crate::endpoints) an ejected endpoint. Called by a retry: a call may probe
    /// if the retry sends it again after a failed probe. Default: true.
    pub const fn allow_probe(mut self, allow: bool) -> Self {
        self.flags = self.flags.with(Flags::NO_PROBE, !allow);
        self
    }

    /// Adds an endpoint to the endpoints that this call has tried. Called by a retry.
    pub fn tried_endpoint(mut self, endpoint: EndpointId) -> Self {
        self.tried = self.tried.with(endpoint);
        self
    }

    /// Returns the time limit of the whole call; `None` if the caller has set none.
    pub const fn get_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Returns the deadline; `None` if neither the caller nor a layer has set one.
    pub const fn get_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns the length of the request's body; `None` if it is zero or unknown.
    pub const fn get_body_length(&self) -> Option<u64> {
        match self.body_length {
            Some(length) => Some(length.get()),
            None => None,
        }
    }

    /// Returns the retry safety that the caller has set; `None` if the request itself decides.
    pub const fn get_retry_safety(&self) -> Option<RetrySafety> {
        self.retry_safety
    }

    /// True if a stale response may answer this call.
    pub const fn allows_last_known_good(&self) -> bool {
        !self.flags.has(Flags::NEVER_STALE)
    }

    /// Returns the number of this attempt, counted from 1.
    pub const fn get_attempt(&self) -> u32 {
        self.earlier_attempts.saturating_add(1)
    }

    /// True if another attempt may follow in case this one sends the request and then fails.
    ///
    /// False only if a retry has said so: because its policy or its budget allows no more, or because the request
    /// must not or cannot be sent twice.
    pub const fn another_may_follow(&self) -> bool {
        !self.flags.has(Flags::LAST_ATTEMPT)
    }

    /// True if the attempt may probe an ejected endpoint.
    pub const fn may_probe(&self) -> bool {
        !self.flags.has(Flags::NO_PROBE)
    }

    /// Returns the endpoints that earlier attempts of the call have tried.
    pub const fn tried_endpoints(&self) -> EndpointSet {
        self.tried
    }
}

impl Default for CallOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A request that carries [`CallOptions`].
///
/// For a request type of your own, `impl HasCallOptions for MyRequest {}` is enough if no call needs options. To add
/// options to a call, wrap the request in a [`Call`].
#[diagnostic::on_unimplemented(
    message = "the request `{Self}` carries no call options",
    label = "a layer reads the deadline of each request",
    note = "wrap each request in a `steadfast::Call`, or write `impl steadfast::HasCallOptions for {Self} {{}}`"
)]
#[doc(alias = "HasOptions")]
pub trait HasCallOptions {
    /// Returns the options of this call.
    fn options(&self) -> CallOptions {
        CallOptions::new()
    }

    /// Replaces the options. A layer calls this method to pass the deadline on to the layers below.
    ///
    /// If this method does nothing, the [`DeadlineLayer`](crate::deadline::DeadlineLayer) cuts the call anyway, but
    /// the layers below do not know the deadline.
    fn set_options(&mut self, options: CallOptions) {
        let _ = options;
    }
}

/// A request that a retry may send again.
///
/// ```
/// use steadfast::{RetrySafety, RetryableRequest};
///
/// #[derive(Clone)]
/// enum Command { Get(String), Append(String, String) }
///
/// impl steadfast::HasCallOptions for Command {}
///
/// impl RetryableRequest for Command {
///     fn retry_safety(&self) -> RetrySafety {
///         match self {
///             Self::Get(_) => RetrySafety::Idempotent,
///             Self::Append(..) => RetrySafety::UnlessSent,
///         }
///     }
///     fn try_clone(&self) -> Option<Self> {
///         Some(self.clone())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the request `{Self}` cannot be retried",
    label = "a retry needs a copy of each request, and whether the request may be sent twice",
    note = "implement `steadfast::RetryableRequest` for `{Self}`",
    note = "for an `http::Request` whose body cannot be copied, put a `steadfast::http::ReplayBodyLayer` above the retry"
)]
#[doc(alias = "Resendable")]
pub trait RetryableRequest: Sized {
    /// Returns whether the request may be sent again. Called before the first attempt.
    fn retry_safety(&self) -> RetrySafety;

    /// Returns a copy to send later; `None` if the request can be sent only once.
    fn try_clone(&self) -> Option<Self>;

    /// True if this copy can be sent whole. A retry calls this method before it waits for the next attempt. After
    /// `true`, this copy must stay complete; the request that was sent earlier may break off.
    ///
    /// For example, the copy of a streaming body becomes incomplete if the earlier request reads more than the buffer
    /// may hold. A takeover therefore stops the earlier request from reading on.
    fn take_over(&self) -> bool {
        true
    }
}

/// A request together with its options.
///
/// ```
/// use std::time::Duration;
/// use steadfast::Call;
///
/// let call = Call::new("a request of any type").timeout(Duration::from_millis(300)).idempotent(true);
/// assert_eq!(call.into_inner(), "a request of any type");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Call<R> {
    request: R,
    options: CallOptions,
}

impl<R> Call<R> {
    /// Creates a call without options.
    pub const fn new(request: R) -> Self {
        Self::with_options(request, CallOptions::new())
    }

    /// Creates a call with options.
    pub const fn with_options(request: R, options: CallOptions) -> Self {
        Self { request, options }
    }

    /// See [`CallOptions::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options = self.options.timeout(timeout);
        self
    }

    /// See [`CallOptions::deadline`].
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.options = self.options.deadline(deadline);
        self
    }

    /// See [`CallOptions::retry_safety`].
    pub fn retry_safety(mut self, safety: RetrySafety) -> Self {
        self.options = self.options.retry_safety(safety);
        self
    }

    /// See [`CallOptions::idempotent`].
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.options = self.options.idempotent(idempotent);
        self
    }

    /// See [`CallOptions::body_length`].
    pub fn body_length(mut self, bytes: u64) -> Self {
        self.options = self.options.body_length(bytes);
        self
    }

    /// See [`CallOptions::without_last_known_good`].
    pub fn without_last_known_good(mut self) -> Self {
        self.options = self.options.without_last_known_good();
        self
    }

    /// Returns the request.
    pub const fn request(&self) -> &R {
        &self.request
    }

    /// Returns a mutable reference to the request.
    pub const fn request_mut(&mut self) -> &mut R {
        &mut self.request
    }

    /// Converts the request with `map`, and keeps the options.
    pub fn map<T>(self, map: impl FnOnce(R) -> T) -> Call<T> {
        Call { request: map(self.request), options: self.options }
    }

    #[cfg(feature = "cookies")]
    pub(crate) const fn mark_cookies_of_store(&mut self) {
        self.options.flags = self.options.flags.with(Flags::COOKIES_OF_STORE, true);
    }

    #[cfg(feature = "cookies")]
    pub(crate) const fn has_cookies_of_store(&self) -> bool {
        self.options.flags.has(Flags::COOKIES_OF_STORE)
    }

    /// Returns the request without the options, for the innermost service: `.map_request(Call::into_inner)`.
    pub fn into_inner(self) -> R {
        self.request
    }
}

impl<R> From<R> for Call<R> {
    fn from(request: R) -> Self {
        Self::new(request)
    }
}

impl<R> HasCallOptions for Call<R> {
    fn options(&self) -> CallOptions {
        self.options
    }

    fn set_options(&mut self, options: CallOptions) {
        self.options = options;
    }
}

impl<R: RetryableRequest> RetryableRequest for Call<R> {
    fn retry_safety(&self) -> RetrySafety {
        self.options.retry_safety.unwrap_or_else(|| self.request.retry_safety())
    }

    fn try_clone(&self) -> Option<Self> {
        Some(Self { request: self.request.try_clone()?, options: self.options })
    }

    fn take_over(&self) -> bool {
        self.request.take_over()
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            ("never_stale", Self::NEVER_STALE),
            ("last_attempt", Self::LAST_ATTEMPT),
            ("deadline_is_checked", Self::DEADLINE_IS_CHECKED),
            ("no_probe", Self::NO_PROBE),
            #[cfg(feature = "cookies")]
            ("cookies_of_store", Self::COOKIES_OF_STORE),
        ];
        f.debug_set().entries(flags.iter().filter(|(_, flag)| self.has(*flag)).map(|(name, _)| name)).finish()
    }
}

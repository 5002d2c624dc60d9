//! A call: the request, the options that travel with it, and the traits through which layers see a request.

use std::time::Duration;

use tokio::time::Instant;

use crate::{EndpointId, EndpointSet};

/// How often a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetrySafety {
    /// As often as needed: sending it twice is the same as sending it once.
    Idempotent,
    /// Again only if nothing of the earlier attempt can have reached the upstream.
    UnlessSent,
    /// Once, whatever happens.
    Never,
}

/// What travels down with a call, beside the request itself: what its caller asks for, and what the layers above say of it.
///
/// It is one small `Copy` value: in a [`Call`] beside the request, or in the extensions of an `http::Request`. Every layer can
/// read it through [`HasCallOptions`], one of your own too.
///
/// | what | who says it |
/// |---|---|
/// | [timeout](Self::timeout), [retry safety](Self::retry_safety), [no stale answer](Self::without_last_known_good) | the caller |
/// | [deadline](Self::deadline) | the caller or [`DeadlineLayer`](crate::deadline::DeadlineLayer) |
/// | [attempt](Self::attempt), [whether another may follow](Self::another_may_follow), [endpoints tried](Self::tried_endpoints) | [`RetryLayer`](crate::retry::RetryLayer), for each attempt |
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallOptions {
    deadline: Option<Instant>,
    timeout: Option<Duration>,
    tried: EndpointSet,
    /// How many attempts came before this one.
    earlier_attempts: u32,
    retry_safety: Option<RetrySafety>,
    last_known_good: bool,
    /// Unless a retry says so, nobody knows that an attempt is the last: the first attempt of a healthy call writes nothing.
    is_last_attempt: bool,
    /// True if every layer below that lets the call wait checks the deadline after the wait.
    deadline_is_checked: bool,
}

impl CallOptions {
    /// No wishes: the layers' own configuration decides.
    pub const fn new() -> Self {
        Self {
            deadline: None,
            timeout: None,
            tried: EndpointSet::new(),
            earlier_attempts: 0,
            retry_safety: None,
            last_known_good: true,
            is_last_attempt: false,
            deadline_is_checked: false,
        }
    }

    /// The total time of this call, in place of the one that the [`DeadlineLayer`](crate::deadline::DeadlineLayer) is
    /// configured with.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The end of this call. It bounds every wait below, and a [`DeadlineLayer`](crate::deadline::DeadlineLayer) on the way never
    /// puts it off.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Promises that every layer below that lets the call wait checks the deadline after the wait, so that nobody else needs
    /// a timer for it, or another look at the clock.
    pub(crate) const fn deadline_is_checked(mut self, checked: bool) -> Self {
        self.deadline_is_checked = checked;
        self
    }

    /// The deadline that no layer below is known to check.
    pub(crate) fn unchecked_deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| !self.deadline_is_checked)
    }

    /// How often the request may be sent, in place of what can be read off the request.
    pub const fn retry_safety(mut self, safety: RetrySafety) -> Self {
        self.retry_safety = Some(safety);
        self
    }

    /// Whether the request may be sent twice. `false` still lets it be sent again where nothing was sent before.
    pub const fn idempotent(self, idempotent: bool) -> Self {
        self.retry_safety(if idempotent { RetrySafety::Idempotent } else { RetrySafety::UnlessSent })
    }

    /// Answers this call from the upstream or not at all, never with a stale response.
    pub const fn without_last_known_good(mut self) -> Self {
        self.last_known_good = false;
        self
    }

    /// Says which attempt of the call the request is for, counted from 1, and whether another may follow it. Set by a retry.
    pub const fn attempt(mut self, number: u32, another_may_follow: bool) -> Self {
        self.earlier_attempts = number.saturating_sub(1);
        self.is_last_attempt = !another_may_follow;
        self
    }

    /// Adds an endpoint to those that this call has tried. Set by a retry.
    pub fn tried_endpoint(mut self, endpoint: EndpointId) -> Self {
        self.tried = self.tried.with(endpoint);
        self
    }

    /// The total time asked for.
    pub const fn get_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The end of this call, as far as it is known yet.
    pub const fn get_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How often the caller lets the request be sent, if it said so.
    pub const fn get_retry_safety(&self) -> Option<RetrySafety> {
        self.retry_safety
    }

    /// Whether a stale response may answer this call.
    pub const fn allows_last_known_good(&self) -> bool {
        self.last_known_good
    }

    /// Which attempt of the call this is, counted from 1.
    pub const fn get_attempt(&self) -> u32 {
        self.earlier_attempts.saturating_add(1)
    }

    /// Whether another attempt may follow this one if it fails after the request was sent. True until a retry says otherwise:
    /// its policy or its budget is spent, or the request may not, or cannot, be sent twice.
    pub const fn another_may_follow(&self) -> bool {
        !self.is_last_attempt
    }

    /// The endpoints that earlier attempts of the call have tried.
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
/// A request type of your own needs no more than `impl HasCallOptions for MyRequest {}`, and then has none; or wrap
/// it in a [`Call`].
pub trait HasCallOptions {
    /// The options of this call.
    fn options(&self) -> CallOptions {
        CallOptions::new()
    }

    /// Replaces the options, so that the layers below see the deadline that was set above.
    ///
    /// Without it, a deadline still ends the call, but the waits below cannot end early.
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
pub trait RetryableRequest: Sized {
    /// What the request permits. Asked before it is first sent.
    fn retry_safety(&self) -> RetrySafety;

    /// A copy to send later; `None` where there can be none, and then the request is sent once.
    fn try_clone(&self) -> Option<Self>;

    /// Asked when this copy is about to be sent in place of the request that it is a copy of: whether it is still
    /// whole. From then on the earlier one need not be.
    ///
    /// A body that was kept as it streamed by may have grown beyond its bound; one that has not stops streaming.
    fn take_over(&self) -> bool {
        true
    }
}

/// A request and its options: the one envelope.
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
    /// A call without options.
    pub const fn new(request: R) -> Self {
        Self::with_options(request, CallOptions::new())
    }

    /// A call with these options.
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

    /// See [`CallOptions::without_last_known_good`].
    pub fn without_last_known_good(mut self) -> Self {
        self.options = self.options.without_last_known_good();
        self
    }

    /// The request.
    pub const fn request(&self) -> &R {
        &self.request
    }

    /// The request, to be changed.
    pub const fn request_mut(&mut self) -> &mut R {
        &mut self.request
    }

    /// The same call of another request.
    pub fn map<T>(self, map: impl FnOnce(R) -> T) -> Call<T> {
        Call { request: map(self.request), options: self.options }
    }

    /// The request without its options: what the innermost service wants, by `.map_request(Call::into_inner)`.
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

//! The builder of the client: the defaults, and the settings of each layer.

use std::sync::Arc;
use std::time::Duration;

use tower::Layer as _;

use super::classifier::StackClassifier;
use super::origin_factory::{OriginFactory, OriginSettings};
use super::stack::{MakeUpstreamStack, Stack, StackKey};
use super::transport::{Transport, TransportSettings};
use crate::ConfigError;
use crate::buffer_body::BufferBodyLayer;
use crate::bulkhead::{Bulkhead, BulkheadBuilder};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerBuilder};
use crate::config_error::MAX_DURATION;
use crate::deadline::DeadlineLayer;
use crate::endpoints::{Endpoints, EndpointsBuilder};
use crate::http::HttpClassifier;
use crate::last_known_good::{LastKnownGood, LastKnownGoodLayer, PrefetchBuilder, PrefetchLayer};
use crate::per_upstream::PerUpstreamLayer;
use crate::retry::{RetryBudget, RetryBudgetBuilder, RetryPolicy, RetryPolicyBuilder};
use crate::timeout::TimeoutLayer;

/// Configures a [`Client`](super::Client), layer by layer. Each layer can be switched off.
///
/// | layer | default |
/// |---|---|
/// | total timeout | 10 s |
/// | connect timeout | half the [attempt timeout](Self::attempt_timeout) without the time for the body |
/// | redirects | up to ten |
/// | HTTP/2 | a keep-alive ping every 5 s while a stream is open |
/// | [last known good](Self::last_known_good) | off: no stale response replaces a failure |
/// | retry | 3 retries; backoff from 100 ms, doubling, at most 2 s, full jitter |
/// | retry budget | at most 10 tokens, 2 at first; a success adds 0.6, a failure takes 0.3, a retry takes 1 |
/// | circuit breaker | opens after 20 failures in a row that span 5 s; open for up to 1 s, later 4 s; 3 probes |
/// | bulkhead | 128 attempts in flight; up to 10,000 waiters; 1 s for a waiter that [cannot expect a permit](BulkheadBuilder::max_wait) |
/// | [endpoints](Self::endpoints) | each address of a name is an endpoint of its own; names are resolved every 5 s while they are used |
/// | [attempt timeout](Self::attempt_timeout) | the total timeout divided by 3.4; the last possible attempt has all the time left |
/// | [upload rate](Self::upload_rate) | a request body of known length adds a second for each 128 KiB to its attempt |
/// | body buffering | bodies with a stated length of at most 1 MiB; a body is idle after 2 s without data |
///
/// ```
/// use std::time::Duration;
/// use steadfast::{Client, circuit_breaker::CircuitBreaker, retry::RetryPolicy};
///
/// let client = Client::builder()
///     .total_timeout(Duration::from_secs(3))
///     .retry(RetryPolicy::builder().max_retries(2))
///     .circuit_breaker(CircuitBreaker::builder().failure_rate(0.5))
///     .without_bulkhead()
///     .build()?;
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[derive(Debug)]
#[must_use = "there is no client before `build`"]
pub struct ClientBuilder {
    pub(super) transport: TransportSettings,
    total_timeout: Option<Duration>,
    attempt_timeout: AttemptTimeout,
    upload_rate: Option<u64>,
    retry: Option<RetryPolicyBuilder>,
    budget: Option<RetryBudgetBuilder>,
    /// True if the user has set the budget.
    is_budget_set: bool,
    circuit_breaker: Option<CircuitBreakerBuilder>,
    bulkhead: Option<BulkheadBuilder>,
    buffer_body: BufferBodyLayer,
    last_known_good: Option<Result<LastKnownGood, ConfigError>>,
    prefetch: Option<PrefetchBuilder>,
    pub(super) endpoints: EndpointsChoice,
    pub(super) refresh_addresses: Option<Duration>,
    classifier: StackClassifier,
    key: StackKey,
    max_upstreams: usize,
}

/// The endpoints of the client.
#[derive(Debug)]
pub(super) enum EndpointsChoice {
    Default,
    Set(EndpointsBuilder),
    Off,
}

#[derive(Debug, Clone, Copy)]
enum AttemptTimeout {
    /// A share of the call's total time.
    Share,
    Fixed(Duration),
    None,
}

const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);

const MIN_REFRESH: Duration = Duration::from_millis(100);

const HOUR: Duration = Duration::from_secs(60 * 60);

const REFRESH_ADDRESSES: Duration = Duration::from_secs(5);

const MILLISECOND: Duration = Duration::from_millis(1);

impl ClientBuilder {
    pub(super) fn new() -> Self {
        Self {
            transport: TransportSettings::default(),
            total_timeout: Some(TOTAL_TIMEOUT),
            attempt_timeout: AttemptTimeout::Share,
            upload_rate: None,
            retry: Some(RetryPolicy::builder()),
            budget: Some(RetryBudget::builder()),
            is_budget_set: false,
            circuit_breaker: Some(CircuitBreaker::builder()),
            bulkhead: Some(Bulkhead::builder()),
            buffer_body: BufferBodyLayer::new(),
            last_known_good: None,
            prefetch: None,
            endpoints: EndpointsChoice::Default,
            refresh_addresses: None,
            classifier: StackClassifier { default: HttpClassifier::new(), choose: None },
            key: StackKey::default(),
            max_upstreams: 1000,
        }
    }

    /// Sets the total time of a call, from 1 ms to a year, retries and the reading of the body included. Default:
    /// 10 s.
    ///
    /// By default, this time also sets the time of an attempt; see [`attempt_timeout`](Self::attempt_timeout).
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.total_timeout = Some(timeout);
        self
    }

    /// Removes the client's total time; a call can have a timeout or deadline of its own. Does not remove the attempt
    /// timeout. By default, every attempt of a call without a deadline is cut after 2.9 s, the last attempt, too.
    pub fn without_total_timeout(mut self) -> Self {
        self.total_timeout = None;
        self
    }

    /// Sets the time of one attempt, from 1 ms to the total time. The time covers the wait for the head of the
    /// response, and the reading of a buffered body. An attempt timeout that you set cuts every attempt, also the
    /// last.
    ///
    /// By default, an attempt that another attempt can follow has the total time (the call's own, or else the
    /// client's) divided by 3.4. The last possible attempt has all the time left until the call's deadline. An
    /// attempt is the last if no retry is left, the budget is empty, or the request must not or cannot be sent again.
    /// A request body of known length adds its length divided by the [`upload_rate`](Self::upload_rate). A buffered
    /// body that arrives extends the attempt until the body is [idle](BufferBodyLayer::idle_timeout).
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = AttemptTimeout::Fixed(timeout);
        self
    }

    /// Sets the rate, in bytes per second, at which request bodies are assumed to be sent at least: from 1 to 10¹².
    /// The default attempt timeout of a request with a body of known length is longer by its length divided by this
    /// rate. Default: 128 KiB per second.
    ///
    /// The length is known for bodies in memory, and for calls that [state it](crate::Call::body_length). Cannot be
    /// combined with an [`attempt_timeout`](Self::attempt_timeout).
    pub fn upload_rate(mut self, bytes_per_second: u64) -> Self {
        self.upload_rate = Some(bytes_per_second);
        self
    }

    /// Bounds attempts only by the deadline of the call. An upstream that hangs then takes the call's whole time.
    pub fn without_attempt_timeout(mut self) -> Self {
        self.attempt_timeout = AttemptTimeout::None;
        self
    }

    /// Sets the retry policy.
    pub fn retry(mut self, policy: RetryPolicyBuilder) -> Self {
        self.retry = Some(policy);
        self
    }

    /// Sends each request once.
    pub fn without_retry(mut self) -> Self {
        self.retry = None;
        self
    }

    /// Sets the retry budget of each upstream.
    pub fn retry_budget(mut self, budget: RetryBudgetBuilder) -> Self {
        self.budget = Some(budget);
        self.is_budget_set = true;
        self
    }

    /// Bounds retries only by the policy. Use this method only where something else bounds the number of calls.
    pub fn without_retry_budget(mut self) -> Self {
        self.budget = None;
        self.is_budget_set = false;
        self
    }

    /// Sets the circuit breaker of each upstream.
    pub fn circuit_breaker(mut self, circuit_breaker: CircuitBreakerBuilder) -> Self {
        self.circuit_breaker = Some(circuit_breaker);
        self
    }

    /// Sends requests even to an upstream that is down.
    pub fn without_circuit_breaker(mut self) -> Self {
        self.circuit_breaker = None;
        self
    }

    /// Sets the bulkhead of each upstream. A bulkhead bounds the number of attempts in flight.
    pub fn bulkhead(mut self, bulkhead: BulkheadBuilder) -> Self {
        self.bulkhead = Some(bulkhead);
        self
    }

    /// Allows any number of attempts in flight.
    pub fn without_bulkhead(mut self) -> Self {
        self.bulkhead = None;
        self
    }

    /// Sets which response bodies are read as part of the attempt.
    pub fn buffer_body(mut self, rule: BufferBodyLayer) -> Self {
        self.buffer_body = rule;
        self
    }

    /// Streams every body to the caller, who must handle a body that breaks off.
    pub fn without_buffer_body(mut self) -> Self {
        self.buffer_body = BufferBodyLayer::new().limit(0);
        self
    }

    /// Serves the last known good response, marked as [stale](crate::ResponseExt::stale), in place of a failure.
    /// Default: off.
    ///
    /// Takes a [builder](LastKnownGood::builder), or a handle that other clients can share. The client's
    /// [`classifier`](Self::classifier) applies to the cache, too.
    ///
    /// The layers do not see the default headers and cookies of a handed-in [client](Self::reqwest_client). Nor do
    /// they see those that the function of [`reqwest_builder`](Self::reqwest_builder) sets. If responses depend on
    /// such headers or cookies, set them on this builder. Otherwise, the client must have no cache, or serve a single
    /// user.
    ///
    /// ```
    /// use std::time::Duration;
    /// use steadfast::{Client, last_known_good::LastKnownGood};
    ///
    /// let client = Client::builder()
    ///     .last_known_good(LastKnownGood::builder().max_age(Duration::from_secs(600)))
    ///     .build()?;
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    pub fn last_known_good(
        mut self,
        last_known_good: impl TryInto<LastKnownGood, Error: Into<ConfigError>>,
    ) -> Self {
        self.last_known_good = Some(last_known_good.try_into().map_err(Into::into));
        self
    }

    /// Never serves a stale response. The default.
    pub fn without_last_known_good(mut self) -> Self {
        self.last_known_good = None;
        self
    }

    /// Fetches the URIs of earlier calls again from time to time, so that the [cache](Self::last_known_good) has a
    /// recent response when the upstream fails. Requires the cache. Default: off.
    ///
    /// **This spawns** a tokio task for each URI; see [`PrefetchLayer`]. The tasks end when the last clone of the
    /// client is dropped.
    ///
    /// ```
    /// use std::time::Duration;
    /// use steadfast::Client;
    /// use steadfast::last_known_good::{LastKnownGood, PrefetchLayer};
    ///
    /// let client = Client::builder()
    ///     .last_known_good(LastKnownGood::builder())
    ///     .prefetch(PrefetchLayer::builder().every(Duration::from_secs(30)).max_uris(20))
    ///     .build()?;
    /// assert!(client.prefetched_uris().is_empty()); // nothing has been called yet
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    pub fn prefetch(mut self, prefetch: PrefetchBuilder) -> Self {
        self.prefetch = Some(prefetch);
        self
    }

    /// Sets the classifier of every layer. To choose a classifier for each request, use
    /// [`classifier_by`](Self::classifier_by).
    pub fn classifier(mut self, classifier: HttpClassifier) -> Self {
        self.classifier.default = classifier;
        self
    }

    /// Chooses the classifier for each request, in every layer. If `choose` returns `None`, the client's
    /// [`classifier`](Self::classifier) applies.
    ///
    /// ```
    /// use steadfast::{Outcome, http::HttpClassifier};
    ///
    /// // Reports often fail. Keep these failures from opening the circuit for all other requests.
    /// let neutral = HttpClassifier::new().on_response(|_, _| Some(Outcome::Neutral));
    /// let neutral = neutral.on_error(|_| Some(Outcome::Neutral));
    /// let client = steadfast::Client::builder()
    ///     .classifier_by(move |request| {
    ///         request.url().path().starts_with("/reports/").then(|| neutral.clone())
    ///     })
    ///     .build()?;
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    pub fn classifier_by(
        mut self,
        choose: impl Fn(&reqwest::Request) -> Option<HttpClassifier> + Send + Sync + 'static,
    ) -> Self {
        self.classifier.choose = Some(Arc::new(choose));
        self
    }

    /// Identifies upstreams by a function of the request, instead of by scheme, host and port.
    ///
    /// ```
    /// // One circuit for each shard of a sharded upstream.
    /// let client = steadfast::Client::builder()
    ///     .upstream_key(|request| {
    ///         let shard = request.headers().get("x-shard").and_then(|shard| shard.to_str().ok());
    ///         format!("sku-{}", shard.unwrap_or("any"))
    ///     })
    ///     .build()?;
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    pub fn upstream_key(mut self, key: impl Fn(&reqwest::Request) -> String + Send + Sync + 'static) -> Self {
        self.key = StackKey(Some(Arc::new(key)));
        self
    }

    /// Sets the largest number of upstreams whose state is kept: 1 to 100,000. The upstream that has been idle for
    /// longest is evicted first. Default: 1,000.
    pub fn max_upstreams(mut self, upstreams: usize) -> Self {
        self.max_upstreams = upstreams;
        self
    }

    /// Builds the reqwest client and the stack around it, or returns the first error.
    pub(super) fn into_stack(self) -> Result<(Transport, Stack), ConfigError> {
        if let Some(timeout) = self.total_timeout {
            ConfigError::check("client.total_timeout", timeout, MILLISECOND..=MAX_DURATION)?;
        }
        let timeout = self.timeout_layer()?;
        let attempt_timeout = timeout.after().or(self.total_timeout);
        // A probe without an answer at the end of its lease counts as failed, even if a good answer comes later. So
        // the lease must cover the longest attempt that the client's settings allow. It is twice this time, because a
        // probe may wait for a permit. By default, the last attempt may take the total time, which includes such a
        // wait.
        let longest = match self.attempt_timeout {
            AttemptTimeout::Share => attempt_timeout.max(self.total_timeout.map(|total| total / 2)),
            AttemptTimeout::Fixed(_) | AttemptTimeout::None => attempt_timeout,
        };
        self.check_ignored()?;
        let (endpoints, has_endpoints) = match self.endpoints {
            EndpointsChoice::Default => (Endpoints::builder(), true),
            EndpointsChoice::Set(builder) => (builder, true),
            EndpointsChoice::Off => (Endpoints::builder(), false),
        };
        endpoints.validate()?;
        let refresh = self.refresh_addresses.unwrap_or(REFRESH_ADDRESSES);
        let refresh = ConfigError::check("client.refresh_addresses", refresh, MIN_REFRESH..=24 * HOUR)?;
        let transport = self.transport.build(attempt_timeout)?;
        let origin_factory = OriginFactory::new(
            transport.service.clone(),
            OriginSettings {
                factory: transport.factory.clone().filter(|_| has_endpoints),
                resolver: transport.resolver.clone(),
                is_confirmed: transport.is_confirmed,
                has_one_origin: self.key.0.is_none(),
                refresh,
                endpoints,
                classifier: self.classifier.clone(),
            },
        );
        let make_stack = MakeUpstreamStack {
            timeout,
            retry: self.retry.map_or_else(|| Ok(RetryPolicy::never()), RetryPolicyBuilder::build)?,
            budget: self.budget.map(RetryBudgetBuilder::build).transpose()?,
            circuit_breaker: self
                .circuit_breaker
                .map(|circuit_breaker| {
                    circuit_breaker.probe_lease_at_least(longest.unwrap_or_default()).build()
                })
                .transpose()?,
            bulkhead: self.bulkhead.map(BulkheadBuilder::build).transpose()?,
            buffer_body: self.buffer_body,
            origin_factory,
            classifier: self.classifier.clone(),
        };
        let max_upstreams = ConfigError::check("client.max_upstreams", self.max_upstreams, 1..=100_000)?;
        let per_upstream = PerUpstreamLayer::new(make_stack).key(self.key).max_upstreams(max_upstreams);
        let last_known_good = self.last_known_good.transpose()?;
        let prefetch = match (self.prefetch, &last_known_good) {
            (None, _) => PrefetchLayer::none(),
            (Some(prefetch), Some(last_known_good)) => prefetch.build(last_known_good)?,
            (Some(_), None) => {
                let without = format_args!("set without client.last_known_good");
                return Err(ConfigError::new("client.prefetch", without, "combined with a cache"));
            }
        };
        let service = per_upstream.layer(());
        let service =
            LastKnownGoodLayer::optional(last_known_good).classifier(self.classifier).layer(service);
        let service = prefetch.layer(service);
        // `checked_below`, because the layers below bound every wait by the deadline.
        let stack = DeadlineLayer::checked_below(self.total_timeout).layer(service);
        Ok((transport, stack))
    }

    /// Makes the layer that limits the time of an attempt.
    fn timeout_layer(&self) -> Result<TimeoutLayer, ConfigError> {
        match self.attempt_timeout {
            AttemptTimeout::Share => {
                let layer = TimeoutLayer::share_of(self.total_timeout.unwrap_or(TOTAL_TIMEOUT));
                let Some(rate) = self.upload_rate else { return Ok(layer) };
                let rate = ConfigError::check("client.upload_rate", rate, 1..=1_000_000_000_000)?;
                Ok(layer.upload_rate(rate))
            }
            AttemptTimeout::Fixed(timeout) => {
                let longest = self.total_timeout.unwrap_or(MAX_DURATION);
                ConfigError::check("client.attempt_timeout", timeout, MILLISECOND..=longest)
                    .map_err(|error| error.bounded_by("the total timeout"))?;
                Ok(TimeoutLayer::new(timeout))
            }
            AttemptTimeout::None => Ok(TimeoutLayer::optional(None)),
        }
    }

    /// Refuses settings that would be ignored: a budget without retries, an upload rate without the default attempt
    /// timeout, endpoints of a client that was handed in, a refresh of addresses without endpoints, and a name of the
    /// circuit breaker, the bulkhead, the budget or the endpoints. Each upstream has its own four, which get the
    /// upstream's name.
    fn check_ignored(&self) -> Result<(), ConfigError> {
        if !matches!(self.attempt_timeout, AttemptTimeout::Share) && self.upload_rate.is_some() {
            let beside = format_args!("set beside client.attempt_timeout");
            return Err(ConfigError::new("client.upload_rate", beside, "combined with the default timeout"));
        }
        if self.retry.is_none() && self.is_budget_set {
            let without = format_args!("set without client.retry");
            return Err(ConfigError::new("client.retry_budget", without, "combined with retries"));
        }
        let endpoints = match &self.endpoints {
            EndpointsChoice::Set(builder) => Some(builder),
            EndpointsChoice::Default | EndpointsChoice::Off => None,
        };
        let of_endpoints = [
            ("client.endpoints", endpoints.is_some()),
            ("client.refresh_addresses", self.refresh_addresses.is_some()),
        ];
        let is_handed_in = self.transport.is_handed_in();
        if let Some((field, _)) = of_endpoints.into_iter().find(|(_, is_set)| *is_set && is_handed_in) {
            let beside = format_args!("set beside client.reqwest_client");
            return Err(ConfigError::new(
                field,
                beside,
                "absent: a client that was handed in has one endpoint",
            ));
        }
        if matches!(self.endpoints, EndpointsChoice::Off) && self.refresh_addresses.is_some() {
            let beside = format_args!("set beside client.without_endpoints");
            return Err(ConfigError::new("client.refresh_addresses", beside, "combined with endpoints"));
        }
        let named = [
            ("client.circuit_breaker.name", self.circuit_breaker.as_ref().and_then(|it| it.get_name())),
            ("client.bulkhead.name", self.bulkhead.as_ref().and_then(|it| it.get_name())),
            ("client.endpoints.name", endpoints.and_then(|it| it.get_name())),
            ("client.retry_budget.name", self.budget.as_ref().and_then(|it| it.get_name())),
        ];
        match named.into_iter().find_map(|(field, name)| Some((field, name?))) {
            Some((field, name)) => Err(ConfigError::new(field, name, "absent: the upstream's name applies")),
            None => Ok(()),
        }
    }
}

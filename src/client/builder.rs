use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use tower::Layer as _;

use super::stack::{MakeUpstreamStack, StackKey};
use super::{Client, Upstream, watch_redirects};
use crate::ConfigError;
use crate::buffer_body::BufferBodyLayer;
use crate::bulkhead::{Bulkhead, BulkheadBuilder};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerBuilder};
use crate::error::MAX_DURATION;
use crate::http::HttpClassifier;
use crate::last_known_good::{Background, LastKnownGood, LastKnownGoodLayer, Warmed};
use crate::per_upstream::PerUpstreamLayer;
use crate::retry::{RetryBudget, RetryBudgetBuilder, RetryPolicy, RetryPolicyBuilder};

/// Configures a [`Client`]: each layer by its own builder, or left out.
///
/// | layer | default |
/// |---|---|
/// | last known good | 64 MiB in memory, at most an hour old |
/// | total timeout | 10 s |
/// | retry | 3 retries; backoff from 100 ms, doubling, at most 2 s, full jitter |
/// | retry budget | at most 10 tokens, 2 at first; a success adds 0.6, a failure takes 0.3, a retry takes 1 |
/// | circuit breaker | trips on 20 failures in a row that span 5 s; open for 1 s to 4 s; 3 probes |
/// | bulkhead | 128 calls at a time, 128 waiting for at most 1 s |
/// | attempt timeout | the total timeout divided by 3.4, so that three attempts have their time |
/// | body buffering | bodies of a stated length of at most 1 MiB |
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
    transport: Transport,
    total_timeout: Option<Duration>,
    attempt_timeout: AttemptTimeout,
    retry: Option<RetryPolicyBuilder>,
    budget: Option<RetryBudgetBuilder>,
    circuit: Option<CircuitBreakerBuilder>,
    bulkhead: Option<BulkheadBuilder>,
    buffer_body: BufferBodyLayer,
    last_known_good: Option<LastKnownGoodLayer<HttpClassifier, Background<Warmed>>>,
    classifier: HttpClassifier,
    key: StackKey,
    max_upstreams: usize,
}

#[derive(Debug)]
enum Transport {
    Builder(Box<reqwest::ClientBuilder>),
    Client(reqwest::Client),
}

#[derive(Debug, Clone, Copy)]
enum AttemptTimeout {
    /// Such that the attempts of a call fit into its total time.
    Share,
    Fixed(Duration),
    None,
}

const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Three attempts and the waits between them fit into a call.
const ATTEMPT_SHARE: f64 = 1.0 / 3.4;

impl ClientBuilder {
    pub(super) fn new() -> Self {
        Self {
            transport: Transport::Builder(Box::new(
                reqwest::Client::builder().redirect(watch_redirects(Policy::default())),
            )),
            total_timeout: Some(TOTAL_TIMEOUT),
            attempt_timeout: AttemptTimeout::Share,
            retry: Some(RetryPolicy::builder()),
            budget: Some(RetryBudget::builder()),
            circuit: Some(CircuitBreaker::builder()),
            bulkhead: Some(Bulkhead::builder()),
            buffer_body: BufferBodyLayer::new(),
            last_known_good: Some(LastKnownGoodLayer::new(LastKnownGood::default()).into()),
            classifier: HttpClassifier::new(),
            key: StackKey::default(),
            max_upstreams: 1000,
        }
    }

    /// Builds the reqwest client from this: TLS, proxies, headers, pools are its matter. reqwest's own retries are
    /// switched off.
    /// A redirect policy belongs into [`watch_redirects`].
    ///
    /// What reqwest adds to requests by itself, by `default_headers` or from a cookie jar, is not seen by the layers: a
    /// client whose answers depend on credentials of that kind should be built
    /// [`without_last_known_good`](Self::without_last_known_good), or serve one user only.
    pub fn reqwest_builder(mut self, builder: reqwest::ClientBuilder) -> Self {
        self.transport = Transport::Builder(Box::new(builder));
        self
    }

    /// Uses this reqwest client. It retries some protocol errors by itself unless it was built with
    /// `.retry(reqwest::retry::never())`; prefer [`reqwest_builder`](Self::reqwest_builder).
    pub fn reqwest_client(mut self, client: reqwest::Client) -> Self {
        self.transport = Transport::Client(client);
        self
    }

    /// The time of a whole call, retries and the reading of the body included: 1 ms to a year. Default 10 s.
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.total_timeout = Some(timeout);
        self
    }

    /// Leaves the length of a call to the call's own timeout, if it has one. Attempts still have theirs: 2.9 s, unless
    /// another is set.
    pub fn without_total_timeout(mut self) -> Self {
        self.total_timeout = None;
        self
    }

    /// The time of one attempt, up to the end of a buffered body, and else up to the head of the response: 1 ms to a
    /// year. Default: the total timeout divided by 3.4, and that of a call which asks for its own.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = AttemptTimeout::Fixed(timeout);
        self
    }

    /// Bounds attempts only by the deadline of the call. An upstream that hangs is then never seen to fail.
    pub fn without_attempt_timeout(mut self) -> Self {
        self.attempt_timeout = AttemptTimeout::None;
        self
    }

    /// Retries by this policy.
    pub fn retry(mut self, policy: RetryPolicyBuilder) -> Self {
        self.retry = Some(policy);
        self
    }

    /// Sends each request once.
    pub fn without_retry(mut self) -> Self {
        self.retry = None;
        self
    }

    /// Bounds the retries to each upstream by this budget.
    pub fn retry_budget(mut self, budget: RetryBudgetBuilder) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Bounds retries only by the policy: for clients whose number of calls is bounded otherwise.
    pub fn without_retry_budget(mut self) -> Self {
        self.budget = None;
        self
    }

    /// Guards each upstream by this circuit breaker.
    pub fn circuit_breaker(mut self, circuit: CircuitBreakerBuilder) -> Self {
        self.circuit = Some(circuit);
        self
    }

    /// Goes on asking an upstream that is down.
    pub fn without_circuit_breaker(mut self) -> Self {
        self.circuit = None;
        self
    }

    /// Bounds the calls in flight to each upstream by this bulkhead.
    pub fn bulkhead(mut self, bulkhead: BulkheadBuilder) -> Self {
        self.bulkhead = Some(bulkhead);
        self
    }

    /// Lets any number of calls be in flight.
    pub fn without_bulkhead(mut self) -> Self {
        self.bulkhead = None;
        self
    }

    /// Reads bodies inside the attempt by this rule.
    pub fn buffer_body(mut self, rule: BufferBodyLayer) -> Self {
        self.buffer_body = rule;
        self
    }

    /// Hands every body on as it streams: one that breaks off is then the caller's to handle.
    pub fn without_buffer_body(mut self) -> Self {
        self.buffer_body = BufferBodyLayer::new().limit(0);
        self
    }

    /// Falls back on responses kept by this layer. The client's [`classifier`](Self::classifier) judges for it too.
    pub fn last_known_good(
        mut self,
        layer: impl Into<LastKnownGoodLayer<HttpClassifier, Background<Warmed>>>,
    ) -> Self {
        self.last_known_good = Some(layer.into());
        self
    }

    /// Keeps and serves no response.
    pub fn without_last_known_good(mut self) -> Self {
        self.last_known_good = None;
        self
    }

    /// Judges results by this classifier, in every layer.
    pub fn classifier(mut self, classifier: HttpClassifier) -> Self {
        self.classifier = classifier;
        self
    }

    /// Tells upstreams apart by a function of the request, in place of its scheme, host and port.
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

    /// How many upstreams are known at a time, 1 to 100,000; the one that was idle for longest goes first. Default
    /// 1,000.
    pub fn max_upstreams(mut self, upstreams: usize) -> Self {
        self.max_upstreams = upstreams;
        self
    }

    /// The client.
    ///
    /// # Errors
    ///
    /// If a part of the configuration cannot work, or reqwest cannot build its client.
    pub fn build(self) -> Result<Client, ConfigError> {
        const MILLISECOND: Duration = Duration::from_millis(1);
        if let Some(timeout) = self.total_timeout {
            ConfigError::check("client.total_timeout", timeout, MILLISECOND..=MAX_DURATION)?;
        }
        let (attempt_timeout, attempt_share) = match self.attempt_timeout {
            AttemptTimeout::Share => {
                let total = self.total_timeout.unwrap_or(TOTAL_TIMEOUT);
                (Some(total.mul_f64(ATTEMPT_SHARE)), Some(ATTEMPT_SHARE))
            }
            AttemptTimeout::Fixed(timeout) => {
                ConfigError::check("client.attempt_timeout", timeout, MILLISECOND..=MAX_DURATION)?;
                (Some(timeout), None)
            }
            AttemptTimeout::None => (None, None),
        };
        // A probe that is slower than its lease is a failed one, however good its answer.
        let longest = attempt_timeout.or(self.total_timeout).unwrap_or_default();
        let recipe = MakeUpstreamStack {
            total_timeout: self.total_timeout,
            attempt_timeout,
            attempt_share,
            retry: self.retry.map_or_else(|| Ok(RetryPolicy::never()), RetryPolicyBuilder::build)?,
            budget: self.budget.map(RetryBudgetBuilder::build).transpose()?,
            circuit: self.circuit.map(|circuit| circuit.probe_lease_at_least(longest).build()).transpose()?,
            bulkhead: self.bulkhead.map(BulkheadBuilder::build).transpose()?,
            buffer_body: self.buffer_body,
            classifier: self.classifier.clone(),
        };
        let max_upstreams = ConfigError::check("client.max_upstreams", self.max_upstreams, 1..=100_000)?;
        let per_upstream = PerUpstreamLayer::new(recipe).key(self.key).max_upstreams(max_upstreams);
        let last_known_good = self.last_known_good.unwrap_or_else(LastKnownGoodLayer::none);
        let http = self.transport.build()?;
        let stack = last_known_good
            .classifier(self.classifier)
            .layer(per_upstream.layer(Upstream::new(http.clone())));
        Ok(Client::from_parts(http, stack))
    }
}

impl Transport {
    fn build(self) -> Result<reqwest::Client, ConfigError> {
        match self {
            Self::Client(client) => Ok(client),
            Self::Builder(builder) => builder.retry(reqwest::retry::never()).build().map_err(|error| {
                ConfigError::new("client.reqwest_builder", &error, "one that reqwest can build")
                    .with_source(error)
            }),
        }
    }
}

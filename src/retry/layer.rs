//! The retry layer, and the methods that configure it.

use std::sync::Arc;

use tower::Layer;

use super::budget::RetryBudget;
use super::policy::RetryPolicy;
use super::service::RetryService;
use super::settings::RetrySettings;
use crate::http::HttpClassifier;
use crate::internal::arc_pool::PooledArc;
use crate::{Http, NonHttp, RetryAdvisor};

/// Retries calls; see the [module](super).
///
/// All services that one layer makes share one budget.
///
/// ```
/// use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
/// use steadfast::retry::{RetryLayer, RetryPolicy};
/// use steadfast::{Call, Error};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let circuit_breaker = CircuitBreaker::builder().name("sku").build()?;
/// let service = ServiceBuilder::new()
///     .layer(RetryLayer::new(RetryPolicy::default()).name("sku").advised_by(circuit_breaker.clone()))
///     .layer(CircuitBreakerLayer::new(circuit_breaker))
///     .map_err(Error::from_upstream)
///     .service_fn(async |_: Call<http::Request<String>>| {
///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
///     });
/// let response = service.oneshot(Call::new(http::Request::new(String::new()))).await?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "retries")]
#[derive(Debug, Clone)]
pub struct RetryLayer<C = HttpClassifier, K = Http> {
    settings: RetrySettings,
    classifier: C,
    kind: K,
}

impl RetryLayer {
    /// Retries according to `policy`, with the default [`RetryBudget`] and the default [`HttpClassifier`].
    ///
    /// The budget starts nearly empty, so a new layer may make fewer retries than the policy allows.
    pub fn new(policy: RetryPolicy) -> Self {
        Self {
            settings: RetrySettings {
                name: None,
                policy,
                budget: Some(RetryBudget::default()),
                advisor: None,
            },
            classifier: HttpClassifier::new(),
            kind: Http,
        }
    }
}

impl<C, K> RetryLayer<C, K> {
    /// The upstream's name, for errors and events. Default: none.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Takes the tokens for retries from `budget`, which other layers can share. Default: a budget for this layer
    /// alone.
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.settings.budget = Some(budget);
        self
    }

    /// Retries without a budget. During an outage, every call may then make all retries of the policy. Use this
    /// method only where something else bounds the number of calls.
    pub fn without_budget(mut self) -> Self {
        self.settings.budget = None;
        self
    }

    /// Asks `advisor` before each wait whether to retry. The advisor is usually the
    /// [`CircuitBreaker`](crate::circuit_breaker::CircuitBreaker) below. Default: no advisor.
    ///
    /// If the circuit will stay open for longer than the wait, the call ends at once with the result of the last
    /// attempt. If the layer has a budget, the call also ends when the advisor reports a
    /// [run of failures](crate::RetryAdvice::Failing).
    ///
    /// Set no advisor if several replicas below the layer have a circuit each: while one circuit is open, another
    /// replica may take the next attempt.
    ///
    /// After the layer and its services are dropped, a thread that has made calls can keep the advisor alive for a
    /// while.
    pub fn advised_by(mut self, advisor: impl RetryAdvisor + Send + Sync + 'static) -> Self {
        self.settings.advisor = Some(Arc::new(advisor));
        self
    }

    /// Judges results with `classifier`. Default: [`HttpClassifier`].
    pub fn classifier<D>(self, classifier: D) -> RetryLayer<D, K> {
        RetryLayer { settings: self.settings, classifier, kind: self.kind }
    }

    /// Retries calls to a service whose responses are not HTTP.
    pub fn non_http(self) -> RetryLayer<C, NonHttp> {
        RetryLayer { settings: self.settings, classifier: self.classifier, kind: NonHttp }
    }
}

impl<S, C: Clone, K: Copy> Layer<S> for RetryLayer<C, K> {
    type Service = RetryService<S, C, K>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryService::new(inner, PooledArc::new(self.settings.clone()), self.classifier.clone(), self.kind)
    }
}

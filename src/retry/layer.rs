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
/// Every service that one layer makes shares its budget.
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
#[derive(Debug, Clone)]
pub struct RetryLayer<C = HttpClassifier, K = Http> {
    settings: RetrySettings,
    classifier: C,
    kind: K,
}

impl RetryLayer {
    /// Retries by `policy`, with the default [`RetryBudget`] and the default [`HttpClassifier`].
    ///
    /// The budget starts nearly empty: the first retries of a fresh layer are fewer than the policy allows.
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

    /// Shares this budget, in place of one of the layer's own.
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.settings.budget = Some(budget);
        self
    }

    /// Retries without a budget. In an outage every call is then sent as often as the policy allows: only for
    /// clients whose number of calls is bounded otherwise.
    pub fn without_budget(mut self) -> Self {
        self.settings.budget = None;
        self
    }

    /// Asks `advisor` before each retry: the [`CircuitBreaker`](crate::circuit_breaker::CircuitBreaker) below, above all.
    /// Default: nobody.
    ///
    /// A fault that opens the circuit then ends the call, and the caller gets the answer in hand instead of a refusal after a
    /// wait; so does one of many faults in a row. Above several circuits, of replicas that take turns, leave it out: where one
    /// of them opens, another may still let the next attempt through.
    ///
    /// A thread that has made calls can keep the advisor for a while after the layer and its services are gone.
    pub fn advised_by(mut self, advisor: impl RetryAdvisor + Send + Sync + 'static) -> Self {
        self.settings.advisor = Some(Arc::new(advisor));
        self
    }

    /// Judges results with this classifier.
    pub fn classifier<D>(self, classifier: D) -> RetryLayer<D, K> {
        RetryLayer { settings: self.settings, classifier, kind: self.kind }
    }

    /// For a service whose responses are not HTTP.
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

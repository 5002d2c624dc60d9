use std::marker::PhantomData;
use std::thread::LocalKey;

use tower::Layer;

use super::{RetryBudget, RetryPolicy, RetryService};
use crate::handle::{Handle, Shared, Spares};
use crate::http::HttpClassifier;
use crate::{Http, NonHttp};

/// Retries calls; see the [module](super).
///
/// Every service that one layer makes shares its budget.
///
/// ```
/// use steadfast::{Call, Error, retry::{RetryLayer, RetryPolicy}};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let service = ServiceBuilder::new()
///     .layer(RetryLayer::new(RetryPolicy::default()))
///     .map_err(Error::Upstream)
///     .service_fn(async |_: Call<http::Request<String>>| {
///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
///     });
/// let response = service.oneshot(Call::new(http::Request::new(String::new()))).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RetryLayer<C = HttpClassifier, K = Http> {
    rules: Rules,
    classifier: C,
    kind: PhantomData<fn() -> K>,
}

/// What every call is retried by, whatever its type.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) policy: RetryPolicy,
    pub(super) budget: Option<RetryBudget>,
    pub(super) across_circuits: bool,
}

impl Shared for Rules {
    fn spares() -> &'static LocalKey<Spares<Self>> {
        thread_local! {
            static SPARES: Spares<Rules> = const { Spares::new() };
        }
        &SPARES
    }
}

impl RetryLayer {
    /// Retries by `policy`, with the default [`RetryBudget`] and the default [`HttpClassifier`].
    ///
    /// The budget starts nearly empty: the first retries of a fresh layer are fewer than the policy allows.
    pub fn new(policy: RetryPolicy) -> Self {
        Self {
            rules: Rules { policy, budget: Some(RetryBudget::default()), across_circuits: false },
            classifier: HttpClassifier::new(),
            kind: PhantomData,
        }
    }
}

impl<C, K> RetryLayer<C, K> {
    /// Shares this budget, in place of one of the layer's own.
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.rules.budget = Some(budget);
        self
    }

    /// Retries without a budget. In an outage every call is then sent as often as the policy allows: only for
    /// clients whose number of calls is bounded otherwise.
    pub fn without_budget(mut self) -> Self {
        self.rules.budget = None;
        self
    }

    /// For a retry above several circuits, of replicas that take turns: where one of them opens, the next attempt may
    /// still be let through by another. Without this, a fault that opens the circuit below ends the call, and so does one
    /// of many in a row that it sees.
    pub fn across_circuits(mut self) -> Self {
        self.rules.across_circuits = true;
        self
    }

    /// Judges results with this classifier.
    pub fn classifier<D>(self, classifier: D) -> RetryLayer<D, K> {
        RetryLayer { rules: self.rules, classifier, kind: PhantomData }
    }

    /// For a service whose responses are not HTTP.
    pub fn non_http(self) -> RetryLayer<C, NonHttp> {
        RetryLayer { rules: self.rules, classifier: self.classifier, kind: PhantomData }
    }
}

impl<S, C: Clone, K> Layer<S> for RetryLayer<C, K> {
    type Service = RetryService<S, C, K>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryService::new(inner, Handle::new(self.rules.clone()), self.classifier.clone())
    }
}

impl<C: Clone, K> Clone for RetryLayer<C, K> {
    fn clone(&self) -> Self {
        Self { rules: self.rules.clone(), classifier: self.classifier.clone(), kind: PhantomData }
    }
}

//! A classifier that depends on the request, for routes with failures of their own, and for routes that the circuit
//! breaker should ignore. An open circuit refuses the requests of ignored routes, too.

use std::fmt;

use super::Classify;

/// Makes a classifier that depends on the request. `choose` returns the classifier for a request; if it returns
/// `None`, `default` judges.
///
/// A request whose results are all judged neutral is not retried, and the cache neither stores nor serves its
/// responses. To leave a route out of the circuit breaker only, give this classifier to the `CircuitBreakerLayer`
/// alone. Even on such a route, the circuit breaker counts failures of two kinds: a body that breaks, and a call that
/// its caller drops after a long time.
///
/// In a stack above reqwest, the request is usually a `Call<reqwest::Request>`, and `call.request().url()` is its
/// URL. For a `Client`, use `ClientBuilder::classifier_by`, whose function takes a `reqwest::Request`.
///
/// ```
/// use http::Request;
/// use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
/// use steadfast::http::HttpClassifier;
/// use steadfast::{Outcome, classify};
///
/// // Reports often fail. Keep these failures from opening the circuit for all other requests.
/// let neutral = HttpClassifier::new().on_response(|_, _| Some(Outcome::Neutral));
/// let neutral = neutral.on_error(|_| Some(Outcome::Neutral));
/// let classifier = classify::by_request(HttpClassifier::new(), move |request: &Request<String>| {
///     request.uri().path().starts_with("/reports/").then(|| neutral.clone())
/// });
/// let layer = CircuitBreakerLayer::new(CircuitBreaker::default()).classifier(classifier);
/// ```
pub fn by_request<Req, C, F>(default: C, choose: F) -> ByRequest<C, F>
where
    F: Fn(&Req) -> Option<C> + Clone,
{
    ByRequest { default, choose }
}

/// The classifier that [`by_request`] makes.
#[derive(Clone)]
pub struct ByRequest<C, F> {
    default: C,
    choose: F,
}

impl<Req, Res, E, C, F> Classify<Req, Res, E> for ByRequest<C, F>
where
    C: Classify<Req, Res, E>,
    F: Fn(&Req) -> Option<C> + Clone,
{
    type Judge = C::Judge;

    fn judge(&self, request: &Req) -> C::Judge {
        match (self.choose)(request) {
            Some(chosen) => chosen.judge(request),
            None => self.default.judge(request),
        }
    }
}

impl<C: fmt::Debug, F> fmt::Debug for ByRequest<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByRequest").field("default", &self.default).finish_non_exhaustive()
    }
}

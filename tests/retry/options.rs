//! The options that a retry sets for each attempt, and the advice that a retry asks for.

use std::num::NonZeroU16;

use steadfast::{EndpointId, EndpointSet, RetryAdvice, RetryAdvisor};

use super::*;

/// Makes a call; returns the number of each attempt, and whether another may follow.
async fn attempt_options(
    layer: &RetryLayer,
    answers: impl IntoIterator<Item = support::Answer>,
    request: Request<()>,
) -> Vec<(u32, bool)> {
    let (_, upstream) = one(layer, answers, request).await;
    let options = upstream.take_seen().into_iter().map(|request| request.options());
    options.map(|options| (options.get_attempt(), options.another_may_follow())).collect()
}

#[tokio::test(start_paused = true)]
async fn each_attempt_knows_its_number_and_whether_another_may_follow() {
    let down = [status(503)];
    assert_eq!(attempt_options(&retry(), down, get()).await, [(1, true), (2, true), (3, true), (4, false)]);
}

#[tokio::test(start_paused = true)]
async fn the_last_possible_attempt_knows_that_no_other_may_follow() {
    let down = || [status(503)];
    let never = with(get(), CallOptions::new().retry_safety(RetrySafety::Never));
    assert_eq!(attempt_options(&RetryLayer::new(policy(0)), down(), get()).await, [(1, false)], "no retries");
    assert_eq!(attempt_options(&retry(), down(), post()).await, [(1, false)], "not idempotent");
    assert_eq!(attempt_options(&retry(), down(), never).await, [(1, false)], "never");
    let spent = RetryBudget::builder().initial(0.0).build().unwrap();
    assert_eq!(attempt_options(&retry().budget(spent), down(), get()).await, [(1, false)], "no budget");
    // A failed connect sends nothing, so a POST is retried. Each attempt is the last if it is sent.
    let not_sent = [fault(io::ErrorKind::ConnectionRefused), status(200)];
    assert_eq!(attempt_options(&retry(), not_sent, post()).await, [(1, false), (2, false)]);
}

#[tokio::test(start_paused = true)]
async fn the_options_of_the_caller_reach_each_attempt() {
    let call_options = CallOptions::new().deadline(Instant::now() + 10 * SECOND).without_last_known_good();
    let (_, upstream) = one(&retry(), [status(503)], with(get(), call_options)).await;
    for (request, number) in upstream.take_seen().into_iter().zip(1..) {
        assert_eq!(request.options(), call_options.attempt(number, number < 4));
    }
}

fn endpoint(number: u32) -> EndpointId {
    EndpointId::new(NonZeroU16::new(number.try_into().unwrap()).unwrap())
}

/// Attempt n fails at endpoint n: the odd attempts by a response, the even attempts by an error.
#[tokio::test(start_paused = true)]
async fn each_attempt_knows_the_endpoints_that_were_tried_before_it() {
    let tried: Arc<Mutex<Vec<EndpointSet>>> = Arc::default();
    let record = Arc::clone(&tried);
    let service = retry().layer(tower::service_fn(move |request: Request<()>| {
        let options = request.options();
        record.lock().unwrap().push(options.tried_endpoints());
        async move {
            if options.get_attempt() % 2 == 1 {
                let mut response = Response::new(Script::of(&[]).sized().start());
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response.extensions_mut().insert(endpoint(options.get_attempt()));
                return Ok(response);
            }
            Err(Error::from_upstream(io::Error::from(ConnectionReset))
                .at_endpoint(endpoint(options.get_attempt())))
        }
    }));
    let error = service.oneshot(get()).await.unwrap_err();
    assert_eq!((error.endpoint(), error.attempts()), (Some(endpoint(4)), 4));
    let set =
        |numbers: &[u32]| numbers.iter().copied().map(endpoint).fold(EndpointSet::new(), EndpointSet::with);
    assert_eq!(*tried.lock().unwrap(), [set(&[]), set(&[1]), set(&[1, 2]), set(&[1, 2, 3])]);
}

/// A custom advisor that always gives the same advice.
struct FixedAdvice(Option<RetryAdvice>);

impl RetryAdvisor for FixedAdvice {
    fn advice(&self) -> Option<RetryAdvice> {
        self.0
    }
}

#[tokio::test(start_paused = true)]
async fn a_custom_advisor_is_consulted_before_each_retry() {
    let now = Instant::now();
    let refusing = |after| Some(RetryAdvice::Refusing { until: Some(now + after) });
    for (advice, count, stop) in [
        (None, 4, StopReason::Exhausted),
        (Some(RetryAdvice::Refusing { until: None }), 1, StopReason::CircuitOpen),
        (refusing(3600 * SECOND), 1, StopReason::CircuitOpen),
        // The refusal ends before the wait does.
        (refusing(MS), 4, StopReason::Exhausted),
        // Without a budget, the advice `Failing` is ignored.
        (Some(RetryAdvice::Failing), 4, StopReason::Exhausted),
    ] {
        let (result, upstream) = one(&retry().advised_by(FixedAdvice(advice)), [status(503)], get()).await;
        assert_eq!((upstream.count(), stopped(&result.unwrap())), (count, Some(stop)), "{advice:?}");
    }
    let full = RetryBudget::builder().initial(10.0).build().unwrap();
    let layer = retry().budget(full).advised_by(FixedAdvice(Some(RetryAdvice::Failing)));
    let (result, upstream) = one(&layer, [status(503)], get()).await;
    assert_eq!((upstream.count(), stopped(&result.unwrap())), (1, Some(StopReason::Failing)));
}

//! The events that say why a call was given up on.
//!
//! One test, in a process of its own: whether an event is wanted at all is decided once for a process, when it first
//! comes, and other tests have no subscriber.

mod support;

use std::io::ErrorKind::ConnectionReset;
use std::sync::{Arc, Mutex};

use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use steadfast::retry::{RetryLayer, RetryPolicy};
use tower::{Layer, ServiceBuilder};

use support::{Upstream, fault, get, hang, post, send, status};

fn retry() -> RetryLayer {
    RetryLayer::new(RetryPolicy::builder().seed(1).build().unwrap()).without_budget()
}

/// Collects the `reason` of every event that says why a call was given up on.
struct Reasons(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Reasons {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "steadfast::retry"
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Reason(Option<String>);
        impl tracing::field::Visit for Reason {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "reason" {
                    self.0 = Some(format!("{value:?}").trim_matches('"').to_owned());
                }
            }
        }
        let mut reason = Reason(None);
        event.record(&mut reason);
        self.0.lock().unwrap().extend(reason.0);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn an_event_says_why_a_call_was_given_up_on() {
    let reasons = Arc::default();
    let _guard = tracing::subscriber::set_default(Reasons(Arc::clone(&reasons)));

    let open = CircuitBreaker::builder().build().unwrap();
    open.force_open();
    let open =
        ServiceBuilder::new().layer(retry().advised_by(open.clone())).layer(CircuitBreakerLayer::new(open));
    send(&open.service(Upstream::answering([status(200)])), get()).await.unwrap_err();

    let full = Bulkhead::builder().max_concurrent(1).max_waiting(0).build().unwrap();
    let full = ServiceBuilder::new().layer(retry()).layer(BulkheadLayer::new(full));
    let full = full.service(Upstream::answering([hang()]));
    let mut busy = tokio_test::task::spawn(send(&full, get()));
    assert!(busy.poll().is_pending());
    send(&full, get()).await.unwrap_err();

    let reset = retry().layer(Upstream::answering([fault(ConnectionReset)]));
    send(&reset, get()).await.unwrap_err();
    send(&reset, post()).await.unwrap_err();
    send(&retry().layer(Upstream::answering([status(503), status(200)])), get()).await.unwrap();

    assert_eq!(*reasons.lock().unwrap(), ["circuit_open", "bulkhead_full", "exhausted", "not_idempotent"]);
}

//! Calls that wait in the queue of a bulkhead while the circuit opens.

use super::*;

fn with_queue(
    circuit: &CircuitBreaker,
    bulkhead: &Bulkhead,
) -> CircuitBreakerService<BulkheadService<Upstream>> {
    let layers = ServiceBuilder::new().layer(CircuitBreakerLayer::new(circuit.clone()));
    layers.layer(BulkheadLayer::new(bulkhead.clone())).service(upstream())
}

#[tokio::test(start_paused = true)]
async fn a_call_in_a_queue_is_refused_when_the_circuit_opens() {
    let circuit = brittle().build().unwrap();
    let bulkhead = Bulkhead::builder().max_concurrent(1).build().unwrap();
    let service = with_queue(&circuit, &bulkhead);
    let mut holder = task::spawn(service.clone().call(Ask::Hang));
    assert_pending!(holder.poll());
    let mut queued = task::spawn(service.clone().call(GOOD));
    assert_pending!(queued.poll());
    circuit.force_open();
    assert!(queued.is_woken());
    assert!(assert_ready!(queued.poll()).unwrap_err().is_circuit_open());
    assert_eq!((bulkhead.waiting(), circuit.snapshot().refused), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_sent_is_not_refused_while_it_waits_in_another_queue() {
    let circuit = brittle().build().unwrap();
    let bulkhead = Bulkhead::builder().max_concurrent(1).build().unwrap();
    let tokens = BulkheadLayer::new(bulkhead.clone()).layer(upstream());
    let mut holder = task::spawn(tokens.clone().call(Ask::Hang));
    assert_pending!(holder.poll());
    let service = CircuitBreakerLayer::new(circuit.clone()).layer(tower::service_fn(move |ask: Ask| {
        let tokens = tokens.clone();
        async move {
            // The upstream asks for a token after a while.
            tokio::time::sleep(MS).await;
            tokens.oneshot(ask).await
        }
    }));
    let mut sent = task::spawn(service.oneshot(GOOD));
    assert_pending!(sent.poll());
    advance(2 * MS).await;
    assert_pending!(sent.poll());
    assert_eq!(bulkhead.waiting(), 1);
    circuit.force_open();
    assert_pending!(sent.poll());
    drop(holder);
    assert!(assert_ready!(sent.poll()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_sent_while_it_waits_in_another_queue_is_not_refused() {
    let circuit = brittle().build().unwrap();
    let bulkhead = Bulkhead::builder().max_concurrent(1).build().unwrap();
    let tokens = BulkheadLayer::new(bulkhead.clone()).layer(upstream());
    let mut holder = task::spawn(tokens.clone().call(Ask::Hang));
    assert_pending!(holder.poll());
    let service = CircuitBreakerLayer::new(circuit.clone()).layer(tower::service_fn(move |ask: Ask| {
        let tokens = tokens.clone();
        async move {
            let sent = upstream().oneshot(Ask::After(MS));
            let (answer, _token) = tokio::join!(sent, tokens.oneshot(ask));
            answer
        }
    }));
    let mut sent = task::spawn(service.oneshot(GOOD));
    assert_pending!(sent.poll());
    assert_eq!(bulkhead.waiting(), 1);
    circuit.force_open();
    assert_pending!(sent.poll());
    advance(2 * MS).await;
    assert!(assert_ready!(sent.poll()).is_ok());
    assert_eq!(circuit.snapshot().refused, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_comes_as_the_circuit_opens_is_not_used() {
    let circuit = brittle().build().unwrap();
    let bulkhead = Bulkhead::builder().max_concurrent(1).build().unwrap();
    let service = with_queue(&circuit, &bulkhead);
    let (answer, status) = oneshot::channel();
    let mut holder = task::spawn(service.clone().call(Ask::Later(status)));
    assert_pending!(holder.poll());
    let mut queued = task::spawn(service.clone().call(GOOD));
    assert_pending!(queued.poll());
    answer.send(503).unwrap();
    drop(assert_ready!(holder.poll())); // Opens the circuit, and gives the permit to the waiter.
    assert_eq!(circuit.state(), State::Open);
    assert!(assert_ready!(queued.poll()).unwrap_err().is_circuit_open());
    assert_eq!(bulkhead.in_flight(), 0);
}

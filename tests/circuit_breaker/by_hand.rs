//! Manual control, shadow mode, watches, events, and snapshots of a circuit.

use super::*;

// ===== Manual control =====

#[tokio::test(start_paused = true)]
async fn forced_open_refuses_until_it_is_reset_and_gives_no_retry_after() {
    let (circuit, service) = build(brittle());
    circuit.force_open();
    assert_eq!(circuit.state(), State::ForcedOpen);
    advance(1000 * SECOND).await;
    let error = call(&service, GOOD).await.unwrap_err();
    assert!(error.is_circuit_open());
    assert_eq!((error.retry_after(), circuit.snapshot().retry_after), (None, None));
    circuit.reset();
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn forced_closed_lets_everything_through_until_it_is_reset() {
    let (circuit, service) = build(brittle());
    circuit.force_closed();
    for _ in 0..100 {
        assert_eq!(call(&service, BAD).await.unwrap(), 503);
    }
    assert_eq!(circuit.state(), State::ForcedClosed);
    circuit.reset();
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_can_be_forced_closed() {
    let (circuit, service) = build(brittle());
    calls(&service, 1, || BAD).await;
    circuit.force_closed();
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_reset_clears_the_counts() {
    let (circuit, service) = build(half_of_ten().consecutive_failures(10, Duration::ZERO));
    calls(&service, 9, || BAD).await;
    circuit.reset();
    let seen = circuit.snapshot();
    assert_eq!((seen.window_calls, seen.consecutive_failures), (0, 0));
    calls(&service, 9, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_reset_closes_an_open_circuit_at_once() {
    let (circuit, service) = build(brittle());
    calls(&service, 1, || BAD).await;
    circuit.reset();
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_call_from_before_a_forced_state_does_not_count_after_the_reset() {
    let (circuit, service) = build(brittle());
    let late = begin_later(&service);
    circuit.force_closed();
    circuit.reset();
    finish(late, 503);
    assert_eq!(circuit.state(), State::Closed);
}

// ===== Shadow =====

#[tokio::test(start_paused = true)]
async fn shadow_refuses_nothing_but_changes_state_and_counts() {
    let (circuit, service) = build(brittle().shadow(true).probes(1));
    let mut states = circuit.watch();
    for _ in 0..10 {
        assert_eq!(call(&service, BAD).await.unwrap(), 503);
    }
    let seen = circuit.snapshot();
    assert_eq!((seen.state, seen.trips, seen.refused), (State::Open, 1, 9));
    assert!(states.has_changed().unwrap());
    assert_eq!(*states.borrow_and_update(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn shadow_judges_recovery_by_as_many_probes() {
    let (circuit, service) = build(brittle().shadow(true).probes(1));
    wait_for_probes(&circuit, &service).await;
    let probe = begin_later(&service);
    for _ in 0..10 {
        assert_eq!(call(&service, GOOD).await.unwrap(), 200);
    }
    assert_eq!(circuit.state(), State::HalfOpen, "those that would have been refused are no probes");
    finish(probe, 200);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn shadow_refuses_nothing_even_when_forced_open() {
    let (circuit, service) = build(brittle().shadow(true));
    circuit.force_open();
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
    assert_eq!(circuit.snapshot().refused, 1);
}

// ===== Watching =====

#[tokio::test(start_paused = true)]
async fn a_watch_sees_every_change() {
    use State::{Closed, ForcedClosed, ForcedOpen, HalfOpen, Open};
    let (circuit, service) = build(brittle().probes(1));
    let mut states = circuit.watch();
    assert_eq!(*states.borrow_and_update(), State::Closed);
    let mut seen = Vec::new();
    let mut look = || {
        assert!(states.has_changed().unwrap());
        seen.push(*states.borrow_and_update());
    };
    calls(&service, 1, || BAD).await;
    look();
    wait_out(&circuit).await;
    let probe = begin_later(&service);
    look();
    finish(probe, 503);
    look();
    wait_out(&circuit).await;
    let probe = begin_later(&service);
    look();
    finish(probe, 200);
    look();
    circuit.force_open();
    look();
    circuit.force_closed();
    look();
    circuit.reset();
    look();
    assert_eq!(seen, [Open, HalfOpen, Open, HalfOpen, Closed, ForcedOpen, ForcedClosed, Closed]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_not_woken_without_a_change() {
    let (circuit, service) = build(brittle());
    let states = circuit.watch();
    calls(&service, 100, || GOOD).await;
    circuit.reset();
    assert!(!states.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_starts_late_sees_the_current_state() {
    let (circuit, service) = build(brittle());
    calls(&service, 1, || BAD).await;
    assert_eq!(*circuit.watch().borrow(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_is_in_one_state_at_a_time() {
    // Known mistake 11: the state is one value, so an exporter cannot leave the old state set.
    let (circuit, service) = build(brittle());
    let states = circuit.watch();
    let agree = |state| {
        assert_eq!((circuit.state(), circuit.snapshot().state, *states.borrow()), (state, state, state));
    };
    agree(State::Closed);
    calls(&service, 1, || BAD).await;
    agree(State::Open);
    wait_out(&circuit).await;
    let probe = begin_later(&service);
    agree(State::HalfOpen);
    finish(probe, 200);
    agree(State::Closed);
}

#[test]
fn after_changes_that_race_a_watch_shows_the_latest() {
    let circuit = CircuitBreaker::builder().build().unwrap();
    let states = circuit.watch();
    for _ in 0..200 {
        std::thread::scope(|scope| {
            scope.spawn(|| circuit.force_open());
            scope.spawn(|| circuit.force_closed());
            scope.spawn(|| circuit.reset());
        });
        assert_eq!(*states.borrow(), circuit.state());
    }
}

/// A listener that uses the circuit within the call that changed the state.
struct Meddler {
    circuit: CircuitBreaker,
    seen: Mutex<Vec<State>>,
}

impl Meddler {
    fn react(&self) {
        let snapshot = self.circuit.snapshot();
        self.seen.lock().unwrap().push(snapshot.state);
        if snapshot.state == State::Open {
            self.circuit.force_closed();
        }
    }
}

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        self.react();
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_uses_the_circuit_while_it_is_woken_does_not_deadlock() {
    // Known mistake 9.
    let (circuit, service) = build(brittle());
    let mut states = circuit.watch();
    let meddler = Arc::new(Meddler { circuit: circuit.clone(), seen: Mutex::default() });
    let waker = Waker::from(Arc::clone(&meddler));
    let mut changed = Box::pin(states.changed());
    assert!(changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    calls(&service, 1, || BAD).await;
    assert_eq!(*meddler.seen.lock().unwrap(), [State::Open]);
    assert_eq!(circuit.state(), State::ForcedClosed);
    assert_eq!(*circuit.watch().borrow(), State::ForcedClosed);
}

/// A subscriber that hands every event of the circuit breaker to a listener.
struct Events(Arc<Meddler>);

impl tracing::Subscriber for Events {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "steadfast::circuit_breaker"
    }
    fn event(&self, _event: &tracing::Event<'_>) {
        self.0.react();
    }
    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}
    fn enter(&self, _span: &tracing::span::Id) {}
    fn exit(&self, _span: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_listener_to_its_events_may_use_the_circuit() {
    // Known mistake 9.
    let (circuit, service) = build(brittle());
    let meddler = Arc::new(Meddler { circuit: circuit.clone(), seen: Mutex::default() });
    // With one subscriber, `tracing` asks only the thread that first emits an event, and caches the answer for all
    // threads. With two subscribers, `tracing` asks both, whatever the thread.
    let subscribers =
        [Arc::clone(&meddler), Arc::clone(&meddler)].map(|it| tracing::Dispatch::new(Events(it)));
    let _guard = tracing::dispatcher::set_default(&subscribers[0]);
    circuit.force_open();
    circuit.reset();
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::ForcedClosed);
    circuit.reset();
    // `tracing` drops events that are emitted while another event is handled.
    let seen = meddler.seen.lock().unwrap().clone();
    assert_eq!(seen, [State::ForcedOpen, State::Closed, State::Open, State::Closed]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_reports_the_state_and_the_counts() {
    let builder = half_of_ten().consecutive_failures(100, Duration::ZERO).slow_calls(SECOND, 1.0);
    let (circuit, service) = build(builder.successes_to_close(2));
    calls(&service, 4, || GOOD).await;
    calls(&service, 2, || Ask::After(2 * SECOND)).await;
    calls(&service, 2, || BAD).await;
    let seen = circuit.snapshot();
    assert_eq!((seen.state, seen.window_calls, seen.consecutive_failures), (State::Closed, 8, 2));
    assert!((seen.failure_rate - 0.25).abs() < 1e-9 && (seen.slow_rate - 0.25).abs() < 1e-9);
    assert_eq!((seen.retry_after, seen.probes_in_flight, seen.refused, seen.trips), (None, 0, 0, 0));

    calls(&service, 20, || BAD).await;
    let seen = circuit.snapshot();
    assert_eq!((seen.state, seen.trips), (State::Open, 1));
    assert_eq!(seen.refused, 20 - 3, "the third of them made it five of ten");
    assert!(seen.retry_after.is_some_and(|wait| wait <= SECOND && wait >= SECOND / 2));

    wait_out(&circuit).await;
    let _probes = [begin(&service, Ask::Hang), begin(&service, Ask::Hang)];
    let seen = circuit.snapshot();
    assert_eq!((seen.state, seen.probes_in_flight, seen.retry_after), (State::HalfOpen, 2, None));
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.snapshot().trips, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_round_of_probes_is_a_trip_too() {
    let (circuit, service) = build(brittle().probes(1));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.snapshot().trips, 2);
}

#[tokio::test(start_paused = true)]
async fn the_watch_ends_when_the_circuit_is_gone() {
    let (circuit, service) = build(brittle());
    let mut states = circuit.watch();
    calls(&service, 10, || GOOD).await;
    drop(circuit);
    assert!(states.has_changed().is_ok(), "the service has a handle");
    drop(service);
    assert!(states.changed().await.is_err());
}

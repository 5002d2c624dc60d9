//! Models of the handle. Loom runs the two threads of a model in every order that it finds, and the model checks a
//! property.

use super::*;
use crate::RetryAdvisor;
use crate::circuit_breaker::Window;
use crate::internal::sync::race;

const SECOND: Duration = Duration::from_secs(1);
/// A time longer than any model runs.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Configures a circuit that opens on `failures` in a row, stays open for an hour, and then admits one probe.
fn after(failures: u16) -> CircuitBreakerBuilder {
    CircuitBreaker::builder()
        .consecutive_failures(failures, Duration::ZERO)
        .max_open_for(HOUR)
        .open_for(HOUR)
        .probes(1)
        .seed(1)
}

/// Makes a circuit that opens on the first failure.
fn touchy() -> CircuitBreaker {
    after(1).build().unwrap()
}

/// Makes an open circuit whose open time is over.
fn due() -> CircuitBreaker {
    let circuit = after(1).open_for(SECOND).build().unwrap();
    circuit.count(0, Outcome::transient(), false, Instant::now() - HOUR);
    assert_eq!(circuit.state(), State::Open);
    circuit
}

/// Ends a call of the first generation with a failure.
fn fail(circuit: &CircuitBreaker) {
    circuit.ended(Ticket::Counted(0), Outcome::transient(), false);
}

fn trips(circuit: &CircuitBreaker) -> u64 {
    circuit.0.trips.load(Ordering::Relaxed)
}

fn refused(circuit: &CircuitBreaker) -> u64 {
    circuit.0.refused.load(Ordering::Relaxed)
}

#[test]
fn a_reader_of_the_open_gate_sees_the_end_of_the_open_time() {
    let look =
        |circuit: &CircuitBreaker| assert!(circuit.state() == State::Closed || circuit.advice().is_some());
    race(touchy, fail, look, |_, (), ()| {});
}

#[test]
fn a_call_of_a_new_generation_counts_no_older_record() {
    let set_up = || {
        let builder = CircuitBreaker::builder().without_consecutive_failures().window(Window::Time(HOUR));
        let circuit = builder.failure_rate(1.0).minimum_calls(2).seed(1).build().unwrap();
        let now = Instant::now();
        circuit.count(0, Outcome::transient(), false, now);
        (circuit, now)
    };
    let look = |(circuit, now): &(CircuitBreaker, Instant)| {
        if circuit.gate().generation() == 1 {
            // One failure of the new generation is not enough to open the circuit.
            circuit.count(1, Outcome::transient(), false, *now + HOUR / 10);
            assert_eq!(circuit.state(), State::Closed);
        }
    };
    race(set_up, |(circuit, _)| circuit.reset(), look, |_, (), ()| {});
}

#[test]
fn a_late_result_of_an_older_generation_does_not_count() {
    race(touchy, fail, CircuitBreaker::reset, |circuit, (), ()| {
        let gate = circuit.gate();
        assert_eq!(gate.state(), State::Closed);
        assert_eq!(circuit.0.consecutive.count(gate.generation()), 0);
    });
}

#[test]
fn no_failure_is_lost_in_a_race() {
    race(
        || after(2).build().unwrap(),
        fail,
        fail,
        |circuit, (), ()| {
            assert_eq!((circuit.state(), trips(circuit)), (State::Open, 1));
        },
    );
}

#[test]
fn failures_that_race_trip_the_circuit_once() {
    race(touchy, fail, fail, |circuit, (), ()| {
        assert_eq!((circuit.gate().generation(), trips(circuit)), (1, 1));
    });
}

#[test]
fn one_of_two_racing_calls_is_the_probe() {
    let enter = |circuit: &CircuitBreaker| circuit.enter(|| None).ok();
    race(due, enter, enter, |circuit, one, two| {
        assert_eq!((one.is_some() ^ two.is_some(), refused(circuit)), (true, 1));
    });
}

#[test]
fn a_call_admitted_while_the_probe_ends_counts() {
    let set_up = || {
        let circuit = due();
        let probe = circuit.enter(|| None).unwrap();
        (circuit, probe)
    };
    let end = |(circuit, probe): &(CircuitBreaker, Ticket)| circuit.ended(*probe, Outcome::Success, false);
    let call = |(circuit, _): &(CircuitBreaker, Ticket)| {
        circuit.enter(|| None).map(|call| circuit.ended(call, Outcome::transient(), false)).is_ok()
    };
    race(set_up, end, call, |(circuit, _), (), admitted| {
        assert_eq!(circuit.state(), if admitted { State::Open } else { State::Closed });
    });
}

#[test]
fn every_refusal_is_counted() {
    let set_up = || {
        let circuit = touchy();
        circuit.force_open();
        circuit
    };
    let enter = |circuit: &CircuitBreaker| circuit.enter(|| None).is_err();
    race(set_up, enter, enter, |circuit, one, two| assert_eq!((one, two, refused(circuit)), (true, true, 2)));
}

#[test]
fn the_last_report_is_the_latest_state() {
    let set_up = || {
        let circuit = touchy();
        let seen = circuit.watch();
        (circuit, seen)
    };
    let open = |(circuit, _): &(CircuitBreaker, watch::Receiver<State>)| circuit.force_open();
    let close = |(circuit, _): &(CircuitBreaker, watch::Receiver<State>)| circuit.force_closed();
    race(set_up, open, close, |(circuit, seen), (), ()| assert_eq!(*seen.borrow(), circuit.state()));
}

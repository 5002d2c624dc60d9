//! A circuit under arbitrary sequences of calls and pauses: it keeps its bounds, and closes again once the upstream
//! is healthy.

#![no_main]

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, CircuitBreakerService, State, Window};
use steadfast::{Classify, Error, Judge, NonHttp, Outcome};
use tower::{Layer, Service};

#[derive(Debug, Arbitrary)]
struct Settings {
    failures: u8,
    span: u16,
    window: Option<(bool, u16, u8)>,
    slow: Option<u16>,
    open_for: u16,
    growth: u8,
    probes: u8,
    successes: u8,
    lease: u16,
    abandoned: u16,
    seed: u64,
}

#[derive(Debug, Arbitrary)]
enum Step {
    /// Starts a call, which stays in flight until a later step ends or drops it.
    Call,
    /// Ends the call in flight with this number.
    End(u8, ScriptedOutcome),
    /// Drops the call in flight with this number.
    Drop(u8),
    /// Advances the clock by this many milliseconds.
    Pass(u16),
    ForceOpen,
    ForceClosed,
    Reset,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum ScriptedOutcome {
    Success,
    Failure,
    Transient,
    Neutral,
}

impl Settings {
    const fn probes(&self) -> u32 {
        1 + self.probes as u32 % 5
    }

    const fn successes_to_close(&self) -> u32 {
        1 + self.successes as u32 % self.probes()
    }

    fn max_open_for(&self) -> Duration {
        self.open_for() * (1 + u32::from(self.growth))
    }

    const fn open_for(&self) -> Duration {
        Duration::from_millis(1 + self.open_for as u64)
    }

    const fn lease(&self) -> Duration {
        Duration::from_millis(1 + self.lease as u64)
    }

    fn build(&self) -> CircuitBreaker {
        let mut builder = CircuitBreaker::builder()
            .seed(self.seed)
            .consecutive_failures(1 + u16::from(self.failures % 8), Duration::from_millis(self.span.into()))
            .open_for(self.open_for())
            .max_open_for(self.max_open_for())
            .probes(self.probes())
            .successes_to_close(self.successes_to_close())
            .probe_lease(self.lease())
            .abandoned_after(Duration::from_millis(self.abandoned.into()))
            .minimum_calls(1);
        if let Some((of_time, size, rate)) = self.window {
            let of_time = of_time.then(|| Window::Time(Duration::from_millis(10 + u64::from(size))));
            let window = of_time.unwrap_or(Window::Calls(1 + u32::from(size)));
            builder = builder.window(window).failure_rate((1.0 + f64::from(rate)) / 256.0);
        }
        if let Some(longer_than) = self.slow {
            builder = builder.slow_calls(Duration::from_millis(longer_than.into()), 0.5);
        }
        builder.build().expect("every value is in its range")
    }
}

/// A service whose calls end when a step sets the outcome.
#[derive(Debug, Clone)]
struct Upstream;

type Ending = Rc<Cell<Option<ScriptedOutcome>>>;

impl Service<steadfast::Call<Ending>> for Upstream {
    type Response = ScriptedOutcome;
    type Error = Error<Infallible>;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: steadfast::Call<Ending>) -> Answer {
        Answer(call.into_inner())
    }
}

struct Answer(Ending);

impl Future for Answer {
    type Output = Result<ScriptedOutcome, Error<Infallible>>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.get().map_or(Poll::Pending, |outcome| Poll::Ready(Ok(outcome)))
    }
}

#[derive(Clone, Copy)]
struct ScriptedClassifier;

impl<Req> Classify<Req, ScriptedOutcome, Infallible> for ScriptedClassifier {
    type Judge = Self;

    fn judge(&self, _request: &Req) -> Self {
        *self
    }
}

impl Judge<ScriptedOutcome, Infallible> for ScriptedClassifier {
    fn classify(&self, result: Result<&ScriptedOutcome, &Error<Infallible>>) -> Outcome {
        match result {
            Ok(ScriptedOutcome::Success) => Outcome::Success,
            Ok(ScriptedOutcome::Failure) => Outcome::Failure,
            Ok(ScriptedOutcome::Neutral) => Outcome::Neutral,
            Ok(ScriptedOutcome::Transient) | Err(_) => Outcome::transient(),
        }
    }
}

type Guarded = CircuitBreakerService<Upstream, ScriptedClassifier, NonHttp>;
type Call = Pin<Box<<Guarded as Service<steadfast::Call<Ending>>>::Future>>;

/// Starts a call and polls it once. Returns `None` if the call has ended by then.
fn begin(
    service: &mut Guarded,
    outcome: Option<ScriptedOutcome>,
) -> Result<Option<(Call, Ending)>, Error<Infallible>> {
    let ending = Rc::new(Cell::new(outcome));
    let mut call = Box::pin(service.call(steadfast::Call::new(Rc::clone(&ending))));
    match poll(&mut call) {
        Poll::Ready(result) => result.map(|_| None),
        Poll::Pending => Ok(Some((call, ending))),
    }
}

fn poll(call: &mut Call) -> Poll<Result<ScriptedOutcome, Error<Infallible>>> {
    call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

async fn walk(settings: &Settings, steps: Vec<Step>) {
    let circuit = settings.build();
    let mut service =
        CircuitBreakerLayer::new(circuit.clone()).classifier(ScriptedClassifier).non_http().layer(Upstream);
    let mut calls: Vec<(Call, Ending)> = Vec::new();
    for step in steps {
        match step {
            Step::Call => {
                let before = circuit.snapshot();
                match begin(&mut service, None) {
                    Ok(call) => {
                        assert_ne!(before.state, State::ForcedOpen);
                        calls.extend(call);
                    }
                    Err(error) => {
                        assert!(error.is_circuit_open());
                        assert!(!matches!(before.state, State::Closed | State::ForcedClosed));
                        assert_eq!(circuit.snapshot().refused, before.refused + 1);
                        let longest = settings.max_open_for().max(settings.lease());
                        assert!(error.retry_after().is_none_or(|wait| wait <= longest));
                    }
                }
            }
            Step::End(which, outcome) if !calls.is_empty() => {
                let (mut call, ending) = calls.swap_remove(usize::from(which) % calls.len());
                ending.set(Some(outcome));
                assert!(poll(&mut call).is_ready());
            }
            Step::Drop(which) if !calls.is_empty() => {
                drop(calls.swap_remove(usize::from(which) % calls.len()));
            }
            Step::End(..) | Step::Drop(_) => {}
            Step::Pass(millis) => tokio::time::advance(Duration::from_millis(millis.into())).await,
            Step::ForceOpen => circuit.force_open(),
            Step::ForceClosed => circuit.force_closed(),
            Step::Reset => circuit.reset(),
        }
        let snapshot = circuit.snapshot();
        assert!(snapshot.probes_in_flight <= settings.probes() as usize);
        assert!(snapshot.probes_in_flight <= calls.len());
        assert!((0.0..=1.0).contains(&snapshot.failure_rate) && (0.0..=1.0).contains(&snapshot.slow_rate));
        assert!(snapshot.retry_after.is_none_or(|wait| wait <= settings.max_open_for()));
    }
    if matches!(circuit.state(), State::ForcedOpen | State::ForcedClosed) {
        circuit.reset();
    }

    // The upstream is healthy again. Probes still in flight fail when their leases expire. The circuit notices an
    // expired lease at the next call and may refuse the call. From then on, each wait admits a probe, and one round
    // of successes closes the circuit.
    let mut refusals = 0;
    for _ in 0..=1 + settings.successes_to_close() {
        if circuit.state() == State::Closed {
            return;
        }
        tokio::time::advance(settings.max_open_for().max(settings.lease())).await;
        refusals += u32::from(begin(&mut service, Some(ScriptedOutcome::Success)).is_err());
        assert!(refusals <= 1, "the circuit refuses probes after its waits: {:?}", circuit.snapshot());
    }
    panic!("the circuit stays open although every probe succeeds: {:?}", circuit.snapshot());
}

fuzz_target!(|input: (Settings, Vec<Step>)| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(walk(&input.0, input.1));
});

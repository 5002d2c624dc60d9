//! Whatever calls do, and whenever they do it, a circuit keeps its bounds, and closes again once its upstream is well.

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
    /// Makes a call, which goes on until a later step ends it.
    Call,
    /// Ends one of the calls under way by its number.
    End(u8, How),
    /// Its caller drops it.
    Drop(u8),
    /// Lets so many milliseconds pass.
    Pass(u16),
    ForceOpen,
    ForceClosed,
    Reset,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum How {
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

/// A service whose calls end when they are told to.
#[derive(Debug, Clone)]
struct Upstream;

type Ending = Rc<Cell<Option<How>>>;

impl Service<Ending> for Upstream {
    type Response = How;
    type Error = Error<Infallible>;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ending: Ending) -> Answer {
        Answer(ending)
    }
}

struct Answer(Ending);

impl Future for Answer {
    type Output = Result<How, Error<Infallible>>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.get().map_or(Poll::Pending, |how| Poll::Ready(Ok(how)))
    }
}

#[derive(Clone, Copy)]
struct AsTold;

impl<Req> Classify<Req, How, Infallible> for AsTold {
    type Judge = Self;

    fn judge(&self, _request: &Req) -> Self {
        *self
    }
}

impl Judge<How, Infallible> for AsTold {
    fn classify(&self, result: Result<&How, &Error<Infallible>>) -> Outcome {
        match result {
            Ok(How::Success) => Outcome::Success,
            Ok(How::Failure) => Outcome::Failure,
            Ok(How::Neutral) => Outcome::Neutral,
            Ok(How::Transient) | Err(_) => Outcome::transient(),
        }
    }
}

type Guarded = CircuitBreakerService<Upstream, AsTold, NonHttp>;
type Call = Pin<Box<<Guarded as Service<Ending>>::Future>>;

/// A call, polled once; `None` if it was over by then.
fn begin(service: &mut Guarded, how: Option<How>) -> Result<Option<(Call, Ending)>, Error<Infallible>> {
    let ending = Rc::new(Cell::new(how));
    let mut call = Box::pin(service.call(Rc::clone(&ending)));
    match poll(&mut call) {
        Poll::Ready(result) => result.map(|_| None),
        Poll::Pending => Ok(Some((call, ending))),
    }
}

fn poll(call: &mut Call) -> Poll<Result<How, Error<Infallible>>> {
    call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

async fn walk(settings: &Settings, steps: Vec<Step>) {
    let circuit = settings.build();
    let mut service = CircuitBreakerLayer::new(circuit.clone()).classifier(AsTold).non_http().layer(Upstream);
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
            Step::End(which, how) if !calls.is_empty() => {
                let (mut call, ending) = calls.swap_remove(usize::from(which) % calls.len());
                ending.set(Some(how));
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

    // The upstream is well again. Probes that hang since before have failed when their leases are over, which the next
    // call finds out, and may be refused for; from then on every wait lets one through, and a round is enough.
    let mut refusals = 0;
    for _ in 0..=1 + settings.successes_to_close() {
        if circuit.state() == State::Closed {
            return;
        }
        tokio::time::advance(settings.max_open_for().max(settings.lease())).await;
        refusals += u32::from(begin(&mut service, Some(How::Success)).is_err());
        assert!(refusals <= 1, "it refuses a probe after every wait: {:?}", circuit.snapshot());
    }
    panic!("it stays open although every probe succeeds: {:?}", circuit.snapshot());
}

fuzz_target!(|input: (Settings, Vec<Step>)| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(walk(&input.0, input.1));
});

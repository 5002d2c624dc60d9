//! The handle of a circuit breaker, and the state behind it, which all calls to one upstream share.
//!
//! # Implementation
//!
//! The [`Gate`] is one word with the phase and the generation; each change of phase begins a new generation. While
//! the circuit is closed, a call reads the gate twice: when the call enters and when it ends. If the generation has
//! changed in between, the result of the call is ignored. Under the default rules, a healthy call reads one further
//! word, the run of consecutive failures. A call that has waited also updates the usual time of a good answer.
//!
//! In the other phases, most calls lock a mutex and ask the pure [`Machine`]. Two kinds of call take no lock: a call
//! that finds the circuit forced closed, and a call that comes during the open time. For these calls, the gate and
//! `open_until` suffice.
//!
//! Watchers and log subscribers run after the mutex is released, so they may use the circuit breaker.
//!
//! # Memory ordering
//!
//! The gate is stored with Release, as the last step of a change, and loaded with Acquire. A thread that sees the new
//! phase therefore also sees the relaxed writes of the change: the end of the open time, the cleared window, and the
//! new run of failures.
//!
//! Accesses to all other words are relaxed as well, because no other memory depends on them. No count is lost:
//! `refused` changes only by read-modify-writes, and `trips` only under the mutex. The copies of settings are
//! independent single words.
//!
//! `recording.rs` says how results change the run of failures, the rates and the probes.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::thread::LocalKey;
use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::answer_time::{AnswerTime, nanos};
use super::config::{BreakerSettings, CircuitBreakerBuilder};
use super::gate::{Gate, Refusal, Ticket};
use super::machine::{Decision, Machine, Phase, ProbeId, ProbeResult};
use super::run::ConsecutiveFailures;
use super::state::{Snapshot, State};
use super::window::{Counts, RateWindow};
use crate::internal::arc_pool::{Pooled, PooledArc, Spares};
use crate::internal::log_events;
use crate::internal::rng::SharedRng;
use crate::internal::shared_settings::SharedSettings;
use crate::internal::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::internal::sync::{Mutex, MutexGuard, watch};
use crate::{ConfigError, ErrorInfo, ErrorKind, Outcome};

/// The shared state of a circuit breaker.
///
/// A clone is another handle to the same circuit. Make one circuit breaker for each upstream, keep a handle to
/// inspect it, and hand clones to the layers.
///
/// While the circuit is closed, a healthy call allocates nothing, and takes a lock only when a time window moves on.
/// With the default rules, the call clones a handle and reads two words. A call that has waited for the upstream also
/// reads the clock and updates one word. A refusal by an open circuit takes no lock.
///
/// By default, the circuit opens on 20 failures in a row that span 5 s. It stays open for up to 1 s, and after failed
/// rounds of probes for up to 4 s. It then lets 3 probes through, and closes if one of them succeeds.
///
/// ```
/// use steadfast::circuit_breaker::{CircuitBreaker, State};
///
/// let circuit = CircuitBreaker::builder().name("sku").build()?;
/// assert_eq!(circuit.state(), State::Closed);
///
/// circuit.force_open();       // A planned outage begins,
/// assert_eq!(circuit.state(), State::ForcedOpen);
/// circuit.reset();            // and ends.
/// assert_eq!(circuit.state(), State::Closed);
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[doc(alias = "breaker")]
#[doc(alias = "circuit")]
#[derive(Clone)]
pub struct CircuitBreaker(pub(super) PooledArc<BreakerInner>);

pub(super) struct BreakerInner {
    name: Option<Arc<str>>,
    pub(super) settings: SharedSettings<BreakerSettings>,
    /// The time above which a call is slow, in nanoseconds. Like `is_shadow`, this is a copy of a setting, so that
    /// healthy calls need not read `settings`.
    pub(super) slow_after: AtomicU64,
    is_shadow: AtomicBool,
    /// The instant from which the times in the run, the window and `open_until` are counted.
    epoch: Instant,
    /// The [`Gate`] of the machine. Written only under the machine's lock.
    gate: AtomicU64,
    /// The end of the open time, in nanoseconds since the epoch. Stored before the gate, whose Release and Acquire
    /// also order this word.
    open_until: AtomicU64,
    pub(super) consecutive: ConsecutiveFailures,
    pub(super) answer_time: AnswerTime,
    /// The number of good answers whose bodies are being read.
    pub(super) streaming: AtomicU32,
    /// `None` if no rate is configured.
    pub(super) window: Option<RateWindow>,
    refused: AtomicU64,
    /// Written only under the machine's lock.
    trips: AtomicU64,
    machine: Mutex<Machine>,
    rng: SharedRng,
    watch: watch::Sender<State>,
}

impl CircuitBreaker {
    /// Returns a builder with the default settings: the circuit opens on 20 consecutive failures that span 5 s.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::new()
    }

    pub(super) fn new(settings: BreakerSettings, name: Option<Arc<str>>, seed: Option<u64>) -> Self {
        let machine = Machine::new();
        let slow_after = settings.slow_calls.map_or(u64::MAX, |rule| nanos(rule.longer_than));
        let rates = settings.failure_rate.is_some() || settings.slow_calls.is_some();
        Self(PooledArc::new(BreakerInner {
            window: rates.then(|| RateWindow::new(settings.window)),
            slow_after: AtomicU64::new(slow_after),
            is_shadow: AtomicBool::new(settings.shadow),
            settings: SharedSettings::new(settings),
            name,
            epoch: Instant::now(),
            gate: AtomicU64::new(Gate::new(&machine).0),
            open_until: AtomicU64::new(0),
            consecutive: ConsecutiveFailures::default(),
            answer_time: AnswerTime::default(),
            streaming: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            trips: AtomicU64::new(0),
            machine: Mutex::new(machine),
            rng: SharedRng::new(seed),
            watch: watch::Sender::new(State::Closed),
        }))
    }

    /// Makes another circuit breaker with the same settings for the upstream `name`. The new circuit is closed, and
    /// its counts are empty.
    pub fn fresh(&self, name: impl Into<Arc<str>>) -> Self {
        let seed = self.0.rng.with(RngExt::random);
        Self::new(self.0.settings.read(BreakerSettings::clone), Some(name.into()), Some(seed))
    }

    /// Returns the upstream's name.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    pub(super) fn shared_name(&self) -> Option<&Arc<str>> {
        self.0.name.as_ref()
    }

    /// Returns the state of the circuit.
    pub fn state(&self) -> State {
        self.gate().state()
    }

    /// True if the circuit is open or forced open.
    pub fn is_open(&self) -> bool {
        matches!(self.state(), State::Open | State::ForcedOpen)
    }

    /// Returns the state of the circuit, and the counts behind it.
    pub fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let gate = self.gate();
        let counts = self.0.window.as_ref().map_or(Counts::default(), |it| it.counts(self.since_epoch(now)));
        let probes_in_flight = match self.machine().phase() {
            Phase::HalfOpen(round) => round.in_flight(),
            _ => 0,
        };
        Snapshot {
            state: gate.state(),
            consecutive_failures: self.0.consecutive.count(gate.generation()),
            window_calls: counts.calls,
            failure_rate: counts.failure_rate(),
            slow_rate: counts.slow_rate(),
            retry_after: (gate.state() == State::Open).then(|| self.open_for(now)),
            probes_in_flight,
            refused: self.0.refused.load(Ordering::Relaxed),
            trips: self.0.trips.load(Ordering::Relaxed),
        }
    }

    /// Returns a receiver that follows the state. A slow receiver sees the latest state, not every state.
    ///
    /// The channel closes when the last reference to the circuit breaker is dropped. This can be long after the last
    /// handle is dropped: each thread, even an idle one, keeps a few references for reuse.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use steadfast::circuit_breaker::{CircuitBreaker, State};
    ///
    /// let circuit = CircuitBreaker::builder().build().unwrap();
    /// let mut states = circuit.watch();
    /// circuit.force_open();
    /// states.changed().await.unwrap();
    /// assert_eq!(*states.borrow(), State::ForcedOpen);
    /// # });
    /// ```
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.watch.subscribe()
    }

    /// Refuses every call until the circuit is [reset](Self::reset) or [forced closed](Self::force_closed).
    pub fn force_open(&self) {
        self.transition(|machine| machine.force(Phase::ForcedOpen));
    }

    /// Lets every call through and counts no outcome, until the circuit is [reset](Self::reset) or
    /// [forced open](Self::force_open).
    pub fn force_closed(&self) {
        self.transition(|machine| machine.force(Phase::ForcedClosed));
    }

    /// Closes the circuit and clears its counts.
    pub fn reset(&self) {
        self.transition(|machine| machine.force(Phase::Closed));
    }

    /// Admits a call, or refuses it with the time to wait. The time is `None` if it is not known. A probe may take
    /// until the call's `deadline`, which only a circuit that is not closed asks for.
    #[inline]
    pub(super) fn enter(
        &self,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> Result<Ticket, Option<Duration>> {
        let gate = self.gate();
        match gate.state() {
            State::Closed => Ok(Ticket::Counted(gate.generation())),
            State::ForcedClosed => Ok(Ticket::Unjudged),
            _ => self.enter_guarded(gate, deadline()),
        }
    }

    /// Returns the refusal that a call would get now.
    #[inline]
    pub(super) fn refuses(&self) -> Option<Refusal> {
        match self.gate().state() {
            State::Closed | State::ForcedClosed => None,
            state => self.refuses_guarded(state),
        }
    }

    #[cold]
    fn refuses_guarded(&self, state: State) -> Option<Refusal> {
        if self.is_shadow() {
            return None;
        }
        let now = Instant::now();
        let wait = match state {
            State::ForcedOpen => return Some(Refusal { retry_after: None }),
            State::Open => Some(self.open_for(now)).filter(|wait| !wait.is_zero()),
            _ => self.0.settings.read(|settings| self.machine().is_full_for(settings, now)),
        };
        wait.map(|wait| Refusal { retry_after: Some(wait) })
    }

    /// Counts a refused call, and returns its error.
    pub(super) fn refuse(&self, refusal: Refusal) -> ErrorInfo {
        self.count_refused();
        self.refusal(refusal.retry_after)
    }

    pub(super) fn count_refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failure of the service below to become ready.
    #[cold]
    pub(super) fn failed_to_become_ready(&self) {
        if let Ok(ticket) = self.enter(|| None) {
            self.ended(ticket, Outcome::transient(), false);
        }
    }

    /// Returns the error of a refused call.
    pub(super) fn refusal(&self, retry_after: Option<Duration>) -> ErrorInfo {
        ErrorInfo::refusal(ErrorKind::CircuitOpen { retry_after }, self.shared_name())
    }

    /// Admits or refuses a call to a circuit that is not closed. During the open time, the call is refused at once.
    /// Otherwise, the machine decides.
    #[cold]
    fn enter_guarded(&self, gate: Gate, deadline: Option<Instant>) -> Result<Ticket, Option<Duration>> {
        let now = Instant::now();
        let wait = if gate.state() == State::Open { self.open_for(now) } else { Duration::ZERO };
        let entry = if wait > Duration::ZERO {
            Decision::Refused(Some(wait))
        } else {
            let jitter = self.jitter();
            self.0
                .settings
                .read(|settings| self.transition(|machine| machine.enter(settings, now, deadline, jitter)))
        };
        match entry {
            Decision::Admitted => Ok(self.ticket()),
            Decision::Probe(id) => Ok(Ticket::Probe(id)),
            Decision::Refused(wait) => {
                self.count_refused();
                if self.is_shadow() { Ok(Ticket::Unjudged) } else { Err(wait) }
            }
        }
    }

    /// Returns the ticket of a normal call that the machine has admitted. The outcome of the call counts only if the
    /// circuit is closed now.
    fn ticket(&self) -> Ticket {
        let gate = self.gate();
        if gate.state() == State::Closed { Ticket::Counted(gate.generation()) } else { Ticket::Unjudged }
    }

    /// Records that a good answer to a probe has begun.
    #[cold]
    pub(super) fn probe_answered(&self, id: ProbeId) {
        let (now, jitter) = (Instant::now(), self.jitter());
        self.0.settings.read(|settings| {
            self.transition(|machine| machine.probe_answered(settings, id, now, jitter));
        });
    }

    pub(super) fn probe_ended(&self, id: ProbeId, result: ProbeResult, now: Instant) {
        let jitter = self.jitter();
        self.0.settings.read(|settings| {
            self.transition(|machine| machine.probe_ended(settings, id, result, now, jitter));
        });
    }

    /// Changes the machine and publishes the change, all under the machine's lock. Reports the change after the lock
    /// is released.
    pub(super) fn transition<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.machine();
        let before = Gate::new(&machine);
        let result = change(&mut machine);
        let after = Gate::new(&machine);
        if before == after {
            return result;
        }
        match machine.phase() {
            Phase::Closed => {
                self.0.consecutive.begin(after.generation());
                self.0.window.iter().for_each(RateWindow::clear);
            }
            Phase::Open(until) => {
                let until = until.map_or(u64::MAX, |until| nanos(self.since_epoch(until)));
                self.0.open_until.store(until, Ordering::Relaxed);
                self.0.trips.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        self.0.gate.store(after.0, Ordering::Release);
        drop(machine);
        self.report(before.state(), after.state());
        result
    }

    pub(super) fn is_shadow(&self) -> bool {
        self.0.is_shadow.load(Ordering::Relaxed)
    }

    /// Reports a change to watchers and the log. The state for the watchers is read under the lock of their
    /// channel, so the last of several concurrent reports carries the latest state.
    fn report(&self, from: State, to: State) {
        self.0.watch.send_if_modified(|seen| {
            let state = self.state();
            std::mem::replace(seen, state) != state
        });
        let name = self.name().unwrap_or_default();
        if to == State::Open {
            log_events::circuit_opened(name, from.as_str(), to.as_str(), self.is_shadow());
        } else {
            log_events::circuit_changed(name, from.as_str(), to.as_str());
        }
    }

    /// Returns the rest of the open time; zero if the open time is over.
    pub(super) fn open_for(&self, now: Instant) -> Duration {
        let until = self.0.open_until.load(Ordering::Relaxed);
        Duration::from_nanos(until.saturating_sub(nanos(self.since_epoch(now))))
    }

    pub(super) fn gate(&self) -> Gate {
        Gate(self.0.gate.load(Ordering::Acquire))
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn jitter(&self) -> f64 {
        self.0.rng.with(RngExt::random)
    }

    pub(super) fn since_epoch(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.0.epoch)
    }
}

impl CircuitBreakerBuilder {
    /// Builds the circuit breaker. Its circuit is closed.
    ///
    /// # Errors
    ///
    /// A setting is out of its range, or two settings contradict each other.
    pub fn build(self) -> Result<CircuitBreaker, ConfigError> {
        self.settings.validate()?;
        Ok(CircuitBreaker::new(self.settings, self.name, self.seed))
    }
}

impl Pooled for BreakerInner {
    fn spares() -> &'static LocalKey<Spares<Self>> {
        thread_local! {
            static SPARES: Spares<BreakerInner> = const { Spares::new() };
        }
        &SPARES
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self::builder().build().expect("the default is valid")
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("name", &self.name())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, steadfast_loom))]
mod models;

//! The scenarios. Each breaks the replicas of a [`Stage`] in its own way, after a healthy phase.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::form::Form;
use super::replica::{Behaviour, Kill};
use super::stage::Stage;
use crate::BoxError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scenario {
    OneFails,
    TwoFail,
    ThreeDown,
    OneHangs,
    OneIsSlow,
    OneComesBack,
    RollingRestart,
    RollingKill,
    Scaled,
    AllDown,
    AllFail,
    KilledInFlight,
}

/// A span of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) from: Instant,
    pub(super) until: Instant,
}

/// The spans by which the figures of a scenario are taken.
#[derive(Debug)]
pub(super) struct Timeline {
    /// The healthy phase, without its beginning.
    pub(super) warm: Window,
    pub(super) fault: Fault,
}

#[derive(Debug)]
pub(super) struct Fault {
    /// Calls that start in this span count for freshness and attempts.
    pub(super) whole: Window,
    /// Calls and requests in this span count for percentiles and shares.
    pub(super) settled: Window,
    /// The replicas whose share of the requests is of interest: the bad ones, or the new ones.
    pub(super) watched: Vec<usize>,
    pub(super) kills: Vec<Kill>,
    /// The span in which no replica has a good answer.
    pub(super) outage: Option<Window>,
}

// ===== impl Window =====

impl Window {
    pub(super) fn contains(self, at: Instant) -> bool {
        self.from <= at && at < self.until
    }

    fn since(from: Instant) -> Self {
        Self { from, until: Instant::now() }
    }
}

// ===== impl Fault =====

impl Fault {
    /// All figures are of the whole span.
    fn over(whole: Window) -> Self {
        Self { whole, settled: whole, watched: Vec::new(), kills: Vec::new(), outage: None }
    }
}

// ===== impl Scenario =====

impl Scenario {
    pub(super) const ALL: [Self; 12] = [
        Self::OneFails,
        Self::TwoFail,
        Self::ThreeDown,
        Self::OneHangs,
        Self::OneIsSlow,
        Self::OneComesBack,
        Self::RollingRestart,
        Self::RollingKill,
        Self::Scaled,
        Self::AllDown,
        Self::AllFail,
        Self::KilledInFlight,
    ];

    /// True for the scenarios of the quick form.
    pub(super) const fn is_quick(self) -> bool {
        matches!(
            self,
            Self::OneFails | Self::OneHangs | Self::RollingRestart | Self::RollingKill | Self::KilledInFlight
        )
    }

    /// The number of replicas.
    pub(super) const fn replicas(self) -> usize {
        if matches!(self, Self::Scaled) { 6 } else { 4 }
    }

    /// The number of replicas that the name stands for at the beginning.
    pub(super) const fn named(self) -> usize {
        if matches!(self, Self::Scaled) { 2 } else { 4 }
    }

    /// The time until a healthy replica answers.
    pub(super) const fn delay(self) -> Duration {
        // At 200 calls a second, 60 are in flight.
        Duration::from_millis(if matches!(self, Self::KilledInFlight) { 300 } else { 5 })
    }

    pub(super) const fn has_posts(self) -> bool {
        matches!(self, Self::RollingRestart | Self::RollingKill)
    }

    pub(super) async fn play(self, stage: &mut Stage, form: &Form) -> Result<Timeline, BoxError> {
        let cold = Instant::now() + form.cold;
        sleep(form.warm_up).await;
        let warm = Window::since(cold);
        let busiest = stage.busiest_first(warm);
        let fault = match self {
            Self::OneFails => misbehave(stage, form, &busiest[..1], Behaviour::Fail).await,
            Self::TwoFail => misbehave(stage, form, &busiest[..2], Behaviour::Fail).await,
            Self::ThreeDown => kill(stage, form, &busiest[..3]).await,
            Self::OneHangs => misbehave(stage, form, &busiest[..1], Behaviour::Hang).await,
            Self::OneIsSlow => misbehave(stage, form, &busiest[..1], Behaviour::Slow).await,
            Self::OneComesBack => come_back(stage, form, busiest[0]).await?,
            Self::RollingRestart => restart(stage, form, false).await?,
            Self::RollingKill => restart(stage, form, true).await?,
            Self::Scaled => grow(stage, form).await,
            Self::AllDown => all_down(stage, form).await?,
            Self::AllFail => all_fail(stage, form).await,
            Self::KilledInFlight => kill(stage, form, &busiest[..1]).await,
        };
        Ok(Timeline { warm, fault })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneFails => "one of four answers 503",
            Self::TwoFail => "two of four answer 503",
            Self::ThreeDown => "three of four are killed",
            Self::OneHangs => "one hangs",
            Self::OneIsSlow => "one is ten times slower",
            Self::OneComesBack => "one comes back",
            Self::RollingRestart => "rolling restart, graceful",
            Self::RollingKill => "rolling restart by kill",
            Self::Scaled => "scaled from two to six",
            Self::AllDown => "all four down, then back",
            Self::AllFail => "all four answer 503, then recover",
            Self::KilledInFlight => "60 in flight, one killed",
        })
    }
}

// ===== the faults =====

/// Some replicas change their answers, until the last call has ended.
async fn misbehave(stage: &Stage, form: &Form, replicas: &[usize], behaviour: Behaviour) -> Fault {
    let from = Instant::now();
    stage.behave(replicas, behaviour);
    sleep(form.fault).await;
    noticed(from, form, replicas)
}

/// Some replicas are killed at the same time, and stay down.
async fn kill(stage: &mut Stage, form: &Form, replicas: &[usize]) -> Fault {
    let from = Instant::now();
    let kills = stage.kill(replicas).await;
    sleep(form.fault).await;
    Fault { kills, ..noticed(from, form, replicas) }
}

/// A fault of some replicas that ends now.
fn noticed(from: Instant, form: &Form, replicas: &[usize]) -> Fault {
    let whole = Window::since(from);
    let settled = Window { from: from + form.notice, ..whole };
    Fault { settled, watched: replicas.to_vec(), ..Fault::over(whole) }
}

/// One replica is killed, and started later.
async fn come_back(stage: &mut Stage, form: &Form, number: usize) -> Result<Fault, BoxError> {
    let kill = stage.replica(number).kill().await;
    sleep(form.absence).await;
    stage.replica(number).start()?;
    let settled = later(form.regain).await;
    let whole = Window::since(kill.from);
    Ok(Fault { settled, watched: vec![number], kills: vec![kill], ..Fault::over(whole) })
}

/// Each replica is stopped and started, one after the other.
async fn restart(stage: &mut Stage, form: &Form, kill: bool) -> Result<Fault, BoxError> {
    let from = Instant::now();
    let mut kills = Vec::new();
    for number in std::iter::repeat_n(0..stage.len(), form.rounds).flatten() {
        let replica = stage.replica(number);
        if kill {
            kills.push(replica.kill().await);
        } else {
            replica.stop_gracefully().await;
        }
        sleep(form.down).await;
        replica.start()?;
        sleep(form.pause).await;
    }
    Ok(Fault { kills, ..Fault::over(Window::since(from)) })
}

/// The name stands for all replicas.
async fn grow(stage: &Stage, form: &Form) -> Fault {
    let from = Instant::now();
    stage.name_first(stage.len());
    let settled = later(form.grown).await;
    let new = (Scenario::Scaled.named()..stage.len()).collect();
    Fault { settled, watched: new, ..Fault::over(Window::since(from)) }
}

/// All replicas are killed, and started later. The whole fault begins with the start.
async fn all_down(stage: &mut Stage, form: &Form) -> Result<Fault, BoxError> {
    let begun = Instant::now();
    let kills = stage.kill(&stage.all()).await;
    sleep(form.outage).await;
    let outage = Window::since(begun);
    stage.start_all()?;
    Ok(Fault { kills, ..recover(form, outage).await })
}

/// All replicas answer 503, and recover later. The whole fault begins with the recovery.
async fn all_fail(stage: &Stage, form: &Form) -> Fault {
    let all = stage.all();
    let begun = Instant::now();
    stage.behave(&all, Behaviour::Fail);
    sleep(form.outage).await;
    let outage = Window::since(begun);
    stage.behave(&all, Behaviour::Healthy);
    recover(form, outage).await
}

async fn recover(form: &Form, outage: Window) -> Fault {
    sleep(form.recovery).await;
    Fault { outage: Some(outage), ..Fault::over(Window::since(outage.until)) }
}

/// Waits until the end of a span that begins later.
async fn later((wait, length): (Duration, Duration)) -> Window {
    let from = Instant::now() + wait;
    let until = from + length;
    sleep_until(until).await;
    Window { from, until }
}

//! The play of a scenario: a healthy phase, and then a fault that breaks the replicas of a [`Stage`] in its own way.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::form::Form;
use super::replica::Behaviour;
use super::scenario::{Behind, Case, Scenario};
use super::stage::Stage;
use super::timeline::{Fault, Timeline, Window};
use crate::BoxError;

pub(super) async fn play(case: Case, stage: &mut Stage, form: &Form) -> Result<Timeline, BoxError> {
    let cold = Instant::now() + form.cold;
    sleep(form.warm_up).await;
    let warm = Window::since(cold);
    let busiest = stage.busiest_first(warm);
    if matches!(case.scenario, Scenario::OnlyOneFails | Scenario::OnlyOneHangs) {
        stage.name_first(stage.len());
    }
    let fault = match case.scenario {
        Scenario::Healthy => misbehave(stage, form, &[], Behaviour::Healthy).await,
        Scenario::OneFails | Scenario::OnlyOneFails => {
            misbehave(stage, form, &busiest[..1], Behaviour::Fail).await
        }
        Scenario::OneHalfFails => misbehave(stage, form, &busiest[..1], Behaviour::HalfFail).await,
        Scenario::TwoFail => misbehave(stage, form, &busiest[..2], Behaviour::Fail).await,
        Scenario::ThreeDown => kill(stage, form, &busiest[..3]).await,
        Scenario::OneHangs | Scenario::OnlyOneHangs => {
            misbehave(stage, form, &busiest[..1], Behaviour::Hang).await
        }
        Scenario::OneIsSlow => misbehave(stage, form, &busiest[..1], Behaviour::Slow).await,
        Scenario::OneComesBack => come_back(stage, form, busiest[0]).await?,
        Scenario::ConnectionDies => connection_dies(stage, form).await,
        Scenario::RollingRestart => restart(stage, form, false).await?,
        Scenario::RollingKill => restart(stage, form, true).await?,
        Scenario::Scaled => grow(stage, case.behind, form).await,
        Scenario::AllDown => all_down(stage, form).await?,
        Scenario::AllFail => all_fail(stage, form).await,
        Scenario::KilledInFlight => kill(stage, form, &busiest[..1]).await,
    };
    Ok(Timeline { warm, fault })
}

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

/// A connection dies silently: the balancer forwards nothing over it any more. The whole fault begins with its death.
async fn connection_dies(stage: &Stage, form: &Form) -> Fault {
    let from = Instant::now();
    stage.freeze_busiest();
    sleep(form.fault).await;
    noticed(from, form, &[])
}

/// The name, or the balancer, stands for all replicas.
async fn grow(stage: &Stage, behind: Behind, form: &Form) -> Fault {
    let from = Instant::now();
    stage.name_first(stage.len());
    let settled = later(match behind {
        Behind::Name => form.grown,
        Behind::Balancer => form.renewed,
    })
    .await;
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

//! The conditions that steadfast must meet.

use std::time::Duration;

use super::figures::Figures;
use super::form::Form;
use super::scenario::{Behind, Case, Scenario};
use crate::parity::bench::Over;

/// A condition, with the measured value.
#[derive(Debug)]
pub(super) struct Must {
    pub(super) text: String,
    pub(super) is_held: bool,
}

/// Checks the conditions of the case. `bare` are the figures of bare reqwest, if it was played.
pub(super) fn check(
    case: Case,
    over: Over,
    figures: &Figures,
    bare: Option<&Figures>,
    form: &Form,
) -> Vec<Must> {
    let scenario = case.scenario;
    let most_attempts = match case.behind {
        Behind::Name => 1.02,
        Behind::Balancer => form.attempts,
    };
    let attempts = |figures| attempts(figures, most_attempts);
    match scenario {
        Scenario::Healthy => [no_failed_get(figures)].into_iter().chain(most_open(figures)).collect(),
        Scenario::OneFails | Scenario::OnlyOneFails | Scenario::OneHalfFails | Scenario::TwoFail => {
            vec![fresh(figures), attempts(figures)]
        }
        Scenario::ThreeDown => vec![fresh(figures), attempts(figures), no_failed_get(figures)],
        Scenario::OneHangs | Scenario::OnlyOneHangs => {
            vec![fresh(figures), attempts(figures), tail(figures, 99, 1.2, form.slack)]
        }
        Scenario::OneIsSlow => {
            let first = match case.behind {
                Behind::Name => share_at_most(scenario, figures, 0.25),
                Behind::Balancer => no_failed_get(figures),
            };
            vec![first, tail(figures, 95, 1.3, form.slack)]
        }
        Scenario::OneComesBack => vec![share_at_least(scenario, figures, 0.8), no_failed_get(figures)],
        Scenario::ConnectionDies => vec![no_failed_get(figures), retried(figures, form.slack)],
        Scenario::RollingRestart => {
            vec![no_failed_get(figures), failed_posts(figures, over), no_double(figures)]
        }
        Scenario::RollingKill => vec![no_failed_get(figures), lost_posts(figures), no_double(figures)],
        Scenario::Scaled => {
            let least = match case.behind {
                Behind::Name => 0.9,
                Behind::Balancer => 0.5,
            };
            vec![share_at_least(scenario, figures, least)]
        }
        Scenario::AllDown => {
            [recovery(figures), loads(figures)].into_iter().chain(opened(figures, bare)).collect()
        }
        Scenario::AllFail => vec![outage_load(figures, form.outage_load), recovery(figures), loads(figures)],
        Scenario::KilledInFlight => vec![no_failed_get(figures)],
    }
}

impl Must {
    fn new(is_held: bool, text: String) -> Self {
        Self { text, is_held }
    }
}

fn fresh(figures: &Figures) -> Must {
    let fresh = figures.fresh();
    Must::new(fresh >= 0.999, format!("fresh ≥ 99.9 %: {:.2}", fresh * 100.0))
}

fn attempts(figures: &Figures, most: f64) -> Must {
    let attempts = figures.attempts();
    Must::new(attempts <= most, format!("attempts ≤ {most}: {attempts:.3}"))
}

/// A percentile may exceed its healthy value by a ratio, or by the slack of the form.
fn tail(figures: &Figures, percent: u32, most: f64, slack: Duration) -> Must {
    let quantile = f64::from(percent) / 100.0;
    let healthy = figures.percentile(figures.timeline.warm, quantile);
    let now = figures.percentile(figures.timeline.fault.settled, quantile);
    let limit = healthy.mul_f64(most).max(healthy + slack);
    let [healthy, now] = [healthy, now].map(|time| time.as_secs_f64() * 1000.0);
    let or_more = if slack.is_zero() { String::new() } else { format!(", or {} ms more", slack.as_millis()) };
    let text = format!("p{percent} ≤ {most} × healthy{or_more}: {now:.1} ms of {healthy:.1} ms");
    Must::new(now <= limit.as_secs_f64() * 1000.0, text)
}

fn share_at_most(scenario: Scenario, figures: &Figures, most: f64) -> Must {
    let share = figures.share(scenario.replicas());
    Must::new(share <= most, format!("share ≤ {most} × fair: {share:.2}"))
}

fn share_at_least(scenario: Scenario, figures: &Figures, least: f64) -> Must {
    let share = figures.share(scenario.replicas());
    Must::new(share >= least, format!("share ≥ {least} × fair: {share:.2}"))
}

fn no_failed_get(figures: &Figures) -> Must {
    let failed = figures.failed().gets;
    Must::new(failed == 0, format!("no failed GET: {failed}"))
}

/// An HTTP/1 server may close a connection while a POST is on its way. No client can resend such a POST.
fn failed_posts(figures: &Figures, over: Over) -> Must {
    let most = match over {
        Over::Http1 => (figures.posts() / 1000).max(1),
        Over::Http2 => 0,
    };
    let failed = figures.failed().posts;
    Must::new(failed <= most, format!("failed POSTs ≤ {most} of {}: {failed}", figures.posts()))
}

/// A POST may fail only if it is in flight on a replica when that replica is killed.
fn lost_posts(figures: &Figures) -> Must {
    let lost = figures.lost_to_kills();
    let failed = figures.failures().filter(|call| call.is_post);
    let (excused, other): (Vec<_>, Vec<_>) = failed.partition(|call| lost.contains(&call.id));
    let text = format!(
        "only POSTs in flight at the kill fail: {} of {} in flight, {} others",
        excused.len(),
        lost.len(),
        other.len()
    );
    Must::new(other.is_empty(), text)
}

fn no_double(figures: &Figures) -> Must {
    let doubled = figures.doubled();
    Must::new(doubled == 0, format!("no POST twice: {doubled}"))
}

fn outage_load(figures: &Figures, most: f64) -> Must {
    let load = figures.outage_load();
    Must::new(load <= most, format!("load during the outage ≤ {most}: {load:.2}"))
}

/// The laboratory's target for the return after an outage.
fn recovery(figures: &Figures) -> Must {
    let recovery = figures.recovery();
    let text = recovery.map_or_else(|| "never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
    Must::new(recovery.is_some_and(|time| time <= Duration::from_secs(5)), format!("back within 5 s: {text}"))
}

fn loads(figures: &Figures) -> Must {
    let loads = figures.loads();
    let first = loads.first().copied().unwrap_or_default();
    let most = loads.into_iter().fold(0.0, f64::max);
    let text = format!("load after the return ≤ 1.5 × offered: first second {first:.2}, most {most:.2}");
    Must::new(most <= 1.5, text)
}

/// Only calls that start soon after the death of a connection, or are in flight at that time, need a second attempt.
fn retried(figures: &Figures, slack: Duration) -> Must {
    let death = figures.timeline.fault.whole.from;
    let usual = figures.percentile(figures.timeline.warm, 0.5);
    // The client's own average of the usual time may differ by a tenth.
    let limit = Duration::from_millis(50).max(usual * 5).mul_f64(1.1) + slack;
    let (soon, late): (Vec<_>, Vec<_>) = figures.retried().partition(|&start| start <= death + limit);
    let last = late
        .iter()
        .max()
        .map_or_else(String::new, |&last| format!(", the last after {:.2} s", (last - death).as_secs_f64()));
    let text = format!(
        "no second attempt later than {} ms after the death: {}, and {} earlier{last}",
        limit.as_millis(),
        late.len(),
        soon.len()
    );
    Must::new(late.is_empty(), text)
}

/// The connections open at a time, behind a balancer.
fn most_open(figures: &Figures) -> Option<Must> {
    let most_open = figures.connections?.most_open;
    let in_flight = figures.most_in_flight();
    let text = format!("connections open ≤ calls in flight + 2: {most_open} of {in_flight} + 2");
    Some(Must::new(most_open <= in_flight + 2, text))
}

/// The connections opened, behind a balancer.
fn opened(figures: &Figures, bare: Option<&Figures>) -> Option<Must> {
    let (opened, bare) = (figures.connections?.opened, bare?.connections?.opened);
    Some(Must::new(opened <= 2 * bare, format!("connections opened ≤ 2 × bare: {opened} of {bare}")))
}

use super::*;
use crate::upstream::Received;

const SECOND: Duration = Duration::from_secs(1);

fn call(group: &'static str, at: u32, took: u32, answer: Answer) -> Call {
    let kind = Kind::Get { known: true };
    Call { at: at * SECOND, took: took * SECOND, answer, upstream: 0, group, kind }
}

fn figures(calls: Vec<Call>, openings: Vec<Duration>) -> Figures {
    let record = Record { calls, openings, ..Record::default() };
    record.figures(&(10 * SECOND..20 * SECOND), &(20 * SECOND..30 * SECOND))
}

#[test]
fn each_group_has_figures_of_its_own() {
    let calls = vec![
        call("one", 9, 1, Answer::Failed),
        call("one", 10, 1, Answer::Fresh),
        call("one", 11, 3, Answer::Failed),
        call("other", 19, 5, Answer::Fresh),
    ];
    let figures = figures(calls, vec![]);
    let (one, other) = (figures.group("one"), figures.group("other"));
    assert_eq!((one.calls, one.fresh, other.calls, other.fresh), (2.0, 0.5, 1.0, 1.0));
    assert_eq!((one.p99_ms, one.fresh_p99_ms, one.done_s, other.done_s), (3e3, 1e3, 4.0, 14.0));
    assert!(figures.group("none").fresh.is_nan());
}

#[test]
fn only_a_wait_without_an_attempt_counts_until_a_queued_caller_is_told() {
    let told_ms = |answers: &[(u32, Answer)]| {
        let calls = answers.iter().map(|(took, answer)| call("", 10, *took, *answer)).collect();
        figures(calls, vec![]).told_p50_ms
    };
    let told = told_ms(&[(0, Answer::Unsent), (2, Answer::Unsent), (9, Answer::Failed)]);
    assert!((told - 2e3).abs() < 1e-6, "{told}");
    assert!(told_ms(&[(0, Answer::Unsent), (9, Answer::Failed)]).is_nan());
}

#[test]
fn the_share_of_new_replicas_is_a_multiple_of_the_fair_share() {
    let at = |is_new, attempts| {
        // 25 s from the start, in *after*.
        let attempts = [vec![9; 1000], vec![0; 1500], vec![attempts]].concat();
        AtReplica { is_new, attempts }
    };
    let received =
        Received { replicas: vec![at(false, 30), at(false, 30), at(true, 30)], ..Received::default() };
    let record = Record { received, ..Record::default() };
    let share = record.figures(&(10 * SECOND..20 * SECOND), &(20 * SECOND..30 * SECOND)).new_share;
    assert!((share - 1.0).abs() < 1e-6, "{share}");
}

#[test]
fn the_first_opening_counts_from_the_start_of_during() {
    let opens = figures(vec![], vec![8 * SECOND, 13 * SECOND, 15 * SECOND]).opens_s;
    assert!((opens - 3.0).abs() < 1e-6, "{opens}");
    assert!(figures(vec![], vec![8 * SECOND]).opens_s.is_infinite());
}

//! Models of the run of failures. Loom runs the two threads of a model in every order that it finds, and the model
//! checks a property.

use super::*;
use crate::internal::sync::race;

const SECOND: Duration = Duration::from_secs(1);

/// A rule that only the second failure fulfils.
const TWO: Consecutive = Consecutive { failures: 2, span: Duration::ZERO };

#[test]
fn no_failure_in_a_row_is_lost() {
    let failure = |run: &ConsecutiveFailures| run.failure(TWO, 0, SECOND);
    race(ConsecutiveFailures::default, failure, failure, |run, one, two| {
        assert_eq!((one ^ two, run.count(0)), (true, 2));
    });
}

/// Runs `something` while another thread begins a generation and records a failure. Only this failure may count.
fn while_a_generation_begins(something: fn(&ConsecutiveFailures)) {
    let set_up = || {
        let run = ConsecutiveFailures::default();
        run.failure(TWO, 0, SECOND);
        run
    };
    let begins = |run: &ConsecutiveFailures| {
        run.begin(1);
        run.failure(TWO, 1, SECOND);
    };
    race(set_up, something, begins, |run, (), ()| assert_eq!(run.count(1), 1));
}

#[test]
fn a_late_success_does_not_end_the_run_of_a_later_generation() {
    while_a_generation_begins(|run| run.success(0));
}

#[test]
fn a_late_failure_does_not_lengthen_the_run_of_a_later_generation() {
    while_a_generation_begins(|run| _ = run.failure(TWO, 0, SECOND));
}

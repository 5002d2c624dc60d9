//! Models of the windows. Loom runs the two threads of a model in every order that it finds, and the model checks a
//! property.

use super::*;
use crate::internal::sync::race;

const BAD: CallRecord = CallRecord { failed: true, slow: false };
const BAD_AND_SLOW: CallRecord = CallRecord { failed: true, slow: true };
const SLOW_CALL: CallRecord = CallRecord { failed: false, slow: true };
const SECOND: Duration = Duration::from_secs(1);

/// Makes a window with one failure, in a bucket that drops out after ten seconds.
fn window() -> TimeWindow {
    let window = TimeWindow::new(10 * SECOND);
    window.record(Duration::ZERO, BAD_AND_SLOW);
    window
}

#[test]
fn no_record_is_lost_while_the_head_moves() {
    let record = |window: &TimeWindow| window.record(10 * SECOND, BAD_AND_SLOW);
    race(window, record, record, |window, (), ()| {
        assert_eq!(window.counts(10 * SECOND), Counts { calls: 2, failures: 2, slow: 2 });
    });
}

#[test]
fn a_head_that_has_been_moved_on_does_not_move_back() {
    let sooner = |window: &TimeWindow| window.record(10 * SECOND, BAD_AND_SLOW);
    let later = |window: &TimeWindow| window.record(11 * SECOND, BAD_AND_SLOW);
    race(window, sooner, later, |window, (), ()| {
        assert_eq!(window.counts(11 * SECOND), Counts { calls: 2, failures: 2, slow: 2 });
    });
}

#[test]
fn a_reader_of_the_new_head_sees_an_empty_bucket() {
    let counts = |window: &TimeWindow| window.counts(10 * SECOND);
    race(window, counts, counts, |_, one, two| assert_eq!([one, two], [Counts::default(); 2]));
}

/// Adds up the entries in the ring, without the window's own sums.
fn of_the_ring(window: &CallWindow) -> Counts {
    let slots: Vec<_> = window.ring.iter().map(|slot| slot.load(Relaxed)).collect();
    let sum = |bit| u32::try_from(slots.iter().filter(|slot| *slot & bit != 0).count()).unwrap();
    Counts { calls: sum(CALL), failures: sum(FAILED), slow: sum(SLOW) }
}

#[test]
fn records_that_race_for_a_slot_keep_the_sums_equal_to_the_ring() {
    let set_up = || {
        let window = CallWindow::new(1);
        window.record(BAD);
        window
    };
    let one = |window: &CallWindow| window.record(BAD_AND_SLOW);
    let two = |window: &CallWindow| window.record(SLOW_CALL);
    race(set_up, one, two, |window, (), ()| {
        assert_eq!(window.counts(), of_the_ring(window));
        assert_eq!((window.counts().calls, window.counts().slow), (1, 1));
    });
}

#[test]
fn two_records_take_two_slots() {
    let record = |window: &CallWindow| window.record(BAD_AND_SLOW);
    race(
        || CallWindow::new(2),
        record,
        record,
        |window, (), ()| {
            assert_eq!(window.counts(), Counts { calls: 2, failures: 2, slow: 2 });
        },
    );
}

#[test]
fn a_record_during_a_clear_keeps_the_sums_equal_to_the_ring() {
    let set_up = || {
        let window = CallWindow::new(2);
        window.record(BAD_AND_SLOW);
        window
    };
    race(
        set_up,
        |window| window.record(BAD),
        CallWindow::clear,
        |window, (), ()| {
            assert_eq!(window.counts(), of_the_ring(window));
        },
    );
}

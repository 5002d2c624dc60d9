//! The verdicts on steadfast's promises, each with a mark: kept or broken.

use std::fmt::Write as _;
use std::time::Duration;

use crate::clients::CALL_TIMEOUT;
use crate::record::Record;
use crate::row::Row;
use crate::script::Event;
use crate::subject::{ARRANGEMENTS, Arrangement, SIDES, Side, Subject};

/// The tolerance of a wait, for a busy machine.
const SLACK: Duration = Duration::from_millis(250);

/// The largest share of the requests that may reach a broken replica, in percent: half a fair share. In a shortened
/// drill, the first moments of a fault weigh more.
const MOST_PERCENT: f64 = 12.5;

/// The most requests per call, over all phases.
const MOST_REQUESTS: f64 = 1.1;

pub fn verdicts(record: &Record, rows: &[Row]) -> String {
    let mut text = String::from("\nThrough steadfast\n");
    let mut add = |(holds, promise): (bool, String)| {
        let _ = writeln!(text, "  {} {promise}", if holds { "✓" } else { "✗" });
    };
    for arrangement in ARRANGEMENTS {
        let [bare, steadfast] = SIDES.map(|side| record.total(Subject { arrangement, side }));
        add(answers(arrangement, &bare, &steadfast));
        add(shares(arrangement, rows));
        let requests = steadfast.requests_per_call;
        add((
            requests <= MOST_REQUESTS,
            format!("  with few more requests: {requests:.2} per call, at most {MOST_REQUESTS}"),
        ));
    }
    add(failures(rows));
    let (longest, limit) = (record.longest_wait(), CALL_TIMEOUT.as_secs());
    add((
        longest <= CALL_TIMEOUT + SLACK,
        format!("no caller waits longer than {limit} s: the longest wait was {:.2} s", longest.as_secs_f64()),
    ));
    text.push('\n');
    text
}

fn answers(arrangement: Arrangement, bare: &Row, steadfast: &Row) -> (bool, String) {
    let promise = format!(
        "{}, every call gets a fresh answer: {} of {} calls; through bare, {}",
        arrangement.title().to_lowercase(),
        steadfast.fresh,
        steadfast.calls,
        bare.fresh
    );
    (steadfast.failed == 0, promise)
}

/// A broken replica gets few requests.
fn shares(arrangement: Arrangement, rows: &[Row]) -> (bool, String) {
    let of = |event, side| {
        let row = rows.iter().find(|row| row.subject == Subject { arrangement, side } && row.event == event);
        row.and_then(|row| row.replica_percent).unwrap_or_default()
    };
    let faults = [(Event::Fail, "failing"), (Event::Hang, "hanging"), (Event::Slow, "slow")];
    let mut holds = true;
    let parts = faults.map(|(event, name)| {
        let [bare, steadfast] = SIDES.map(|side| of(event, side));
        holds &= steadfast <= bare.max(MOST_PERCENT);
        format!("{name} {steadfast:.1} % ({bare:.1} %)")
    });
    let parts = parts.join(", ");
    (holds, format!("  a broken replica gets at most {MOST_PERCENT} %, or less than through bare: {parts}"))
}

/// No phase has more failed calls than through the bare client.
fn failures(rows: &[Row]) -> (bool, String) {
    let pairs = rows.chunks_exact(SIDES.len());
    let worse: Vec<_> = pairs
        .filter(|pair| pair[Side::Steadfast as usize].failed > pair[Side::Bare as usize].failed)
        .map(|pair| format!("{} ({})", pair[0].phase, pair[0].subject.arrangement.name()))
        .collect();
    let found = if worse.is_empty() { "none".to_owned() } else { worse.join(", ") };
    (worse.is_empty(), format!("no phase has more failed calls than through bare: {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Answer;
    use crate::record::sample;

    fn marks(record: &Record) -> (usize, usize) {
        let text = verdicts(record, &record.rows());
        (text.matches('✓').count(), text.matches('✗').count())
    }

    #[test]
    fn promises_that_hold_are_ticked() {
        let mut record = sample();
        for observed in &mut record.observed {
            observed.replicas[1].requests.truncate(1);
        }
        assert_eq!(marks(&record), (8, 0));
    }

    #[test]
    fn a_promise_that_is_broken_is_called_broken() {
        let mut record = sample();
        for call in &mut record.calls {
            call.answer = Answer { fresh: call.subject.side == Side::Bare, attempts: 1 };
            call.took = CALL_TIMEOUT * 2;
        }
        // Kept: the shares of the replica, which are the same through both clients.
        assert_eq!(marks(&record), (2, 6));
    }
}

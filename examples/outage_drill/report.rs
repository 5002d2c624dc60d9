//! The table, the same rows as JSON, and the verdicts on steadfast's promises.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::{CALL_TIMEOUT, Side};
use crate::record::{Record, Row};
use crate::script::{HANGING, HEALTHY, REFUSED};

/// The tolerance of a wait, for a busy machine.
const SLACK: Duration = Duration::from_millis(250);

/// The most attempts per call that may reach an upstream that is down.
const MOST_ATTEMPTS: f64 = 1.2;

pub fn table(rows: &[Row]) -> String {
    let mut table = format!(
        "\n{:<10} {:<10} {:>5}  {:>5} {:>5} {:>6}  {:>13}  {:>8} {:>8}  {:>15}\n",
        "phase",
        "client",
        "calls",
        "fresh",
        "stale",
        "failed",
        "attempts/call",
        "p50 ms",
        "p99 ms",
        "server requests"
    );
    let rule = "─".repeat(table.trim().len());
    for row in rows {
        // The bare client's row is the first of a phase.
        let phase = match row.side {
            Side::Bare => {
                let _ = writeln!(table, "{rule}");
                row.phase
            }
            Side::Steadfast => "",
        };
        let Row { calls, fresh, stale, failed, attempts_per_call, p50_ms, p99_ms, server_requests, .. } = row;
        let _ = writeln!(
            table,
            "{phase:<10} {:<10} {calls:>5}  {fresh:>5} {stale:>5} {failed:>6}  {attempts_per_call:>13.2}  {p50_ms:>8.1} \
             {p99_ms:>8.1}  {server_requests:>15}",
            row.side.name(),
        );
    }
    table
}

/// The rows of the table as a JSON array.
pub fn json(rows: &[Row]) -> String {
    let object = |row: &Row| {
        json!({
            "client": row.side.name(),
            "phase": row.phase,
            "calls": row.calls,
            "fresh": row.fresh,
            "stale": row.stale,
            "failed": row.failed,
            "attempts_per_call": (row.attempts_per_call * 1000.0).round() / 1000.0,
            "p50_ms": row.p50_ms,
            "p99_ms": row.p99_ms,
            "server_requests": row.server_requests,
        })
    };
    format!("{:#}\n", rows.iter().map(object).collect::<Value>())
}

/// The promises of steadfast, each with a mark: kept or broken.
pub fn verdicts(record: &Record, rows: &[Row]) -> String {
    let steadfast = || rows.iter().filter(|row| row.side == Side::Steadfast);
    let mut text = String::from("\nThrough steadfast\n");
    let mut add = |holds: bool, promise: String| {
        let _ = writeln!(text, "  {} {promise}", if holds { "✓" } else { "✗" });
    };

    let longest = record.longest_wait(Side::Steadfast);
    add(
        longest <= CALL_TIMEOUT + SLACK,
        format!(
            "no caller waits longer than {} s: the longest wait was {:.2} s",
            CALL_TIMEOUT.as_secs(),
            longest.as_secs_f64()
        ),
    );

    let after = || steadfast().skip_while(|row| row.phase == HEALTHY);
    let calls: usize = after().map(|row| row.calls).sum();
    let failed: usize = after().map(|row| row.failed).sum();
    add(
        failed == 0,
        format!(
            "after the first phase every call is answered, fresh or stale: {} of {calls} calls",
            calls - failed
        ),
    );

    for (phase, how) in [(REFUSED, "refuses connections"), (HANGING, "hangs")] {
        for row in steadfast().filter(|row| row.phase == phase) {
            let attempts = row.attempts_per_call;
            add(
                attempts <= MOST_ATTEMPTS,
                format!(
                    "a server that {how} gets few attempts: {attempts:.2} per call, at most {MOST_ATTEMPTS}"
                ),
            );
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn the_json_has_the_keys_and_the_rows_of_the_table() {
        let rows: Value = serde_json::from_str(&json(&sample().rows())).unwrap();
        let expected = json!({
            "client": "steadfast", "phase": "a < b", "calls": 2, "fresh": 1, "stale": 1, "failed": 0,
            "attempts_per_call": 1.5, "p50_ms": 2.0, "p99_ms": 4.0, "server_requests": 3,
        });
        assert_eq!(rows.as_array().map(Vec::len), Some(2));
        assert_eq!(rows[1], expected);
    }

    #[test]
    fn the_columns_of_the_table_are_as_wide_as_their_heads() {
        let table = table(&sample().rows());
        let widths: Vec<_> = table.trim().lines().map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
    }

    #[test]
    fn a_promise_that_is_broken_is_called_broken() {
        let mut record = sample();
        record.phases[0].name = HANGING;
        record.calls[3].took = CALL_TIMEOUT * 2;
        record.calls[3].answer = crate::clients::Answer::Failed;
        let verdicts = verdicts(&record, &record.rows());
        assert_eq!(verdicts.matches('✗').count(), 3, "{verdicts}");
    }

    #[test]
    fn promises_that_hold_are_ticked() {
        let verdicts = verdicts(&sample(), &sample().rows());
        assert_eq!((verdicts.matches('✓').count(), verdicts.matches('✗').count()), (2, 0), "{verdicts}");
    }
}

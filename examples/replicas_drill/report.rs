//! The tables, one for each arrangement, and the same rows as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::row::Row;
use crate::subject::{ARRANGEMENTS, Side};

const NOTE: &str = "
requests: that reached the replicas, per call. attempts: per call, by the client's count. opened: connections.
it gets: the share of the requests that reached the replica that broke, came or went; a fair share is 25 %, or 20 %
of five. Behind a balancer, only new connections reach a new replica; steadfast renews each within about a minute.
";

pub fn tables(rows: &[Row]) -> String {
    let mut text = String::new();
    for arrangement in ARRANGEMENTS {
        let head = head(arrangement.title());
        let rule = "─".repeat(head.trim_end().chars().count());
        let _ = write!(text, "\n{head}{rule}\n");
        for row in rows.iter().filter(|row| row.subject.arrangement == arrangement) {
            line(&mut text, row);
        }
    }
    text + NOTE
}

fn head(title: &str) -> String {
    format!(
        "{title:<18}  {:<9}  {:>5}  {:>6}  {:>7}  {:>8}  {:>8}  {:>7}  {:>7}  {:>6}  {:>7}\n",
        "client",
        "calls",
        "failed",
        "fresh %",
        "requests",
        "attempts",
        "p50 ms",
        "p99 ms",
        "opened",
        "it gets"
    )
}

fn line(text: &mut String, row: &Row) {
    // The bare client's row is the first of a phase.
    let phase = if row.subject.side == Side::Bare { row.phase } else { "" };
    let Row {
        calls, failed, attempts_per_call, requests_per_call, p50_ms, p99_ms, connections_opened, ..
    } = row;
    let gets = row.replica_percent.map_or(String::new(), |percent| format!("{percent:.1} %"));
    let _ = writeln!(
        text,
        "{phase:<18}  {:<9}  {calls:>5}  {failed:>6}  {:>7.2}  {requests_per_call:>8.2}  {attempts_per_call:>8.2}  \
         {p50_ms:>7.1}  {p99_ms:>7.1}  {connections_opened:>6}  {gets:>7}",
        row.subject.side.name(),
        row.fresh_percent(),
    );
}

/// The rows of the tables as a JSON array.
pub fn json(rows: &[Row]) -> String {
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let object = |row: &Row| {
        json!({
            "arrangement": row.subject.arrangement.name(),
            "client": row.subject.side.name(),
            "phase": row.phase,
            "calls": row.calls,
            "fresh": row.fresh,
            "failed": row.failed,
            "attempts_per_call": rounded(row.attempts_per_call),
            "requests_per_call": rounded(row.requests_per_call),
            "p50_ms": row.p50_ms,
            "p99_ms": row.p99_ms,
            "connections_opened": row.connections_opened,
            "replica_percent": row.replica_percent.map(rounded),
        })
    };
    format!("{:#}\n", rows.iter().map(object).collect::<Value>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn the_json_has_the_keys_and_the_rows_of_the_tables() {
        let rows: Value = serde_json::from_str(&json(&sample().rows())).unwrap();
        let expected = json!({
            "arrangement": "balancer", "client": "steadfast", "phase": "one < fails", "calls": 2, "fresh": 2,
            "failed": 0, "attempts_per_call": 1.5, "requests_per_call": 1.5, "p50_ms": 40.0, "p99_ms": 80.0,
            "connections_opened": 2, "replica_percent": 33.333,
        });
        assert_eq!(rows.as_array().map(Vec::len), Some(4));
        assert_eq!(rows[3], expected);
    }

    #[test]
    fn the_columns_of_the_tables_are_as_wide_as_their_heads() {
        let tables = tables(&sample().rows());
        let lines = tables.trim().lines().take_while(|line| !line.is_empty());
        let widths: Vec<_> = lines.map(|line| line.chars().count()).collect();
        assert!(widths.len() == 4 && widths.windows(2).all(|pair| pair[0] == pair[1]), "{tables}");
    }
}

//! The tables, and the same rows as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::contest::Row;
use crate::figures::{Figures, GroupFigures};
use crate::musts::Verdict;
use crate::study::Run;

/// A row for each scenario and policy: medians over the seeds, but maxima of false trips and duplicates.
pub fn table(runs: &[Run]) -> String {
    let mut table = format!(
        "{:<32} {:<21} {:>7} {:>6} {:>5} {:>7} {:>6} {:>6} {:>10} {:>7} {:>6} {:>6} {:>6} {:>10}\n",
        "scenario",
        "policy",
        "success",
        "stale",
        "load",
        "retries",
        "during",
        "after",
        "recovery s",
        "peak/s",
        "p50 ms",
        "p99 ms",
        "trips*",
        "duplicates"
    );
    for run in runs {
        let median = |figure: fn(&Figures) -> f64| run.median(figure);
        let _ = writeln!(
            table,
            "{:<32} {:<21} {:>7.3} {:>6.3} {:>5.2} {:>7.2} {:>6.3} {:>6.3} {:>10.1} {:>7.0} {:>6.0} {:>6.0} {:>6.0} {:>10.0}",
            run.scenario.name,
            run.policy,
            median(|it| it.success),
            median(|it| it.stale),
            median(|it| it.load),
            median(|it| it.retries),
            median(|it| it.goodput_during),
            median(|it| it.goodput_after),
            median(|it| it.recovery_s),
            median(|it| it.peak_after),
            median(|it| it.p50_ms),
            median(|it| it.p99_ms),
            run.most(|it| it.false_trips),
            run.most(|it| it.duplicates),
        );
    }
    table.push_str("* circuits that opened before the first fault\n");
    table
}

/// A row for each group of a scenario, and the figures of the circuit and of the queue: medians over the seeds.
pub fn groups_table(runs: &[Run]) -> String {
    let mut table = format!(
        "{:<32} {:<21} {:<9} {:>6} {:>6} {:>7} {:>7} {:>8} {:>8} {:>6} {:>7} {:>7}\n",
        "scenario",
        "policy",
        "group",
        "calls",
        "fresh",
        "p50 ms",
        "p99 ms",
        "fresh 50",
        "fresh 99",
        "done s",
        "opens s",
        "told ms"
    );
    for run in runs {
        for GroupFigures { name, .. } in run.figures.first().map_or(&[][..], |figures| &figures.groups) {
            let median = |figure: fn(&GroupFigures) -> f64| run.median(|it| figure(&it.group(name)));
            let _ = writeln!(
                table,
                "{:<32} {:<21} {name:<9} {:>6.0} {:>6.3} {:>7.0} {:>7.0} {:>8.0} {:>8.0} {:>6.1} {:>7.1} {:>7.0}",
                run.scenario.name,
                run.policy,
                median(|it| it.calls),
                median(|it| it.fresh),
                median(|it| it.p50_ms),
                median(|it| it.p99_ms),
                median(|it| it.fresh_p50_ms),
                median(|it| it.fresh_p99_ms),
                median(|it| it.done_s),
                run.median(|it| it.opens_s),
                run.median(|it| it.told_p50_ms),
            );
        }
    }
    table
}

/// A row for each strategy and number of clients of the contest.
pub fn contest_table(rows: &[Row]) -> String {
    let mut table =
        format!("{:<24} {:>7} {:>9} {:>7} {:>8}\n", "backoff", "clients", "time ms", "calls", "gave up");
    for Row { strategy, clients, time, calls, given_up } in rows {
        let _ =
            writeln!(table, "{strategy:<24} {clients:>7} {:>9} {calls:>7} {given_up:>8}", time.as_millis());
    }
    table
}

/// The rows of the tables as a JSON array. Infinite and undefined figures are `null`.
pub fn json(runs: &[Run], contest: &[Row]) -> String {
    let row = |run: &Run| {
        let median = |figure: fn(&Figures) -> f64| run.median(figure);
        json!({
            "scenario": run.scenario.name,
            "policy": run.policy,
            "seeds": run.figures.len(),
            "success": median(|it| it.success),
            "stale": median(|it| it.stale),
            "load": median(|it| it.load),
            "retries": median(|it| it.retries),
            "goodput_during": median(|it| it.goodput_during),
            "goodput_after": median(|it| it.goodput_after),
            "recovery_s": median(|it| it.recovery_s),
            "peak_after": median(|it| it.peak_after),
            "p50_ms": median(|it| it.p50_ms),
            "p99_ms": median(|it| it.p99_ms),
            "p95_ms": median(|it| it.p95_ms),
            "new_share": median(|it| it.new_share),
            "false_trips": run.most(|it| it.false_trips),
            "duplicates": run.most(|it| it.duplicates),
            "opens_s": median(|it| it.opens_s),
            "told_p50_ms": median(|it| it.told_p50_ms),
            "groups": groups(run),
        })
    };
    let contest = contest.iter().map(|row| {
        json!({
            "scenario": format!("jitter-{}", row.clients),
            "policy": row.strategy,
            "time_ms": row.time.as_secs_f64() * 1000.0,
            "calls": row.calls,
            "given_up": row.given_up,
        })
    });
    format!("{:#}\n", runs.iter().map(row).chain(contest).collect::<Value>())
}

fn groups(run: &Run) -> Value {
    let names = run.figures.first().map_or(&[][..], |figures| &figures.groups).iter().map(|group| group.name);
    let group = |name| {
        let median = |figure: fn(&GroupFigures) -> f64| run.median(|it| figure(&it.group(name)));
        let figures = json!({
            "calls": median(|it| it.calls),
            "fresh": median(|it| it.fresh),
            "p50_ms": median(|it| it.p50_ms),
            "p99_ms": median(|it| it.p99_ms),
            "fresh_p50_ms": median(|it| it.fresh_p50_ms),
            "fresh_p99_ms": median(|it| it.fresh_p99_ms),
            "done_s": median(|it| it.done_s),
        });
        (name.to_owned(), figures)
    };
    Value::Object(names.map(group).collect())
}

/// A line for each requirement, and the number of requirements met.
pub fn verdicts(verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for Verdict { name, bound, reached, holds, bare } in verdicts {
        let mark = match holds {
            Some(true) => "✓",
            Some(false) => "✗",
            None => "·",
        };
        let bare = bare.map_or(String::new(), |bare| format!("  (bare {bare:.3})"));
        let _ = writeln!(text, "{mark} {name:<55} {bound:>8}  {reached:.3}{bare}");
    }
    let of = |holds| verdicts.iter().filter(|verdict| verdict.holds == Some(holds)).count();
    let _ = writeln!(text, "{} of {} requirements met", of(true), of(true) + of(false));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::spike;

    #[test]
    fn every_row_of_the_json_has_what_the_table_has() {
        let figures = Figures { success: 0.5, recovery_s: f64::INFINITY, ..Figures::default() };
        let run = Run { scenario: spike(), policy: "bare", figures: vec![figures; 3], course: vec![] };
        let rows: Value = serde_json::from_str(&json(std::slice::from_ref(&run), &[])).unwrap();
        assert_eq!((&rows[0]["scenario"], &rows[0]["policy"]), (&json!("spike"), &json!("bare")));
        assert_eq!((&rows[0]["success"], &rows[0]["recovery_s"]), (&json!(0.5), &Value::Null));
        assert!(table(&[run]).contains("spike"));
    }

    #[test]
    fn false_trips_and_duplicates_of_a_single_seed_are_shown() {
        let once = Figures { duplicates: 1.0, false_trips: 2.0, ..Figures::default() };
        let figures = vec![Figures::default(), once, Figures::default()];
        let run = Run { scenario: spike(), policy: "bare", figures, course: vec![] };
        let rows: Value = serde_json::from_str(&json(&[run], &[])).unwrap();
        assert_eq!((&rows[0]["duplicates"], &rows[0]["false_trips"]), (&json!(1.0), &json!(2.0)));
    }

    #[test]
    fn a_missed_requirement_is_marked() {
        let verdict =
            |holds| Verdict { name: "load".into(), bound: "≤ 1".into(), reached: 1.1, holds, bare: None };
        let text = verdicts(&[verdict(Some(true)), verdict(Some(false)), verdict(None)]);
        assert!(text.contains("✗ load") && text.contains("1 of 2"), "{text}");
    }
}

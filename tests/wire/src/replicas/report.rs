//! The table of an arrangement and a protocol.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::figures::Figures;
use super::must::Must;
use super::scenario::{Behind, Case, Scenario};
use crate::parity::bench::Over;

/// A case, through one or both clients.
#[derive(Debug)]
pub(super) struct Row {
    case: Case,
    pub(super) bare: Option<Figures>,
    pub(super) steadfast: Option<Figures>,
    pub(super) musts: Vec<Must>,
}

// ===== impl Row =====

impl Row {
    pub(super) const fn new(case: Case) -> Self {
        Self { case, bare: None, steadfast: None, musts: Vec::new() }
    }

    /// The musts that steadfast misses.
    pub(super) fn problems(&self, over: Over) -> impl Iterator<Item = String> {
        let missed = self.musts.iter().filter(|must| !must.is_held);
        missed.map(move |must| format!("{}, {}, {}: {}", self.case.behind, name(over), self.case, must.text))
    }

    /// The cells of a client.
    fn cells(&self, figures: &Figures) -> String {
        let failed = figures.failed();
        let share = if figures.timeline.fault.watched.is_empty() {
            "–".to_owned()
        } else {
            format!("{:.2}", figures.share(self.case.scenario.replicas()))
        };
        let failed_posts = if self.case.scenario.has_posts() {
            format!("{} / {} / {}", failed.gets, failed.posts, figures.doubled())
        } else {
            format!("{} / – / –", failed.gets)
        };
        let connections = figures
            .connections
            .map_or_else(String::new, |count| format!(" | {} / {}", count.most_open, count.opened));
        format!(
            "{:.2} | {:.3} | {} | {share} | {failed_posts}{connections}",
            figures.fresh() * 100.0,
            figures.attempts(),
            percentiles(figures),
        )
    }
}

/// The name of a protocol.
pub(super) const fn name(over: Over) -> &'static str {
    match over {
        Over::Http1 => "HTTP/1.1",
        Over::Http2 => "HTTP/2",
    }
}

/// A Markdown table, with a row a client and the musts of steadfast.
pub(super) fn table(behind: Behind, over: Over, rows: &[Row]) -> String {
    let (connections, column) = match behind {
        Behind::Name => ("", ""),
        Behind::Balancer => ("connections: most open / opened | ", "---|"),
    };
    let mut table = format!(
        "### {}, {behind}\n\n\
         | scenario | client | fresh, % | attempts a call | p50 / p95 / p99, ms | share of the bad or new, × fair | \
         failed GETs / failed POSTs / POSTs twice | {connections}must | held |\n\
         |---|---|---|---|---|---|---|---|---|{column}\n",
        name(over)
    );
    for row in rows {
        if let Some(figures) = &row.bare {
            let cells = row.cells(figures);
            let _ = writeln!(table, "| {} | bare | {cells} | {} | |", row.case, notes(row, figures));
        }
        if let Some(figures) = &row.steadfast {
            let cells = row.cells(figures);
            let musts: Vec<&str> = row.musts.iter().map(|must| must.text.as_str()).collect();
            let held = if row.musts.iter().all(|must| must.is_held) { "yes" } else { "**no**" };
            let _ = writeln!(table, "| {} | steadfast | {cells} | {} | {held} |", row.case, musts.join("; "));
        }
    }
    table
}

/// The figures of bare reqwest that have no column.
fn notes(row: &Row, figures: &Figures) -> String {
    if !matches!(row.case.scenario, Scenario::AllDown | Scenario::AllFail) {
        return String::new();
    }
    let back = figures
        .recovery()
        .map_or_else(|| "never back".to_owned(), |time| format!("back after {:.1} s", time.as_secs_f64()));
    let first = figures.loads().first().copied().unwrap_or_default();
    format!("load of the outage {:.2}, {back}, load of the first second {first:.2}", figures.outage_load())
}

fn percentiles(figures: &Figures) -> String {
    let settled = figures.timeline.fault.settled;
    let times = [0.5, 0.95, 0.99].map(|quantile| millis(figures.percentile(settled, quantile)));
    times.join(" / ")
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

/// The requests of each replica, and the texts of failures, for `--show`.
pub(super) fn details(scenario: Scenario, figures: &Figures) -> String {
    let mut replicas = BTreeMap::<usize, (usize, usize)>::new();
    for request in &figures.requests {
        let counts = replicas.entry(request.replica).or_default();
        counts.0 += 1;
        counts.1 += usize::from(request.is_answered);
    }
    let mut text = String::new();
    for (replica, (received, answered)) in replicas {
        let share = figures.share_of(&[replica], scenario.replicas());
        let _ = writeln!(
            text,
            "  replica {}: {received} received, {answered} answered, {share:.2} × fair in the end",
            replica + 1
        );
    }
    let mut failures = BTreeMap::<String, (usize, Duration, Duration)>::new();
    for call in figures.failures() {
        let at = call.start - figures.timeline.warm.from;
        let text = without_numbers(call.failure.as_deref().unwrap_or_default());
        let (count, _, last) = failures.entry(text).or_insert((0, at, at));
        *count += 1;
        *last = at;
    }
    for (failure, (count, first, last)) in failures {
        let _ = writeln!(
            text,
            "  {count} × {failure} ({:.2} s to {:.2} s)",
            first.as_secs_f64(),
            last.as_secs_f64()
        );
    }
    text
}

/// Replaces numbers, so that texts that differ only in numbers are equal.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(|character: char| character.is_ascii_digit());
    let first = parts.next().unwrap_or_default().to_owned();
    // Between two digits, and inside "1.5", the part is empty or a dot.
    parts.filter(|part| !matches!(*part, "" | ".")).fold(first, |text, part| format!("{text}#{part}"))
}

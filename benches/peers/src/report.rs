//! The table, and the same rows as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::measure::{Group, Run, RunId, Sample, Value};

/// One row: what one library showed in one case.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    pub case: String,
    pub library: &'static str,
    /// The median of a call's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns: Option<f64>,
    /// The tenth and the ninetieth percentile over the rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns_p10_p90: Option<(f64, f64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    /// How many times as much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocs: Option<f64>,
    /// Of the times, or, where the calls of a second are counted, of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_to_steadfast: Option<f64>,
    /// What the library adds to the group's baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns_over_baseline: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocs_over_baseline: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_over_baseline: Option<f64>,
}

/// The rows of a group that was measured.
pub fn rows(group: &Group) -> Vec<Row> {
    let mut rows: Vec<Row> = group
        .rows
        .iter()
        .map(|spec| Row { case: spec.case.clone(), library: spec.library, ..row(group, spec.value) })
        .collect();
    let references = rows.clone();
    for row in &mut rows {
        let Some(steadfast) = references.iter().find(|it| it.case == row.case && it.library == "steadfast")
        else {
            continue;
        };
        let figure = |row: &Row| row.calls_per_s.or(row.ns).or(row.times);
        row.ratio_to_steadfast = quotient(figure(row), figure(steadfast));
        row.ratio_over_baseline = quotient(row.ns_over_baseline, steadfast.ns_over_baseline);
    }
    rows
}

fn row(group: &Group, value: Value) -> Row {
    let run = |RunId(index)| -> &Run { &group.runs[index] };
    match value {
        Value::Time(id) => {
            let over = group.baseline.filter(|baseline| *baseline != id);
            let more = |of: fn(&Sample) -> f64| over.map(|base| median(pairs(run(id), run(base), of, less)));
            Row {
                ns: Some(median(run(id).samples.iter().map(ns))),
                ns_p10_p90: Some(spread(run(id))),
                p99_us: p99_us(run(id)),
                allocs: Some(round(median(run(id).samples.iter().map(allocations)))),
                ns_over_baseline: more(ns),
                allocs_over_baseline: more(allocations).map(round),
                ..Row::default()
            }
        }
        Value::Rate(id) => Row {
            calls_per_s: Some(1e9 / median(run(id).samples.iter().map(ns))),
            ..row(group, Value::Time(id))
        },
        Value::Difference(id, base) => Row {
            ns: Some(median(pairs(run(id), run(base), ns, less))),
            allocs: Some(round(median(pairs(run(id), run(base), allocations, less)))),
            ..Row::default()
        },
        Value::Scaling(id, base) => {
            Row { times: Some(median(pairs(run(base), run(id), ns, by))), ..Row::default() }
        }
        Value::Bytes(bytes) => Row { bytes: Some(bytes), ..Row::default() },
    }
}

fn ns(sample: &Sample) -> f64 {
    sample.ns
}

fn allocations(sample: &Sample) -> f64 {
    sample.allocations
}

fn less(a: f64, b: f64) -> f64 {
    a - b
}

fn by(a: f64, b: f64) -> f64 {
    a / b
}

/// Two runs, round by round: what disturbed one has disturbed the other.
fn pairs(
    a: &Run,
    b: &Run,
    of: fn(&Sample) -> f64,
    compare: fn(f64, f64) -> f64,
) -> impl Iterator<Item = f64> {
    a.samples.iter().zip(&b.samples).map(move |(a, b)| compare(of(a), of(b)))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    percentile(values, 0.5)
}

fn spread(run: &Run) -> (f64, f64) {
    let at = |share| percentile(run.samples.iter().map(ns), share);
    (at(0.1), at(0.9))
}

fn p99_us(run: &Run) -> Option<f64> {
    let p99: Option<Vec<f64>> =
        run.samples.iter().map(|sample| Some(sample.p99?.as_secs_f64() * 1e6)).collect();
    p99.map(|values| median(values.into_iter()))
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn percentile(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

fn quotient(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.zip(b).map(|(a, b)| a / b)
}

/// Allocations are whole numbers; what a batch allocates once for all its calls is not theirs.
fn round(allocations: f64) -> f64 {
    (allocations * 100.0).round() / 100.0
}

// ===== The table =====

/// The rows as a table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let heads =
        ["case", "library", "figure", "p10 to p90", "× steadfast", "over baseline", "×", "allocs", "over"];
    let mut lines = vec![heads.map(String::from), heads.map(|_| "---".into())];
    let mut case = "";
    for row in rows {
        lines.push([
            if row.case == case { String::new() } else { row.case.clone() },
            row.library.into(),
            figure(row),
            row.ns_p10_p90
                .map_or_else(String::new, |(low, high)| format!("{} to {}", short(low), short(high))),
            row.ratio_to_steadfast.map_or_else(String::new, |it| format!("{it:.2}")),
            row.ns_over_baseline.map_or_else(String::new, short),
            row.ratio_over_baseline.map_or_else(String::new, |it| format!("{it:.2}")),
            row.allocs.map_or_else(String::new, short),
            row.allocs_over_baseline.map_or_else(String::new, short),
        ]);
        case = &row.case;
    }
    let widths: [usize; 9] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
    });
    let mut table = String::new();
    for line in lines {
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(table, "| {cell:width$} ");
        }
        table.push_str("|\n");
    }
    table
}

fn figure(row: &Row) -> String {
    match row {
        Row { calls_per_s: Some(rate), p99_us: Some(p99), .. } => format!("{rate:.0}/s, p99 {p99:.0} µs"),
        Row { calls_per_s: Some(rate), .. } => format!("{rate:.0}/s"),
        Row { times: Some(times), .. } => format!("× {times:.2}"),
        Row { bytes: Some(bytes), .. } => format!("{bytes:.0} B"),
        Row { ns: Some(ns), .. } => format!("{} ns", short(*ns)),
        _ => String::new(),
    }
}

/// Two digits after the point only where they matter.
fn short(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if value.abs() >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// What was measured, by the lock file that this was built with.
pub fn versions() -> String {
    const PEERS: [&str; 7] = [
        "failsafe",
        "recloser",
        "reqwest",
        "reqwest-middleware",
        "reqwest-retry",
        "tower",
        "tower-resilience-retry",
    ];
    let packages = include_str!("../Cargo.lock").split("[[package]]");
    let field = |package: &'static str, name| {
        package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = ")).unwrap_or_default()
    };
    let versions: Vec<String> = packages
        .map(|package| {
            (field(package, "name").trim_matches('"'), field(package, "version").trim_matches('"'))
        })
        .filter(|(name, _)| PEERS.contains(name))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{} · {cores} cores · lto = \"fat\", codegen-units = 1", versions.join(" · "))
}

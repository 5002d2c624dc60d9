//! The table, and the same rows as JSON.

use std::fmt::Write as _;
use std::ops::{Div, Sub};

use serde::Serialize;

use crate::measure::{Group, Run, RunId, Sample, Value};

/// The figures of one library in one case. A figure that does not apply is `null`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    pub case: String,
    pub library: &'static str,
    /// The median time of a call, or the median difference of two runs.
    pub ns: Option<f64>,
    pub calls_per_s: Option<f64>,
    pub p99_us: Option<f64>,
    /// The number of undisturbed rounds that the figure is the median of. Zero means that every round was disturbed
    /// by other processes and all rounds count.
    pub rounds: Option<usize>,
    /// The ratio of the call rates of two runs.
    pub times: Option<f64>,
    pub bytes: Option<f64>,
    /// The tenth and the ninetieth percentile over the rounds of the row's main figure.
    pub p10_p90: Option<(f64, f64)>,
    pub allocs: Option<f64>,
    /// The ratio to steadfast's figure: of the call rates if the row has one, else of the times.
    pub ratio_to_steadfast: Option<f64>,
    /// The time that the library adds to the group's baseline.
    pub ns_over_baseline: Option<f64>,
    pub allocs_over_baseline: Option<f64>,
    pub ratio_over_baseline: Option<f64>,
}

/// The rows of a measured group.
pub fn rows(group: &Group) -> Vec<Row> {
    let mut rows: Vec<Row> = group
        .rows
        .iter()
        .map(|spec| Row { case: spec.case.clone(), library: spec.library, ..row(group, spec.value) })
        .collect();
    // Keeps the rows of a case together, whatever the library.
    let cases: Vec<_> = rows.iter().map(|row| row.case.clone()).collect();
    rows.sort_by_key(|row| cases.iter().position(|case| *case == row.case));
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
            let over = group.baseline.filter(|baseline| *baseline != id).map(run);
            let more = |of: fn(&Sample) -> f64| over.map(|base| pairs(run(id), base, of, Sub::sub).median());
            let ns = Figures::of(run(id), ns);
            Row {
                ns: Some(ns.median()),
                p10_p90: Some(ns.spread()),
                rounds: Some(ns.1),
                p99_us: p99_us(run(id)),
                allocs: Some(round(Figures::of(run(id), allocations).median())),
                ns_over_baseline: more(self::ns),
                allocs_over_baseline: more(allocations).map(round),
                ..Row::default()
            }
        }
        Value::Rate(id) => {
            let rate = Figures::of(run(id), per_second);
            Row {
                calls_per_s: Some(rate.median()),
                p10_p90: Some(rate.spread()),
                rounds: Some(rate.1),
                ..row(group, Value::Time(id))
            }
        }
        Value::Difference(id, base) => {
            let ns = pairs(run(id), run(base), ns, Sub::sub);
            let allocs = pairs(run(id), run(base), allocations, Sub::sub).median();
            Row {
                ns: Some(ns.median()),
                p10_p90: Some(ns.spread()),
                rounds: Some(ns.1),
                allocs: Some(round(allocs)),
                ..Row::default()
            }
        }
        Value::Scaling(id, base) => {
            let times = pairs(run(id), run(base), per_second, Div::div);
            Row {
                times: Some(times.median()),
                p10_p90: Some(times.spread()),
                rounds: Some(times.1),
                ..Row::default()
            }
        }
        Value::Bytes(bytes) => Row { bytes: Some(bytes), ..Row::default() },
    }
}

fn ns(sample: &Sample) -> f64 {
    sample.ns
}

fn per_second(sample: &Sample) -> f64 {
    sample.per_second
}

fn allocations(sample: &Sample) -> f64 {
    sample.allocations
}

fn p99_us(run: &Run) -> Option<f64> {
    let p99 = |sample: &Sample| sample.p99.map_or(f64::NAN, |p99| p99.as_secs_f64() * 1e6);
    Some(Figures::of(run, p99).median()).filter(|p99| !p99.is_nan())
}

/// Compares two runs round by round. A round counts as disturbed if either run was disturbed.
fn pairs(a: &Run, b: &Run, of: fn(&Sample) -> f64, compare: fn(f64, f64) -> f64) -> Figures {
    let figures = a.samples.iter().zip(&b.samples).map(|(a, b)| compare(of(a), of(b)));
    Figures::new(figures.zip(a.disturbed.iter().zip(&b.disturbed).map(|(a, b)| a | b)))
}

/// The sorted figures of the rounds, and the number of undisturbed rounds.
struct Figures(Vec<f64>, usize);

impl Figures {
    /// Leaves out disturbed rounds, unless every round was disturbed.
    fn new(figures: impl Iterator<Item = (f64, bool)>) -> Self {
        let (disturbed, calm): (Vec<_>, Vec<_>) = figures.partition(|(_, disturbed)| *disturbed);
        let number = calm.len();
        let rounds = if calm.is_empty() { disturbed } else { calm };
        let mut figures: Vec<f64> = rounds.into_iter().map(|(figure, _)| figure).collect();
        figures.sort_by(f64::total_cmp);
        Self(figures, number)
    }

    fn of(run: &Run, figure: fn(&Sample) -> f64) -> Self {
        Self::new(run.samples.iter().map(figure).zip(run.disturbed.iter().copied()))
    }

    fn median(&self) -> f64 {
        self.at(0.5)
    }

    fn spread(&self) -> (f64, f64) {
        (self.at(0.1), self.at(0.9))
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn at(&self, share: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * share).round() as usize]
    }
}

fn quotient(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.zip(b).map(|(a, b)| a / b)
}

/// Rounds to hundredths, so that the few allocations of a whole batch do not count as allocations of its calls.
fn round(allocations: f64) -> f64 {
    (allocations * 100.0).round() / 100.0
}

// ===== The table =====

/// The rows as a Markdown table.
pub fn table(rows: &[Row]) -> String {
    let heads = [
        "case",
        "library",
        "figure",
        "p10 to p90",
        "rounds",
        "× steadfast",
        "over baseline",
        "×",
        "allocs",
        "over",
    ];
    let mut lines = vec![heads.map(String::from), heads.map(|_| "---".into())];
    let mut case = "";
    for row in rows {
        lines.push([
            if row.case == case { String::new() } else { row.case.clone() },
            row.library.into(),
            figure(row),
            row.p10_p90.map_or_else(String::new, |(low, high)| format!("{} to {}", short(low), short(high))),
            row.rounds.map_or_else(String::new, |rounds| rounds.to_string()),
            row.ratio_to_steadfast.map_or_else(String::new, |it| format!("{it:.2}")),
            row.ns_over_baseline.map_or_else(String::new, short),
            row.ratio_over_baseline.map_or_else(String::new, |it| format!("{it:.2}")),
            row.allocs.map_or_else(String::new, short),
            row.allocs_over_baseline.map_or_else(String::new, short),
        ]);
        case = &row.case;
    }
    let widths: [usize; 10] = std::array::from_fn(|column| {
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

/// Formats small values with more digits after the point.
fn short(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if value.abs() >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// The versions of the measured libraries, from the lock file of the build.
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

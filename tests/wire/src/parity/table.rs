//! Rows, their runs with both clients over both protocols, and the table on the page.

use std::fmt::Write as _;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::try_join;

use super::Topic;
use super::bench::{Bench, Over};
use super::reasons::{REASONS, reason};
use super::seen::Seen;
use crate::clients::Which;
use crate::{BoxError, Options};

/// A row that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// The runs of a row in the long form; their observations must be equal.
const REPETITIONS: usize = 5;

type Run = Box<dyn Fn(Bench) -> Pin<Box<dyn Future<Output = Result<Seen, BoxError>> + Send>> + Send + Sync>;

/// A scenario for both clients.
pub(crate) struct Row {
    what: String,
    over: Vec<Over>,
    may_fail: bool,
    slow: bool,
    run: Run,
}

/// A row over both protocols, in which bare reqwest succeeds.
pub(crate) fn row<F>(what: impl Into<String>, run: impl Fn(Bench) -> F + Send + Sync + 'static) -> Row
where
    F: Future<Output = Result<Seen, BoxError>> + Send + 'static,
{
    let run: Run = Box::new(move |bench| Box::pin(run(bench)));
    Row { what: what.into(), over: vec![Over::Http1, Over::Http2], may_fail: false, slow: false, run }
}

impl Row {
    pub(crate) fn only_http1(mut self) -> Self {
        self.over = vec![Over::Http1];
        self
    }

    pub(crate) fn only_http2(mut self) -> Self {
        self.over = vec![Over::Http2];
        self
    }

    /// Runs both clients and both protocols at the same time, because the row takes seconds.
    pub(crate) fn slow(mut self) -> Self {
        self.slow = true;
        self
    }

    /// Bare reqwest fails in this row.
    pub(crate) fn fails(mut self) -> Self {
        self.may_fail = true;
        self
    }
}

/// The result of a row over one protocol.
enum Cell {
    NotRun,
    Same,
    Differs(String),
}

impl Cell {
    fn difference(&self) -> Option<&str> {
        match self {
            Self::Differs(how) => Some(how),
            Self::NotRun | Self::Same => None,
        }
    }
}

/// Runs all rows. Returns the text for the page, and the problems.
pub(crate) async fn run(topics: Vec<Topic>, options: &Options) -> Result<(String, Vec<String>), BoxError> {
    let (mut text, mut problems) = (String::new(), Vec::new());
    let (mut names, mut differing) = (Vec::new(), Vec::new());
    let wanted = |row: &Row| options.only.as_ref().is_none_or(|only| row.what.contains(only.as_str()));
    for topic in topics {
        write!(text, "### {}\n\n| what | HTTP/1.1 | HTTP/2 |\n|---|---|---|\n", topic.name)?;
        for row in topic.rows.into_iter().filter(wanted) {
            let (http1, http2) = cells(&row, options, &mut problems).await?;
            match ([&http1, &http2].into_iter().find_map(Cell::difference), reason(&row.what)) {
                (Some(_), Some(reason)) => differing.push((row.what.clone(), reason)),
                (Some(how), None) => {
                    problems.push(format!("{}: differs without a documented reason: {how}", row.what));
                }
                (None, Some(_)) => problems.push(format!("{}: the documented difference is gone", row.what)),
                (None, None) => {}
            }
            writeln!(text, "| {} | {} | {} |", row.what, show(&http1), show(&http2))?;
            if names.contains(&row.what) {
                problems.push(format!("{}: two rows of this name", row.what));
            }
            names.push(row.what);
        }
        text.push('\n');
    }
    if options.only.is_none() {
        let unknown = REASONS.iter().filter(|(what, _)| !names.iter().any(|name| name == what));
        problems.extend(unknown.map(|(what, _)| format!("{what}: a reason without a row")));
    }
    text.push_str("### Reasons for the differences\n\n");
    for (what, reason) in differing {
        writeln!(text, "- **{what}**: {reason}")?;
    }
    problems.dedup();
    Ok((text, problems))
}

/// Runs a row over both protocols.
async fn cells(row: &Row, options: &Options, problems: &mut Vec<String>) -> Result<(Cell, Cell), BoxError> {
    let mut of_http2 = Vec::new();
    let http1 = cell(row, Over::Http1, options, problems);
    let http2 = cell(row, Over::Http2, options, &mut of_http2);
    let cells = if row.slow { try_join(http1, http2).await? } else { (http1.await?, http2.await?) };
    problems.append(&mut of_http2);
    Ok(cells)
}

/// Runs a row over one protocol with both clients.
async fn cell(
    row: &Row,
    over: Over,
    options: &Options,
    problems: &mut Vec<String>,
) -> Result<Cell, BoxError> {
    if !row.over.contains(&over) {
        return Ok(Cell::NotRun);
    }
    let mut first: Option<(Seen, Seen)> = None;
    let repetitions = if options.long && !row.slow { REPETITIONS } else { 1 };
    for _ in 0..repetitions {
        let bare = observe(row, Which::Bare, over, options);
        let steadfast = observe(row, Which::Steadfast, over, options);
        let now = if row.slow { try_join(bare, steadfast).await? } else { (bare.await?, steadfast.await?) };
        match &first {
            None => first = Some(now),
            Some(first) => {
                let varying = [(&first.0, &now.0, "bare"), (&first.1, &now.1, "steadfast")];
                for (first, now, which) in varying {
                    if let Some((before, now)) = first.difference(now) {
                        problems.push(format!("{}, {over:?}, {which}: varies: {before} / {now}", row.what));
                    }
                }
            }
        }
    }
    let (bare, steadfast) = first.ok_or("a row runs at least once")?;
    if bare.failed != row.may_fail {
        let but = if bare.failed { "bare reqwest fails" } else { "bare reqwest does not fail" };
        problems.push(format!("{}, {over:?}: {but}: {}", row.what, bare.lines().join("; ")));
    }
    Ok(match bare.difference(&steadfast) {
        None => Cell::Same,
        Some((bare, steadfast)) => Cell::Differs(format!("{bare} / {steadfast}")),
    })
}

/// Runs a row once.
async fn observe(row: &Row, which: Which, over: Over, options: &Options) -> Result<Seen, BoxError> {
    let started = tokio::time::Instant::now();
    // In a task of its own, so that a panic of the client ends the row only.
    let failed =
        |error: BoxError| format!("{}, {which:?}, {over:?}: the row itself failed: {error}", row.what);
    let task = tokio::spawn((row.run)(Bench::start(which, over, options.long)?));
    let abort = task.abort_handle();
    let seen = match tokio::time::timeout(LIMIT, task).await {
        Ok(Ok(seen)) => seen.map_err(failed)?,
        Ok(Err(error)) if error.is_panic() => noted("panicked"),
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => {
            abort.abort();
            noted("hung")
        }
    };
    if options.show {
        let took = started.elapsed().as_millis();
        println!("{}, {which:?}, {over:?} ({took} ms)", row.what);
        for line in seen.lines() {
            println!("    {line}");
        }
    }
    Ok(seen)
}

fn noted(end: &str) -> Seen {
    let mut seen = Seen::new();
    seen.note("the row", end);
    seen.failed = true;
    seen
}

fn show(cell: &Cell) -> String {
    match cell {
        Cell::NotRun => "–".to_owned(),
        Cell::Same => "same".to_owned(),
        Cell::Differs(how) => format!("differs: {}", how.replace('|', "\\|")),
    }
}

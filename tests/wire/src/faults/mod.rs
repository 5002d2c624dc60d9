//! The fault table: what a caller, the server, the circuit breaker and the retry budget observe of each wire fault.
//!
//! Each fault meets GET, PUT and POST over HTTP/1.1 and HTTP/2, through bare reqwest and through steadfast. The table
//! records; the [rules](rules) for its rows, the [checks](must), and the rules of the [error texts](errors) can fail.

mod case;
mod clients;
mod errors;
mod fault;
mod log;
mod must;
mod observe;
mod render;
mod rows;
mod rules;
mod server;

use tokio::time::Instant;

use self::case::Case;
use crate::{BoxError, Options, page};

/// Runs the table and the checks, and returns the problems.
pub(crate) async fn run(options: &Options) -> Result<Vec<String>, BoxError> {
    let begun = Instant::now();
    let matches = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let cases: Vec<Case> = Case::all().into_iter().filter(|case| matches(&case.to_string())).collect();
    let long = options.long;
    // The rows run on threads of their own.
    let (rows, checks) = tokio::task::spawn_blocking(move || {
        rows::run_all(&cases, rows::observe).and_then(|rows| Ok((rows, must::checks(long)?)))
    })
    .await??;
    let (table, texts) = (render::section(&rows), errors::section(&rows));
    if options.show || options.only.is_some() {
        println!("{table}\n{texts}");
    }
    let mut problems = rules::problems(&rows);
    problems.extend(checks.into_iter().filter(|problem| matches(problem)));
    problems.extend(errors::problems(&rows));
    if options.only.is_none() {
        problems.extend(page::settle("faults", &table, options.write)?);
        problems.extend(page::settle("errors", &texts, options.write)?);
    }
    println!("{} rows and the checks in {:.0} s", rows.len(), begun.elapsed().as_secs_f64());
    Ok(problems)
}

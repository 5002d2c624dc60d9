//! Compares steadfast with its peers in one run: the cost of a healthy call, and the cost of a refusal.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- [--case SUBSTRING] [--rounds N] [--json FILE] [--quick]
//! ```
//!
//! # Method
//!
//! Each service is built once. In every round, each library of a case runs a batch of calls, in an order that rotates
//! from round to round. The table reports the median over the rounds, and the tenth and ninetieth percentiles. A
//! round is left out if other processes kept a thread from running. The table gives the number of remaining rounds.
//! Zero means that every round was disturbed and all of them count: do not trust such a figure.
//!
//! Compare ratios, since the times of two runs differ. Every claimed state (closed, open, full, …) is asserted before
//! and after the measurement, and so is the result of every call. The build uses `lto = "fat"` and
//! `codegen-units = 1`.
//!
//! # Terms
//!
//! - *ready*: the inner service answers at once, and its calls are polled without a runtime.
//! - *yields once*: a call of the inner service has to be polled twice, in a task of a current-thread runtime.
//! - *baseline*: the same call without a library ("no library"), or with only the one copy of the request that a
//!   retry needs ("the copy alone"). The columns "over baseline" give the cost that a library adds.
//! - `ratio_to_steadfast`: the library's figure divided by steadfast's.
//! - *five-step stack*: timeout(retry(breaker(bulkhead(timeout)))).
//! - *floor* (`floor/`): hand-written code for the one case, with only the atomics and clock readings that the
//!   semantics need.
//!
//! The rows of the budget are differences between two runs, and the scaling rows of threads are ratios of two runs.
//!
//! `--quick` checks that every case runs and reaches its state. Its times are meaningless.

mod allocations;
mod cases;
mod floor;
mod measure;
mod peers;
mod report;
mod upstream;

use std::error::Error;
use std::path::PathBuf;

use lexopt::prelude::*;

use measure::Suite;

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse()?;
    let mut suite = Suite { filter: args.case, quick: args.quick, groups: Vec::new() };
    cases::add(&mut suite);
    suite.measure(args.rounds);

    let rows: Vec<_> = suite.groups.iter().flat_map(report::rows).collect();
    println!("{}\n\n{}", report::versions(), report::table(&rows));
    if let Some(path) = args.json {
        std::fs::write(path, serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}

struct Args {
    json: Option<PathBuf>,
    rounds: usize,
    case: String,
    quick: bool,
}

impl Args {
    fn parse() -> Result<Self, lexopt::Error> {
        let mut args = Self { json: None, rounds: 0, case: String::new(), quick: false };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("json") => args.json = Some(parser.value()?.into()),
                Long("rounds") => args.rounds = parser.value()?.parse()?,
                Long("case") => args.case = parser.value()?.string()?,
                Long("quick") => args.quick = true,
                _ => return Err(arg.unexpected()),
            }
        }
        if args.rounds == 0 {
            args.rounds = if args.quick { 2 } else { 61 };
        }
        Ok(args)
    }
}

//! The same work through steadfast and through its peers, in one run: what a call costs where nothing goes wrong, and
//! what it costs to say no.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- [--case SUBSTRING] [--rounds N] [--json FILE] [--quick]
//! ```
//!
//! **How.** Each service is built once. In every round each library of a case runs a batch of calls, in an order that
//! rotates from round to round; what is reported is the median over the rounds, and the tenth and ninetieth percentile.
//! Rounds in which other processes kept a thread from running are left out; the table says how many remain, and
//! zero where none did and all of them count: then the figure is not to be trusted.
//! The machine is compared with itself, so look at the ratios: times of two runs differ. Every claimed state (closed,
//! open, full, …) is asserted before and after, and of every call it is asserted that it ended as the case says. It is
//! built with `lto = "fat"` and `codegen-units = 1`.
//!
//! **What.** `ready` is a service below that answers at once: its calls are polled where they are made. `yields once` has
//! to be polled twice, in a task of a current-thread runtime. The *baseline* of a case is the same call without a library
//! ("no library"), or with nothing but the one copy of the request that a retry needs ("the copy alone"); the columns
//! "over baseline" say what a library adds to it. `ratio_to_steadfast` is the library's figure by steadfast's. The
//! *five-step stack* is timeout(retry(breaker(bulkhead(timeout)))).
//!
//! **The floor** (`floor/`) is written by hand for the one case: the atomics and clock reads that its semantics ask for.
//! A row of a budget, and one of threads, says what the first of two runs takes more, or makes more, than the second.
//!
//! `--quick` proves that every case runs and every state is reached; its times mean nothing.

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

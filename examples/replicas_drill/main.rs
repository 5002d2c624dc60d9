//! **The replicas drill** compares a bare `reqwest::Client` with a `steadfast::Client`, while the replicas of one
//! upstream fail, hang, become slow, restart, come and go, one at a time.
//!
//! ```text
//! cargo run --release --example replicas_drill
//! ```
//!
//! Each client calls the upstream in two arrangements: *behind a name*, which resolves to the address of each replica,
//! and *behind a balancer* of layer 4, which has one address and picks a replica for each connection. Each client in
//! each arrangement has four replicas of its own, real servers on loopback. All four run at the same time, with the same
//! calls on the same fixed schedule and the same time limit of two seconds. The drill prints live figures, then tables,
//! and writes a plot. `--help` lists the options.
//!
//! | file | content |
//! |---|---|
//! | `script.rs` | the phases, and the schedule of the calls |
//! | `subject.rs` | the two arrangements and the two clients |
//! | `clients.rs` | how both clients are built: **read this file to see how steadfast is set up** |
//! | `replica.rs` | a server that fails, hangs, slows down, stops and starts |
//! | `directory.rs`, `names.rs`, `balancer.rs` | the two ways to find a replica: by the name, and by the balancer |
//! | `stage.rs` | the replicas of one client in one arrangement, which play the script |
//! | `load.rs` | the calls |
//! | `record.rs`, `row.rs` | the recorded calls, and the figures computed from them |
//! | `progress.rs`, `report.rs`, `verdicts.rs` | the output: live figures; tables and JSON; verdicts |
//! | `plot.rs`, `cell.rs` | the plot, and its part for one client in one arrangement |
//! | `../drill/` | shared with the outage drill: options, output files, the parts of the plot |

// A program has no public surface: here `pub` marks items that other files use.
#![allow(unreachable_pub)]

mod args;
#[allow(dead_code)] // The comparison in `tests/wire` uses the rest.
mod balancer;
mod cell;
mod clients;
mod directory;
#[path = "../drill/mod.rs"]
mod drill;
mod load;
mod names;
mod plot;
mod progress;
mod record;
mod replica;
mod report;
mod row;
mod script;
mod stage;
mod subject;
mod verdicts;

use std::error::Error;
use std::process::ExitCode;

use args::{Args, Command};
use drill::output::{exit, refuse, say};
use script::Script;

#[tokio::main]
async fn main() -> ExitCode {
    match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => exit(say(args::HELP)),
        Ok(Command::Run(args)) => exit(run(&args).await),
        Err(error) => refuse(&error),
    }
}

async fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let Args { shared, protocol } = args;
    // Checks the output files before the run, not after it.
    for output in shared.outputs() {
        output.check()?;
    }
    let record = load::run(Script::new(shared.seconds), *protocol).await?;

    let rows = record.rows();
    shared.svg.write(&plot::draw(&record, *protocol))?;
    if let Some(json) = &shared.json {
        json.write(&report::json(&rows))?;
    }
    say(&report::tables(&rows))?;
    say(&verdicts::verdicts(&record, &rows))?;
    shared.outputs().try_for_each(|output| say(&format!("{output}\n")))
}

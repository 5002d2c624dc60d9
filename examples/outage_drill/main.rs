//! **The outage drill** compares a bare `reqwest::Client` with a `steadfast::Client`, while the HTTP server that they
//! call goes through the phases of an outage.
//!
//! ```text
//! cargo run --release --example outage_drill
//! ```
//!
//! Each client has its own copy of the server, on loopback. Both clients make the same calls on the same fixed
//! schedule, and limit a call to the same two seconds. The drill prints live figures, then a table, and writes a
//! plot. `--help` lists the options.
//!
//! | file | content |
//! |---|---|
//! | `script.rs` | the phases of the outage |
//! | `server.rs` | the server that plays the phases |
//! | `clients.rs` | the two clients: **read this file to see how steadfast is set up** |
//! | `load.rs` | the schedule of the calls |
//! | `record.rs` | the recorded calls, and the figures computed from them |
//! | `progress.rs`, `report.rs`, `plot.rs` | the output: live figures; table, JSON and verdicts; the plot |
//! | `../drill/` | shared with the replicas drill: options, output files, the parts of the plot |

// A program has no public surface: here `pub` marks items that other files use.
#![allow(unreachable_pub)]

mod args;
mod clients;
#[path = "../drill/mod.rs"]
mod drill;
mod load;
mod plot;
mod progress;
mod record;
mod report;
mod script;
mod server;

use std::error::Error;
use std::process::ExitCode;

use args::Command;
use drill::args::Args;
use drill::output::{exit, refuse, say};

#[tokio::main]
async fn main() -> ExitCode {
    match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => exit(say(args::HELP)),
        Ok(Command::Run(args)) => exit(run(&args).await),
        Err(error) => refuse(&error),
    }
}

async fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    // Checks the output files before the run, not after it.
    for output in args.outputs() {
        output.check()?;
    }
    let record = load::run(&script::phases(args.seconds)).await?;

    let rows = record.rows();
    args.svg.write(&plot::draw(&record, &rows))?;
    if let Some(json) = &args.json {
        json.write(&report::json(&rows))?;
    }
    say(&report::table(&rows))?;
    say(&report::verdicts(&record, &rows))?;
    args.outputs().try_for_each(|output| say(&format!("{output}\n")))
}

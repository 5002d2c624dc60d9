//! **The outage drill.** An HTTP server goes through an outage, phase by phase, while two clients go on calling it: a
//! bare `reqwest::Client` and a `steadfast::Client`.
//!
//! ```text
//! cargo run --release --example outage_drill
//! ```
//!
//! Each client has its own copy of the server, on loopback. Both are sent the same calls on the same fixed schedule,
//! and both give a call the same two seconds. What their callers saw is shown as it happens, then as a table, and as a
//! plot. `--help` lists the options.
//!
//! | file | what it holds |
//! |---|---|
//! | `script.rs` | the phases of the outage |
//! | `server.rs` | the server that plays them |
//! | `clients.rs` | the two clients, **the place to see what steadfast takes to use** |
//! | `load.rs` | the schedule of the calls |
//! | `record.rs` | what happened, and the figures that follow from it |
//! | `progress.rs`, `report.rs`, `plot.rs` | what is seen of it: live, as table, JSON and verdict, as a plot |
//! | `scale.rs`, `panel.rs`, `svg.rs` | what the plot is made with |

// A program has no public surface: here `pub` says that other files use it.
#![allow(unreachable_pub)]

mod args;
mod clients;
mod load;
mod panel;
mod plot;
mod progress;
mod record;
mod report;
mod scale;
mod script;
mod server;
mod svg;

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use args::{Args, Command};

#[tokio::main]
async fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("error: {error}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    let result = match command {
        Command::Help => say(args::HELP),
        Command::Run(args) => drill(&args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn drill(args: &Args) -> Result<(), Box<dyn Error>> {
    // Better to learn it now than after the run.
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

/// Prints to where the table may be piped from: a reader that has seen enough is no error.
fn say(text: &str) -> Result<(), Box<dyn Error>> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

//! steadfast beside bare reqwest over real sockets.
//!
//! Both clients do the same thing to servers on loopback. A table records what the caller and the server could
//! observe, and whether the two clients differ. Without `--write`, a run fails if a table differs from its section of
//! `docs/on_the_wire.md`.
//!
//! ```text
//! cargo run --manifest-path tests/wire/Cargo.toml -- parity|faults [--long] [--write] [--show] [--only TEXT]
//! cargo run --release --manifest-path tests/wire/Cargo.toml -- burst|memory
//! cargo run --release --manifest-path tests/wire/Cargo.toml -- replicas [--long|--quick]
//! ```

mod burst;
mod clients;
mod faults;
mod memory;
mod page;
mod parity;
mod replicas;
mod server;

use std::process::ExitCode;

/// Any error of the harness itself.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: wire parity|faults [--long] [--write] [--show] [--only TEXT], or: wire burst|memory, or: \
                     wire replicas [--long|--quick] [--behind name|balancer] [--only TEXT] \
                     [--protocol http1|http2] [--client bare|steadfast] [--seed NUMBER] [--show]";

/// The options that both tables understand.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// More repetitions, and every combination.
    pub(crate) long: bool,
    /// Rewrites the section of the page.
    pub(crate) write: bool,
    /// Prints every observation.
    pub(crate) show: bool,
    /// Runs only rows whose name contains this text, and leaves the page alone.
    pub(crate) only: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(std::env::args().skip(1)).await {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one table, and returns its problems.
async fn run(mut arguments: impl Iterator<Item = String>) -> Result<Vec<String>, BoxError> {
    let table = arguments.next().ok_or(USAGE)?;
    if table == "replicas" {
        return replicas::run(arguments).await;
    }
    if table == "memory" {
        return memory::run(arguments).await;
    }
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--long" => options.long = true,
            "--write" => options.write = true,
            "--show" => options.show = true,
            "--only" => options.only = Some(arguments.next().ok_or(USAGE)?),
            _ => return Err(USAGE.into()),
        }
    }
    match table.as_str() {
        "parity" => parity::run(&options).await,
        "faults" => faults::run(&options).await,
        "burst" => burst::run().await,
        _ => Err(USAGE.into()),
    }
}

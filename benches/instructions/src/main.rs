//! Counts instructions per call, and fails if a case exceeds its figure in `baseline.json` by more than 5 %.
//!
//! In this folder, `cargo run` compares, and `cargo run -- --save` saves the counts as the new figures. Both need
//! valgrind and a `gungraun-runner` of the version in `Cargo.toml`
//! (`cargo install gungraun-runner --version 0.20.0`). `cargo run -- --client` prints the count of a whole call over
//! loopback, which has no committed figure (`benches/client.rs`), and needs only valgrind.
//!
//! Counts depend on the compiler and the target. If the toolchain differs from that of the baseline, the table is
//! printed but no case fails.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Deserializer, Value};
use steadfast_instructions::CALLS;

const MAX_CHANGE_PERCENT: f64 = 5.0;

/// The content of `baseline.json`.
#[derive(Serialize, Deserialize)]
struct Figures {
    toolchain: String,
    instructions_per_call: BTreeMap<String, u32>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let save = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--save") => true,
        Some("--client") => return count_client(package),
        Some(other) => {
            return Err(format!("unknown argument {other}: the options are --save and --client").into());
        }
    };
    let baseline = package.join("baseline.json");

    let now = Figures { toolchain: toolchain()?, instructions_per_call: count(package)? };
    if save {
        std::fs::write(&baseline, serde_json::to_string_pretty(&now)? + "\n")?;
        println!("saved {}", baseline.display());
        return Ok(ExitCode::SUCCESS);
    }
    let committed: Figures = serde_json::from_slice(&std::fs::read(&baseline)?)?;
    compare(&committed, &now)
}

/// The compiler's version and target.
fn toolchain() -> Result<String, Box<dyn Error>> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let verbose = String::from_utf8(output.stdout)?;
    let field = |name| {
        verbose.lines().find_map(|line| line.strip_prefix(name)).ok_or("missing in the output of rustc -vV")
    };
    Ok(format!("{} {}", field("release: ")?, field("host: ")?))
}

/// Runs the benches and returns the counts by case. Each case prints one JSON document.
fn count(package: &Path) -> Result<BTreeMap<String, u32>, Box<dyn Error>> {
    let output = Command::new(env!("CARGO"))
        .args(["bench", "--locked", "--bench", "hot_path", "--", "--output-format=json"])
        .current_dir(package)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the benches did not run: are valgrind and gungraun-runner installed?".into());
    }
    let mut counts = BTreeMap::new();
    for summary in Deserializer::from_slice(&output.stdout).into_iter::<Value>() {
        let summary = summary?;
        let case = summary["id"].as_str().ok_or("a summary has no case name")?;
        let instructions = summary
            .pointer("/profiles/0/data/total/metrics/Ir/values/new")
            .and_then(Value::as_u64)
            .ok_or("a summary has no instruction count")?;
        counts.insert(case.to_owned(), u32::try_from(instructions.div_ceil(CALLS as u64))?);
    }
    Ok(counts)
}

/// Prints the count of a whole call.
fn count_client(package: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let status = Command::new(env!("CARGO"))
        .args(["bench", "--quiet", "--locked", "--features", "client", "--bench", "client"])
        .current_dir(package)
        .status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the table. Fails if a case has regressed.
fn compare(committed: &Figures, now: &Figures) -> Result<ExitCode, Box<dyn Error>> {
    if !committed.instructions_per_call.keys().eq(now.instructions_per_call.keys()) {
        return Err("the cases differ from those in baseline.json: run with --save".into());
    }
    println!("{:<24} {:>9} {:>9} {:>9}", "instructions per call", "committed", "now", "change");
    let mut regressed = false;
    for ((case, &committed), &now) in
        committed.instructions_per_call.iter().zip(now.instructions_per_call.values())
    {
        let change = (f64::from(now) / f64::from(committed) - 1.0) * 100.0;
        let mark = if change > MAX_CHANGE_PERCENT { "  regressed" } else { "" };
        regressed |= change > MAX_CHANGE_PERCENT;
        println!("{case:<24} {committed:>9} {now:>9} {change:>+8.1}%{mark}");
    }
    if committed.toolchain != now.toolchain {
        println!("not enforced: baseline.json is of {}, but this is {}", committed.toolchain, now.toolchain);
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if regressed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

//! Counts instructions per call, and fails where a case costs more than 5 % more than `baseline.json` says.
//!
//! In this folder, `cargo run` compares and `cargo run -- --save` writes the counts as the new figures. It takes valgrind
//! and a `gungraun-runner` of the version that `Cargo.toml` names (`cargo install gungraun-runner --version 0.20.0`).
//!
//! Other compilers and targets make other instructions: under them the table is shown, but nothing can fail.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Deserializer, Value};
use steadfast_instructions::CALLS;

const MAX_CHANGE_PERCENT: f64 = 5.0;

/// What `baseline.json` holds.
#[derive(Serialize, Deserialize)]
struct Figures {
    toolchain: String,
    instructions_per_call: BTreeMap<String, u32>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let save = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--save") => true,
        Some(other) => return Err(format!("{other}: the only option is --save").into()),
    };
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
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
    let field =
        |name| verbose.lines().find_map(|line| line.strip_prefix(name)).ok_or("not told by rustc -vV");
    Ok(format!("{} {}", field("release: ")?, field("host: ")?))
}

/// Runs the benches, each of which prints a line of JSON.
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
        let case = summary["id"].as_str().ok_or("a summary without the case's name")?;
        let instructions = summary
            .pointer("/profiles/0/data/total/metrics/Ir/values/new")
            .and_then(Value::as_u64)
            .ok_or("a summary without a count of instructions")?;
        counts.insert(case.to_owned(), u32::try_from(instructions.div_ceil(CALLS as u64))?);
    }
    Ok(counts)
}

/// Shows the table; fails where a case has become too dear.
fn compare(committed: &Figures, now: &Figures) -> Result<ExitCode, Box<dyn Error>> {
    if !committed.instructions_per_call.keys().eq(now.instructions_per_call.keys()) {
        return Err("the cases are not those of baseline.json: --save their figures".into());
    }
    println!("{:<24} {:>9} {:>9} {:>9}", "instructions per call", "committed", "now", "change");
    let mut too_dear = false;
    for ((case, &committed), &now) in
        committed.instructions_per_call.iter().zip(now.instructions_per_call.values())
    {
        let change = (f64::from(now) / f64::from(committed) - 1.0) * 100.0;
        let mark = if change > MAX_CHANGE_PERCENT { "  too dear" } else { "" };
        too_dear |= change > MAX_CHANGE_PERCENT;
        println!("{case:<24} {committed:>9} {now:>9} {change:>+8.1}%{mark}");
    }
    if committed.toolchain != now.toolchain {
        println!("shown only: the figures are of {}, and this is {}", committed.toolchain, now.toolchain);
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if too_dear { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

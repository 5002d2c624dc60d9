//! The command-line program of the laboratory.

mod args;

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use args::{Args, Command, HELP};
use outage_lab::{contest, front, musts, networks, plot, policy, report, scenario, study};

/// The first seed of `--musts`. No setting was chosen with these seeds.
const UNSEEN_SEED: u64 = 1001;

/// The length of the healthy scenario in `--musts`: ten million calls over 20 seeds.
const HEALTHY_SECONDS: u64 = 500;

fn main() -> ExitCode {
    let args = match Args::parse(env::args_os().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("error: {error}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match run(&args) {
        Ok(all_reached) if all_reached => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the command. Returns false if a requirement was missed unexpectedly.
fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    match args.command {
        Command::Help => say(HELP)?,
        Command::List => list()?,
        Command::Play => play(args)?,
        Command::Front => say(&front::table(&args.scenario, &args.seeds(1, 3), progress))?,
        Command::Networks => say(&networks::table(&args.seeds(1, 3), progress))?,
        Command::Musts => {
            let mut all = musts::all(HEALTHY_SECONDS);
            all.retain(|must| must.is_about(&args.scenario));
            let verdicts =
                musts::judge(&all, &policy::default_client(), &args.seeds(UNSEEN_SEED, 20), progress);
            say(&report::verdicts(&verdicts))?;
            return Ok(!verdicts.iter().any(musts::Verdict::is_missed_unexpectedly));
        }
    }
    Ok(true)
}

fn list() -> Result<(), Box<dyn Error>> {
    for family in scenario::families() {
        for scenario in family.scenarios {
            say(&format!("{:<32} {}\n", scenario.name, scenario.story))?;
        }
    }
    say(
        "jitter                           clients compete to write one item and back off after each conflict\n\n",
    )?;
    policy::all().iter().try_for_each(|policy| say(&format!("{}\n", policy.name)))
}

fn play(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut policies = policy::all();
    policies.retain(|policy| args.policy.as_deref().is_none_or(|name| policy.name == name));
    let mut families = scenario::families();
    for family in &mut families {
        family.scenarios.retain(|scenario| scenario.name.starts_with(&args.scenario));
    }
    families.retain(|family| !family.scenarios.is_empty());
    let jitter = "jitter".starts_with(&args.scenario) && args.policy.is_none();
    if policies.is_empty() || families.is_empty() && !jitter {
        return Err("unknown scenario or policy: see --list".into());
    }
    let mut plays = study::Plays::default();
    for scenario in families.iter().flat_map(|family| &family.scenarios) {
        for policy in &policies {
            plays.add(scenario, policy);
        }
    }
    let runs = study::study(&plays, &args.seeds(1, 1), progress);
    let contest = if jitter { contest::table(&args.seeds(1, 9)) } else { vec![] };
    if !runs.is_empty() {
        say(&report::table(&runs))?;
        say(&report::groups_table(&runs))?;
    }
    if jitter {
        say(&report::contest_table(&contest))?;
    }
    if !runs.is_empty() {
        let folder = args.svg.as_deref().unwrap_or(Path::new("outage_lab"));
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for family in scenario::families() {
            let of_family =
                |run: &&study::Run| family.scenarios.iter().any(|it| it.name == run.scenario.name);
            let runs: Vec<_> = runs.iter().filter(of_family).cloned().collect();
            if !runs.is_empty() {
                write(&folder.join(family.name).with_extension("svg"), &plot::draw(&family, &runs))?;
            }
        }
    }
    if let Some(path) = &args.json {
        write(path, &report::json(&runs, &contest))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn progress(done: usize, of: usize) {
    if io::stderr().is_terminal() {
        eprint!("\r{done} of {of} runs{}", if done == of { "\r\x1b[K" } else { "" });
    }
}

/// Writes to stdout. A closed pipe is not an error.
fn say(text: &str) -> Result<(), Box<dyn Error>> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

//! One name, several replicas: what a caller observes while some of the replicas are broken.
//!
//! Replicas listen on `127.0.77.1` and up, all at one port, and one name stands for them. Each scenario breaks some
//! replicas under a steady load, through bare reqwest and through steadfast with default settings. The musts are
//! ratios and counts, because times depend on the machine. A missed must is a problem.
//!
//! ```text
//! wire replicas [--long|--quick] [--only TEXT] [--protocol http1|http2] [--client bare|steadfast] [--show]
//! ```
//!
//! - A [`Replica`](replica) serves, breaks, stops and starts on command. [`Records`](records) hold its requests.
//! - [`Names`](names) resolves the name. The [stage] has the replicas, the name and the client.
//! - The [load] is an open loop: a slow answer does not delay the next call.
//! - A [scenario] breaks the replicas. Its [figures] and [musts](must) are pure functions of the records.
//!
//! A fault strikes the replica that has received the most requests. The connections of bare reqwest favour some
//! replicas, and a fault of another replica would spare its calls.

mod clients;
mod figures;
mod form;
mod load;
mod must;
pub(crate) mod names;
mod options;
mod records;
mod replica;
mod report;
mod scenario;
mod stage;
mod stream;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use self::figures::Figures;
use self::load::Load;
use self::options::Options;
use self::report::Row;
use self::scenario::Scenario;
use self::stage::Stage;
use crate::BoxError;
use crate::clients::Which;
use crate::parity::bench::Over;

/// Plays the scenarios, both protocols at the same time. Prints a table a protocol, and returns the missed musts.
pub(crate) async fn run(arguments: impl Iterator<Item = String>) -> Result<Vec<String>, BoxError> {
    let options = Options::parse(arguments)?;
    let begun = Instant::now();
    let tables = options.protocols.iter().map(|&over| table(over, &options));
    let tables = try_join_all(tables).await?;
    let mut problems = Vec::new();
    for (over, rows) in options.protocols.iter().zip(tables) {
        println!("{}", report::table(*over, &rows));
        problems.extend(rows.iter().flat_map(|row| row.problems(*over)));
    }
    println!("{} scenarios in {:.0} s", options.scenarios.len(), begun.elapsed().as_secs_f64());
    Ok(problems)
}

/// Plays the scenarios over one protocol, one after the other.
async fn table(over: Over, options: &Options) -> Result<Vec<Row>, BoxError> {
    let mut rows = Vec::new();
    for &scenario in &options.scenarios {
        let mut row = Row::new(scenario);
        for &which in &options.clients {
            let figures = play(scenario, which, over, options).await?;
            eprintln!("{}, {scenario}, {which:?}: done", report::name(over));
            if options.show {
                eprint!("{}", report::details(scenario, &figures));
            }
            match which {
                Which::Bare => row.bare = Some(figures),
                Which::Steadfast => {
                    row.musts = must::check(scenario, over, &figures, options.form);
                    row.steadfast = Some(figures);
                }
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Plays one scenario through one client.
async fn play(scenario: Scenario, which: Which, over: Over, options: &Options) -> Result<Figures, BoxError> {
    let mut stage = Stage::open(scenario.replicas(), scenario.delay())?;
    stage.name_first(scenario.named());
    let client = clients::client(which, over, stage.names())?;
    let load = Load::start(client.clone(), stage.url(), scenario.has_posts());
    let timeline = scenario.play(&mut stage, options.form).await?;
    if options.show {
        for endpoint in clients::endpoints(&client, &stage.url())? {
            eprintln!("  {endpoint}");
        }
    }
    let calls = load.stop().await?;
    Ok(Figures { calls, requests: stage.requests(), timeline })
}

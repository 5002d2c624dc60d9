//! One name, several replicas: what a caller observes while some of the replicas are broken.
//!
//! Replicas listen on `127.0.77.1` and up, all at one port. One name stands for them in two arrangements: it has their
//! addresses, or the address of a balancer by connection, `127.0.77.100`. Each scenario breaks some replicas under a
//! steady load, through bare reqwest and through steadfast with default settings. The musts are ratios and counts,
//! because times depend on the machine. A missed must is a problem.
//!
//! ```text
//! wire replicas [--long|--quick] [--behind name|balancer] [--only TEXT] [--protocol http1|http2]
//!               [--client bare|steadfast] [--seed NUMBER] [--show]
//! ```
//!
//! - A [`Replica`](replica) serves, breaks, stops and starts on command. [`Records`](records) hold its requests.
//! - [`Names`](names) resolves the name. The [balancer] chooses a replica for each connection, by the seed.
//!   The [stage] has the replicas, the name and the balancer.
//! - The [load] is an open loop: a slow answer does not delay the next call.
//! - A [scenario], in the [play], breaks the replicas. The [figures] and [musts](must) are pure functions of the
//!   records and of the [timeline].
//!
//! A fault strikes the replica that has received the most requests. The connections of bare reqwest favour some
//! replicas, and a fault of another replica would spare its calls.

#[allow(dead_code, unreachable_pub)] // The replicas' drill has the balancer, and uses more of it.
#[path = "../../../../examples/replicas_drill/balancer.rs"]
mod balancer;
mod clients;
mod figures;
mod form;
mod load;
mod must;
#[allow(unreachable_pub)] // The replicas' drill has it, too.
#[path = "../../../../examples/replicas_drill/names.rs"]
pub(crate) mod names;
mod options;
mod play;
mod records;
mod replica;
mod report;
mod scenario;
mod stage;
mod stream;
mod timeline;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use self::figures::Figures;
use self::load::Load;
use self::options::Options;
use self::report::Row;
use self::scenario::{Behind, Case};
use self::stage::Stage;
use crate::BoxError;
use crate::clients::Which;
use crate::parity::bench::Over;

/// Plays the scenarios, both protocols at the same time. Prints a table a protocol, and returns the missed musts.
pub(crate) async fn run(arguments: impl Iterator<Item = String>) -> Result<Vec<String>, BoxError> {
    let options = Options::parse(arguments)?;
    let begun = Instant::now();
    let mut problems = Vec::new();
    for behind in Behind::ALL {
        let cases: Vec<Case> = options.cases.iter().copied().filter(|case| case.behind == behind).collect();
        if cases.is_empty() {
            continue;
        }
        let tables = options.protocols.iter().map(|&over| table(&cases, over, &options));
        for (&over, rows) in options.protocols.iter().zip(try_join_all(tables).await?) {
            println!("{}", report::table(behind, over, &rows));
            problems.extend(rows.iter().flat_map(|row| row.problems(over)));
        }
    }
    println!("{} scenarios in {:.0} s", options.cases.len(), begun.elapsed().as_secs_f64());
    Ok(problems)
}

/// Plays the cases over one protocol, one after the other.
async fn table(cases: &[Case], over: Over, options: &Options) -> Result<Vec<Row>, BoxError> {
    let mut rows = Vec::new();
    for &case in cases {
        let mut row = Row::new(case);
        for &which in &options.clients {
            let figures = play(case, which, over, options).await?;
            eprintln!("{}, {}, {case}, {which:?}: done", case.behind, report::name(over));
            if options.show {
                eprint!("{}", report::details(case.scenario, &figures));
            }
            match which {
                Which::Bare => row.bare = Some(figures),
                Which::Steadfast => {
                    row.musts = must::check(case, over, &figures, row.bare.as_ref(), options.form);
                    row.steadfast = Some(figures);
                }
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Plays one case through one client.
async fn play(case: Case, which: Which, over: Over, options: &Options) -> Result<Figures, BoxError> {
    let mut stage = Stage::open(case, options.seed)?;
    let client = clients::client(which, over, stage.names())?;
    let load = Load::start(client.clone(), stage.url(), case.scenario.has_posts());
    let timeline = play::play(case, &mut stage, options.form).await?;
    if options.show {
        for endpoint in clients::endpoints(&client, &stage.url())? {
            eprintln!("  {endpoint}");
        }
    }
    let calls = load.stop().await?;
    Ok(Figures { calls, requests: stage.requests(), timeline, connections: stage.connections() })
}

//! The parity table: the same calls through bare reqwest and through steadfast with its defaults.
//!
//! # Problem
//!
//! A wrapper around a client changes more than it means to: a header, a body that is read early, a connection that is
//! not reused. Tests of the intended behaviour do not notice.
//!
//! # Approach
//!
//! A row does one thing to fresh servers with one client, and notes what the caller and the servers observed, without
//! anything that varies between runs. Each row runs with both clients, over HTTP/1.1 and HTTP/2. The observations
//! must be equal, or the difference must be documented in [`reasons`]. A documented difference that is gone is a
//! problem, too, and so is a row that hangs, or in which bare reqwest fails unexpectedly.

pub(crate) mod bench;
mod bodies;
mod compression;
mod connections;
mod errors;
mod headers;
mod load;
mod methods;
mod proxies;
mod reasons;
mod redirects;
mod response;
mod runtimes;
mod seen;
mod settings;
mod table;
mod timeouts;
mod versions;

use crate::{BoxError, Options, page};

/// A group of rows.
pub(crate) struct Topic {
    name: &'static str,
    rows: Vec<table::Row>,
}

fn topics() -> Vec<Topic> {
    let topic = |name, rows| Topic { name, rows };
    vec![
        topic("Methods", methods::rows()),
        topic("Bodies of requests", bodies::rows()),
        topic("Headers, authentication and cookies", headers::rows()),
        topic("Settings", settings::rows()),
        topic("Redirects", redirects::rows()),
        topic("Compression", compression::rows()),
        topic("Versions and TLS", versions::rows()),
        topic("Proxies and unix sockets", proxies::rows()),
        topic("Responses", response::rows()),
        topic("Errors", errors::rows()),
        topic("Timeouts", timeouts::rows()),
        topic("Connections", connections::rows()),
        topic("Runtimes and threads", runtimes::rows()),
        topic("Load", load::rows()),
    ]
}

/// Runs the table, and returns its problems.
pub(crate) async fn run(options: &Options) -> Result<Vec<String>, BoxError> {
    let (text, mut problems) = table::run(topics(), options).await?;
    if options.only.is_none() {
        problems.extend(page::settle("parity", &text, options.write)?);
    }
    Ok(problems)
}

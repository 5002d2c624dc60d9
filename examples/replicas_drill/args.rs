//! The command line of the drill.

use std::ffi::OsString;
use std::ops::RangeInclusive;

use lexopt::{Arg, Parser, ValueExt as _};

use crate::clients::Protocol;
use crate::drill;

/// The range of `--seconds`. In a shorter rolling restart, a replica would have no time to get calls before the next
/// one stops. A longer plot would be unreadable.
const SECONDS: RangeInclusive<u32> = 14..=600;

pub const HELP: &str = "\
Breaks, restarts, adds and removes replicas of an upstream, one at a time, and shows the results of the calls
through a bare reqwest client and a steadfast client, behind a name and behind a balancer. Needs no setup.

Usage: cargo run --release --example replicas_drill -- [OPTIONS]

Options:
  --seconds N    the total length of the phases, 14 to 600; waiting for the last calls adds up to 2 s
                 [default: 75]
  --protocol P   http1 or http2 [default: http1]
  --svg FILE     write the plot to FILE [default: replicas_drill.svg]
  --json FILE    write the rows of the tables to FILE as JSON [default: no file]
  -h, --help     print this text
";

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Run(Args),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    pub shared: drill::args::Args,
    pub protocol: Protocol,
}

pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut parser = Parser::from_args(args);
    let mut protocol = Protocol::Http1;
    let mut shared = drill::args::Args::new(75, SECONDS, "replicas_drill.svg");
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long("protocol") => protocol = named(&parser.value()?.string()?)?,
            Arg::Long(option) => {
                let option = option.to_owned();
                shared.read(&option, &mut parser)?;
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Run(Args { shared: shared.checked()?, protocol }))
}

fn named(value: &str) -> Result<Protocol, lexopt::Error> {
    match value {
        "http1" => Ok(Protocol::Http1),
        "http2" => Ok(Protocol::Http2),
        other => Err(format!("--protocol {other}: must be http1 or http2").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Args, String> {
        match parse(args.iter().map(OsString::from)).map_err(|error| error.to_string())? {
            Command::Run(args) => Ok(args),
            Command::Help => Err("help".to_owned()),
        }
    }

    #[test]
    fn without_arguments_the_drill_takes_75_seconds_over_http1() {
        let args = parsed(&[]).unwrap();
        assert_eq!((args.shared.seconds, args.protocol), (75, Protocol::Http1));
    }

    #[test]
    fn options_of_both_drills_and_of_this_one_are_understood() {
        let args = parsed(&["--protocol=http2", "--seconds", "14", "--json", "a.json"]).unwrap();
        assert_eq!((args.shared.seconds, args.protocol), (14, Protocol::Http2));
        assert_eq!(args.shared.outputs().count(), 2);
        assert_eq!(parsed(&["-h"]), Err("help".to_owned()));
    }

    #[test]
    fn a_value_that_makes_no_sense_is_refused_with_the_range() {
        assert_eq!(parsed(&["--protocol", "3"]), Err("--protocol 3: must be http1 or http2".to_owned()));
        let seconds = "--seconds 13: must be a whole number from 14 to 600";
        assert_eq!(parsed(&["--seconds", "13"]), Err(seconds.to_owned()));
        assert!(parsed(&["--secnods", "14"]).unwrap_err().contains("--secnods"));
    }
}

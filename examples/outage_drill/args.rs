//! The command line of the drill.

use std::ffi::OsString;
use std::ops::RangeInclusive;

use lexopt::{Arg, Parser};

use crate::drill::args::Args;

/// The range of `--seconds`. A shorter first phase would not call every item once; a longer plot would be unreadable.
const SECONDS: RangeInclusive<u32> = 7..=600;

pub const HELP: &str = "\
Plays an outage against two clients, a bare reqwest client and a steadfast client, and shows the results of
their calls. Needs no setup.

Usage: cargo run --release --example outage_drill -- [OPTIONS]

Options:
  --seconds N   the total length of the phases, 7 to 600; waiting for the last calls of each phase adds about 5 s
                [default: 42]
  --svg FILE    write the plot to FILE [default: outage_drill.svg]
  --json FILE   write the rows of the table to FILE as JSON [default: no file]
  -h, --help    print this text
";

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Run(Args),
}

pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut parser = Parser::from_args(args);
    let mut args = defaults();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long(option) => {
                let option = option.to_owned();
                args.read(&option, &mut parser)?;
            }
            other => return Err(other.unexpected()),
        }
    }
    args.checked().map(Command::Run)
}

fn defaults() -> Args {
    Args::new(42, SECONDS, "outage_drill.svg")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::output::Output;

    fn parsed(args: &[&str]) -> Result<Command, String> {
        parse(args.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    fn refusal(args: &[&str]) -> String {
        parsed(args).unwrap_err()
    }

    #[test]
    fn without_arguments_the_drill_takes_42_seconds_and_leaves_a_plot() {
        let defaults = defaults();
        assert_eq!((defaults.seconds, &defaults.json), (42, &None));
        assert_eq!(parsed(&[]), Ok(Command::Run(defaults)));
    }

    #[test]
    fn every_option_is_understood_in_both_spellings() {
        let all = Args {
            seconds: 7,
            svg: Output::new("--svg", "a.svg"),
            json: Some(Output::new("--json", "b.json")),
            ..defaults()
        };
        assert_eq!(parsed(&["--seconds", "7", "--svg=a.svg", "--json", "b.json"]), Ok(Command::Run(all)));
        assert_eq!(parsed(&["-h"]), Ok(Command::Help));
    }

    #[test]
    fn seconds_that_make_no_sense_are_refused_by_option_value_and_range() {
        for value in ["0", "6", "601", "-1", "1.5", "ten", "", "99999999999"] {
            let expected = format!("--seconds {value}: must be a whole number from 7 to 600");
            assert_eq!(refusal(&["--seconds", value]), expected);
        }
    }

    #[test]
    fn an_unknown_option_is_refused_by_name() {
        assert!(refusal(&["--secnods", "7"]).contains("--secnods"));
        assert!(refusal(&["stray"]).contains("stray"));
        assert!(refusal(&["--seconds"]).contains("--seconds"));
    }

    #[test]
    fn two_outputs_are_not_written_to_one_file() {
        assert!(refusal(&["--json", "x", "--svg", "x"]).starts_with("--json x: "));
    }
}

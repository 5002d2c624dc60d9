//! The command line of the drill.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use lexopt::{Arg, Parser};

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

#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    pub seconds: u32,
    pub svg: Output,
    pub json: Option<Output>,
}

impl Args {
    pub fn outputs(&self) -> impl Iterator<Item = &Output> {
        std::iter::once(&self.svg).chain(&self.json)
    }
}

pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut parser = Parser::from_args(args);
    let mut args = Args { seconds: 42, svg: Output::new("--svg", "outage_drill.svg"), json: None };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("seconds") => args.seconds = seconds(&parser.value()?)?,
            Arg::Long("svg") => args.svg = Output::new("--svg", parser.value()?),
            Arg::Long("json") => args.json = Some(Output::new("--json", parser.value()?)),
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    match &args.json {
        Some(json) if json.path == args.svg.path => {
            Err(format!("--json {}: the plot is written to the same file (--svg)", json.path.display())
                .into())
        }
        _ => Ok(Command::Run(args)),
    }
}

fn seconds(value: &OsString) -> Result<u32, lexopt::Error> {
    let parsed = value.to_str().and_then(|value| value.parse().ok());
    parsed.filter(|seconds| SECONDS.contains(seconds)).ok_or_else(|| {
        let (least, most) = (SECONDS.start(), SECONDS.end());
        format!("--seconds {}: must be a whole number from {least} to {most}", value.to_string_lossy()).into()
    })
}

// ===== Output =====

/// An output file, written at the end.
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    option: &'static str,
    path: PathBuf,
}

impl Output {
    fn new(option: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { option, path: path.into() }
    }

    /// Checks that the file can be written. Keeps an existing file unchanged and leaves no new file behind.
    pub fn check(&self) -> io::Result<()> {
        let existed = self.path.exists();
        let opened = OpenOptions::new().create(true).append(true).open(&self.path);
        opened.map_err(|error| self.explain(&error))?;
        if existed { Ok(()) } else { fs::remove_file(&self.path) }
    }

    pub fn write(&self, content: &str) -> io::Result<()> {
        fs::write(&self.path, content).map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &io::Error) -> io::Error {
        let Self { option, path } = self;
        let message = format!("{option} {}: cannot be written: {error}", Path::display(path));
        io::Error::new(error.kind(), message)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = if self.option == "--svg" { "plot" } else { "rows" };
        write!(f, "{content}: {}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Command, String> {
        parse(args.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    fn refusal(args: &[&str]) -> String {
        parsed(args).unwrap_err()
    }

    #[test]
    fn without_arguments_the_drill_takes_42_seconds_and_leaves_a_plot() {
        let defaults = Args { seconds: 42, svg: Output::new("--svg", "outage_drill.svg"), json: None };
        assert_eq!(parsed(&[]), Ok(Command::Run(defaults)));
    }

    #[test]
    fn every_option_is_understood_in_both_spellings() {
        let all = Args {
            seconds: 7,
            svg: Output::new("--svg", "a.svg"),
            json: Some(Output::new("--json", "b.json")),
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

    #[test]
    fn a_file_that_cannot_be_written_is_refused_by_option_and_path() {
        let error = Output::new("--svg", "no/such/folder/x.svg").check().unwrap_err().to_string();
        assert!(error.starts_with("--svg no/such/folder/x.svg: cannot be written: "), "{error}");
    }
}

//! The command line of the laboratory.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

pub const HELP: &str = "\
The outage laboratory simulates well-known kinds of outage against steadfast's own layers.

  outage-lab [OPTIONS]            play every scenario with every policy
  outage-lab --musts [OPTIONS]    check the requirements of the default client
  outage-lab --front [OPTIONS]    change the default client's settings one at a time and compare the figures;
                                  with --scenario, only the figures of these scenarios
  outage-lab --networks [OPTIONS] play the scenarios of several replicas in each network, and compare a bare client
                                  with the default client

      --scenario NAME   play only scenarios whose names begin with NAME; `jitter` is AWS' contest of jitters
      --policy NAME     play only this policy
      --seed N          the first seed; the same seed gives the same figures
                        [default: 1; with --musts 1001]
      --seeds N         the number of seeds; the tables show medians, with --front and --networks means
                        [default: 1; with --musts 20, with --front and --networks 3]
      --json FILE       write the rows to FILE as JSON
      --svg DIR         write the plots to DIR [default: outage_lab]
      --list            list the scenarios and the policies
  -h, --help            print this text
";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Command {
    #[default]
    Play,
    Musts,
    Front,
    Networks,
    List,
    Help,
}

#[derive(Debug, Default)]
pub struct Args {
    pub command: Command,
    pub scenario: String,
    pub policy: Option<String>,
    pub seed: Option<u64>,
    pub seeds: Option<u64>,
    pub json: Option<PathBuf>,
    pub svg: Option<PathBuf>,
}

impl Args {
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, lexopt::Error> {
        let mut parser = lexopt::Parser::from_args(args);
        let mut parsed = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("musts") => parsed.command = Command::Musts,
                Long("front") => parsed.command = Command::Front,
                Long("networks") => parsed.command = Command::Networks,
                Long("list") => parsed.command = Command::List,
                Short('h') | Long("help") => parsed.command = Command::Help,
                Long("scenario") => parsed.scenario = parser.value()?.string()?,
                Long("policy") => parsed.policy = Some(parser.value()?.string()?),
                Long("seed") => parsed.seed = Some(parser.value()?.parse()?),
                Long("seeds") => {
                    let seeds: u64 = parser.value()?.parse()?;
                    if !(1..=10_000).contains(&seeds) {
                        return Err(format!("--seeds is {seeds}; it must be 1 to 10,000").into());
                    }
                    parsed.seeds = Some(seeds);
                }
                Long("json") => parsed.json = Some(parser.value()?.into()),
                Long("svg") => parsed.svg = Some(parser.value()?.into()),
                _ => return Err(arg.unexpected()),
            }
        }
        Ok(parsed)
    }

    /// The seeds, from the options or these defaults.
    pub fn seeds(&self, first: u64, count: u64) -> Vec<u64> {
        let first = self.seed.unwrap_or(first);
        (0..self.seeds.unwrap_or(count)).map(|index| first.wrapping_add(index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, lexopt::Error> {
        Args::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn an_invalid_argument_is_named_in_the_error() {
        for args in [&["--seeds", "0"][..], &["--seed", "x"], &["--bogus"], &["loose"]] {
            let error = parse(args).unwrap_err().to_string();
            assert!(
                error.contains(args[0].trim_start_matches('-')) || error.contains(args[args.len() - 1]),
                "{error}"
            );
        }
    }

    #[test]
    fn seeds_count_from_the_first() {
        assert_eq!(parse(&["--seed", "7", "--seeds", "3"]).unwrap().seeds(1, 1), [7, 8, 9]);
        assert_eq!(parse(&["--musts"]).unwrap().seeds(1000, 2), [1000, 1001]);
    }
}

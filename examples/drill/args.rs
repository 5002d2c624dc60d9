//! The options that both drills have: `--seconds`, `--svg` and `--json`.

use std::ffi::OsString;
use std::ops::RangeInclusive;

use lexopt::Parser;

use super::output::Output;

#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    pub seconds: u32,
    pub svg: Output,
    pub json: Option<Output>,
    /// The range of `--seconds`.
    pub range: RangeInclusive<u32>,
}

impl Args {
    /// The defaults.
    pub fn new(seconds: u32, range: RangeInclusive<u32>, svg: &str) -> Self {
        Self { seconds, svg: Output::new("--svg", svg), json: None, range }
    }

    /// Reads the value of one of these options. Refuses other options.
    pub fn read(&mut self, option: &str, parser: &mut Parser) -> Result<(), lexopt::Error> {
        match option {
            "seconds" => self.seconds = self.seconds(&parser.value()?)?,
            "svg" => self.svg = Output::new("--svg", parser.value()?),
            "json" => self.json = Some(Output::new("--json", parser.value()?)),
            other => return Err(lexopt::Arg::Long(other).unexpected()),
        }
        Ok(())
    }

    /// Checks the options together.
    pub fn checked(self) -> Result<Self, lexopt::Error> {
        match &self.json {
            Some(json) if json.path() == self.svg.path() => {
                let path = json.path().display();
                Err(format!("--json {path}: the plot is written to the same file (--svg)").into())
            }
            _ => Ok(self),
        }
    }

    pub fn outputs(&self) -> impl Iterator<Item = &Output> {
        std::iter::once(&self.svg).chain(&self.json)
    }

    fn seconds(&self, value: &OsString) -> Result<u32, lexopt::Error> {
        let parsed = value.to_str().and_then(|value| value.parse().ok());
        parsed.filter(|seconds| self.range.contains(seconds)).ok_or_else(|| {
            let (least, most) = (self.range.start(), self.range.end());
            format!("--seconds {}: must be a whole number from {least} to {most}", value.to_string_lossy())
                .into()
        })
    }
}

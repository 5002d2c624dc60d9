//! The command line of the measurement.

use super::form::Form;
use super::scenario::Scenario;
use crate::clients::Which;
use crate::parity::bench::Over;
use crate::{BoxError, USAGE};

#[derive(Debug)]
pub(super) struct Options {
    pub(super) form: &'static Form,
    pub(super) scenarios: Vec<Scenario>,
    pub(super) protocols: Vec<Over>,
    pub(super) clients: Vec<Which>,
    /// Prints the texts of failures, and the number of requests of each replica.
    pub(super) show: bool,
}

impl Options {
    /// `--quick` plays a few scenarios through steadfast only, for CI.
    pub(super) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, BoxError> {
        let mut options = Self {
            form: &Form::SHORT,
            scenarios: Scenario::ALL.to_vec(),
            protocols: vec![Over::Http1, Over::Http2],
            clients: vec![Which::Bare, Which::Steadfast],
            show: false,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--long" => options.form = &Form::LONG,
                "--quick" => {
                    options.form = &Form::QUICK;
                    options.scenarios.retain(|scenario| scenario.is_quick());
                    options.clients = vec![Which::Steadfast];
                }
                "--show" => options.show = true,
                "--only" => {
                    let text = arguments.next().ok_or(USAGE)?;
                    options.scenarios.retain(|scenario| scenario.to_string().contains(&text));
                }
                "--protocol" => options.protocols = vec![protocol(arguments.next().as_deref())?],
                "--client" => options.clients = vec![client(arguments.next().as_deref())?],
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }
}

fn protocol(name: Option<&str>) -> Result<Over, BoxError> {
    match name {
        Some("http1") => Ok(Over::Http1),
        Some("http2") => Ok(Over::Http2),
        _ => Err(USAGE.into()),
    }
}

fn client(name: Option<&str>) -> Result<Which, BoxError> {
    match name {
        Some("bare") => Ok(Which::Bare),
        Some("steadfast") => Ok(Which::Steadfast),
        _ => Err(USAGE.into()),
    }
}

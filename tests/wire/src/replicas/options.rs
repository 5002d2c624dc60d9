//! The command line of the measurement.

use super::form::Form;
use super::scenario::{Behind, Case};
use crate::clients::Which;
use crate::parity::bench::Over;
use crate::{BoxError, USAGE};

#[derive(Debug)]
pub(super) struct Options {
    pub(super) form: &'static Form,
    pub(super) cases: Vec<Case>,
    pub(super) protocols: Vec<Over>,
    pub(super) clients: Vec<Which>,
    /// Prints the texts of failures, and the number of requests of each replica.
    pub(super) show: bool,
    /// The chance of the balancer.
    pub(super) seed: u64,
}

impl Options {
    /// `--quick` plays a few scenarios through steadfast only, for CI.
    pub(super) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, BoxError> {
        let mut options = Self {
            form: &Form::SHORT,
            cases: Behind::ALL.map(Case::all).concat(),
            protocols: vec![Over::Http1, Over::Http2],
            clients: vec![Which::Bare, Which::Steadfast],
            show: false,
            seed: 1,
        };
        let mut is_long = false;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--long" => {
                    options.form = &Form::LONG;
                    is_long = true;
                }
                "--quick" => {
                    options.form = &Form::QUICK;
                    options.cases.retain(|case| case.is_quick());
                    options.clients = vec![Which::Steadfast];
                }
                "--show" => options.show = true,
                "--only" => {
                    let text = arguments.next().ok_or(USAGE)?;
                    options.cases.retain(|case| case.to_string().contains(&text));
                }
                "--behind" => {
                    let behind = behind(arguments.next().as_deref())?;
                    options.cases.retain(|case| case.behind == behind);
                }
                "--seed" => options.seed = arguments.next().ok_or(USAGE)?.parse()?,
                "--protocol" => options.protocols = vec![protocol(arguments.next().as_deref())?],
                "--client" => options.clients = vec![client(arguments.next().as_deref())?],
                _ => return Err(USAGE.into()),
            }
        }
        options.cases.retain(|case| is_long || !case.is_long());
        Ok(options)
    }
}

fn behind(name: Option<&str>) -> Result<Behind, BoxError> {
    match name {
        Some("name") => Ok(Behind::Name),
        Some("balancer") => Ok(Behind::Balancer),
        _ => Err(USAGE.into()),
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

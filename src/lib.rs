//! placeholder
#![forbid(unsafe_code)]

pub mod buffer_body;
pub mod bulkhead;
mod call;
pub mod circuit_breaker;
mod classify;
mod deadline;
mod error;
pub mod http;
mod message;
pub mod retry;
mod rng;
pub mod timeout;

pub use self::{
    call::{Call, HasOptions, Options, Resend, Resendable},
    classify::{Classify, Outcome},
    error::{BoxError, ConfigError, Error, TimeoutScope},
    message::{Http, Plain},
};

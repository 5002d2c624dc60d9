//! The synchronization primitives of code with loom models: those of std, tokio and arc-swap, or loom's in a model.
//!
//! A model runs under loom, which tries the possible orders of its threads and the values that a load may return.

#[cfg(not(all(test, steadfast_loom)))]
pub(crate) use arc_swap::ArcSwap;
#[cfg(not(all(test, steadfast_loom)))]
pub(crate) use std::hash::RandomState;
#[cfg(not(all(test, steadfast_loom)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(all(test, steadfast_loom)))]
pub(crate) use tokio::sync::{oneshot, watch};

#[cfg(all(test, steadfast_loom))]
mod modelled;

#[cfg(all(test, steadfast_loom))]
pub(crate) use self::modelled::*;

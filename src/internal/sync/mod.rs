//! The synchronization primitives for code that has loom models. Builds for the models use loom's primitives; all
//! other builds use those of std, tokio and arc-swap.
//!
//! A model is a test under loom. loom tries the possible orders of the threads' steps, and the values that each
//! atomic load may return.

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

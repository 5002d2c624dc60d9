//! What threads share is made of these: the real things, and in the models loom's, which run what a model does in the
//! orders that its threads may take, with the values that a load may see.

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

//! The stores of the last-known-good cache: the common contract, and the tests of each store.

mod contract;
#[cfg(feature = "disk")]
mod crash;
#[cfg(feature = "disk")]
mod disk;
#[cfg(feature = "disk")]
mod folder;
#[cfg(all(feature = "disk", target_os = "linux"))]
mod full;
mod memory;

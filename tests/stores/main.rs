//! The stores of the fallback: what holds for every one, and for each alone.

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

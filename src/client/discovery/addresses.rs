//! The addresses of one name, over several answers of a resolver.
//!
//! A resolver's answer is not the list of the instances of an upstream: an instance can appear twice, and it can be
//! missing although it is up. [`KnownAddresses`] therefore keeps the addresses of earlier answers.
//!
//! # One family
//!
//! An instance with an IPv4 and an IPv6 address would count as two endpoints, so only the addresses of one family are
//! used. The resolver sorts its answer (RFC 6724), so the first address of the first answer chooses the family. The
//! family changes only if an answer has no address of the family, or if [`KnownAddresses::switch_family`] asks for
//! it.
//!
//! # Removal
//!
//! The resolver of a large pool answers with changing subsets of the pool. An address that is missing in one answer
//! may still be there, so an address is removed only after several consecutive answers without it.
//!
//! With k addresses in the answer and u known addresses, an address that is still there is in an answer with the
//! probability p = k/u. After m answers, one of the u − k missing addresses is still there with a probability of at
//! most (u − k) × (1 − p)^m. A missing address is removed as soon as this bound is at most 1 %, but after at least 3
//! and at most 60 answers. The factor u − k keeps a pool of 40 quiet: for a single address, 1 % is little, but the
//! pool would lose an address in every 14th answer.
//!
//! Every answer computes p anew. If the pool has shrunk, the first removals raise p and hasten the next ones.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;

/// The bound of the probability that a removed address is still there.
const MAX_ERROR: f64 = 0.01;

/// The least number of answers without an address before the address is removed. A server of the resolver that lags
/// behind must not remove a new address.
const MIN_ABSENCES: u32 = 3;

/// The largest number of answers without an address before the address is removed.
const MAX_ABSENCES: u32 = 60;

/// The largest number of known addresses. Those with the lowest ranks are left out.
const MAX_KNOWN: usize = 1024;

/// A change of the addresses in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressChange {
    Added(IpAddr),
    Removed(IpAddr),
}

/// The known addresses of one name.
///
/// At most `max` of the known addresses are in use: those with the highest hash of seed and address (rendezvous
/// hashing). The choice stays stable when other addresses come and go. With different seeds, processes choose
/// different addresses and share the load.
#[derive(Debug)]
pub(super) struct KnownAddresses {
    max: usize,
    seed: u64,
    /// `None` before the first answer.
    family: Option<Family>,
    /// Sorted by rank, highest first. After a change of the family, addresses of the former family remain until they
    /// are removed.
    known: Vec<Known>,
    /// The addresses of both families, in the order of the answer.
    last_answer: Vec<IpAddr>,
}

#[derive(Debug)]
struct Known {
    rank: u64,
    address: IpAddr,
    /// The number of consecutive answers without the address.
    absences: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

// ===== impl KnownAddresses =====

impl KnownAddresses {
    /// `max` is the largest number of addresses in use, at least 1. `seed` chooses among more addresses.
    pub(super) const fn new(max: usize, seed: u64) -> Self {
        Self { max, seed, family: None, known: Vec::new(), last_answer: Vec::new() }
    }

    /// The addresses in use.
    pub(super) fn current(&self) -> impl Iterator<Item = IpAddr> {
        self.known.iter().take(self.max).map(|known| known.address)
    }

    /// The addresses of the last answer in the other family, for the fail-over of a connection.
    pub(super) fn other_family(&self) -> impl Iterator<Item = IpAddr> {
        self.last_answer.iter().copied().filter(|address| Some(Family::of(*address)) != self.family)
    }

    /// Records an answer of the resolver. Returns the changes of the addresses in use, removals first. An empty
    /// answer changes nothing: the caller treats it as a failure.
    pub(super) fn answered(&mut self, answer: impl IntoIterator<Item = IpAddr>) -> Vec<AddressChange> {
        let mut distinct = HashSet::new();
        // An IPv4-mapped IPv6 address is the IPv4 address in another notation.
        let answer = answer.into_iter().map(|address| address.to_canonical());
        let answer: Vec<_> = answer.filter(|address| distinct.insert(*address)).collect();
        let Some(&first) = answer.first() else { return Vec::new() };
        let has_family = |family: &Family| answer.iter().any(|address| Family::of(*address) == *family);
        let family = self.family.filter(has_family).unwrap_or(Family::of(first));
        self.last_answer = answer;
        self.change(|this| {
            this.family = Some(family);
            for known in &mut this.known {
                known.absences = known.absences.saturating_add(1);
            }
            let in_answer = this.add_last_answer(family);
            let limit = max_absences(in_answer, this.known.len());
            this.known.retain(|known| known.absences < limit);
        })
    }

    /// Records a pause in which the resolver was not asked. An address that is missing in the next answer is removed
    /// at once, because the absences of the pause were not counted.
    pub(super) fn paused(&mut self) {
        for known in &mut self.known {
            known.absences = MAX_ABSENCES;
        }
    }

    /// Records that `address` worked while connections to the preferred family failed. Switches to the family of
    /// `address` at once: the addresses of the former family are removed, and those of the last answer are added.
    /// Changes nothing if the last answer has no address of the family.
    pub(super) fn switch_family(&mut self, address: IpAddr) -> Vec<AddressChange> {
        let family = Family::of(address);
        if self.family == Some(family) || self.other_family().next().is_none() {
            return Vec::new();
        }
        self.change(|this| {
            this.family = Some(family);
            this.known.retain(|known| Family::of(known.address) == family);
            this.add_last_answer(family);
        })
    }

    /// Records that the last answer has its addresses of `family`. Returns their number.
    fn add_last_answer(&mut self, family: Family) -> usize {
        let mut new: HashSet<_> =
            self.last_answer.iter().copied().filter(|address| Family::of(*address) == family).collect();
        let in_answer = new.len();
        for known in &mut self.known {
            if new.remove(&known.address) {
                known.absences = 0;
            }
        }
        let seed = self.seed;
        self.known.extend(new.into_iter().map(|address| Known {
            rank: rank(seed, address),
            address,
            absences: 0,
        }));
        self.known.sort_unstable_by_key(|known| (std::cmp::Reverse(known.rank), known.address));
        self.known.truncate(MAX_KNOWN);
        in_answer
    }

    /// Returns the changes of the addresses in use that `change` causes.
    fn change(&mut self, change: impl FnOnce(&mut Self)) -> Vec<AddressChange> {
        let before: Vec<_> = self.current().collect();
        change(self);
        let after: Vec<_> = self.current().collect();
        let removed = before.iter().filter(|address| !after.contains(address));
        let added = after.iter().filter(|address| !before.contains(address));
        let removed = removed.copied().map(AddressChange::Removed);
        removed.chain(added.copied().map(AddressChange::Added)).collect()
    }
}

/// The number of consecutive answers without an address after which the address is removed.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn max_absences(in_answer: usize, known: usize) -> u32 {
    let missing = known.saturating_sub(in_answer);
    if missing == 0 {
        return MAX_ABSENCES;
    }
    let absence_probability = missing as f64 / known as f64;
    let absences = (MAX_ERROR / missing as f64).ln() / absence_probability.ln();
    (absences.ceil() as u32).clamp(MIN_ABSENCES, MAX_ABSENCES)
}

/// The place of an address among more than `max` addresses.
fn rank(seed: u64, address: IpAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, address).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;

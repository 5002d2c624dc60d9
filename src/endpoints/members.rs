//! The members of a group: the address and the service of each endpoint, in slots.
//!
//! A change of the addresses replaces the whole list, so a call reads it without a lock. The service of an endpoint
//! is made for its first attempt.

use std::sync::{Arc, PoisonError};

use super::group::Endpoint;
use crate::internal::sync::{ArcSwap, Mutex};
use crate::{EndpointId, EndpointSet};

/// The endpoints of an upstream, by slot.
pub(super) struct Members<A, S> {
    /// A bit for each slot with a member.
    pub(super) slots: u64,
    members: Vec<Option<Member<A, S>>>,
}

/// One endpoint.
pub(super) struct Member<A, S> {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) site: Arc<Site<A, S>>,
}

/// The address of an endpoint, and the service that sends to it.
pub(super) struct Site<A, S> {
    /// Lanes share their address.
    pub(super) address: Arc<A>,
    /// `None` until the first attempt, and after the endpoint was idle.
    service: ArcSwap<Option<S>>,
    /// Held while the service is made.
    making: Mutex<()>,
}

impl<A, S> Clone for Member<A, S> {
    fn clone(&self) -> Self {
        Self { endpoint: Arc::clone(&self.endpoint), site: Arc::clone(&self.site) }
    }
}

impl<A, S> Members<A, S> {
    pub(super) const fn new() -> Self {
        Self { slots: 0, members: Vec::new() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Member<A, S>)> {
        self.members.iter().enumerate().filter_map(|(slot, member)| Some((slot, member.as_ref()?)))
    }

    /// Returns the member in a slot of [`slots`](Self::slots).
    #[inline]
    pub(super) fn at(&self, slot: u32) -> &Member<A, S> {
        self.members[slot as usize].as_ref().expect("a slot with a member")
    }

    /// Returns the slots of the endpoints in the set.
    pub(super) fn slots_of(&self, tried: EndpointSet) -> u64 {
        if tried.is_empty() {
            return 0;
        }
        let tried = self.iter().filter(|(_, member)| tried.contains(member.endpoint.id));
        tried.fold(0, |slots, (slot, _)| slots | 1 << slot)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.count_ones() as usize
    }

    /// Returns the lowest free slot.
    pub(super) fn free_slot(&self) -> usize {
        self.slots.trailing_ones() as usize
    }

    pub(super) fn has_id(&self, id: EndpointId) -> bool {
        self.iter().any(|(_, member)| member.endpoint.id == id)
    }

    /// Returns the list with a member added in a free slot.
    pub(super) fn with(&self, slot: usize, member: Member<A, S>) -> Self {
        let mut members = self.members.clone();
        if members.len() <= slot {
            members.resize_with(slot + 1, || None);
        }
        members[slot] = Some(member);
        Self { slots: self.slots | 1 << slot, members }
    }

    /// Returns the list without the member in the slot.
    pub(super) fn without(&self, slot: usize) -> Self {
        let mut members = self.members.clone();
        members[slot] = None;
        Self { slots: self.slots & !(1 << slot), members }
    }
}

impl<A: PartialEq, S> Members<A, S> {
    pub(super) fn slot_of(&self, address: &A) -> Option<usize> {
        self.iter().find(|(_, member)| *member.site.address == *address).map(|(slot, _)| slot)
    }
}

impl<A, S> Member<A, S> {
    pub(super) fn new(endpoint: Arc<Endpoint>, address: Arc<A>) -> Self {
        let site = Site { address, service: ArcSwap::from_pointee(None), making: Mutex::new(()) };
        Self { endpoint, site: Arc::new(site) }
    }
}

impl<A, S: Clone> Member<A, S> {
    /// Returns the service. Makes it if there is none, or if its connections look dead.
    #[inline]
    pub(super) fn service(&self, make: impl Fn(&A) -> S) -> S {
        if !self.endpoint.needs_renewal() {
            if let Some(service) = self.site.service.load().as_ref().clone() {
                return service;
            }
        }
        self.make(make)
    }

    #[cold]
    fn make(&self, make: impl Fn(&A) -> S) -> S {
        // Of calls that need the service at the same time, the first makes it. The others find it under the lock.
        let _making = self.site.making.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.endpoint.take_renewal() {
            if let Some(service) = self.site.service.load().as_ref().clone() {
                return service;
            }
        }
        let service = make(&self.site.address);
        self.site.service.store(Arc::new(Some(service.clone())));
        service
    }

    /// Drops the service. Its attempts in flight go on.
    pub(super) fn drop_service(&self) {
        self.site.service.store(Arc::new(None));
    }
}

#[cfg(all(test, steadfast_loom))]
mod models;

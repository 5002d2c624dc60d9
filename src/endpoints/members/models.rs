//! Loom models of the service of a member. Each checks a property in every order of the steps of two threads.

use std::num::NonZeroU16;

use tokio::time::Instant;

use super::*;
use crate::endpoints::ejection::{EndpointFault, FaultKind};
use crate::endpoints::{Endpoints, group::EndpointGroup};
use crate::internal::sync::atomic::{AtomicU32, Ordering::Relaxed};
use crate::internal::sync::race;

/// A member whose services are numbered in the order in which they are made.
struct Numbered {
    member: Member<(), u32>,
    made: AtomicU32,
    /// The endpoint has only a weak reference to its group.
    _group: Arc<EndpointGroup>,
}

impl Numbered {
    fn new() -> Self {
        let group = EndpointGroup::new(&Endpoints::builder().seed(1), None);
        let endpoint = group.insert(0, EndpointId::new(NonZeroU16::MIN), "a");
        Self { member: Member::new(endpoint, Arc::new(())), made: AtomicU32::new(0), _group: group }
    }

    /// The service 0 is made.
    fn with_service() -> Self {
        let numbered = Self::new();
        assert_eq!(numbered.service(), 0);
        numbered
    }

    /// The connections of the service 0 look dead.
    fn with_dead_service() -> Self {
        let numbered = Self::with_service();
        numbered.time_out(0);
        numbered
    }

    fn service(&self) -> u32 {
        self.member.service(|()| self.made.fetch_add(1, Relaxed))
    }

    /// Ends an attempt, so that the connections of its service look dead.
    fn time_out(&self, version: u32) {
        let fault = EndpointFault {
            kind: FaultKind::Timeout,
            retry_after: None,
            generation: 0,
            is_probe: false,
            good_head_ms: None,
            began_ms: 0,
        };
        self.member.endpoint.faulted(fault, version, Instant::now());
    }

    /// Returns the number of services made so far. A later call uses the last of them.
    fn made(&self) -> u32 {
        let made = self.made.load(Relaxed);
        assert_eq!(self.service() + 1, made);
        made
    }
}

#[test]
fn two_first_calls_make_one_service() {
    race(Numbered::new, Numbered::service, Numbered::service, |numbered, one, two| {
        assert_eq!((one, two, numbered.made()), (0, 0, 1));
    });
}

#[test]
fn two_calls_renew_a_dead_service_once() {
    race(Numbered::with_dead_service, Numbered::service, Numbered::service, |numbered, one, two| {
        assert!(one == 1 || two == 1);
        assert_eq!(numbered.made(), 2);
    });
}

#[test]
fn a_service_that_dies_during_a_call_is_renewed_once() {
    let dies = |numbered: &Numbered| {
        numbered.time_out(0);
        numbered.service()
    };
    race(Numbered::with_service, dies, Numbered::service, |numbered, _, _| assert_eq!(numbered.made(), 2));
}

#[test]
fn two_timeouts_of_one_service_renew_it_once() {
    let dies = |numbered: &Numbered| {
        numbered.time_out(0);
        numbered.service()
    };
    let times_out = |numbered: &Numbered| numbered.time_out(0);
    race(Numbered::with_service, dies, times_out, |numbered, _, ()| assert_eq!(numbered.made(), 2));
}

#[test]
fn a_renewed_service_that_dies_is_renewed() {
    let dies = |numbered: &Numbered| {
        let version = numbered.member.endpoint.version();
        let service = numbered.service();
        numbered.time_out(version);
        service
    };
    race(Numbered::with_dead_service, dies, Numbered::service, |numbered, dead, _| {
        assert_ne!(numbered.service(), dead);
    });
}

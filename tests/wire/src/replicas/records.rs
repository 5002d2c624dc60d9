//! The requests that the replicas received.

use std::sync::Mutex;

use tokio::time::Instant;

/// A request at a replica.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) replica: usize,
    /// The call that the request belongs to. Each attempt of a call has its id.
    pub(super) call: u64,
    pub(super) received: Instant,
    /// True for a POST that arrived whole at a replica that does not refuse it.
    pub(super) is_carried_out: bool,
    pub(super) is_answered: bool,
}

/// The requests of all replicas, in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Records(Mutex<Vec<Request>>);

/// The place of a request in the records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry(usize);

impl Records {
    /// Records the head of a request.
    pub(super) fn receive(&self, replica: usize, call: u64) -> Entry {
        let received = Instant::now();
        let request = Request { replica, call, received, is_carried_out: false, is_answered: false };
        let mut requests = self.0.lock().expect("not poisoned");
        requests.push(request);
        Entry(requests.len() - 1)
    }

    pub(super) fn carry_out(&self, Entry(index): Entry) {
        self.0.lock().expect("not poisoned")[index].is_carried_out = true;
    }

    pub(super) fn answer(&self, Entry(index): Entry) {
        self.0.lock().expect("not poisoned")[index].is_answered = true;
    }

    pub(super) fn all(&self) -> Vec<Request> {
        self.0.lock().expect("not poisoned").clone()
    }
}

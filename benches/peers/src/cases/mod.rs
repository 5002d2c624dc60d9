//! The measured cases, with a file for each family of cases.

mod breaker;
mod budget;
mod bulkhead;
mod client;
mod edges;
mod per_upstream;
mod refusal;
mod retry;
mod stack;
mod threads;
mod timeout;

use std::time::Duration;

use steadfast::Call;
use tower::{Service, ServiceExt};

use crate::measure::{Suite, runtime};
use crate::upstream::{Get, get};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

pub fn add(suite: &mut Suite) {
    breaker::add(suite);
    bulkhead::add(suite);
    timeout::add(suite);
    retry::add(suite);
    refusal::add(suite);
    budget::add(suite);
    stack::add(suite);
    threads::add(suite);
    per_upstream::add(suite);
    edges::add(suite);
    client::add(suite);
}

/// Brings a service into the claimed state of a case, with this many calls.
fn call<S: Service<Call<Get>>>(
    service: &mut S,
    times: usize,
    expect: fn(&Result<S::Response, S::Error>) -> bool,
) {
    call_with(service, times, get, expect);
}

fn call_with<S: Service<Call<Get>>>(
    service: &mut S,
    times: usize,
    mut next: impl FnMut() -> Call<Get>,
    expect: fn(&Result<S::Response, S::Error>) -> bool,
) {
    runtime().block_on(async {
        for _ in 0..times {
            let Ok(service) = service.ready().await else { panic!("the service is not ready") };
            assert!(expect(&service.call(next()).await));
        }
    });
}

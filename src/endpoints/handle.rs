//! The endpoints of an upstream, as a handle that users keep.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::time::Instant;

use super::attempt::Attempt;
use super::config::EndpointsBuilder;
use super::discovery::{BoxedErrors, Change, Discovery, WaitingCall};
use super::group::{EndpointGroup, Pick, ProbeRight, Tried};
use super::lane_choice::LaneChoice;
use super::load_words::low_bits;
use super::members::{Member, Members};
use super::status::EndpointStatus;
use crate::internal::log_events;
use crate::internal::sync::{ArcSwap, Mutex};
use crate::{BoxError, ConfigError, EndpointId, EndpointSet};

/// The endpoints of one upstream, each with an address `A` and a service `S` of its own.
///
/// A clone is another handle to the same endpoints. Put the handle into an
/// [`EndpointsService`](super::EndpointsService), and use it to look at the endpoints.
///
/// ```
/// use std::net::SocketAddr;
/// use steadfast::Error;
/// use steadfast::endpoints::{Endpoints, EndpointsService, fixed};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let addresses: [SocketAddr; 2] = ["10.0.0.1:80".parse()?, "10.0.0.2:80".parse()?];
/// let endpoints = Endpoints::builder().name("sku").build(fixed(addresses), |address: &SocketAddr| {
///     let address = *address;
///     let send = move |_: http::Request<String>| async move {
///         Ok::<_, std::io::Error>(http::Response::new(format!("sent to {address}")))
///     };
///     ServiceBuilder::new().map_err(Error::from_upstream).service_fn(send)
/// })?;
///
/// let service = EndpointsService::new(endpoints.clone());
/// let response = service.oneshot(http::Request::new(String::new())).await?;
/// for endpoint in endpoints.list() {
///     println!("{}: {}", endpoint.address(), endpoint.state());
/// }
/// # Ok(())
/// # }
/// ```
#[doc(alias = "balancer")]
#[doc(alias = "replicas")]
pub struct Endpoints<A, S>(pub(super) Arc<EndpointsInner<A, S>>);

pub(super) struct EndpointsInner<A, S> {
    pub(super) group: Arc<EndpointGroup>,
    pub(super) members: ArcSwap<Members<A, S>>,
    make: Box<dyn Fn(&A) -> S + Send + Sync>,
    discovery: Discovery<A>,
    max_endpoints: usize,
    pub(super) changes: Mutex<Changes<A>>,
}

/// The state of changes to the members.
pub(super) struct Changes<A> {
    /// The number of the endpoint that was added last.
    last_id: u16,
    /// Addresses beyond the largest number of endpoints, oldest first.
    left_out: Vec<A>,
    /// True if it was reported that an address found no place among them.
    is_overfull: bool,
}

/// The most addresses that are remembered beyond the largest number of endpoints.
const MAX_LEFT_OUT: usize = 10_000;

/// The endpoint and the service for one attempt.
pub(super) struct Chosen<S> {
    pub(super) attempt: Attempt,
    pub(super) service: S,
    /// If the attempt is a probe: its time limit, unless it cannot be sent again.
    pub(super) probe: Option<Duration>,
}

impl EndpointsBuilder {
    /// Builds the endpoints. `changes` is the stream of the addresses; see [`fixed`](super::fixed) for addresses that
    /// never change. `A: Display` is the address in events.
    ///
    /// `make` makes the service of an endpoint or lane, for its first attempt and whenever it gets new connections. It
    /// runs within the call that needs the service. Other calls to the same endpoint block meanwhile, so `make` must be
    /// quick, and must not call these endpoints.
    ///
    /// Calls poll the stream; no task is spawned. An error of the stream is logged, and the known endpoints are kept.
    ///
    /// # Errors
    ///
    /// Fails if a setting is out of its range.
    pub fn build<A, S, D, E>(
        self,
        changes: D,
        make: impl Fn(&A) -> S + Send + Sync + 'static,
    ) -> Result<Endpoints<A, S>, ConfigError>
    where
        A: PartialEq + fmt::Display,
        D: Stream<Item = Result<Change<A>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.validate()?;
        let name = self.name.clone();
        Ok(Endpoints::new(&self, name, BoxedErrors(changes), make))
    }
}

impl Endpoints<(), ()> {
    /// Returns a builder with the default settings.
    pub const fn builder() -> EndpointsBuilder {
        EndpointsBuilder::new()
    }
}

impl<A: PartialEq + fmt::Display, S> Endpoints<A, S> {
    /// Makes endpoints with valid settings.
    pub(crate) fn new(
        settings: &EndpointsBuilder,
        name: Option<Arc<str>>,
        changes: impl Stream<Item = Result<Change<A>, BoxError>> + Send + 'static,
        make: impl Fn(&A) -> S + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(EndpointsInner {
            group: EndpointGroup::new(settings, name),
            members: ArcSwap::from_pointee(Members::new()),
            make: Box::new(make),
            discovery: Discovery::new(changes),
            max_endpoints: settings.max_endpoints,
            changes: Mutex::new(Changes { last_id: 0, left_out: Vec::new(), is_overfull: false }),
        }))
    }

    /// Applies the news of the discovery, if there are any.
    #[inline]
    pub(super) fn update(&self) {
        if self.0.discovery.has_news() {
            self.0.discovery.poll_news(|news| self.apply(news));
        }
    }

    /// Waits for the first endpoint. Ready with false if the discovery has ended without one.
    pub(super) fn poll_known(&self, waiting: &WaitingCall, cx: &mut Context<'_>) -> Poll<bool> {
        // The waker is registered before the news are read, so that no news are missed.
        waiting.wake_at_news(cx.waker());
        self.update();
        let is_open = self.0.discovery.is_open();
        match (self.0.members.load().slots, is_open) {
            (0, true) => Poll::Pending,
            (slots, _) => Poll::Ready(slots != 0),
        }
    }

    /// Returns a place for a call that waits for the first endpoint.
    pub(super) fn wait(&self) -> WaitingCall {
        self.0.discovery.wait()
    }

    fn apply(&self, news: Result<Change<A>, BoxError>) {
        match news {
            Ok(Change::Insert(address)) => self.insert(address),
            Ok(Change::Remove(address)) => self.remove(&address),
            Err(error) => {
                log_events::discovery_failed(
                    self.name().unwrap_or_default(),
                    &error,
                    self.0.members.load().len(),
                );
            }
        }
    }

    fn insert(&self, address: A) {
        let mut changes = self.lock_changes();
        let members = self.0.members.load();
        if members.slot_of(&address).is_some() || changes.left_out.contains(&address) {
            return;
        }
        let addresses = if self.0.group.lanes.are_used() { 1 } else { members.len() };
        if addresses >= self.0.max_endpoints {
            if changes.left_out.len() < MAX_LEFT_OUT {
                changes.left_out.push(address);
            } else if !std::mem::replace(&mut changes.is_overfull, true) {
                log_events::address_ignored(
                    self.name().unwrap_or_default(),
                    &address.to_string(),
                    MAX_LEFT_OUT,
                );
            }
            return;
        }
        let members = self.keep_first_lane(&members);
        self.0.group.lanes.use_if(members.len() == 0);
        let id = changes.next_id(&members);
        let slot = members.free_slot();
        let text = address.to_string();
        let endpoint = self.0.group.insert(slot, id, &text);
        self.0.members.store(Arc::new(members.with(slot, Member::new(endpoint, Arc::new(address)))));
        drop(changes);
        log_events::endpoint_added(self.name().unwrap_or_default(), &text);
    }

    fn remove(&self, address: &A) {
        let mut changes = self.lock_changes();
        changes.left_out.retain(|left_out| left_out != address);
        let members = self.0.members.load();
        let Some(slot) = members.slot_of(address) else { return };
        let members = self.keep_first_lane(&members);
        self.0.group.remove(slot);
        let members = Arc::new(members.without(slot));
        self.0.members.store(Arc::clone(&members));
        let next: Option<A> = (!changes.left_out.is_empty()).then(|| changes.left_out.remove(0));
        self.0.group.lanes.use_if(next.is_none() && members.len() == 1);
        drop(changes);
        log_events::endpoint_removed(self.name().unwrap_or_default(), &address.to_string());
        if let Some(address) = next {
            self.insert(address);
        }
    }
}

impl<A: PartialEq + fmt::Display, S: Clone> Endpoints<A, S> {
    /// Chooses an endpoint for an attempt; `None` if no endpoint is known.
    #[inline]
    pub(super) fn choose(&self, tried: EndpointSet, right: ProbeRight, now: Instant) -> Option<Chosen<S>> {
        let mut choices_left = MAX_CHOICES;
        loop {
            let members = self.0.members.load();
            let tried = Tried { slots: members.slots_of(tried), is_retry: !tried.is_empty() };
            let load = |slot| &members.at(slot).endpoint.load;
            let limit = || probe_limit(&members);
            let mut pick = self.0.group.choose(members.slots, load, tried, right, limit, now)?;
            choices_left -= 1;
            if choices_left == 0 {
                pick = pick.shared();
            }
            let begun = match pick.choice {
                LaneChoice::Use(slot) => self.begin(members.at(slot), &pick, now),
                LaneChoice::Share(slot) => self.begin(members.at(slot), &pick.shared(), now),
                LaneChoice::Replace { .. } | LaneChoice::Add { .. } => {
                    self.begin_in_changed(&members, &pick, now)
                }
            };
            if begun.is_some() {
                self.keep_lanes_up(&members, pick.now_ms);
                return begun;
            }
        }
    }

    /// Begins an attempt, unless other attempts fill the lane.
    #[inline]
    pub(super) fn begin(&self, member: &Member<A, S>, pick: &Pick, now: Instant) -> Option<Chosen<S>> {
        let endpoint = &member.endpoint;
        endpoint.renew_after_rest(pick.now_ms);
        let has_begun = endpoint.load.begin_within(pick.room, low_bits(pick.now_ms));
        has_begun.then(|| self.chosen(member, pick, now))
    }

    /// Returns the member for an attempt that its load counts already.
    #[inline]
    pub(super) fn chosen(&self, member: &Member<A, S>, pick: &Pick, now: Instant) -> Chosen<S> {
        let attempt = Attempt::new(Arc::clone(&member.endpoint), pick.probe.is_some(), now);
        Chosen { attempt, service: member.service(&self.0.make), probe: pick.probe }
    }
}

/// The most choices of an attempt. Other attempts can take the chosen lane first.
const MAX_CHOICES: u32 = 8;

impl<A, S> Endpoints<A, S> {
    /// The upstream's name, if it was set.
    pub fn name(&self) -> Option<&str> {
        self.0.group.name().map(|name| &**name)
    }

    pub(super) fn shared_name(&self) -> Option<&Arc<str>> {
        self.0.group.name()
    }

    /// Drops the services of all endpoints, to close the idle connections of an upstream that is not called any more.
    /// Attempts in flight go on, and the next attempt at an endpoint makes its service anew. The health of the
    /// endpoints is kept.
    pub fn drop_services(&self)
    where
        S: Clone,
    {
        self.drop_services_at(|_| true);
    }

    /// Drops the services at the addresses for which `is_meant` returns true.
    pub(crate) fn drop_services_at(&self, is_meant: impl Fn(&A) -> bool)
    where
        S: Clone,
    {
        let members = self.0.members.load();
        let meant = members.iter().filter(|(_, member)| is_meant(&member.site.address));
        meant.for_each(|(_, member)| member.drop_service());
    }
}

/// A probe has at least this time.
const MIN_PROBE_TIME: Duration = Duration::from_millis(200);

/// The time limit of a probe, as a multiple of the highest latency of all endpoints.
const PROBE_TIMES: u32 = 4;

/// Returns the time limit of a probe. Its caller did not ask for the probe, so the limit is short.
#[cold]
fn probe_limit<A, S>(members: &Members<A, S>) -> Duration {
    let longest = members.iter().filter_map(|(_, member)| member.endpoint.load.latency()).max();
    (longest.unwrap_or_default() * PROBE_TIMES).max(MIN_PROBE_TIME)
}

impl<A: Clone, S> Endpoints<A, S> {
    /// Returns the state of each known endpoint, in no particular order. Empty before the first call: calls poll the
    /// discovery.
    pub fn list(&self) -> Vec<EndpointStatus<A>> {
        let now = Instant::now();
        let are_lanes = self.0.group.lanes.are_used();
        let status = |(slot, member): (usize, &Member<A, S>)| {
            let load = &member.endpoint.load;
            let ejection = self.0.group.ejection_of(slot, now);
            EndpointStatus {
                id: member.endpoint.id,
                address: A::clone(&member.site.address),
                lane: are_lanes.then(|| u16::try_from(slot + 1).unwrap_or(u16::MAX)),
                latency: load.latency(),
                in_flight: load.counts().in_flight() as usize,
                ejected: ejection.map(|(cause, until, _)| (cause, until)),
                is_probing: ejection.is_some_and(|(_, _, is_probing)| is_probing),
                is_silent: load.price(self.0.group.millis(now)).is_silent,
                faults_in_row: load.health().faults(),
            }
        };
        self.0.members.load().iter().map(status).collect()
    }
}

impl<A> Changes<A> {
    /// Returns a number that no endpoint has.
    pub(super) fn next_id<S>(&mut self, members: &Members<A, S>) -> EndpointId {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            let id = NonZeroU16::new(self.last_id).map(EndpointId::new);
            if let Some(id) = id.filter(|id| !members.has_id(*id)) {
                return id;
            }
        }
    }
}

impl<A, S> Clone for Endpoints<A, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A, S> fmt::Debug for Endpoints<A, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.0.members.load().len();
        f.debug_struct("Endpoints").field("name", &self.name()).field("known", &known).finish_non_exhaustive()
    }
}

//! Makes the endpoints of each origin, and their reqwest clients.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use reqwest::Url;

use super::classifier::StackClassifier;
use super::client_factory::{ClientFactory, Pin};
use super::discovery::{AddressNews, DiscoverySettings, NameDiscovery, Resolver};
use super::origin::{OriginEndpoints, OriginName};
use super::pins::{AddressObserver, Pins, Target};
use super::reqwest_service::ReqwestService;
use crate::endpoints::{Endpoints, EndpointsBuilder, EndpointsService, fixed};
use crate::internal::rng;

/// The origins of a client.
#[derive(Clone)]
pub(super) struct OriginFactory(Arc<OriginFactoryInner>);

struct OriginFactoryInner {
    /// The service of the reqwest client that resolves names itself.
    unpinned: ReqwestService,
    /// The same as a single endpoint.
    single: EndpointsService<Target, ReqwestService, StackClassifier>,
    settings: OriginSettings,
    /// The origins in use. Upstreams with a key function can share an origin.
    origins: Mutex<HashMap<OriginName, Weak<OriginEndpoints>>>,
}

/// The settings of the endpoints of a client.
pub(super) struct OriginSettings {
    /// `None` if the reqwest client was handed in, or if endpoints are switched off.
    pub(super) factory: Option<Arc<ClientFactory>>,
    pub(super) resolver: Resolver,
    /// True if the addresses of the resolver are those that reqwest connects to. Otherwise they have to be confirmed.
    pub(super) is_confirmed: bool,
    /// True if the key of an upstream is its origin, so that an upstream has one origin only.
    pub(super) has_one_origin: bool,
    pub(super) refresh: Duration,
    pub(super) endpoints: EndpointsBuilder,
    pub(super) classifier: StackClassifier,
}

/// The largest number of lanes of a single address.
const MAX_LANES: usize = 64;

impl OriginFactory {
    pub(super) fn new(unpinned: ReqwestService, settings: OriginSettings) -> Self {
        let without_lanes = settings.endpoints.clone().without_lanes();
        let single = single_endpoint(&unpinned, None, None, &without_lanes);
        let single = EndpointsService::new(single).classifier(settings.classifier.clone());
        Self(Arc::new(OriginFactoryInner { unpinned, single, settings, origins: Mutex::default() }))
    }

    pub(super) fn has_one_origin(&self) -> bool {
        self.0.settings.has_one_origin
    }

    /// Returns the endpoint without a pin that all origins share.
    pub(super) fn single(&self) -> &EndpointsService<Target, ReqwestService, StackClassifier> {
        &self.0.single
    }

    /// Returns the endpoints of the origin of a URL. Makes them if the origin is new.
    pub(super) fn origin(&self, url: &Url) -> Arc<OriginEndpoints> {
        let name = OriginName::of(url);
        let mut origins = self.0.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(origin) = origins.get(&name).and_then(Weak::upgrade) {
            return origin;
        }
        let origin = Arc::new(self.make(&name));
        origins.retain(|_, origin| origin.strong_count() > 0);
        origins.insert(name, Arc::downgrade(&origin));
        origin
    }

    fn make(&self, name: &OriginName) -> OriginEndpoints {
        let OriginFactoryInner { unpinned, settings, .. } = &*self.0;
        let upstream: Arc<str> = name.to_string().into();
        let factory = settings.factory.as_ref();
        let pinnable = factory.filter(|factory| name.is_resolved() && !factory.pins(&name.host));
        let (endpoints, discovery) = if let Some(factory) = pinnable {
            let (endpoints, discovery) = self.discovered(name, &upstream, factory);
            (endpoints, Some(discovery))
        } else {
            (single_endpoint(unpinned, factory, Some(upstream), &self.endpoint_settings(name)), None)
        };
        let service = EndpointsService::new(endpoints).classifier(settings.classifier.clone());
        OriginEndpoints { name: name.clone(), service, unpinned: self.0.single.clone(), discovery }
    }

    /// Returns the settings of the endpoints of an origin. A client that was handed in has one pool of connections, so
    /// it has no lanes.
    fn endpoint_settings(&self, name: &OriginName) -> EndpointsBuilder {
        let OriginSettings { endpoints, factory, .. } = &self.0.settings;
        match factory {
            Some(factory) => endpoints.clone().with_lanes(MAX_LANES, factory.protocol(name.is_encrypted())),
            None => endpoints.clone().without_lanes(),
        }
    }

    fn discovered(
        &self,
        name: &OriginName,
        upstream: &Arc<str>,
        factory: &Arc<ClientFactory>,
    ) -> (Endpoints<Target, ReqwestService>, Arc<NameDiscovery>) {
        let OriginFactoryInner { unpinned, settings, .. } = &*self.0;
        let (pins, changes) = Pins::new(name.port, settings.is_confirmed);
        let make = {
            let (factory, unpinned, pins, host) =
                (Arc::clone(factory), unpinned.clone(), Arc::clone(&pins), name.host.clone());
            let unpinned_service = unpinned_services(unpinned.clone(), Some(Arc::clone(&factory)));
            move |target: &Target| match *target {
                Target::Unpinned => {
                    unpinned_service().observed_by(AddressObserver { pins: Arc::clone(&pins), address: None })
                }
                Target::Address(address) => {
                    let pin = Pin { host: &host, address, pins: &pins };
                    match factory.service(Some(pin)) {
                        Ok(service) => service
                            .observed_by(AddressObserver { pins: Arc::clone(&pins), address: Some(address) }),
                        // The builder has worked before, but a user's function may fail later. reqwest then chooses
                        // the address.
                        Err(_) => unpinned.clone(),
                    }
                }
            }
        };
        let endpoints =
            Endpoints::new(&self.endpoint_settings(name), Some(Arc::clone(upstream)), changes, make);
        let sink = {
            let (pins, endpoints) = (Arc::clone(&pins), endpoints.clone());
            Arc::new(move |news| match news {
                AddressNews::Changed(changes) => pins.changed(changes),
                AddressNews::Idle => {
                    endpoints.remove_further_lanes();
                    endpoints.drop_services_at(|target| *target != Target::Unpinned);
                }
            })
        };
        let discovery = Arc::new(NameDiscovery::new(
            name.host.as_str().into(),
            Arc::clone(upstream),
            settings.resolver.clone(),
            DiscoverySettings {
                refresh: settings.refresh,
                max_addresses: settings.endpoints.get_max_endpoints(),
                seed: rng::seed_or_random(settings.endpoints.get_seed()),
            },
            sink,
        ));
        pins.set_discovery(&discovery);
        (endpoints, discovery)
    }
}

/// Returns a single endpoint whose service is the client that resolves names itself.
fn single_endpoint(
    unpinned: &ReqwestService,
    factory: Option<&Arc<ClientFactory>>,
    upstream: Option<Arc<str>>,
    settings: &EndpointsBuilder,
) -> Endpoints<Target, ReqwestService> {
    let services = unpinned_services(unpinned.clone(), factory.cloned());
    Endpoints::new(settings, upstream, fixed([Target::Unpinned]), move |_: &Target| services())
}

/// Returns the function that makes the services of an endpoint without a pin. The first service is the client that
/// all origins share. A renewal makes a new client, because the connections look dead; without a factory, it cannot.
fn unpinned_services(
    unpinned: ReqwestService,
    factory: Option<Arc<ClientFactory>>,
) -> impl Fn() -> ReqwestService + Send + Sync {
    let is_first = AtomicBool::new(true);
    move || {
        let factory = factory.as_ref().filter(|_| !is_first.swap(false, Relaxed));
        let renewed = factory.and_then(|factory| factory.service(None).ok());
        renewed.unwrap_or_else(|| unpinned.clone())
    }
}

impl fmt::Debug for OriginFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OriginFactory").field("resolver", &self.0.settings.resolver).finish_non_exhaustive()
    }
}

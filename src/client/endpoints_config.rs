//! The methods of the builder that set up the endpoints and their addresses.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::Resolve;

use super::config::{ClientBuilder, EndpointsChoice};
use super::discovery::UserResolver;
use crate::endpoints::EndpointsBuilder;

impl ClientBuilder {
    /// Sets how the endpoints of an upstream are chosen and ejected. Default:
    /// [`Endpoints::builder()`](crate::endpoints::EndpointsBuilder).
    ///
    /// Each address of a name is an [endpoint](crate::endpoints), with a reqwest client of its own. `Host`, SNI and
    /// certificates keep the name. A reqwest client is made for the first attempt at its endpoint, and dropped when
    /// the name was not used for 90 s. **The client spawns** a task for each origin in use (scheme, host and port),
    /// which resolves the name from time to time. A name with one address has [lanes](crate::endpoints) instead:
    /// several sets of connections, each with a reqwest client of its own. So has a name in these cases, because its
    /// addresses are not known, or do not decide where a request goes:
    ///
    /// - The host is an IP address, or ends with a dot.
    /// - A proxy carries the requests.
    /// - The function of [`reqwest_builder`](Self::reqwest_builder) sets the addresses of the name.
    ///
    /// A function, a proxy, a proxy variable in the environment, macOS and Windows can all hide where requests go.
    /// Then the name has lanes until an answer has come from one of the resolved addresses. No call waits
    /// for this.
    ///
    /// [`build`](Self::build) fails beside [`reqwest_client`](Self::reqwest_client), whose upstreams have one
    /// endpoint each, and if the builder has a `name`: each upstream's own name applies.
    ///
    /// ```
    /// use std::time::Duration;
    /// use steadfast::endpoints::Endpoints;
    ///
    /// let client = steadfast::Client::builder()
    ///     .endpoints(Endpoints::builder().max_endpoints(16).max_eject_for(Duration::from_secs(30)))
    ///     .build()?;
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    #[doc(alias = "replicas")]
    pub fn endpoints(mut self, endpoints: EndpointsBuilder) -> Self {
        self.endpoints = EndpointsChoice::Set(endpoints);
        self
    }

    /// Leaves the choice among the addresses of a name, and among connections, to reqwest: it uses the connection
    /// that was used last. A retry then often meets the instance that has just failed, and a connection that dies
    /// silently is not replaced until pings or timeouts close it.
    pub fn without_endpoints(mut self) -> Self {
        self.endpoints = EndpointsChoice::Off;
        self
    }

    /// Resolves names with `resolver`, for the endpoints and for all connections. Default: the resolver of the
    /// operating system. This setting overrides a resolver that the function of
    /// [`reqwest_builder`](Self::reqwest_builder) sets. Addresses that the function sets by `resolve` override both.
    ///
    /// **The client spawns** a tokio task for each origin in use, which resolves the name from time to time. If the
    /// resolver fails or answers nothing, the addresses of the last answer are kept (RFC 8767), and the resolver is
    /// asked less often.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use std::sync::Arc;
    /// use reqwest::dns::{Addrs, Name, Resolve, Resolving};
    ///
    /// /// Asks a service registry.
    /// struct Registry;
    ///
    /// impl Resolve for Registry {
    ///     fn resolve(&self, _name: Name) -> Resolving {
    ///         let found: Vec<SocketAddr> = vec!["10.0.0.1:0".parse().unwrap(), "10.0.0.2:0".parse().unwrap()];
    ///         Box::pin(async { Ok(Box::new(found.into_iter()) as Addrs) })
    ///     }
    /// }
    ///
    /// let client = steadfast::Client::builder().dns_resolver(Arc::new(Registry)).build()?;
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    pub fn dns_resolver<R: Resolve + ?Sized + 'static>(mut self, resolver: Arc<R>) -> Self {
        self.transport.resolver = Some(Arc::new(UserResolver(resolver)));
        self
    }

    /// Sets the addresses of a host name, in any case of letters. The port of the URL applies. No resolver is asked
    /// for the name. A second list for the same name replaces the first.
    ///
    /// [`build`](Self::build) fails if the list is empty, or if the name is none: for a URL, an IP address, or a name
    /// with a port or a final dot.
    ///
    /// ```
    /// let client = steadfast::Client::builder()
    ///     .resolve_to_addrs("sku.internal", ["10.0.0.1".parse()?, "10.0.0.2".parse()?])
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resolve_to_addrs(mut self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.transport.lists.insert(name.to_ascii_lowercase(), addresses.into_iter().collect());
        self
    }

    /// Sets how often a name is resolved while it is used, from 100 ms to a day. The interval varies at random by a
    /// fifth. Default: 5 s. [`build`](Self::build) fails outside of this range, and beside
    /// [`reqwest_client`](Self::reqwest_client) or [`without_endpoints`](Self::without_endpoints).
    ///
    /// A new address gets attempts after the next look-up. An address that is missing in one answer may only have
    /// been left out, so it is used until several answers in a row lack it: four if one of four addresses is missing,
    /// and more if each answer holds only a part of the addresses.
    pub fn refresh_addresses(mut self, interval: Duration) -> Self {
        self.refresh_addresses = Some(interval);
        self
    }
}

//! The clients under test: bare reqwest, and steadfast with its defaults. Both use the resolver of the replicas, and no
//! proxy. Only a closure can choose HTTP/2 by prior knowledge, so steadfast's HTTP/2 client has one.

use std::sync::Arc;
use std::time::Duration;

use super::names::Names;
use crate::BoxError;
use crate::clients::{Client, Which};
use crate::parity::bench::Over;

/// The total time of a call through bare reqwest: steadfast's default.
const TOTAL: Duration = Duration::from_secs(10);

/// A client that resolves by `names`.
pub(super) fn client(which: Which, over: Over, names: &Arc<Names>) -> Result<Client, BoxError> {
    Ok(match which {
        Which::Bare => Client::Bare(transport(over).dns_resolver(Arc::clone(names)).timeout(TOTAL).build()?),
        Which::Steadfast => Client::Steadfast(steadfast(over, names)?),
    })
}

fn steadfast(over: Over, names: &Arc<Names>) -> Result<steadfast::Client, BoxError> {
    let builder = steadfast::Client::builder().dns_resolver(Arc::clone(names)).no_proxy();
    Ok(match over {
        Over::Http1 => builder.build()?,
        Over::Http2 => builder.reqwest_builder(move || transport(over)).build()?,
    })
}

/// The endpoints of the URL's name, as steadfast sees them. Bare reqwest has none.
pub(super) fn endpoints(client: &Client, url: &str) -> Result<Vec<String>, BoxError> {
    let Client::Steadfast(client) = client else { return Ok(Vec::new()) };
    let endpoints = client.upstream_at(url)?.endpoints();
    let texts = endpoints.iter().map(|endpoint| {
        let address =
            endpoint.address().map_or_else(|| "no address".to_owned(), |address| address.to_string());
        let latency = endpoint.latency().unwrap_or_default();
        let (state, cause) = (endpoint.state(), endpoint.ejection_cause());
        format!("{address}: {state}, {latency:.1?}, {} in flight, {cause:?}", endpoint.in_flight())
    });
    Ok(texts.collect())
}

fn transport(over: Over) -> reqwest::ClientBuilder {
    // The system's certificates take long to load in a debug build.
    over.of(reqwest::Client::builder().no_proxy().tls_certs_only([]))
}

//! Settings that cannot work, or that would be ignored.

use steadfast::endpoints::Endpoints;

use super::*;

fn refuses(field: &str, builder: ClientBuilder) {
    let error = builder.build().expect_err(field);
    assert_eq!(error.field(), field, "{error}");
    assert!(error.to_string().starts_with(&format!("{field} is {}", error.value())), "{error}");
}

#[test]
fn settings_out_of_range_are_refused_by_field() {
    let new = || Client::builder().no_proxy();
    for interval in [Duration::ZERO, Duration::from_millis(99), Duration::from_secs(24 * 3600 + 1)] {
        refuses("client.refresh_addresses", new().refresh_addresses(interval));
    }
    refuses("client.resolve_to_addrs", new().resolve_to_addrs(NAME, []));
    let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST)];
    for name in ["", "http://sku.test/", "sku.test:80", "sku.test.", "10.0.0.1", "[::1]", "a b"] {
        refuses("client.resolve_to_addrs", new().resolve_to_addrs(name, addresses));
    }
    assert!(new().resolve_to_addrs("SKU.test", addresses).build().is_ok());
    let unused = new().without_endpoints().refresh_addresses(Duration::from_secs(1));
    refuses("client.refresh_addresses", unused);
    refuses("client.endpoints.name", new().endpoints(Endpoints::builder().name("sku")));
    refuses("endpoints.max_endpoints", new().endpoints(Endpoints::builder().max_endpoints(0)));
    refuses("endpoints.fault_share", new().endpoints(Endpoints::builder().fault_share(0.0)));
    for interval in [Duration::from_millis(100), Duration::from_secs(24 * 3600)] {
        assert!(new().refresh_addresses(interval).build().is_ok());
    }
}

#[test]
fn a_resolver_may_be_a_trait_object() {
    let resolver: Arc<dyn Resolve> = Arc::<Names>::default();
    assert!(Client::builder().no_proxy().dns_resolver(resolver).build().is_ok());
}

#[test]
fn settings_of_endpoints_beside_a_client_that_was_handed_in_are_refused() {
    let given = || Client::builder().reqwest_client(reqwest::Client::new());
    refuses("client.dns_resolver", given().dns_resolver(Arc::<Names>::default()));
    let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST)];
    refuses("client.resolve_to_addrs", given().resolve_to_addrs(NAME, addresses));
    refuses("client.refresh_addresses", given().refresh_addresses(Duration::from_secs(1)));
    refuses("client.endpoints", given().endpoints(Endpoints::builder()));
    assert!(given().without_endpoints().build().is_ok());
}

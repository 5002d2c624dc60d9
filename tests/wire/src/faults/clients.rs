//! The two clients, with the same transport, and the certificate that neither trusts.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use steadfast::buffer_body::BufferBodyLayer;
use steadfast::circuit_breaker::CircuitBreaker;
use steadfast::retry::{Backoff, RetryPolicy};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::case::Protocol;
use crate::BoxError;

/// The total time of a call through each client.
pub(crate) const TOTAL: Duration = Duration::from_secs(2);
pub(crate) const CONNECT: Duration = Duration::from_millis(300);
pub(crate) const BACKOFF: Duration = Duration::from_millis(1);

/// The differences among the clients through steadfast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Defaults,
    /// The first failure opens the circuit, for longer than a row lasts.
    OneFailureOpens,
    /// As `OneFailureOpens`, and bodies of unstated length are read inside the attempt.
    BufferEachBody,
    WithoutRetry,
}

/// The transport of both clients, apart from the redirect policy and the time of a call.
fn transport(protocol: Protocol) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT)
        // The system's certificates take long to load in a debug build.
        .tls_certs_only([]);
    match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_prior_knowledge(),
    }
}

pub(crate) fn bare(protocol: Protocol) -> Result<reqwest::Client, BoxError> {
    Ok(transport(protocol).timeout(TOTAL).build()?)
}

pub(crate) fn steadfast(protocol: Protocol, setting: Setting) -> Result<steadfast::Client, BoxError> {
    let retry = RetryPolicy::builder().backoff(Backoff::new().base(BACKOFF));
    let builder = steadfast::Client::builder()
        .reqwest_builder(move || transport(protocol))
        .total_timeout(TOTAL)
        .retry(retry);
    let one_failure = CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO);
    let builder = match setting {
        Setting::BufferEachBody => builder.buffer_body(BufferBodyLayer::new().unsized_bodies(true)),
        _ => builder,
    };
    let builder = match setting {
        Setting::Defaults => builder,
        Setting::OneFailureOpens | Setting::BufferEachBody => {
            let long = Duration::from_secs(60);
            builder.circuit_breaker(one_failure.open_for(long).max_open_for(long))
        }
        Setting::WithoutRetry => builder.without_retry(),
    };
    Ok(builder.build()?)
}

/// Accepts TLS with a certificate that no client trusts.
pub(crate) fn untrusted_acceptor() -> &'static TlsAcceptor {
    static ACCEPTOR: LazyLock<TlsAcceptor> = LazyLock::new(|| {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
            .expect("names in ASCII");
        let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).expect("a key by rcgen");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .expect("a certificate by rcgen");
        TlsAcceptor::from(Arc::new(config))
    });
    &ACCEPTOR
}

//! One TLS configuration for all reqwest clients of a client.
//!
//! reqwest makes a TLS configuration for each of its clients: 100 KiB, and 2 ms of work to load the root
//! certificates. That is too much for each endpoint. So the endpoints share one configuration, and with it the
//! sessions that can be resumed. Its settings are reqwest's defaults.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_platform_verifier::Verifier;

/// Makes the configuration. `None` if the root certificates of the system cannot be used; reqwest then reports why.
pub(super) fn shared_tls() -> Option<ClientConfig> {
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let verifier = Verifier::new(Arc::clone(&provider)).ok()?;
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(rustls::ALL_VERSIONS).ok()?;
    let mut tls =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    tls.alpn_protocols = vec![
        #[cfg(feature = "http2")]
        b"h2".to_vec(),
        b"http/1.1".to_vec(),
    ];
    Some(tls)
}

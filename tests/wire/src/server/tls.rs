//! A certificate authority of the tests' own, and a certificate of every test host.

use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::BoxError;

const HOSTS: [&str; 4] = ["a.test", "b.test", "proxy.test", "replicas.test"];

struct Tls {
    authority: String,
    acceptor: TlsAcceptor,
    acceptor_of_http1: TlsAcceptor,
}

static TLS: LazyLock<Tls> = LazyLock::new(|| create().expect("constant parameters are valid"));

/// The authority's certificate, as PEM.
pub(crate) fn authority() -> &'static str {
    &TLS.authority
}

/// Accepts connections, and offers HTTP/2 and HTTP/1.1.
pub(crate) fn acceptor() -> &'static TlsAcceptor {
    &TLS.acceptor
}

/// Accepts connections, and offers HTTP/1.1 only.
pub(crate) fn acceptor_of_http1() -> &'static TlsAcceptor {
    &TLS.acceptor_of_http1
}

fn create() -> Result<Tls, BoxError> {
    let mut of_authority = CertificateParams::new(Vec::new())?;
    of_authority.distinguished_name.push(DnType::CommonName, "authority of the tests");
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(of_authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let hosts: Vec<String> = HOSTS.iter().map(|&host| host.to_owned()).collect();
    let certificate = CertificateParams::new(hosts)?.signed_by(&key, &authority)?;
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut of_http1 = config.clone();
    of_http1.alpn_protocols.remove(0);
    Ok(Tls {
        authority: authority.pem(),
        acceptor: TlsAcceptor::from(Arc::new(config)),
        acceptor_of_http1: TlsAcceptor::from(Arc::new(of_http1)),
    })
}

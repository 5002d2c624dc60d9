//! The process of one row: the client, and the count of its bytes.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Certificate;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{ALL, AUTHORITY, ENDPOINTS, OVER, Tls, address};
use crate::BoxError;
use crate::parity::bench::Over;
use crate::replicas::names::{HOST, Names};

/// The endpoints of the run that comes first.
const WARM_UP: usize = 2;

/// The endpoints are known and have answered after so many calls.
const MAX_CALLS: usize = 100_000;

/// Prints the bytes for each endpoint.
pub(super) fn run(row: usize, over: usize, port: u16) -> Result<Vec<String>, BoxError> {
    let (tls, over) = (*ALL.get(row).ok_or("no such row")?, *OVER.get(over).ok_or("no such protocol")?);
    let measured = std::thread::spawn(move || measure(tls, over, port)).join().map_err(|_| "a panic")?;
    println!("{}", measured?);
    Ok(Vec::new())
}

#[allow(clippy::cast_precision_loss)]
fn measure(tls: Tls, over: Over, port: u16) -> Result<f64, BoxError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let warm_up = Growth::begin(&runtime, tls, over, port)?;
    warm_up.grow(&runtime, WARM_UP)?;
    drop(warm_up);
    let growth = Growth::begin(&runtime, tls, over, port)?;
    let mut grown = Ok(());
    let memory = allocation_counter::measure(|| grown = growth.grow(&runtime, ENDPOINTS));
    grown?;
    Ok(memory.bytes_current as f64 / ENDPOINTS as f64)
}

fn client(tls: Tls, over: Over, names: &Arc<Names>) -> Result<steadfast::Client, BoxError> {
    let builder = steadfast::Client::builder().no_proxy().dns_resolver(Arc::clone(names));
    let builder = builder.refresh_addresses(Duration::from_millis(100));
    let authority = std::env::var(AUTHORITY)?;
    let builder = match (tls, over) {
        (Tls::None, Over::Http1) | (Tls::Default, _) => builder,
        (Tls::None, Over::Http2) => {
            // Without a configuration to share, reqwest would make one for each client, also for `http`.
            let tls = config(&authority)?;
            let make = move || reqwest::Client::builder().tls_backend_preconfigured(tls.clone());
            builder.reqwest_builder(move || make().http2_prior_knowledge())
        }
        (Tls::Own, _) => builder.add_root_certificate(Certificate::from_pem(authority.as_bytes())?),
        (Tls::Shared, _) => {
            let tls = config(&authority)?;
            builder.reqwest_builder(move || reqwest::Client::builder().tls_backend_preconfigured(tls.clone()))
        }
    };
    Ok(builder.build()?)
}

/// A configuration of the user's. Its clones share the sessions that can be resumed.
fn config(authority: &str) -> Result<ClientConfig, BoxError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A client whose name gets more addresses.
struct Growth {
    client: steadfast::Client,
    names: Arc<Names>,
    url: String,
}

impl Growth {
    /// The name has one address, and its endpoint has answered.
    fn begin(runtime: &Runtime, tls: Tls, over: Over, port: u16) -> Result<Self, BoxError> {
        let names = Arc::<Names>::default();
        names.set(vec![address(0)]);
        let scheme = if tls == Tls::None { "http" } else { "https" };
        let url = format!("{scheme}://{HOST}:{port}/");
        let growth = Self { client: client(tls, over, &names)?, names, url };
        runtime.block_on(async {
            growth.call().await?;
            settle().await;
            Ok(growth)
        })
    }

    fn grow(&self, runtime: &Runtime, endpoints: usize) -> Result<(), BoxError> {
        self.names.set((0..endpoints).map(address).collect());
        runtime.block_on(async {
            for _ in 0..MAX_CALLS {
                self.call().await?;
                if self.answered()? == endpoints {
                    settle().await;
                    return Ok(());
                }
            }
            Err("not every endpoint has answered".into())
        })
    }

    async fn call(&self) -> Result<(), BoxError> {
        let response = self.client.get(&self.url).send().await?;
        response.error_for_status()?.bytes().await?;
        Ok(())
    }

    /// The number of addresses that have answered.
    fn answered(&self) -> Result<usize, BoxError> {
        let endpoints = self.client.upstream_at(&self.url)?.endpoints();
        let answered = endpoints.iter().filter(|it| it.address().is_some() && it.latency().is_some());
        Ok(answered.count())
    }
}

/// Lets the tasks of the connections become idle.
async fn settle() {
    sleep(Duration::from_millis(100)).await;
}

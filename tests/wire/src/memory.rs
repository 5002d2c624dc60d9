//! The memory of an endpoint: its reqwest client, and one idle connection that has served a call.
//!
//! One name stands for several addresses. The client first knows one of them, and its only endpoint has no pin. Then
//! the resolver answers with all addresses, and each becomes an endpoint. The memory that remains is divided among
//! the endpoints.
//!
//! # Accounting
//!
//! Each row is measured in a process of its own, which holds the client only: the servers are in the parent process.
//! The client runs on one thread, because `allocation_counter` counts the allocations of a thread. A smaller run
//! comes first, so that what the process makes once does not count.
//!
//! The client's default TLS trusts the certificates of the system. The variable `SSL_CERT_FILE` adds the authority of
//! the tests, and can be set for a new process only.

mod child;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;

use crate::BoxError;
use crate::parity::bench::Over;
use crate::server::{acceptor, acceptor_of_http1, authority};

/// The number of endpoints.
const ENDPOINTS: usize = 20;

/// The variable with the authority of the parent process.
const AUTHORITY: &str = "WIRE_AUTHORITY";

/// The TLS of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    /// `http`.
    None,
    /// The client's default, which all endpoints share.
    Default,
    /// Each reqwest client makes one of its own, because the builder has a root certificate.
    Own,
    /// The user's, which the function of `reqwest_builder` passes to each reqwest client.
    Shared,
}

const ALL: [Tls; 4] = [Tls::None, Tls::Default, Tls::Own, Tls::Shared];

/// The server offers only the protocol of the column over TLS, so the client's settings are the same in both columns.
const OVER: [Over; 2] = [Over::Http1, Over::Http2];

impl Tls {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "`http`",
            Self::Default => "`https`, the client's default TLS",
            Self::Own => "`https`, TLS of its own",
            Self::Shared => "`https`, a shared `rustls::ClientConfig`",
        }
    }

    /// The most KiB of an endpoint.
    const fn max_kib(self) -> u32 {
        match self {
            Self::None => 64,
            Self::Default | Self::Shared => 72,
            // The verifier with the roots of the system takes 83 KiB of it.
            Self::Own => 160,
        }
    }
}

/// Measures each kind of TLS over both protocols, and prints a table. A missed must is a problem.
pub(crate) async fn run(mut arguments: impl Iterator<Item = String>) -> Result<Vec<String>, BoxError> {
    if let Some(row) = arguments.next() {
        let (over, port) = (arguments.next().ok_or("no protocol")?, arguments.next().ok_or("no port")?);
        return child::run(row.parse()?, over.parse()?, port.parse()?);
    }
    let ports = [serve(acceptor_of_http1()).await?, serve(acceptor()).await?];
    let certificates = Certificates::write()?;
    let mut problems = Vec::new();
    println!("| KiB for each endpoint | HTTP/1.1 | HTTP/2 | at most |");
    println!("|---|---|---|---|");
    for (number, tls) in ALL.into_iter().enumerate() {
        let mut kib = [0.0; 2];
        for (over, kib) in kib.iter_mut().enumerate() {
            *kib = measured_by_child([number, over, ports[over].into()], &certificates).await? / 1024.0;
            if *kib > f64::from(tls.max_kib()) {
                problems.push(format!("{}, {:?}: {kib:.1} KiB for each endpoint", tls.name(), OVER[over]));
            }
        }
        println!("| {} | {:.1} | {:.1} | {} |", tls.name(), kib[0], kib[1], tls.max_kib());
    }
    Ok(problems)
}

// ===== Servers =====

/// Serves on one port of each address, and returns the port.
async fn serve(acceptor: &'static TlsAcceptor) -> Result<u16, BoxError> {
    let first = TcpListener::bind((address(0), 0)).await?;
    let port = first.local_addr()?.port();
    tokio::spawn(accept(first, acceptor));
    for number in 1..ENDPOINTS {
        tokio::spawn(accept(TcpListener::bind((address(number), port)).await?, acceptor));
    }
    Ok(port)
}

fn address(number: usize) -> IpAddr {
    let last = u8::try_from(number + 1).expect("a few endpoints");
    IpAddr::V4(Ipv4Addr::new(127, 0, 78, last))
}

async fn accept(listener: TcpListener, acceptor: &'static TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_connection(stream, acceptor));
    }
}

async fn serve_connection(stream: TcpStream, acceptor: &'static TlsAcceptor) {
    const TLS_HANDSHAKE: u8 = 0x16;
    let answer = service_fn(answer);
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut first = [0];
    // The client ends its connections.
    if !matches!(stream.peek(&mut first).await, Ok(1)) {
        return;
    }
    if first == [TLS_HANDSHAKE] {
        if let Ok(stream) = acceptor.accept(stream).await {
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
        }
    } else {
        let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
    }
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"an answer"))))
}

/// A file with the certificates of the system and the authority of the tests. Removed when dropped.
struct Certificates(std::path::PathBuf);

impl Certificates {
    fn write() -> Result<Self, BoxError> {
        let of_system = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
        let of_system = of_system.iter().find_map(|path| std::fs::read_to_string(path).ok());
        let path = std::env::temp_dir().join(format!("steadfast-wire-memory-{}.pem", std::process::id()));
        std::fs::write(&path, of_system.unwrap_or_default() + "\n" + authority())?;
        Ok(Self(path))
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns the bytes for each endpoint. The arguments are those of [`child::run`].
async fn measured_by_child(arguments: [usize; 3], certificates: &Certificates) -> Result<f64, BoxError> {
    let mut child = Command::new(std::env::current_exe()?);
    child.arg("memory").args(arguments.map(|argument| argument.to_string()));
    child.env_remove("SSL_CERT_DIR").env("SSL_CERT_FILE", &certificates.0).env(AUTHORITY, authority());
    child.stderr(Stdio::inherit());
    let output = child.output().await?;
    if !output.status.success() {
        return Err(format!("the process of {arguments:?} has failed: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

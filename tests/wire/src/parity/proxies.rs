//! Proxies for plain requests and for tunnels, and unix sockets.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{ClientBuilder, Method, Proxy, RequestBuilder};

use super::bench::{Bench, Over};
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;
use crate::clients::Client;
use crate::server::Server;

type ChangeProxy = fn(Proxy) -> Proxy;

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("http through a proxy", |bench| plain(bench, |proxy| proxy)).only_http1(),
        row("http through a proxy with credentials", |bench| {
            plain(bench, |proxy| proxy.basic_auth("user", "secret"))
        })
        .only_http1(),
        row("https through a tunnel", |bench| tunnel(bench, |proxy| proxy)),
        row("https through a tunnel with credentials", |bench| {
            tunnel(bench, |proxy| proxy.basic_auth("user", "secret"))
        }),
        row("a proxy that is absent", absent).fails(),
        row("a unix socket", unix),
    ]
}

fn through(
    bench: &Bench,
    proxy: &Server,
    change: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
) -> Result<Client, BoxError> {
    let address = proxy.address();
    bench.client_with(move |builder| change(builder.resolve("proxy.test", address)))
}

async fn plain(bench: Bench, change: ChangeProxy) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let server = Server::start_proxy(bench.a.address())?;
    let proxy = change(Proxy::http("http://proxy.test")?);
    let client = through(&bench, &server, move |builder| builder.proxy(proxy.clone()))?;
    seen.response("GET", client.get("http://a.test/path?x=1").await).await;
    let body = |request: RequestBuilder| request.body("a body");
    seen.response("POST", client.send(Method::POST, "http://b.test/", body).await).await;
    seen.arrived("the proxy", &server.log);
    seen.note("connections of the proxy", server.log.connections());
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

async fn tunnel(bench: Bench, change: ChangeProxy) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let server = Server::start_proxy(bench.a.address())?;
    let proxy = change(Proxy::https("http://proxy.test")?);
    let client = through(&bench, &server, move |builder| builder.proxy(proxy.clone()))?;
    seen.response("GET", client.get("https://a.test/path?x=1").await).await;
    // Over HTTP/1, the tunnel may return to the pool too late for the next call.
    if bench.over == Over::Http2 {
        seen.response("again", client.get("https://a.test/path?x=2").await).await;
    }
    seen.arrived("the proxy", &server.log);
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

async fn absent(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let address = crate::server::Absent::new()?;
    let target = address.address()?;
    let proxy = Proxy::all("http://proxy.test")?;
    let client =
        bench.client_with(move |builder| builder.resolve("proxy.test", target).proxy(proxy.clone()))?;
    seen.status("answer", &client.get("http://a.test/").await);
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

/// The path of a socket, removed when dropped.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("wire-{}-{number}.sock", std::process::id())))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn unix(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let path = SocketPath::new();
    let server = Server::start_unix(&path.0)?;
    let of_client = path.0.clone();
    let client = bench.client_with(move |builder| builder.unix_socket(of_client.clone()))?;
    for path in ["first", "second"] {
        let result = client.get(format!("http://socket.test/{path}")).await;
        if let Ok(response) = &result {
            seen.note(format!("{path}: remote_addr"), format_args!("{:?}", response.remote_addr()));
        }
        seen.response(path, result).await;
    }
    seen.arrived("the socket", &server.log);
    Ok(seen)
}

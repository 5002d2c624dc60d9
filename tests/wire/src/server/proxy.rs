//! The proxy: answers plain requests itself, and opens tunnels for `CONNECT`.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use super::log::{Arrived, Log};
use super::site::{self, Body};
use crate::BoxError;

pub(super) async fn answer(
    request: Request<Incoming>,
    log: Arc<Log>,
    target: SocketAddr,
) -> Result<Response<Body>, BoxError> {
    if request.method() != Method::CONNECT {
        return site::answer(request, log).await;
    }
    let (parts, body) = request.into_parts();
    let number = log.begin(Arrived::new(&parts));
    log.complete(number, Vec::new(), None);
    let mut server = TcpStream::connect(target).await?;
    let upgrade = hyper::upgrade::on(Request::from_parts(parts, body));
    tokio::spawn(async move {
        if let Ok(client) = upgrade.await {
            // Either end may break the tunnel at any time.
            let _ = copy_bidirectional(&mut TokioIo::new(client), &mut server).await;
        }
    });
    Ok(Response::new(site::empty()))
}

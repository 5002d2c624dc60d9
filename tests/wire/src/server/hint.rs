//! An HTTP/2 server that sends `103 Early Hints` before each answer, which hyper's server cannot send.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Response;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::BoxError;

#[derive(Debug)]
pub(crate) struct HintServer {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl HintServer {
    pub(crate) fn start() -> Result<Self, BoxError> {
        let listener = super::listen()?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener));
        Ok(Self { address, _accepting: accepting })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener) {
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        serving.spawn(async move {
            // The client may break the connection at any time.
            let _ = serve(stream).await;
        });
    }
}

async fn serve(stream: TcpStream) -> Result<(), BoxError> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(call) = connection.accept().await {
        let (_, mut respond) = call?;
        respond.send_informational(Response::builder().status(103).header("link", "</style>").body(())?)?;
        let mut body = respond.send_response(Response::new(()), false)?;
        body.send_data(Bytes::from_static(b"ok"), true)?;
    }
    Ok(())
}

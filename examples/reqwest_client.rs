//! Five lines around reqwest, and callers get a stale response instead of an error while the upstream is down.
//!
//! `cargo run --example reqwest_client`

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::{Router, http::StatusCode, routing::get};
use steadfast::ResponseExt;
use steadfast::last_known_good::LastKnownGood;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (url, upstream) = Upstream::start().await?;

    // Build one client and clone it. Every other setting has a sane default.
    let http = steadfast::Client::builder()
        .total_timeout(Duration::from_secs(3))
        .last_known_good(LastKnownGood::builder())
        .build()?;

    // The upstream answers its first request with 503, so this call makes two attempts. The caller sees only the
    // second response.
    let response = http.get(&url).send().await?;
    println!("up:   {} after {} attempts", response.status(), response.attempts());
    // The entry is stored when the body has been read to its end.
    println!("      {}", response.text().await?);

    upstream.stop().await;

    // The upstream refuses connections now. After a few attempts the client returns a stale response, marked as
    // stale.
    let response = http.get(&url).send().await?;
    match response.stale() {
        Some(stale) => {
            println!("down: {}, {:?} old, because {}", response.status(), stale.age, stale.cause);
        }
        None => println!("down: {}", response.status()),
    }
    println!("      {}", response.text().await?);

    // A call that opts out of the cache gets the error.
    let error = http.get(&url).without_last_known_good().send().await.unwrap_err();
    println!("down, without the cache: {error}");
    Ok(())
}

/// A server on loopback that can be stopped.
struct Upstream {
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Upstream {
    async fn start() -> std::io::Result<(String, Self)> {
        static REQUESTS: AtomicU32 = AtomicU32::new(0);
        async fn item() -> (StatusCode, &'static str) {
            match REQUESTS.fetch_add(1, Ordering::Relaxed) {
                0 => (StatusCode::SERVICE_UNAVAILABLE, "come back later"),
                _ => (StatusCode::OK, r#"{"sku":42,"price":"9.99"}"#),
            }
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/v1/items/42", listener.local_addr()?);
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = axum::serve(listener, Router::new().route("/v1/items/42", get(item)))
            .with_graceful_shutdown(async { drop(stopped.await) });
        Ok((url, Self { stop, server: tokio::spawn(serve.into_future()) }))
    }

    /// Stops the server and waits until the last connection is closed.
    async fn stop(self) {
        drop(self.stop);
        drop(self.server.await);
    }
}

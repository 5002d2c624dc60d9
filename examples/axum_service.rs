//! Inside an axum service: the client is part of the state, and a stale response is passed on marked as stale.
//!
//! `cargo run --example axum_service`

use std::io;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use steadfast::last_known_good::LastKnownGood;
use steadfast::{Client, ErrorInfo, ResponseExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const STALE_BECAUSE: HeaderName = HeaderName::from_static("x-stale-because");

/// Calls the upstream. The response may be stale.
async fn price(
    State((http, prices)): State<(Client, String)>,
    Path(sku): Path<u32>,
) -> Result<Response, Response> {
    let answer =
        http.get(format!("{prices}/prices/{sku}")).send().await.map_err(|error| error_response(&error))?;
    let (status, headers) = (answer.status(), forwarded_headers(&answer));
    let body = answer.text().await.map_err(|_| StatusCode::BAD_GATEWAY.into_response())?;
    Ok((status, headers, body).into_response())
}

/// The upstream's headers that our own caller needs: the content type, the age and the caches on the way.
fn forwarded_headers(answer: &reqwest::Response) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A header may have several lines. `Cache-Status` lists each cache on the way, the nearest last. The client's
    // cache has added itself; this handler is not a cache and adds no entry.
    for name in [CONTENT_TYPE, AGE, CACHE_STATUS] {
        let lines = answer.headers().get_all(&name).iter();
        headers.extend(lines.map(|line| (name.clone(), line.clone())));
    }
    if let Some(stale) = answer.stale() {
        let because = HeaderValue::try_from(stale.cause.to_string()).ok();
        headers.extend(because.map(|because| (STALE_BECAUSE, because)));
        // No cache on the way should keep a stale response beyond the outage.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers
}

/// The response when the upstream failed and no entry is stored. It tells the kind of failure and when to retry. It
/// leaves out the upstream's address, which the full error names.
fn error_response(error: &ErrorInfo) -> Response {
    let status = match error {
        error if error.is_refusal() => StatusCode::SERVICE_UNAVAILABLE,
        error if error.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    let wait = error.retry_after().map(|wait| [(RETRY_AFTER, (wait.as_secs() + 1).to_string())]);
    (status, wait, error.to_string()).into_response()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // These headers pretend that a CDN answers for the upstream.
    let price_list = get(async || ([(CACHE_STATUS, "cdn; hit"), (AGE, "2")], "9.99"));
    let (prices, running, upstream) = start(Router::new().route("/prices/{sku}", price_list)).await?;
    let http = Client::builder().last_known_good(LastKnownGood::builder()).build()?;
    let state = (http, prices);
    let (shop, _shop_runs, _) =
        start(Router::new().route("/shop/{sku}", get(price)).with_state(state)).await?;

    println!("up: {}", show(format!("{shop}/shop/42")).await?);
    drop(running);
    upstream.await??;
    println!("down: {}", show(format!("{shop}/shop/42")).await?);
    println!("down, and never asked for before: {}", show(format!("{shop}/shop/7")).await?);
    Ok(())
}

async fn show(url: String) -> reqwest::Result<String> {
    let answer = reqwest::get(url).await?;
    let head = format!("{} {:#?}", answer.status(), answer.headers());
    Ok(format!("{head}\n{}\n", answer.text().await?))
}

/// Serves on loopback until the sender is dropped. The task ends when the last connection is closed.
async fn start(router: Router) -> io::Result<(String, oneshot::Sender<()>, JoinHandle<io::Result<()>>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel();
    let server = axum::serve(listener, router).with_graceful_shutdown(async { drop(stopped.await) });
    Ok((url, stop, tokio::spawn(server.into_future())))
}

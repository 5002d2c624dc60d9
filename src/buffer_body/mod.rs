//! Body buffering: if the connection breaks after the head of a response, the caller has half an answer and no retry.
//!
//! [`BufferBodyLayer`] therefore reads small bodies whole before the attempt counts as answered. If a body breaks
//! off, the layers above judge the attempt as failed with [`ErrorKind::Body`](crate::ErrorKind::Body), so a retry or
//! a stale response can follow. If neither follows, the caller gets the head of the response, such as a 201 with its
//! `Location`. The body of this response fails where it broke off.
//!
//! A body that stalls runs into the timeout of the attempt. The default timeout of an attempt does not cut a body
//! that still arrives. After the share of an attempt, it cuts a body that has been
//! [idle](BufferBodyLayer::idle_timeout) for 2 s, or for the share if that is shorter, and only if a retry can
//! follow. The deadline of the call cuts every body.
//!
//! The response to a HEAD request, a 204 and a 304 have no body, whatever length they state.
//!
//! By default, a body is small if its stated length is at most [`BufferBodyLayer::limit`]. Larger bodies, bodies of
//! unstated length and event streams pass through untouched. [`BufferBodyLayer::unsized_bodies`] also reads bodies of
//! unstated length, up to the limit.
//!
//! ```
//! use std::time::Duration;
//! use steadfast::buffer_body::BufferBodyLayer;
//! use steadfast::retry::{RetryLayer, RetryPolicy};
//! use steadfast::timeout::TimeoutLayer;
//! use steadfast::Error;
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sku = ServiceBuilder::new()
//!     .layer(RetryLayer::new(RetryPolicy::default())) // sends the request again if the body breaks off
//!     .layer(TimeoutLayer::new(Duration::from_secs(1))) // covers the reading of a small body
//!     .layer(BufferBodyLayer::new())
//!     .map_err(Error::from_upstream)
//!     .service_fn(async |_: http::Request<String>| {
//!         Ok::<_, std::io::Error>(http::Response::new(String::from("[]")))
//!     });
//! let response = sku.oneshot(http::Request::new(String::new())).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Memory
//!
//! A body that arrives as one `Bytes` is handed on without a copy. Several pieces are copied into one buffer of the
//! stated length, so a body in a million small frames takes no more memory than its bytes. Without a stated length,
//! and beyond 1 MiB, the buffer grows with the data.

mod body;
mod config;
mod future;
mod layer;
mod service;

pub use self::{
    body::BufferedBody, future::ResponseFuture, layer::BufferBodyLayer, service::BufferBodyService,
};

//! reqwest's edges: the conversion of its response into an `http::Response` and back, as around every call of the
//! client.
//!
//! A `reqwest::Client` cannot be replaced by a fake, so this file repeats the conversions step by step on prepared
//! responses. The cases "end to end" show the cost of the whole client.

use std::future::ready;

use bytes::Bytes;
use http_body_util::Full;
use reqwest::{Body, Response, ResponseBuilderExt as _, Url};

use crate::measure::Suite;
use crate::upstream::{Broken, Inner};

pub fn add(suite: &mut Suite) {
    suite.group("reqwest's edges, both conversions of a response", |group| {
        let url: Url = "http://sku.internal/v1/items/42".parse().expect("a valid URL");
        let response = move || {
            let response = http::Response::builder().url(url.clone());
            let body = Body::wrap(Full::new(Bytes::from_static(b"an answer in one piece")));
            Response::from(response.body(body).expect("a valid response"))
        };
        let untouched = tower::service_fn(|response: Response| ready(Ok::<_, Broken>(response)));
        group.baseline("no library", Inner::Ready, untouched, response.clone());
        let there_and_back =
            tower::service_fn(|response| ready(Ok::<_, Broken>(into_reqwest(from_reqwest(response)))));
        group.healthy("steadfast", Inner::Ready, there_and_back, response);
    });
}

fn from_reqwest(response: Response) -> http::Response<Body> {
    let url = http::Response::builder().url(response.url().clone()).body(()).expect("a valid response");
    let mut response = http::Response::from(response);
    response.extensions_mut().extend(url.into_parts().0.extensions);
    response
}

fn into_reqwest(response: http::Response<Body>) -> Response {
    response.map(Body::wrap).into()
}

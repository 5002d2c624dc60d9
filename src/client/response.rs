//! The outer edge: `http` responses as reqwest's, and what steadfast has to say about them.

use http::{Extensions, Response};
use http_body::Body;
use reqwest::ResponseBuilderExt as _;

use crate::BoxError;
use crate::last_known_good::{RequestUri, Stale};
use crate::retry::Attempts;

/// The response with the URL that it came from, or, if it is a stored one, was asked for by.
pub(super) fn into_reqwest<B>(mut response: Response<B>) -> reqwest::Response
where
    B: Body<Data = bytes::Bytes> + Send + Sync + 'static,
    B::Error: Into<BoxError>,
{
    if let Some(RequestUri(uri)) = response.extensions_mut().remove() {
        let url = reqwest::Url::parse(&uri).ok().and_then(|url| Response::builder().url(url).body(()).ok());
        if let Some(url) = url {
            response.extensions_mut().extend(url.into_parts().0.extensions);
        }
    }
    response.map(reqwest::Body::wrap).into()
}

/// What steadfast knows of a response.
///
/// ```
/// use steadfast::ResponseExt;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let response = steadfast::Client::new().get("http://sku.internal/v1/items/42").send().await?;
/// if let Some(stale) = response.stale() {
///     println!("{} s old, because {}", stale.age.as_secs(), stale.cause);
/// }
/// println!("{} attempts", response.attempts());
/// # Ok(())
/// # }
/// ```
pub trait ResponseExt {
    /// The age and the cause, if this is a stored response, served because the upstream could not be used.
    fn stale(&self) -> Option<&Stale>;

    /// How many attempts the answer took. For a stored response, those of the answer that it stands in for; 1 where
    /// there was no answer.
    fn attempts(&self) -> u32;
}

impl ResponseExt for reqwest::Response {
    fn stale(&self) -> Option<&Stale> {
        self.extensions().get()
    }

    fn attempts(&self) -> u32 {
        attempts(self.extensions())
    }
}

impl<B> ResponseExt for Response<B> {
    fn stale(&self) -> Option<&Stale> {
        self.extensions().get()
    }

    fn attempts(&self) -> u32 {
        attempts(self.extensions())
    }
}

fn attempts(extensions: &Extensions) -> u32 {
    extensions.get::<Attempts>().map_or(1, |attempts| attempts.made)
}

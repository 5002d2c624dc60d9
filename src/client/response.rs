//! Converts `http` responses to reqwest's.

use http::Response;
use http_body::Body;

use super::reqwest_service::keep_url;
use crate::BoxError;
use crate::last_known_good::RequestUri;

/// Converts a response, and keeps its URL. A stale response gets the URL of the request.
pub(super) fn into_reqwest<B>(mut response: Response<B>) -> reqwest::Response
where
    B: Body<Data = bytes::Bytes> + Send + Sync + 'static,
    B::Error: Into<BoxError>,
{
    if let Some(RequestUri(uri)) = response.extensions_mut().remove() {
        if let Ok(url) = reqwest::Url::parse(&uri) {
            keep_url(response.extensions_mut(), url);
        }
    }
    response.map(reqwest::Body::wrap).into()
}

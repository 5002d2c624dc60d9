//! The classifier of every layer of the client.
//!
//! It is a concrete type. A generic classifier would be a type parameter of `Client`, with bounds for every body type
//! inside the stack.

use std::fmt;
use std::sync::Arc;

use http::Response;

use crate::http::{HttpClassifier, TransportError};
use crate::{Call, Classify};

/// The classifier of every layer: the user's choice for the request, or else the default.
#[derive(Clone)]
pub(super) struct StackClassifier {
    pub(super) default: HttpClassifier,
    pub(super) choose: Option<ClassifierFunction>,
}

pub(super) type ClassifierFunction = Arc<dyn Fn(&reqwest::Request) -> Option<HttpClassifier> + Send + Sync>;

impl<B, E> Classify<Call<reqwest::Request>, Response<B>, E> for StackClassifier
where
    E: TransportError + 'static,
{
    type Judge = HttpClassifier;

    fn judge(&self, call: &Call<reqwest::Request>) -> HttpClassifier {
        let chosen = self.choose.as_ref().and_then(|choose| choose(call.request()));
        chosen.unwrap_or_else(|| self.default.clone())
    }
}

impl fmt::Debug for StackClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.default.fmt(f)
    }
}

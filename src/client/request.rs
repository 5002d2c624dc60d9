//! The request builder of the client: reqwest's builder, plus the options of a call.

use std::fmt::Display;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use reqwest::IntoUrl;
use serde::Serialize;

use super::future::ResponseFuture;
use super::handle::Client;
use crate::{Call, CallOptions, HasCallOptions as _, RetrySafety};

impl Client {
    /// Starts a GET request.
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Starts a POST request. A POST that may have been sent is retried only if it has an `Idempotency-Key` or was
    /// declared [`idempotent`](RequestBuilder::idempotent).
    pub fn post(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Starts a PUT request.
    pub fn put(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Starts a PATCH request. PATCH is not idempotent: a PATCH is retried by the same rule as a [POST](Self::post).
    pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Starts a DELETE request.
    pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// Starts a HEAD request.
    pub fn head(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// Starts a request with any method.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        RequestBuilder::new(self.clone(), self.http().request(method, url))
    }
}

/// Builds a request, as reqwest's builder does, and sets the options of the call.
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct RequestBuilder {
    client: Client,
    builder: reqwest::RequestBuilder,
    options: CallOptions,
}

impl RequestBuilder {
    pub(super) const fn new(client: Client, builder: reqwest::RequestBuilder) -> Self {
        Self { client, builder, options: CallOptions::new() }
    }

    /// Changes the request with a method of reqwest's builder that this builder lacks.
    ///
    /// ```
    /// let client = steadfast::Client::new();
    /// let request = client.get("http://sku.internal/").with(|builder| builder.version(http::Version::HTTP_11));
    /// ```
    pub fn with(mut self, change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// Adds a header.
    pub fn header<K, V>(self, name: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        self.with(|builder| builder.header(name, value))
    }

    /// Sets these headers, and replaces existing headers of the same names.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.with(|builder| builder.headers(headers))
    }

    /// Sets `Authorization` to basic credentials.
    pub fn basic_auth<U: Display, P: Display>(self, username: U, password: Option<P>) -> Self {
        self.with(|builder| builder.basic_auth(username, password))
    }

    /// Sets `Authorization` to a bearer token.
    pub fn bearer_auth<T: Display>(self, token: T) -> Self {
        self.with(|builder| builder.bearer_auth(token))
    }

    /// Sets the body. A body in memory can be sent again; a stream can be sent only once.
    pub fn body(self, body: impl Into<reqwest::Body>) -> Self {
        self.with(|builder| builder.body(body))
    }

    /// Appends parameters to the query.
    pub fn query<T: Serialize + ?Sized>(self, query: &T) -> Self {
        self.with(|builder| builder.query(query))
    }

    /// Sets the body to a URL-encoded form.
    pub fn form<T: Serialize + ?Sized>(self, form: &T) -> Self {
        self.with(|builder| builder.form(form))
    }

    /// Sets the body to JSON.
    pub fn json<T: Serialize + ?Sized>(self, json: &T) -> Self {
        self.with(|builder| builder.json(json))
    }

    /// Sets the body to a multipart form. A form that contains a stream can be sent only once.
    #[cfg(feature = "multipart")]
    pub fn multipart(self, form: reqwest::multipart::Form) -> Self {
        self.with(|builder| builder.multipart(form))
    }

    /// Sets the HTTP version.
    pub fn version(self, version: Version) -> Self {
        self.with(|builder| builder.version(version))
    }

    /// Sets the total time of this call, retries and the reading of the body included. Default: the client's.
    ///
    /// By default, the [`attempt_timeout`](super::ClientBuilder::attempt_timeout) follows from this time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options = self.options.timeout(timeout);
        self
    }

    /// Declares whether this request may be sent twice. Default: the method and the headers decide.
    ///
    /// With `false`, a retry follows only an attempt that sent nothing. To forbid this retry, too, use
    /// [`retry_safety`](Self::retry_safety).
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.options = self.options.idempotent(idempotent);
        self
    }

    /// Sets whether this request may be sent again.
    pub fn retry_safety(mut self, safety: RetrySafety) -> Self {
        self.options = self.options.retry_safety(safety);
        self
    }

    /// Never answers this call with a stale response.
    pub fn without_last_known_good(mut self) -> Self {
        self.options = self.options.without_last_known_good();
        self
    }

    /// Builds the call, which [`Client::execute`] can send later.
    pub fn build(self) -> reqwest::Result<Call<reqwest::Request>> {
        Ok(Call::with_options(self.builder.build()?, self.options))
    }

    /// Builds the call, and returns it with the client.
    ///
    /// ```
    /// let client = steadfast::Client::new();
    /// let (client, call) = client.get("http://sku.internal/").build_split();
    /// assert_eq!(call?.request().url().path(), "/");
    /// # Ok::<(), reqwest::Error>(())
    /// ```
    pub fn build_split(self) -> (Client, reqwest::Result<Call<reqwest::Request>>) {
        let Self { client, builder, options } = self;
        (client, builder.build().map(|request| Call::with_options(request, options)))
    }

    /// Makes a builder of a request or a [`Call`], which [`send`](Self::send) sends through `client`.
    pub fn from_parts(client: Client, request: impl Into<Call<reqwest::Request>>) -> Self {
        let call = request.into();
        let options = call.options();
        let builder = reqwest::RequestBuilder::from_parts(client.http().clone(), call.into_inner());
        Self { client, builder, options }
    }

    /// Sends the request; see [`Client::execute`].
    pub fn send(self) -> ResponseFuture {
        match self.builder.build() {
            Ok(request) => ResponseFuture::new(self.client, Call::with_options(request, self.options)),
            Err(error) => ResponseFuture::failed(error),
        }
    }

    /// Returns a copy; `None` if the body is a stream.
    pub fn try_clone(&self) -> Option<Self> {
        let builder = self.builder.try_clone()?;
        Some(Self { client: self.client.clone(), builder, options: self.options })
    }
}

//! The surroundings of a row: two hosts, `a.test` and `b.test`, and the client under test.

use std::sync::Arc;

use reqwest::{Certificate, ClientBuilder};

use crate::BoxError;
use crate::clients::{Client, Make, Redirects, Setting, Which};
use crate::server::{Server, authority};

/// The protocol of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Http1,
    Http2,
}

impl Over {
    /// Makes a client use this protocol.
    pub(crate) fn of(self, builder: ClientBuilder) -> ClientBuilder {
        match self {
            Self::Http1 => builder.http1_only(),
            Self::Http2 => builder.http2_prior_knowledge(),
        }
    }
}

/// Two servers, and the choice of the client.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) which: Which,
    pub(crate) over: Over,
    /// More repetitions, and every combination.
    pub(crate) long: bool,
    /// The host `a.test`, for `http` and `https`.
    pub(crate) a: Server,
    /// The host `b.test`.
    pub(crate) b: Server,
}

impl Bench {
    pub(crate) fn start(which: Which, over: Over, long: bool) -> Result<Self, BoxError> {
        Ok(Self { which, over, long, a: Server::start()?, b: Server::start()? })
    }

    /// A client that knows the hosts and the authority, and uses the protocol of the column.
    pub(crate) fn client(&self) -> Result<Client, BoxError> {
        self.client_with(|builder| builder)
    }

    /// The same, changed.
    pub(crate) fn client_with(
        &self,
        change: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Result<Client, BoxError> {
        self.client_following(Redirects::Default, change)
    }

    /// The same, with a policy for redirects.
    pub(crate) fn client_following(
        &self,
        redirects: Redirects,
        change: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Result<Client, BoxError> {
        let over = self.over;
        self.negotiating(redirects, move |builder| change(over.of(builder)))
    }

    /// A client that negotiates the protocol over TLS, whatever the column.
    pub(crate) fn negotiating(
        &self,
        redirects: Redirects,
        change: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static,
    ) -> Result<Client, BoxError> {
        let authority = Certificate::from_pem(authority().as_bytes())?;
        let make = self.make(move |builder| change(builder.tls_certs_only([authority.clone()])));
        Client::new(self.which, &make, redirects)
    }

    /// A client with settings that are made on its own builder. It knows the hosts, but not the authority.
    pub(crate) fn client_set_to(&self, settings: &[Setting]) -> Result<Client, BoxError> {
        let over = self.over;
        let make = self.make(move |builder| over.of(builder.tls_certs_only([])));
        Client::with_settings(self.which, &make, Redirects::Default, settings)
    }

    fn make(&self, change: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static) -> Make {
        let (a, b) = (self.a.address(), self.b.address());
        Arc::new(move || change(ClientBuilder::new().no_proxy().resolve("a.test", a).resolve("b.test", b)))
    }
}

//! The resolution of names to IP addresses.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::BoxError;

/// Resolves names: by a static list if the name has one, else by the user's resolver if there is one, else by the
/// resolver of the operating system.
///
/// As a [`Resolve`] for reqwest, it also returns IPv6 addresses with a scope, and the last good answer after a
/// failure. Ports are always 0, so reqwest uses the port of the URL.
#[derive(Clone, Default)]
pub(crate) struct Resolver {
    /// The keys are in lower case.
    lists: Arc<HashMap<String, Arc<[IpAddr]>>>,
    custom: Option<Arc<dyn Resolve>>,
    /// The last answer for each name that reqwest has asked for.
    last: Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>,
}

/// The resolver of the user, which may be an `Arc<dyn Resolve>`.
pub(crate) struct UserResolver<R: ?Sized>(pub(crate) Arc<R>);

impl<R: Resolve + ?Sized> Resolve for UserResolver<R> {
    fn resolve(&self, name: Name) -> Resolving {
        self.0.resolve(name)
    }
}

/// The largest number of names whose last answer is kept.
const MAX_LAST: usize = 1000;

impl Resolver {
    /// The keys of `lists` are in lower case.
    pub(crate) fn new(lists: HashMap<String, Arc<[IpAddr]>>, custom: Option<Arc<dyn Resolve>>) -> Self {
        Self { lists: Arc::new(lists), custom, last: Arc::default() }
    }

    /// True if the user has set a resolver.
    pub(crate) fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    /// True if the user has set the addresses of the name.
    pub(crate) fn has_list(&self, name: &str) -> bool {
        self.lists.contains_key(&name.to_ascii_lowercase())
    }

    /// Returns the names whose addresses the user has set.
    pub(crate) fn lists(&self) -> impl Iterator<Item = (&str, &[IpAddr])> {
        self.lists.iter().map(|(name, addresses)| (name.as_str(), &**addresses))
    }

    /// Returns the addresses of `name` in the order of the answer.
    ///
    /// IPv6 addresses that are valid only within a scope are left out, because an [`IpAddr`] has no scope.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, BoxError> {
        let answer = self.look_up(name).await?.into_iter();
        let unscoped = answer.filter(|address| !matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0));
        Ok(unscoped.map(|address| address.ip()).collect())
    }

    /// Keeps a good answer, and returns the last good one after a failure (RFC 8767).
    fn or_last(
        &self,
        name: &str,
        answer: Result<Vec<SocketAddr>, BoxError>,
    ) -> Result<Vec<SocketAddr>, BoxError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(answer) if !answer.is_empty() => {
                if last.len() < MAX_LAST || last.contains_key(name) {
                    last.insert(name.to_owned(), answer.clone());
                }
                Ok(answer)
            }
            failed => last.get(name).cloned().map_or(failed, Ok),
        }
    }

    async fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>, BoxError> {
        if let Some(list) = self.lists.get(&name.to_ascii_lowercase()) {
            return Ok(list.iter().map(|address| SocketAddr::new(*address, 0)).collect());
        }
        match &self.custom {
            Some(custom) => Ok(custom.resolve(name.parse::<Name>()?).await?.collect()),
            None => Ok(tokio::net::lookup_host((name, 0)).await?.collect()),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let answer = this.look_up(name.as_str()).await;
            let mut answer = this.or_last(name.as_str(), answer)?;
            for address in &mut answer {
                address.set_port(0);
            }
            Ok(Box::new(answer.into_iter()) as Addrs)
        })
    }
}

/// Shows no addresses: a list can be long, and the names tell which lists there are.
impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("lists", &self.lists.keys().collect::<Vec<_>>())
            .field("custom", &self.custom.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each name with the same addresses.
    struct Fixed(Vec<SocketAddr>);

    impl Resolve for Fixed {
        fn resolve(&self, name: Name) -> Resolving {
            let answer = self.0.clone();
            Box::pin(async move {
                let known = name.as_str() == "sku.internal";
                known.then(|| Box::new(answer.into_iter()) as Addrs).ok_or_else(|| "no such name".into())
            })
        }
    }

    fn resolver(custom: Option<Vec<SocketAddr>>) -> Resolver {
        let list: Arc<[IpAddr]> = Arc::new([IpAddr::from([10, 0, 0, 9])]);
        let custom = custom.map(|answer| Arc::new(Fixed(answer)) as Arc<dyn Resolve>);
        Resolver::new(HashMap::from([("list.internal".to_owned(), list)]), custom)
    }

    async fn as_reqwest(resolver: &Resolver, name: &str) -> Result<Vec<SocketAddr>, BoxError> {
        Ok(Resolve::resolve(resolver, name.parse()?).await?.collect())
    }

    #[tokio::test]
    async fn a_static_list_comes_before_the_custom_resolver() {
        let resolver = resolver(Some(vec![SocketAddr::from(([10, 0, 0, 1], 0))]));
        for name in ["list.internal", "List.Internal"] {
            assert_eq!(resolver.resolve(name).await.unwrap(), [IpAddr::from([10, 0, 0, 9])]);
            let answer = as_reqwest(&resolver, name).await.unwrap();
            assert_eq!(answer, [SocketAddr::from(([10, 0, 0, 9], 0))]);
        }
        assert_eq!(resolver.resolve("sku.internal").await.unwrap(), [IpAddr::from([10, 0, 0, 1])]);
    }

    #[tokio::test]
    async fn errors_of_the_custom_resolver_are_passed_on() {
        let resolver = resolver(Some(Vec::new()));
        assert!(resolver.resolve("sku.internal").await.unwrap().is_empty());
        assert_eq!(resolver.resolve("other.internal").await.unwrap_err().to_string(), "no such name");
        assert_eq!(as_reqwest(&resolver, "other.internal").await.unwrap_err().to_string(), "no such name");
    }

    #[tokio::test]
    async fn ports_are_dropped_and_scopes_are_kept_for_reqwest_only() {
        let global = SocketAddr::from(([10, 0, 0, 1], 8080));
        let link_local = SocketAddr::V6(std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 8080, 0, 2));
        let resolver = resolver(Some(vec![link_local, global]));
        assert_eq!(resolver.resolve("sku.internal").await.unwrap(), [global.ip()]);
        let answer = as_reqwest(&resolver, "sku.internal").await.unwrap();
        assert_eq!(answer.iter().map(SocketAddr::port).collect::<Vec<_>>(), [0, 0]);
        assert!(matches!(answer[0], SocketAddr::V6(v6) if v6.scope_id() == 2));
    }

    #[tokio::test]
    async fn other_names_are_resolved_by_the_system() {
        let answer = resolver(None).resolve("localhost").await.unwrap();
        assert!(!answer.is_empty() && answer.iter().all(IpAddr::is_loopback), "{answer:?}");
    }

    #[test]
    fn debug_shows_names_only() {
        assert_eq!(
            format!("{:?}", resolver(None)),
            r#"Resolver { lists: ["list.internal"], custom: false, .. }"#
        );
    }
}

//! Configures a fallback.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use rand::rngs::{SmallRng, SysRng};
use rand::{Rng as _, SeedableRng as _, TryRng as _};

use crate::ConfigError;
use crate::config_error::MAX_DURATION;
use crate::internal::shared_settings::SharedSettings;
use crate::internal::wall_clock::WallClock;
use crate::last_known_good::memory::cache::Memory;
use crate::last_known_good::memory::refreshes::Refreshes;
use crate::last_known_good::policy::credentials::Credentials;
use crate::last_known_good::policy::key::SeededHasher;
use crate::last_known_good::policy::rules::Rules;
use crate::last_known_good::policy::settings::{CacheSettings, ServesStaleOn};
use crate::last_known_good::tier::bounded_store::BoundedStore;
use crate::last_known_good::tier::state::CacheState;
use crate::last_known_good::tier::store::Store;
use crate::stale::Cause;

/// Configures a [`LastKnownGood`](super::LastKnownGood).
///
/// | what | default |
/// |---|---|
/// | `max_age` | an hour |
/// | `max_entry_bytes` | 1 MiB |
/// | `max_bytes` | 64 MiB |
/// | `serve_stale_on` | every cause |
/// | `store` | none |
/// | `store_timeout` | 100 ms |
/// | `renew_after` | 10 s |
/// | `serve_stale_after` | never |
/// | `max_refreshes` | 64 |
#[must_use = "there is no fallback before `build`"]
pub struct LastKnownGoodBuilder {
    name: Option<Arc<str>>,
    max_age: Duration,
    max_entry_bytes: usize,
    max_bytes: u64,
    ignore_origin: bool,
    serves_stale_on: Option<ServesStaleOn>,
    private_headers: Vec<HeaderName>,
    digest_key: Option<[u8; 32]>,
    store: Option<BoundedStore>,
    store_timeout: Duration,
    renew_after: Duration,
    soft_limit: Option<Duration>,
    max_refreshes: usize,
    seed: Option<u64>,
}

impl LastKnownGoodBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: None,
            max_age: Duration::from_secs(60 * 60),
            max_entry_bytes: 1024 * 1024,
            max_bytes: 64 * 1024 * 1024,
            ignore_origin: false,
            serves_stale_on: None,
            private_headers: Vec::new(),
            digest_key: None,
            store: None,
            store_timeout: Duration::from_millis(100),
            renew_after: Duration::from_secs(10),
            soft_limit: None,
            max_refreshes: 64,
            seed: None,
        }
    }

    /// What the cache is called, for those who look at several. Events name the upstream itself. Default: none.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How old a response may be and still be served, where its origin says nothing by `stale-if-error` (RFC 5861 §4): 1 ms
    /// to a year. Default: an hour.
    ///
    /// A store behind keeps nothing for longer, whatever the origin says.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// The largest body that is kept, in bytes: 0 to 1 GiB. Default: 1 MiB.
    pub fn max_entry_bytes(mut self, bytes: usize) -> Self {
        self.max_entry_bytes = bytes;
        self
    }

    /// How many bytes of responses are kept in memory: 1 KiB to 1 TiB. The least recently used go first. Default 64 MiB.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Keeps and serves what the origin forbids to keep or to serve stale: `no-store`, `no-cache`, `private`,
    /// `must-revalidate`, `proxy-revalidate`, `s-maxage` and `stale-if-error` are passed over.
    ///
    /// For an upstream whose headers are known to be wrong, and cannot be mended. What would be somebody else's answer is
    /// still not served: credentials, `Vary` and `Set-Cookie` count as ever.
    pub fn ignore_origin_prohibitions(mut self) -> Self {
        self.ignore_origin = true;
        self
    }

    /// Falls back only on the causes of which this is true. Default: on all of them.
    ///
    /// ```
    /// use steadfast::last_known_good::{Cause, LastKnownGood};
    ///
    /// // Who is turned away here should know: others have the fresh answers.
    /// let fallback = LastKnownGood::builder().serve_stale_on(|cause| cause != Cause::BulkheadFull).build()?;
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    pub fn serve_stale_on(mut self, falls: impl Fn(Cause) -> bool + Send + Sync + 'static) -> Self {
        self.serves_stale_on = Some(Arc::new(falls));
        self
    }

    /// Takes this request header for a credential, too: its values keep callers apart, and are never kept themselves.
    ///
    /// `Authorization`, `Proxy-Authorization`, `Cookie`, `Api-Key`, `X-Api-Key`, `X-Auth-Token` and `X-Access-Token` are
    /// credentials in any case, and so are a user in the URI and every value that is [marked
    /// sensitive](http::HeaderValue::set_sensitive).
    ///
    /// ```
    /// use http::HeaderName;
    /// use steadfast::last_known_good::LastKnownGood;
    ///
    /// let fallback = LastKnownGood::builder().private_header(HeaderName::from_static("x-tenant")).build()?;
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    pub fn private_header(mut self, name: HeaderName) -> Self {
        self.private_headers.push(name);
        self
    }

    /// The key that credentials are digested with, from your secrets. Default: drawn at random.
    ///
    /// With a random one, what is kept for callers with credentials is kept in memory only, since nobody else, not even the
    /// same service after a restart, could find it in a store. With a key of your own it goes into the store, too.
    pub fn digest_key(mut self, key: [u8; 32]) -> Self {
        self.digest_key = Some(key);
        self
    }

    /// Keeps responses in this store, too. The memory stands in front of it.
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(BoundedStore::new(store));
        self
    }

    /// How long a call waits for the store at most, within the total time of the call: 1 ms to a minute. Default 100 ms.
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.store_timeout = timeout;
        self
    }

    /// Serves what is kept when the upstream has not answered within `soft_limit`, as [`Cause::Slow`]; the call goes on behind,
    /// within its deadline, and renews what is kept. Where nothing is kept, it is waited for as ever. Default: never.
    ///
    /// **This spawns** a tokio task for each call that goes on, at most [64](Self::max_refreshes) at a time
    /// and one for each request. Beyond that, the call is dropped when it has been answered.
    pub fn serve_stale_after(mut self, soft_limit: Duration) -> Self {
        self.soft_limit = Some(soft_limit);
        self
    }

    /// How many calls go on behind at a time. Default 64.
    pub fn max_refreshes(mut self, max: usize) -> Self {
        self.max_refreshes = max;
        self
    }

    /// How often what is kept is renewed: 0 to a year. Default 10 s.
    ///
    /// In memory there is always the last response that was another one. One with the same body, of which only headers differ
    /// that no rule is about (an id of the request, say), is kept in its place at most this often; until then the earlier one
    /// stays, with its age. And at most this often the store behind is told of a response, and asked for a newer one than
    /// there is in memory.
    pub fn renew_after(mut self, time: Duration) -> Self {
        self.renew_after = time;
        self
    }

    /// Draws everything that is random from this seed, the key for credentials among it, so that a test can be replayed: not
    /// for a service, whose key nobody should know.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The state of an empty cache, if every setting is in its range.
    pub(super) fn into_state(self) -> Result<CacheState, ConfigError> {
        const MILLISECOND: Duration = Duration::from_millis(1);
        const MINUTE: Duration = Duration::from_secs(60);
        let max_age =
            ConfigError::check("last_known_good.max_age", self.max_age, MILLISECOND..=MAX_DURATION)?;
        let max_entry_bytes =
            ConfigError::check("last_known_good.max_entry_bytes", self.max_entry_bytes, 0..=1 << 30)?;
        let max_bytes = ConfigError::check("last_known_good.max_bytes", self.max_bytes, 1024..=1 << 40)?;
        let timeout =
            ConfigError::check("last_known_good.store_timeout", self.store_timeout, MILLISECOND..=MINUTE)?;
        let renew_after = ConfigError::check(
            "last_known_good.renew_after",
            self.renew_after,
            Duration::ZERO..=MAX_DURATION,
        )?;
        let (drawn_key, hash_seed) = draw(self.seed)?;
        let is_shared = self.digest_key.is_some();
        let store = self.store.map(|store| store.timeout_after(timeout).holds_private(is_shared));
        let settings = CacheSettings {
            rules: Rules { max_age, ignore_origin: self.ignore_origin },
            // A larger one would be evicted as soon as it is kept.
            max_entry_bytes: max_entry_bytes.min(max_bytes.try_into().unwrap_or(usize::MAX)),
            serves_stale_on: self.serves_stale_on,
            renew_after,
            soft_limit: self.soft_limit,
            max_refreshes: self.max_refreshes,
        };
        Ok(CacheState {
            name: self.name,
            settings: SharedSettings::new(settings),
            credentials: Credentials::new(self.digest_key.unwrap_or(drawn_key), self.private_headers),
            clock: WallClock::start(),
            hasher: SeededHasher(hash_seed),
            memory: Memory::new(max_bytes),
            refreshes: Refreshes::default(),
            store,
        })
    }
}

/// A key, and a seed for hashes.
fn draw(seed: Option<u64>) -> Result<([u8; 32], u64), ConfigError> {
    let (mut key, mut hash) = ([0; 32], [0; 8]);
    match seed.map(SmallRng::seed_from_u64) {
        Some(mut rng) => {
            rng.fill_bytes(&mut key);
            rng.fill_bytes(&mut hash);
        }
        None => SysRng.try_fill_bytes(&mut key).and_then(|()| SysRng.try_fill_bytes(&mut hash)).map_err(
            |error| {
                ConfigError::new("last_known_good.digest_key", "random", "drawn by the operating system")
                    .with_source(error)
            },
        )?,
    }
    Ok((key, u64::from_le_bytes(hash)))
}

// The key is a secret.
impl fmt::Debug for LastKnownGoodBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastKnownGoodBuilder")
            .field("max_age", &self.max_age)
            .field("max_entry_bytes", &self.max_entry_bytes)
            .field("max_bytes", &self.max_bytes)
            .field("ignore_origin_prohibitions", &self.ignore_origin)
            .field("private_headers", &self.private_headers)
            .field("store", &self.store)
            .field("store_timeout", &self.store_timeout)
            .field("renew_after", &self.renew_after)
            .field("serve_stale_after", &self.soft_limit)
            .field("max_refreshes", &self.max_refreshes)
            .finish_non_exhaustive()
    }
}

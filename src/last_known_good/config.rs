//! The builder of a last-known-good cache, with the defaults, ranges and checks of its settings.

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
/// | setting | default |
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
#[must_use = "a builder does nothing until `build` is called"]
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

    /// Sets the name of the cache, for code that inspects several caches. Events carry the name of the upstream
    /// instead. Default: none.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the maximum age of a stale response: 1 ms to a year. Default: an hour. The origin server can set another
    /// limit by `stale-if-error` (RFC 5861 §4).
    ///
    /// A store keeps no entry for longer than `max_age`, whatever the origin server says.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Sets the maximum size of a stored body, in bytes: 0 to 1 GiB. A value above [`max_bytes`](Self::max_bytes)
    /// counts as `max_bytes`. Default: 1 MiB.
    pub fn max_entry_bytes(mut self, bytes: usize) -> Self {
        self.max_entry_bytes = bytes;
        self
    }

    /// Sets the maximum total size of the entries in memory, in bytes: 1 KiB to 1 TiB. The least recently used
    /// entries are evicted first. Default: 64 MiB.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Stores and serves responses against the will of the origin server: a response's `no-store`, `no-cache`,
    /// `private`, `must-revalidate`, `proxy-revalidate` and `stale-if-error` are ignored. `s-maxage` still sets the
    /// freshness lifetime, but an entry may be served for longer than that.
    ///
    /// Use this setting only for an upstream whose wrong headers cannot be fixed. Callers stay separated:
    /// credentials, `Vary` and `Set-Cookie` are still respected.
    pub fn ignore_origin_prohibitions(mut self) -> Self {
        self.ignore_origin = true;
        self
    }

    /// Serves stale responses only for the causes for which `serves` returns true. Default: every cause.
    ///
    /// ```
    /// use steadfast::last_known_good::{Cause, LastKnownGood};
    ///
    /// // While the bulkhead is full, other callers get fresh responses: a refused caller should know.
    /// let cache = LastKnownGood::builder().serve_stale_on(|cause| cause != Cause::BulkheadFull).build()?;
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    pub fn serve_stale_on(mut self, serves: impl Fn(Cause) -> bool + Send + Sync + 'static) -> Self {
        self.serves_stale_on = Some(Arc::new(serves));
        self
    }

    /// Treats this request header as a credential: its values separate callers, and are never stored.
    ///
    /// `Authorization`, `Proxy-Authorization`, `Cookie`, `Api-Key`, `X-Api-Key`, `X-Auth-Token` and `X-Access-Token`
    /// are always credentials. So are `user:password@` in the URI and every header value that is [marked
    /// sensitive](http::HeaderValue::set_sensitive).
    ///
    /// ```
    /// use http::HeaderName;
    /// use steadfast::last_known_good::LastKnownGood;
    ///
    /// let cache = LastKnownGood::builder().private_header(HeaderName::from_static("x-tenant")).build()?;
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    pub fn private_header(mut self, name: HeaderName) -> Self {
        self.private_headers.push(name);
        self
    }

    /// Sets the secret key for the digests of credentials. Default: a random key.
    ///
    /// With a random key, the entries of callers with credentials stay in memory: no other process, not even the same
    /// service after a restart, could find these entries in a store. With a key of your own, they are also written
    /// to the store.
    pub fn digest_key(mut self, key: [u8; 32]) -> Self {
        self.digest_key = Some(key);
        self
    }

    /// Sets the store behind the memory, for entries and tombstones. Default: none.
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(BoundedStore::new(store));
        self
    }

    /// Sets the time limit of each wait for the store: 1 ms to a minute. A wait also ends at the call's deadline.
    /// Default: 100 ms.
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.store_timeout = timeout;
        self
    }

    /// Serves the entry, with [`Cause::Slow`], when the upstream has not answered within `soft_limit`. The call
    /// continues in the background and renews the entry. The call ends at its deadline or, without a deadline, after
    /// 60 s. If there is no entry, the caller waits on. Default: never.
    ///
    /// **This spawns** a tokio task for each refresh, that is, for each call that continues in the background. There
    /// is at most one refresh at a time for each method, URI and caller, and at most
    /// [`max_refreshes`](Self::max_refreshes) in all. A call beyond these bounds, or with `no-store` in the request,
    /// is dropped once its caller has the stale response.
    pub fn serve_stale_after(mut self, soft_limit: Duration) -> Self {
        self.soft_limit = Some(soft_limit);
        self
    }

    /// Sets the maximum number of [refreshes](Self::serve_stale_after) at a time. Default: 64.
    pub fn max_refreshes(mut self, max: usize) -> Self {
        self.max_refreshes = max;
        self
    }

    /// Sets the shortest time between two minor updates of an entry, for each kind of update: 0 to a year. Default:
    /// 10 s.
    ///
    /// Minor updates are
    ///
    /// - a replacement by a response that differs only in headers without effect on storing or serving, such as a
    ///   request ID. Before `renew_after` has passed, such a response changes neither the entry nor its age;
    /// - an exchange with the store: a write of the entry, or a read that looks for a newer entry.
    ///
    /// A response with a different body replaces the entry at once, and an equal response resets the entry's age at
    /// once.
    pub fn renew_after(mut self, time: Duration) -> Self {
        self.renew_after = time;
        self
    }

    /// Draws all random values from this seed, the digest key included, so that a test can be replayed. Not for
    /// production, where the digest key must be secret. Default: random numbers from the operating system.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Returns the state of an empty cache, if every setting is in its range.
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
        let has_digest_key = self.digest_key.is_some();
        let store = self.store.map(|store| store.timeout_after(timeout).holds_private(has_digest_key));
        let settings = CacheSettings {
            rules: Rules { max_age, ignore_origin: self.ignore_origin },
            // The memory rejects an entry that is larger than `max_bytes`.
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

/// Draws a digest key and a seed for hashes.
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

// Leaves out the digest key, which is secret.
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

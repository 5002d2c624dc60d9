//! The encoding of entries and tombstones for a store.
//!
//! A store only holds bytes under names. For every store, this file decides what the bytes mean, whether they are
//! intact, and whether an entry may be served. If a store loses, swaps or garbles values, the entries and
//! invalidations in them are lost. The cache never serves a damaged response or the response of another key.
//!
//! # Implementation
//!
//! A value consists of a mark with the format version, a checksum, and the content in the format of the crate
//! `postcard`. The checksum covers the name and the content, so a value under a wrong name is rejected, too. The
//! checksum has no key, so it does not detect forgery.
//!
//! Decoding applies the current caching rules. If the rules no longer allow one of the entries, the whole value is
//! rejected.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use serde::{Deserialize, Serialize};

use crate::last_known_good::entry::head::Head;
use crate::last_known_good::entry::unix_nanos::UnixNanos;
use crate::last_known_good::entry::{Entry, Times};
use crate::last_known_good::policy::rules::Rules;
use crate::last_known_good::policy::vary::Vary;

/// The first bytes of each value. The last of these bytes is the format version.
const MARK: &[u8] = b"steadfast\x01";

/// The beginning of the year 10000, in seconds since 1970-01-01 UTC: the earliest time that an HTTP date cannot
/// express.
const END_OF_DATES: u64 = 253_402_300_800;

/// The length of the checksum in bytes.
const CHECK_BYTES: usize = 16;

/// A decoded value.
pub(crate) enum StoredValue {
    /// The entries of a key, one for each variant by `Vary`.
    Entries(Vec<Entry>),
    /// The time of an invalidation. Entries requested before this time are invalid.
    Tombstone(UnixNanos),
}

pub(crate) fn encode_entries(key: &str, variants: &[Arc<Entry>]) -> Option<Bytes> {
    seal(key, &WireRecord::Entries(variants.iter().map(|entry| Stored::from_entry(entry)).collect()))
}

pub(crate) fn encode_tombstone(key: &str, at: UnixNanos) -> Option<Bytes> {
    seal(key, &WireRecord::Tombstone(at.0))
}

/// Returns `None` if the value was not encoded for this key, is damaged, or contains an entry that these rules
/// forbid.
pub(crate) fn decode(key: &str, value: &[u8], rules: &Rules, is_private: bool) -> Option<StoredValue> {
    Some(match postcard::from_bytes(open(key, value)?).ok()? {
        WireRecord::Tombstone(at) => StoredValue::Tombstone(UnixNanos(at)),
        WireRecord::Entries(stored) => {
            let entries = stored.into_iter().map(|it| it.into_entry(rules, is_private));
            StoredValue::Entries(entries.collect::<Option<_>>()?)
        }
    })
}

fn seal(key: &str, content: &impl Serialize) -> Option<Bytes> {
    let mut value = [MARK, &[0; CHECK_BYTES]].concat();
    value = postcard::to_extend(content, value).ok()?;
    let (head, content) = value.split_at_mut(MARK.len() + CHECK_BYTES);
    head[MARK.len()..].copy_from_slice(&check(key, content));
    Some(value.into())
}

fn open<'a>(key: &str, value: &'a [u8]) -> Option<&'a [u8]> {
    let (stated, content) = value.strip_prefix(MARK)?.split_at_checked(CHECK_BYTES)?;
    // Under fuzzing, skip the checksum so that the decoder is reached.
    (check(key, content) == stated || cfg!(fuzzing)).then_some(content)
}

fn check(key: &str, content: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.len().to_le_bytes()).update(key.as_bytes()).update(content);
    hasher.finalize_xof().fill(&mut check);
    check
}

#[derive(Serialize, Deserialize)]
enum WireRecord {
    Entries(Vec<Stored>),
    Tombstone(u64),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    status: u16,
    version: u8,
    headers: Vec<(String, WireHeaderValue)>,
    vary: Vec<(String, Vec<WireHeaderValue>)>,
    requested: u64,
    received: u64,
    generated: u64,
    date: u64,
    body: Bytes,
}

#[derive(Serialize, Deserialize)]
struct WireHeaderValue {
    bytes: Bytes,
    is_sensitive: bool,
}

const VERSIONS: [Version; 5] =
    [Version::HTTP_09, Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3];

impl Stored {
    fn from_entry(entry: &Entry) -> Self {
        let (head, times) = (entry.head(), entry.times());
        let header =
            |(name, value): (&HeaderName, _)| (name.as_str().to_owned(), WireHeaderValue::from_header(value));
        let line = |(name, values): (&HeaderName, &[HeaderValue])| {
            (name.as_str().to_owned(), values.iter().map(WireHeaderValue::from_header).collect())
        };
        let version = VERSIONS.iter().zip(0..).find(|(version, _)| **version == head.version);
        Self {
            status: head.status.as_u16(),
            version: version.map_or(u8::MAX, |(_, at)| at),
            headers: head.headers.iter().map(header).collect(),
            vary: head.vary.lines().map(line).collect(),
            requested: times.requested.0,
            received: times.received.0,
            generated: times.generated.0,
            date: times.date,
            body: entry.body().clone(),
        }
    }

    fn into_entry(self, rules: &Rules, is_private: bool) -> Option<Entry> {
        let status = StatusCode::from_u16(self.status).ok()?;
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            // The size of a `HeaderMap` is bounded, and `append` panics at the bound.
            headers.try_append(to_name(&name)?, value.into_header()?).ok()?;
        }
        let line = |(name, values): (String, Vec<WireHeaderValue>)| {
            let values = values.into_iter().map(WireHeaderValue::into_header).collect::<Option<_>>()?;
            Some((to_name(&name)?, values))
        };
        let vary = self.vary.into_iter().map(line).collect::<Option<Vec<_>>>()?;
        let head = Head {
            lifetime: rules.lifetime(status, &headers, is_private)?,
            status,
            version: *VERSIONS.get(usize::from(self.version))?,
            headers,
            vary: Vary::of(vary),
        };
        let (requested, received, generated) =
            (UnixNanos(self.requested), UnixNanos(self.received), UnixNanos(self.generated));
        let date = if self.date < END_OF_DATES { self.date } else { 0 };
        let times = Times { requested, received, generated, date };
        Some(Entry::new(Arc::new(head), self.body, times))
    }
}

impl WireHeaderValue {
    fn from_header(value: &HeaderValue) -> Self {
        Self { bytes: Bytes::copy_from_slice(value.as_bytes()), is_sensitive: value.is_sensitive() }
    }

    fn into_header(self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_maybe_shared(self.bytes).ok()?;
        value.set_sensitive(self.is_sensitive);
        Some(value)
    }
}

fn to_name(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Response;

    use super::*;
    use crate::last_known_good::entry::head::Draft;
    use crate::last_known_good::policy::vary::RequestHeaders;

    const RULES: Rules = Rules { max_age: Duration::from_secs(3600), ignore_origin: false };

    fn variants() -> Vec<Arc<Entry>> {
        let entry = |language: &str, body: &'static str| {
            let mut response = Response::builder()
                .status(203)
                .version(Version::HTTP_2)
                .header("vary", "accept-language")
                .header("x-odd", HeaderValue::from_bytes(b"\xff\x80").unwrap())
                .header("x-two", "1")
                .header("x-two", "2")
                .body(())
                .unwrap();
            let mut token = HeaderValue::from_static("token");
            token.set_sensitive(true);
            response.headers_mut().insert("x-token", token);
            let request = HeaderMap::from_iter([(http::header::ACCEPT_LANGUAGE, language.parse().unwrap())]);
            let request = RequestHeaders::new(&request, None);
            let head = Draft::new(&response, &request, &RULES, false).unwrap().into_head();
            let times =
                Times { requested: UnixNanos(1), received: UnixNanos(3), generated: UnixNanos(2), date: 4 };
            Arc::new(Entry::new(Arc::new(head), Bytes::from_static(body.as_bytes()), times))
        };
        vec![entry("de", "gut"), entry("en", "good")]
    }

    fn entries_of(key: &str, value: &[u8], rules: &Rules) -> Option<Vec<Entry>> {
        match decode(key, value, rules, false)? {
            StoredValue::Entries(entries) => Some(entries),
            StoredValue::Tombstone(_) => None,
        }
    }

    fn tombstone_in(key: &str, value: &[u8]) -> Option<UnixNanos> {
        match decode(key, value, &RULES, false)? {
            StoredValue::Entries(_) => None,
            StoredValue::Tombstone(at) => Some(at),
        }
    }

    #[test]
    fn decoding_reverses_encoding() {
        let variants = variants();
        let value = encode_entries("GET - http://a/", &variants).unwrap();
        let decoded = entries_of("GET - http://a/", &value, &RULES).unwrap();
        assert_eq!(decoded.len(), 2);
        for (decoded, variant) in decoded.iter().zip(&variants) {
            let (one, other) = (decoded.head(), variant.head());
            assert_eq!(
                (one.status, one.version, one.lifetime),
                (other.status, other.version, other.lifetime)
            );
            assert_eq!((&one.headers, &one.vary), (&other.headers, &other.vary));
            assert!(one.headers["x-token"].is_sensitive());
            assert_eq!((decoded.body(), decoded.times()), (variant.body(), variant.times()));
        }
    }

    #[test]
    fn a_value_of_another_key_is_rejected() {
        let value = encode_entries("GET - http://a/", &variants()).unwrap();
        assert!(entries_of("GET - http://b/", &value, &RULES).is_none());
        let gone = encode_tombstone("GET - http://a/", UnixNanos(7)).unwrap();
        assert_eq!(tombstone_in("GET - http://a/", &gone), Some(UnixNanos(7)));
        assert_eq!(tombstone_in("GET - http://b/", &gone), None);
        for foreign in ["", "steadfast", "steadfast\u{1}", "{\"status\":200}"] {
            assert!(entries_of("GET - http://a/", foreign.as_bytes(), &RULES).is_none());
        }
    }

    #[test]
    fn a_value_with_any_damaged_byte_is_rejected() {
        let value = encode_entries("k", &variants()).unwrap();
        for at in 0..value.len() {
            let mut garbled = value.to_vec();
            garbled[at] ^= 1;
            assert!(entries_of("k", &garbled, &RULES).is_none(), "{at}");
            assert!(entries_of("k", &value[..at], &RULES).is_none(), "{at}");
        }
        let longer = [&value[..], b"x"].concat();
        assert!(entries_of("k", &longer, &RULES).is_none());
    }

    #[test]
    fn an_entry_that_the_rules_forbid_by_now_is_rejected() {
        let response = Response::builder().header("cache-control", "no-store").body(()).unwrap();
        let ignoring = Rules { ignore_origin: true, ..RULES };
        let request = RequestHeaders::new(&HeaderMap::new(), None);
        let head = Draft::new(&response, &request, &ignoring, false).unwrap().into_head();
        let times =
            Times { requested: UnixNanos(1), received: UnixNanos(1), generated: UnixNanos(1), date: 0 };
        let value =
            encode_entries("k", &[Arc::new(Entry::new(Arc::new(head), Bytes::new(), times))]).unwrap();
        assert!(entries_of("k", &value, &ignoring).is_some());
        assert!(entries_of("k", &value, &RULES).is_none());
    }
}

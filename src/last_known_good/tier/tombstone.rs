//! Tombstones: records, in a store, that entries were invalidated.

use crate::last_known_good::policy::key::Key;

/// A tombstone for a URI or for one caller of a URI. The name of a tombstone differs from the names of entries, so
/// that a late write of an older entry does not overwrite the tombstone.
pub(super) struct Tombstone {
    pub(super) hash: u64,
    pub(super) name: String,
    /// The names of the invalidated entries, for GET and HEAD. A tombstone for a URI names only the entries of
    /// callers without credentials.
    pub(super) entries: [String; 2],
}

impl Tombstone {
    pub(super) fn of_uri(key: &Key) -> Self {
        let entries = key.public().either_method().map(|key| key.to_string());
        Self { hash: key.hash(), name: format!("GONE * {}", key.text()), entries }
    }

    pub(super) fn of_caller(key: &Key) -> Self {
        let entries = key.either_method().map(|key| key.to_string());
        let caller = key.partition().map_or_else(|| "-".to_owned(), |it| it.to_string());
        Self { hash: key.hash_of_caller(), name: format!("GONE {caller} {}", key.text()), entries }
    }
}

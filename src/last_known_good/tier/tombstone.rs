//! Tombstones: records of invalidations in a store.

use crate::last_known_good::policy::key::Key;

/// A tombstone for a URI or for one caller of a URI. A tombstone has a name of its own, so that a late write of an
/// older entry does not overwrite the tombstone.
pub(super) struct Tombstone {
    pub(super) hash: u64,
    pub(super) name: String,
    /// The names of the entries for GET and HEAD, as far as the names are known.
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

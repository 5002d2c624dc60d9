//! `auth`: entries for a caller with credentials, and requests of other callers.

use super::table::{Case, get, optimal, required};

pub(crate) fn cases() -> Vec<Case> {
    let authorized = |cache_control: &str| {
        get().sends("authorization", "FOO").answers("cache-control", cache_control).dates("date", 0).pause()
    };
    vec![
        required("other-authorization", [authorized("max-age=100000"), get().not_cached()]),
        optimal("other-authorization-public", [authorized("max-age=3600, public"), get().cached()]),
        optimal(
            "other-authorization-must-revalidate",
            [authorized("max-age=3600, must-revalidate"), get().cached()],
        ),
        optimal("other-authorization-smaxage", [authorized("s-maxage=3600"), get().cached()]),
    ]
}

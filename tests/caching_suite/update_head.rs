//! `updateHEAD`: the changes that the answer to a HEAD makes to the entry for a GET.

use super::table::{Case, becomes_stale, check, get, request};

pub(crate) fn cases() -> Vec<Case> {
    let head = || request("HEAD");
    let updates = || head().answers("template-a", "2").answers("cache-control", "max-age=1000");
    // With `must-revalidate`, a stale entry is served only if the HEAD makes the entry fresh again.
    let revalidated = || becomes_stale().answers("cache-control", "must-revalidate");
    vec![
        check("head-writethrough", [becomes_stale(), head()]),
        check("head-200-retain", [becomes_stale(), head().shows("template-a", "1")]),
        check(
            "head-200-freshness-update",
            [revalidated(), head().answers("cache-control", "max-age=1000"), get().cached()],
        ),
        check("head-200-update", [becomes_stale(), updates(), get().cached().shows("template-a", "2")]),
        check(
            "head-410-update",
            [becomes_stale(), updates().status(410), get().cached().shows("template-a", "2")],
        ),
    ]
}

//! `cc-request`: the limits that a request sets.
//!
//! Left out: `ccreq-no-cache-lm` and `ccreq-no-cache-etag`, where the cache has to make a request conditional by
//! itself, and `ccreq-oic`, which forbids a request to the upstream: this cache always asks the upstream first.

use super::table::{Case, Step, becomes_stale, check, fresh, get};

pub(crate) fn cases() -> Vec<Case> {
    let asks = |directive| get().sends("cache-control", directive);
    vec![
        check("ccreq-ma0", [fresh(), asks("max-age=0").not_cached()]),
        check("ccreq-ma1", [fresh(), asks("max-age=1").not_cached()]),
        check("ccreq-magreaterage", [fresh().answers("age", "1800"), asks("max-age=600").not_cached()]),
        check("ccreq-max-stale", [becomes_stale(), asks("max-stale=1000").cached()]),
        check("ccreq-max-stale-age", [aged("2000"), asks("max-stale=1000").cached()]),
        check("ccreq-min-fresh", [lives(), asks("min-fresh=2000").not_cached()]),
        check("ccreq-min-fresh-age", [aged("1000"), asks("min-fresh=1000").not_cached()]),
        check(
            "ccreq-no-cache",
            [get().answers("cache-control", "max-age=3600"), asks("no-cache").not_cached()],
        ),
        check("ccreq-no-store", [fresh(), asks("no-store").not_cached()]),
    ]
}

fn lives() -> Step {
    get().answers("cache-control", "max-age=1500")
}

fn aged(age: &str) -> Step {
    lives().answers("age", age)
}

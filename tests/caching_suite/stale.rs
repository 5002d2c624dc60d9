//! `stale`: stale responses while the upstream fails.

use super::table::Failure::{Closed, Unavailable};
use super::table::{Case, Shown, becomes_stale, check, get, optimal, required, stale};

pub(crate) fn cases() -> Vec<Case> {
    let answers = |cache_control: &str| get().answers("cache-control", cache_control).pause();
    let mut cases = vec![
        check("stale-close", [becomes_stale(), get().fails_by(Closed).cached()]),
        check("stale-503", [becomes_stale(), get().fails_by(Unavailable).cached()]),
        optimal(
            "stale-while-revalidate",
            [answers("max-age=1, stale-while-revalidate=3600").answers("etag", "\"abc\""), get().cached()],
        ),
        required(
            "stale-while-revalidate-window",
            [
                answers("max-age=1, stale-while-revalidate=4").answers("etag", "\"abc\""),
                get().cached().pause(),
                get().not_cached(),
            ],
        ),
        check("stale-sie-close", [answers("max-age=2, stale-if-error=60"), get().fails_by(Closed).cached()]),
        check(
            "stale-sie-503",
            [answers("max-age=2, stale-if-error=60"), get().fails_by(Unavailable).cached()],
        ),
        check(
            "stale-warning-stored",
            [stale(), get().fails_by(Closed).cached().shows("warning", Shown::Anything)],
        ),
        check(
            "stale-warning-become",
            [becomes_stale(), get().fails_by(Closed).cached().shows("warning", Shown::Anything)],
        ),
    ];
    for forbids in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=2"] {
        cases.push(required(
            format!("stale-close-{forbids}"),
            [answers(&format!("max-age=2, {forbids}")), get().fails_by(Closed).not_cached()],
        ));
    }
    cases
}

//! `cc-response`: the prohibitions of an answer.
//!
//! Left out: `cc-resp-no-cache-revalidate` and `cc-resp-no-cache-revalidate-fresh`, where the cache has to make a
//! request conditional by itself, and the cases for browsers alone.

use super::table::{Case, Shown, Step, check, get, optimal, required};

pub(crate) fn cases() -> Vec<Case> {
    let revalidated =
        |cache_control| get().answers("cache-control", cache_control).answers("etag", "\"abcd\"");
    let older = || expires("max-age=10000").answers("a", "1").pause();
    let newer = |cache_control| {
        get().answers("cache-control", cache_control).dates("date", 0).answers("a", "2").pause()
    };
    let listing = |listed: &str| {
        ["a", "b", "c"]
            .into_iter()
            .fold(get().answers("cache-control", format!("no-cache=\"{listed}\"")), |it, name| {
                it.answers(name, "1")
            })
            .answers("cache-control", "max-age=3600")
            .dates("date", 0)
            .pause()
    };
    vec![
        required("cc-resp-private-shared", [answers("private, max-age=3600"), get().not_cached()]),
        required("cc-resp-no-store", [answers("no-store"), get().not_cached()]),
        required("cc-resp-no-store-case-insensitive", [answers("No-StOrE"), get().not_cached()]),
        required("cc-resp-no-store-fresh", [expires("max-age=10000, no-store"), get().not_cached()]),
        check("cc-resp-no-store-old-new", [older(), newer("no-store"), get().cached().shows("a", "1")]),
        check(
            "cc-resp-no-store-old-max-age",
            [older(), newer("no-store, max-age=0"), get().cached().shows("a", "1")],
        ),
        required("cc-resp-no-cache", [expires("max-age=10000, no-cache"), get().not_cached()]),
        required(
            "cc-resp-no-cache-case-insensitive",
            [expires("max-age=10000, No-CaChE"), get().not_cached()],
        ),
        check(
            "headers-omit-headers-listed-in-Cache-Control-no-cache-single",
            [listing("a"), get().cached().shows("a", Shown::Nothing).shows("b", "1")],
        ),
        check(
            "headers-omit-headers-listed-in-Cache-Control-no-cache",
            [
                listing("a, b"),
                get().cached().shows("a", Shown::Nothing).shows("b", Shown::Nothing).shows("c", "1"),
            ],
        ),
        optimal(
            "cc-resp-must-revalidate-fresh",
            [revalidated("max-age=10000, must-revalidate"), get().cached()],
        ),
        required(
            "cc-resp-must-revalidate-stale",
            // The suite expects a validation of the last request, so no answer may come without the upstream.
            [revalidated("max-age=2, must-revalidate"), get().cached().pause(), get().not_cached()],
        ),
    ]
}

fn answers(cache_control: &str) -> Step {
    get().answers("cache-control", cache_control)
}

fn expires(cache_control: &str) -> Step {
    answers(cache_control).dates("expires", 10_000).dates("date", 0)
}

//! `invalidation`: the entries that an unsafe method removes or leaves.

use super::table::{Case, check, fresh, get, optimal, request, required};

pub(crate) fn cases() -> Vec<Case> {
    ["POST", "PUT", "DELETE", "M-SEARCH"].into_iter().flat_map(cases_of).collect()
}

fn cases_of(method: &'static str) -> Vec<Case> {
    const LOCATION: &str = "/location_target";
    const CONTENT_LOCATION: &str = "/content_location_target";
    let referred = |path| {
        let keeps = get().path(path).answers("cache-control", "max-age=100000").dates("last-modified", 0);
        let changes =
            request(method).answers("location", LOCATION).answers("content-location", CONTENT_LOCATION);
        [keeps.dates("date", 0), changes, get().path(path).not_cached()]
    };
    vec![
        required(format!("invalidate-{method}"), [fresh(), request(method), get().not_cached()]),
        optimal(
            format!("invalidate-{method}-failed"),
            [fresh(), request(method).status(500), get().cached()],
        ),
        check(format!("invalidate-{method}-location"), referred(LOCATION)),
        check(format!("invalidate-{method}-cl"), referred(CONTENT_LOCATION)),
    ]
}

//! The rules for every row: steadfast is never worse than bare reqwest.

use http::Method;

use super::fault::Fault;
use super::observe::Answer;
use super::rows::Row;

/// The rows in which steadfast is worse than bare reqwest.
pub(crate) fn problems(rows: &[Row]) -> Vec<String> {
    rows.iter().flat_map(problems_of).collect()
}

fn problems_of(row: &Row) -> Vec<String> {
    let Row { case, bare, steadfast, .. } = row;
    let is_post = case.method == Method::POST;
    let rules = [
        (
            "steadfast answers each call that bare reqwest answers",
            !bare.answer.is_good() || steadfast.answer.is_good(),
        ),
        ("no call hangs", row.calls().iter().all(|call| call.answer != Answer::Hung)),
        (
            "no POST is received more than once, or more often than through bare reqwest",
            !is_post || steadfast.requests.processed() <= bare.requests.processed().max(1),
        ),
        (
            // The status says whether the POST was carried out.
            "the caller of a POST has the status, although the body breaks off or stalls",
            !is_post
                || !matches!(bare.answer, Answer::Broken(_) | Answer::Stalled(_))
                || !matches!(steadfast.answer, Answer::Error(_)),
        ),
        (
            "an untrusted certificate is no failure of the upstream, and no retry can help",
            case.fault != Fault::UntrustedCertificate || (!row.is_counted() && steadfast.retries == 0),
        ),
        (
            "a redirect to a dead host is no failure of the redirecting upstream",
            case.fault != Fault::RedirectToRefused || !row.is_counted(),
        ),
        (
            "a body that cannot be decoded is no failure of the upstream, and no retry can help",
            case.fault != Fault::CorruptGzip || (!row.is_counted() && steadfast.retries == 0),
        ),
    ];
    let broken = rules.into_iter().filter(|(_, holds)| !holds);
    let text = |(rule, _)| {
        let counted = if row.is_counted() { "a failure counted" } else { "no failure counted" };
        format!(
            "must hold: {rule}: {case}: bare: {}, requests {}; steadfast: {}, requests {}, {counted}",
            bare.answer, bare.requests, steadfast.answer, steadfast.requests
        )
    };
    broken.map(text).collect()
}

//! The cases of the public test suite for HTTP caches (`http-tests/cache-tests`) that concern the last-known-good
//! cache, through real sockets: stale responses, the requests that get one, and the events that change or remove an
//! entry.
//!
//! The suite expects a cache to answer by itself while possible, and to ask the upstream otherwise. The
//! last-known-good cache asks the upstream first, and answers by itself after a failure. Each case is therefore
//! translated:
//!
//! - A request without an expectation: the upstream answers as in the case, and the caller gets that answer.
//! - `cached`: the upstream fails, and the caller gets the answer to the first request, marked as stale.
//! - `not_cached`: the upstream fails, and the caller gets the failure. After the repeated request, the upstream
//!   answers as in the case, unless the case names a failure.
//! - `…_validated`: the caller itself sends the validator, and the upstream answers 304. The expectations of the case
//!   apply to the stale response to the next request.
//! - The failure: the one that the case names. If the case names none, each failure in turn.
//! - A pause: three seconds of tokio's time, without a real wait.
//! - Freshness: an entry may also be served stale. Cases about freshness therefore add `must-revalidate`, so that the
//!   entry is served only while fresh.
//!
//! The cases have the suite's ids, for reference. [`EXCEPTIONS`] lists the cases with a different result.
//! `-- --nocapture` prints all cases.
#![cfg(feature = "reqwest")]

mod age_parse;
mod authorization;
mod cc_request;
mod cc_response;
mod invalidation;
mod play;
mod stale;
mod table;
mod update304;
mod update_head;
mod vary;
mod vary_parse;

#[path = "../server/mod.rs"]
mod server;

use std::collections::HashSet;

use self::play::Deviation::{self, Header, NotServed, Served};

const SAME_BYTES: &str =
    "values with different bytes are different: two with the same meaning have separate entries";
const ONE_CALLERS: &str =
    "an entry for a caller with credentials is for that caller alone, whatever the upstream allows";
const NO_WARNING: &str = "RFC 9111 §5.5 has removed `Warning`: `Cache-Status` replaces it";
const OF_THE_BODY: &str =
    "RFC 9111 §3.2 lets the header stay unchanged: it describes the body, which a 304 does not have";
const HEAD_APART: &str = "HEAD and GET have separate entries";
const REPLACED: &str = "the newer state may not be stored, and the older state is outdated";
const NO_CACHE: &str = "a `no-cache` that lists headers counts as a `no-cache` without a list";
const NO_NUMBER: &str = "RFC 9111 §5.1: an age that is no number is ignored";

#[rustfmt::skip]
const EXCEPTIONS: &[(&str, Deviation, &str)] = &[
    ("stale-while-revalidate-window", Served, "the directive bounds stale responses during revalidation; after an error, `stale-if-error` applies"),
    ("stale-warning-stored", Header, NO_WARNING),
    ("stale-warning-become", Header, NO_WARNING),
    ("vary-normalise-combine", NotServed, SAME_BYTES),
    ("vary-normalise-space", NotServed, SAME_BYTES),
    ("vary-normalise-lang-order", NotServed, SAME_BYTES),
    ("vary-normalise-lang-case", NotServed, SAME_BYTES),
    ("vary-normalise-lang-space", NotServed, SAME_BYTES),
    ("vary-normalise-lang-select", NotServed, SAME_BYTES),
    ("other-authorization-public", NotServed, ONE_CALLERS),
    ("other-authorization-must-revalidate", NotServed, ONE_CALLERS),
    ("other-authorization-smaxage", NotServed, ONE_CALLERS),
    ("304-etag-update-response-Content-Encoding", Header, OF_THE_BODY),
    ("304-etag-update-response-Content-Range", Header, OF_THE_BODY),
    ("304-etag-update-response-Content-Type", Header, OF_THE_BODY),
    ("304-etag-update-response-ETag", Header, "RFC 9111 §4.3.4: a 304 with another validator is about another answer"),
    ("304-etag-update-response-Set-Cookie", NotServed, "an answer that sets a cookie is not stored"),
    ("head-200-retain", Header, "an answer of the upstream is handed on unchanged"),
    ("head-200-freshness-update", NotServed, HEAD_APART),
    ("head-200-update", Header, HEAD_APART),
    ("head-410-update", NotServed, "a 410 to any method revokes the entry"),
    ("age-parse-parameter", Served, NO_NUMBER),
    ("age-parse-numeric-parameter", Served, NO_NUMBER),
    ("ccreq-no-store", Served, "RFC 9111 §5.2.1.5: the directive is about the answer to this request, not about earlier answers"),
    ("cc-resp-no-store-old-new", NotServed, REPLACED),
    ("cc-resp-no-store-old-max-age", NotServed, REPLACED),
    ("headers-omit-headers-listed-in-Cache-Control-no-cache-single", NotServed, NO_CACHE),
    ("headers-omit-headers-listed-in-Cache-Control-no-cache", NotServed, NO_CACHE),
];

#[tokio::test]
async fn each_case_comes_out_as_in_the_suite_or_is_an_exception() {
    let suites = [
        stale::cases(),
        vary::cases(),
        vary_parse::cases(),
        authorization::cases(),
        invalidation::cases(),
        update304::cases(),
        update_head::cases(),
        age_parse::cases(),
        cc_request::cases(),
        cc_response::cases(),
    ];
    let mut known = HashSet::new();
    let mut wrong = Vec::new();
    for case in suites.into_iter().flatten() {
        let exception = EXCEPTIONS.iter().find(|(id, ..)| *id == case.id);
        let expected = exception.map_or(Ok(()), |(_, deviation, _)| Err(*deviation));
        for failure in case.failures() {
            // Printed first, so that the line is there if the case panics.
            print!("{:<62}{:<10}{:<13}", case.id, format!("{:?}", case.kind), format!("{failure:?}"));
            let came = case.play(failure).await;
            match (&came, exception) {
                (Ok(()), _) => println!("as in the suite"),
                (Err(deviation), Some((.., reason))) => println!("{deviation:?}: {reason}"),
                (Err(deviation), None) => println!("{deviation:?}"),
            }
            if came != expected {
                wrong.push(format!("{} ({failure:?}): {came:?}, not {expected:?}", case.id));
            }
        }
        assert!(known.insert(case.id.clone()), "{} is there twice", case.id);
    }
    let unknown = EXCEPTIONS.iter().map(|(id, ..)| *id).filter(|id| !known.contains(*id));
    wrong.extend(unknown.map(|id| format!("{id}: no such case")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

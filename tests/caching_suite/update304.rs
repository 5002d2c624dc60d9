//! `update304`: the changes that a 304 makes to an entry.

use super::play::body;
use super::table::{Case, Kind, Shown, get, required};

const MODIFIED: &str = "Wed, 01 Jan 2020 00:00:00 GMT";

pub(crate) fn cases() -> Vec<Case> {
    let stored = required(
        "304-lm-use-stored-Test-Header",
        [
            get()
                .answers("cache-control", "max-age=2")
                .answers("last-modified", MODIFIED)
                .dates("date", 0)
                .answers("test-header", "a")
                .pause(),
            get()
                .sends("if-modified-since", MODIFIED)
                .status(304)
                .answers("last-modified", MODIFIED)
                .dates("date", 0),
            get().cached().shows("test-header", "a"),
        ],
    );
    [stored, length()].into_iter().chain(HEADERS.iter().map(update)).collect()
}

/// The name of the case, the header, its value before the 304 and in the 304, and the kind of the case.
type Header = (&'static str, &'static str, &'static str, &'static str, Kind);

const HEADERS: &[Header] = &[
    ("Test-Header", "test-header", "a", "b", Kind::Required),
    ("X-Test-Header", "x-test-header", "a", "b", Kind::Required),
    ("Content-Foo", "content-foo", "a", "b", Kind::Required),
    ("X-Content-Foo", "x-content-foo", "a", "b", Kind::Required),
    ("Cache-Control", "cache-control", "max-age=1", "max-age=3600", Kind::Required),
    ("Content-Encoding", "content-encoding", "a", "b", Kind::Check),
    ("Content-Location", "content-location", "/foo", "/bar", Kind::Check),
    ("Content-MD5", "content-md5", "a", "b", Kind::Check),
    ("Content-Range", "content-range", "a", "b", Kind::Check),
    (
        "Content-Security-Policy",
        "content-security-policy",
        "default-src 'none'",
        "default-src 'self'",
        Kind::Check,
    ),
    ("Content-Type", "content-type", "text/plain", "text/plain;charset=utf-8", Kind::Check),
    ("Clear-Site-Data", "clear-site-data", "cache", "cookies", Kind::Check),
    ("ETag", "etag", "\"a\"", "\"b\"", Kind::Check),
    ("Expires", "expires", "Tue, 01 Jan 2075 00:00:00 GMT", "Wed, 01 Jan 2076 00:00:00 GMT", Kind::Check),
    ("Public-Key-Pins", "public-key-pins", "a", "b", Kind::Check),
    ("Set-Cookie", "set-cookie", "a=b", "a=c", Kind::Check),
    ("Set-Cookie2", "set-cookie2", "a=b", "a=c", Kind::Check),
    ("X-Frame-Options", "x-frame-options", "deny", "sameorigin", Kind::Check),
    ("X-XSS-Protection", "x-xss-protection", "1", "1; mode=block", Kind::Check),
];

fn update(&(id, name, before, after, kind): &Header) -> Case {
    // Both answers have the same `ETag`, except in the case where the `ETag` itself changes.
    let etag = if name == "etag" { before } else { "\"same\"" };
    let answer = |value| {
        let answer = get().dates("date", 0).answers(name, value);
        let answer =
            if name == "cache-control" { answer } else { answer.answers("cache-control", "max-age=2") };
        if name == "etag" { answer } else { answer.answers("etag", etag) }
    };
    let steps = [
        answer(before).pause(),
        answer(after).sends("if-none-match", etag).status(304),
        get().cached().shows(name, after),
    ];
    Case { id: format!("304-etag-update-response-{id}"), kind, steps: steps.into() }
}

/// The header that a 304 must not change: `Content-Length` describes the body, and a 304 has no body.
fn length() -> Case {
    let answer = || get().dates("date", 0).answers("cache-control", "max-age=2").answers("etag", "\"same\"");
    required(
        "304-etag-update-response-Content-Length",
        [
            answer().pause(),
            answer().answers("content-length", "10").sends("if-none-match", "\"same\"").status(304),
            get().cached().shows("content-length", Shown::Value(body(1).len().to_string())),
        ],
    )
}

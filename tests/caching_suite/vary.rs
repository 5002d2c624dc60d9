//! `vary`: the requests that an entry may answer.

use super::table::{Case, Step, get, optimal, required};

pub(crate) fn cases() -> Vec<Case> {
    [by_match(), by_normal_form()].into_iter().flatten().collect()
}

fn by_match() -> Vec<Case> {
    const ONE: &[(&str, &str)] = &[("foo", "1")];
    const TWO: &[(&str, &str)] = &[("foo", "1"), ("bar", "abc")];
    const THREE: &[(&str, &str)] = &[("foo", "1"), ("bar", "abc"), ("baz", "789")];
    const OMITTED: &[(&str, &str)] = &[("foo", "1"), ("baz", "789")];
    let one = || varies(ONE, "Foo");
    let two = || varies(TWO, "Foo, Bar");
    let three = || varies(THREE, "Foo, Bar, Baz");
    vec![
        optimal("vary-match", [one(), asks(ONE).cached()]),
        required("vary-no-match", [one(), asks(&[("foo", "2")]).not_cached()]),
        required("vary-omit-stored", [varies(&[], "Foo"), asks(ONE).not_cached()]),
        required("vary-omit", [one(), get().not_cached()]),
        optimal("vary-invalidate", [one(), varies(&[("foo", "2")], "Foo").not_cached(), asks(ONE).cached()]),
        optimal("vary-cache-key", [one().sends("other", "2"), asks(ONE).sends("other", "3").cached()]),
        optimal("vary-2-match", [two(), asks(TWO).cached()]),
        required("vary-2-no-match", [two(), asks(&[("foo", "2"), ("bar", "abc")]).not_cached()]),
        required("vary-2-match-omit", [two(), get().not_cached()]),
        optimal("vary-3-match", [three(), asks(THREE).cached()]),
        required(
            "vary-3-no-match",
            [three(), asks(&[("foo", "2"), ("bar", "abc"), ("baz", "789")]).not_cached()],
        ),
        required(
            "vary-3-order",
            [three(), asks(&[("foo", "1"), ("baz", "789"), ("bar", "abcde")]).not_cached()],
        ),
        optimal("vary-3-omit", [varies(OMITTED, "Foo, Bar, Baz"), asks(OMITTED).cached()]),
        required("vary-star", [varies(OMITTED, "*"), asks(OMITTED).not_cached()]),
    ]
}

/// Cases where different bytes of a header value have the same meaning.
fn by_normal_form() -> Vec<Case> {
    const LANGUAGE: &str = "accept-language";
    let value = |value| varies(&[("foo", value)], "Foo");
    let languages = || varies(&[(LANGUAGE, "en, de")], "Accept-Language");
    vec![
        optimal("vary-normalise-combine", [value("1, 2"), asks(&[("foo", "1"), ("foo", "2")]).cached()]),
        optimal("vary-normalise-space", [value("1,2"), asks(&[("foo", " 1, 2 ")]).cached()]),
        optimal("vary-normalise-lang-order", [languages(), asks(&[(LANGUAGE, "de, en")]).cached()]),
        optimal("vary-normalise-lang-case", [languages(), asks(&[(LANGUAGE, "eN, De")]).cached()]),
        optimal("vary-normalise-lang-space", [languages(), asks(&[(LANGUAGE, " en ,   de")]).cached()]),
        optimal(
            "vary-normalise-lang-select",
            [
                languages().answers("content-language", "de"),
                asks(&[(LANGUAGE, "fr;q=0.5, de;q=1.0")]).cached(),
            ],
        ),
    ]
}

fn asks(headers: &[(&'static str, &str)]) -> Step {
    headers.iter().fold(get(), |it, (name, value)| it.sends(name, *value))
}

fn varies(headers: &[(&'static str, &str)], on: &str) -> Step {
    asks(headers)
        .answers("cache-control", "max-age=5000")
        .dates("last-modified", -3000)
        .dates("date", 0)
        .answers("vary", on)
}

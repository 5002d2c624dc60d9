//! `vary-parse`: the syntax of `Vary`.

use super::table::{Case, get, required};

pub(crate) fn cases() -> Vec<Case> {
    [
        ("vary-syntax-star", &["*"][..]),
        ("vary-syntax-star-star", &["*, *"]),
        ("vary-syntax-star-star-lines", &["*", "*"]),
        ("vary-syntax-empty-star", &[", *"]),
        ("vary-syntax-empty-star-lines", &["", "*"]),
        ("vary-syntax-star-foo", &["*, Foo"]),
        ("vary-syntax-foo-star", &["Foo, *"]),
    ]
    .map(|(id, lines)| {
        let asks = || get().sends("foo", "1").sends("baz", "789");
        let answers = asks().answers("cache-control", "max-age=5000").dates("last-modified", -3000);
        let varies = lines.iter().fold(answers.dates("date", 0), |it, line| it.answers("vary", *line));
        required(id, [varies, asks().not_cached()])
    })
    .into()
}

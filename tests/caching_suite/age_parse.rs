//! `age-parse`: the age of an answer on arrival.

use super::table::{Case, Step, check, get, required};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        required("age-parse-nonnumeric", [aged(&["abc"]), get().cached()]),
        required("age-parse-negative", [aged(&["-7200"]), get().cached()]),
        required("age-parse-float", [aged(&["7200.0"]), get().cached()]),
        required("age-parse-large-minus-one", [aged(&["2147483647"]), get().not_cached()]),
        required("age-parse-large", [aged(&["2147483648"]), get().not_cached()]),
        required("age-parse-larger", [aged(&["2147483649"]), get().not_cached()]),
        required("age-parse-suffix", [aged(&["7200, 0"]), get().not_cached()]),
        required("age-parse-prefix", [aged(&["0, 7200"]), get().cached()]),
        required("age-parse-suffix-twoline", [aged(&["7200", "0"]), get().not_cached()]),
        required("age-parse-prefix-twoline", [aged(&["0", "7200"]), get().cached()]),
        required("age-parse-dup-0", [aged(&["0, 0"]), get().cached()]),
        required("age-parse-dup-0-twoline", [aged(&["0", "0"]), get().cached()]),
        required("age-parse-dup-old", [lives_for("10000", &["3600", "3600"]), get().cached()]),
        check("age-parse-parameter", [aged(&["7200;foo=bar"]), get().not_cached()]),
        check("age-parse-numeric-parameter", [aged(&["7200;foo=111"]), get().not_cached()]),
    ]
}

fn aged(lines: &[&str]) -> Step {
    lives_for("3600", lines)
}

/// An answer with these `Age` lines, which may be served only while fresh.
fn lives_for(seconds: &str, lines: &[&str]) -> Step {
    let answer =
        get().dates("date", 0).answers("cache-control", format!("max-age={seconds}, must-revalidate"));
    lines.iter().fold(answer, |it, line| it.answers("age", *line)).pause()
}

//! The texts of the errors and of the log, as an on-call engineer reads them.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};

use super::rows::Row;

/// The secret in the credentials and in the query of each URL.
const SECRET: &str = "secret";

/// The texts of an error, with a fixed word in place of each port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    display: String,
    alternate: String,
    debug: String,
    /// The texts of the sources, outermost first.
    sources: Vec<String>,
    /// True for reqwest's own error, which the caller gets while reading the body.
    is_of_reading: bool,
}

impl Text {
    pub(crate) fn of_call(error: &(impl StdError + 'static)) -> Self {
        let sources = std::iter::successors(error.source(), |&error| error.source());
        Self {
            display: stable(&error.to_string()),
            alternate: stable(&format!("{error:#}")),
            debug: stable(&format!("{error:?}")),
            sources: sources.map(|source| stable(&source.to_string())).collect(),
            is_of_reading: false,
        }
    }

    pub(crate) fn of_reading(error: &reqwest::Error) -> Self {
        Self { is_of_reading: true, ..Self::of_call(error) }
    }

    /// The text without the number of attempts and the reason why no retry followed.
    fn cause(&self) -> &str {
        self.display.rsplit_once(" (").map_or(&self.display, |(cause, _)| cause)
    }

    /// The rules that this error breaks, each with the text that breaks it.
    fn broken_rules(&self) -> Vec<(&'static str, &str)> {
        let secret = |text: &str| text.contains(SECRET);
        let mut broken = Vec::new();
        // While the caller reads the body, reqwest names the whole URL, through a bare client as well.
        if !self.is_of_reading {
            let texts = [
                ("`{}` shows a secret of the URL", &self.display),
                ("`{:#}` shows a secret of the URL", &self.alternate),
                ("`{:?}` shows a secret of the URL", &self.debug),
            ];
            broken.extend(texts.into_iter().map(|(rule, text)| (rule, &**text)).filter(|(_, it)| secret(it)));
            let source = self.sources.iter().find(|source| secret(source));
            broken.extend(source.map(|source| ("a source shows a secret of the URL", &**source)));
        }
        let lines: Vec<&String> = std::iter::once(&self.display).chain(&self.sources).collect();
        let repeated = (1..lines.len()).find(|at| lines[..*at].contains(&lines[*at]));
        broken.extend(repeated.map(|at| ("the chain repeats a line", &**lines[at])));
        broken
    }
}

/// Replaces the ports of loopback, and the numbers of HTTP/2 streams, by fixed words. Which of two connections carries a
/// request is random.
pub(crate) fn stable(text: &str) -> String {
    let text = with_words(text, "127.0.0.1:", "PORT");
    with_words(&text, "StreamId(", "STREAM")
}

/// Replaces the number after each `mark` by a word.
fn with_words(text: &str, mark: &str, word: &str) -> String {
    let mut parts = text.split(mark);
    let mut stable = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        stable.push_str(mark);
        stable.push_str(word);
        stable.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    stable
}

/// The rules that the errors and the log of the rows break, each with its first example.
pub(crate) fn problems(rows: &[Row]) -> Vec<String> {
    let mut broken: Vec<(&'static str, String, usize)> = Vec::new();
    let mut note = |rule: &'static str, row: &Row, text: &str| match broken.iter_mut().find(|it| it.0 == rule)
    {
        Some((_, _, times)) => *times += 1,
        None => broken.push((rule, format!("{}: {text}", row.case), 1)),
    };
    for row in rows {
        for call in row.calls() {
            let rules = call.error.iter().flat_map(Text::broken_rules);
            rules.for_each(|(rule, text)| note(rule, row, text));
            let lines = call.log.iter().filter(|line| line.contains(SECRET));
            lines.for_each(|line| note("the log shows a secret of the URL", row, line));
        }
    }
    let text = |(rule, example, times)| format!("must hold: {rule}: {times} times, first in {example}");
    broken.into_iter().map(text).collect()
}

// ===== the section of the page =====

const INTRODUCTION: &str = "\
## Errors

Every distinct error of the fault table through steadfast. Errors that differ only in their attempts share a
paragraph. `{:#}` is left out where it equals `{}`. The sources follow `←`. Left out: errors whose text depends on the
resolver, on the side that the kernel serves first, or on the timer that fires first.
";

/// The errors of one cause: the first error, the rows that end with one of them, and the numbers of attempts in the
/// others.
struct Cause<'a> {
    error: &'a Text,
    rows: Vec<String>,
    variants: Vec<&'a str>,
}

/// The section of the page: every distinct error and log line.
pub(crate) fn section(rows: &[Row]) -> String {
    let mut text = INTRODUCTION.to_owned();
    let causes = causes(rows);
    causes.iter().for_each(|cause| cause.write(&mut text).expect("a string"));
    text.push_str("\n### Log\n\nEvery distinct line of the log at the level DEBUG.\n\n```text\n");
    let mut lines: Vec<&String> = Vec::new();
    for line in rows.iter().flat_map(Row::calls).flat_map(|call| &call.log) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.sort_unstable();
    lines.iter().for_each(|line| writeln!(text, "{line}").expect("a string"));
    text.push_str("```\n");
    text
}

fn causes(rows: &[Row]) -> Vec<Cause<'_>> {
    let mut causes: Vec<Cause<'_>> = Vec::new();
    for row in rows.iter().filter(|row| !row.case.fault.has_varying_text()) {
        let Some(error) = &row.steadfast.error else { continue };
        let label = format!("{} ({})", row.case.fault, row.case.protocol);
        let is_known = |known: &&mut Cause<'_>| {
            known.error.cause() == error.cause() && known.error.sources == error.sources
        };
        let Some(known) = causes.iter_mut().find(is_known) else {
            causes.push(Cause { error, rows: vec![label], variants: Vec::new() });
            continue;
        };
        if !known.rows.contains(&label) {
            known.rows.push(label);
        }
        let variant = error.display.as_str();
        if known.error.display != variant && !known.variants.contains(&variant) {
            known.variants.push(variant);
        }
    }
    causes
}

impl Cause<'_> {
    fn write(&self, text: &mut String) -> fmt::Result {
        let Text { display, alternate, debug, sources, is_of_reading } = self.error;
        let reading = if *is_of_reading { " (while the caller reads the body)" } else { "" };
        write!(text, "\n**{}**{reading}\n\n```text\n{{}}   {display}\n", self.rows.join("; "))?;
        self.variants.iter().try_for_each(|variant| writeln!(text, "     {variant}"))?;
        if alternate != display {
            writeln!(text, "{{:#}} {alternate}")?;
        }
        writeln!(text, "{{:?}} {debug}")?;
        sources.iter().try_for_each(|source| writeln!(text, "  ← {source}"))?;
        text.push_str("```\n");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::stable;

    #[test]
    fn numbers_that_vary_are_fixed_words() {
        let text = "http://127.0.0.1:41234/: no answer of 127.0.0.1:9 (os error 111), StreamId(13)";
        let expected = "http://127.0.0.1:PORT/: no answer of 127.0.0.1:PORT (os error 111), StreamId(STREAM)";
        assert_eq!(stable(text), expected);
    }
}

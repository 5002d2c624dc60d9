//! A section of the page `docs/on_the_wire.md`, between two comments that name it.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::BoxError;

const TITLE: &str = "# On the wire\n";

/// Compares the section `name` of the page with `text`, or writes it if `write` is set. Returns the lines that
/// differ, as problems.
pub(crate) fn settle(name: &str, text: &str, write: bool) -> Result<Vec<String>, BoxError> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/on_the_wire.md"));
    let page = match fs::read_to_string(&path) {
        Ok(page) => page,
        Err(error) if error.kind() == ErrorKind::NotFound => TITLE.to_owned(),
        Err(error) => return Err(error.into()),
    };
    if write {
        let replaced = replace(&page, name, text);
        if replaced != page {
            fs::write(&path, replaced)?;
        }
        return Ok(Vec::new());
    }
    let Some(section) = section(&page, name) else {
        return Ok(vec![format!("docs/on_the_wire.md has no section `{name}`: run with --write")]);
    };
    Ok(difference(section.trim(), text.trim()))
}

fn begin(name: &str) -> String {
    format!("<!-- {name}: begin -->\n")
}

fn end(name: &str) -> String {
    format!("<!-- {name}: end -->")
}

/// The text between the markers.
fn section<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&begin(name))?;
    rest.split_once(&end(name)).map(|(section, _)| section)
}

/// The page with a new section. A page without the markers gets them at its end.
fn replace(page: &str, name: &str, text: &str) -> String {
    let section = format!("{}\n{}\n\n{}", begin(name), text.trim(), end(name));
    match (page.split_once(&begin(name)), page.split_once(&end(name))) {
        (Some((before, _)), Some((_, after))) => format!("{before}{section}{after}"),
        _ => format!("{}\n\n{section}\n", page.trim_end()),
    }
}

/// The lines that only one of two texts has.
fn difference(page: &str, now: &str) -> Vec<String> {
    let only_in = |text: &str, other: &str, mark: &str| -> Vec<String> {
        let other: Vec<&str> = other.lines().collect();
        let lines = text.lines().filter(|line| !other.contains(line));
        lines.map(|line| format!("{mark} {line}")).collect()
    };
    let mut lines = only_in(page, now, "page:");
    lines.extend(only_in(now, page, "now: "));
    if lines.is_empty() && page != now {
        lines.push("the page has the same lines in another order".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{replace, section};

    #[test]
    fn a_replaced_section_leaves_the_rest_of_the_page_alone() {
        let page = replace("# Title\n", "parity", "one");
        let page = replace(&format!("{page}after\n"), "parity", "two");
        assert_eq!(page, "# Title\n\n<!-- parity: begin -->\n\ntwo\n\n<!-- parity: end -->\nafter\n");
        assert_eq!(section(&page, "parity").map(str::trim), Some("two"));
    }
}

//! Comments and `docs/known_mistakes.md` agree on the numbers of the known mistakes and on the tests that guard them.

use std::fs;
use std::path::{Path, PathBuf};

fn path(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(inside)
}

fn page() -> String {
    fs::read_to_string(path("docs/known_mistakes.md")).unwrap()
}

/// The numbers at the beginnings of the rows.
fn numbers() -> Vec<u32> {
    page().lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
    let mut found: Vec<_> =
        files.into_iter().filter(|file| file.extension().is_some_and(|it| it == "rs")).collect();
    found.extend(
        folders.iter().filter(|folder| !folder.ends_with("target")).flat_map(|folder| rust_files(folder)),
    );
    found
}

#[test]
fn the_page_has_each_number_from_1_to_38_once() {
    assert_eq!(numbers(), (1..=38).collect::<Vec<_>>());
}

#[test]
fn every_number_that_a_comment_cites_is_on_the_page() {
    let (numbers, mut cited) = (numbers(), 0);
    for file in ["src", "tests", "benches"].iter().flat_map(|folder| rust_files(&path(folder))) {
        let text = fs::read_to_string(&file).unwrap().to_lowercase();
        for after in text.split("mistake ").skip(1) {
            let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
            let Ok(number) = digits.parse() else { continue };
            assert!(numbers.contains(&number), "{} cites mistake {number}", file.display());
            cited += 1;
        }
    }
    assert!(cited > 50, "only {cited} citations were found");
}

#[test]
fn every_test_that_the_page_names_is_in_its_file() {
    let (page, mut file, mut named) = (page(), String::new(), 0);
    let mut parts = page.split('`');
    while let (Some(before), Some(code)) = (parts.next(), parts.next()) {
        if code.starts_with("tests/") {
            file = fs::read_to_string(path(code)).unwrap_or_else(|error| panic!("{code}: {error}"));
        } else if matches!(before, ": " | ", ") {
            assert!(
                file.contains(&format!("fn {code}() {{")),
                "no test `{code}` in the file that is named before it"
            );
            named += 1;
        }
    }
    assert!(named > 70, "only {named} tests were found");
}

//! The oldest toolchain that the crate claims to build with.

use std::collections::{HashMap, HashSet};
use std::process::Command;

use serde_json::Value;

/// Parses the major and minor numbers of a version such as `1.85` or `1.85.0`.
fn version(text: &str) -> Vec<u32> {
    text.split('.').map(|part| part.parse().unwrap()).chain([0]).take(2).collect()
}

#[test]
fn no_dependency_needs_a_newer_toolchain_than_the_crate_claims() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--all-features", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages: HashMap<&str, &Value> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package))
        .collect();
    let normal_dependencies: HashMap<&str, Vec<&str>> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let is_dev = |kind: &Value| kind["kind"] == "dev";
            let dependencies = node["deps"].as_array().unwrap().iter();
            let normal = dependencies.filter(|dep| !dep["dep_kinds"].as_array().unwrap().iter().all(is_dev));
            (node["id"].as_str().unwrap(), normal.map(|dep| dep["pkg"].as_str().unwrap()).collect())
        })
        .collect();

    let root = metadata["resolve"]["root"].as_str().unwrap();
    let claimed = version(packages[root]["rust_version"].as_str().unwrap());
    let mut seen = HashSet::from([root]);
    let mut left = vec![root];
    while let Some(id) = left.pop() {
        let package = packages[id];
        if let Some(needed) = package["rust_version"].as_str() {
            assert!(version(needed) <= claimed, "{} needs Rust {needed}", package["name"]);
        }
        left.extend(normal_dependencies[id].iter().copied().filter(|dependency| seen.insert(dependency)));
    }
    assert!(seen.len() > 20, "only {} packages were looked at", seen.len());
}

//! Loom models of the map. Each checks an invariant in every order of the steps of two threads.

use super::*;
use crate::internal::sync::race;

type Names = UpstreamMap<String>;

/// Returns a full map of the upstreams `names`, which have been called in this order.
fn full_with(names: &[&str]) -> Names {
    let map = Names::new(names.len());
    for name in names {
        call(&map, name);
    }
    map
}

fn call(map: &Names, name: &str) {
    let read = |slot: &UpstreamSlot<String>, _| slot.value().clone();
    assert_eq!(map.with(&KeyRef::Named(name.into()), ToString::to_string, |_| false, read), name);
}

fn names(map: &Names) -> Vec<String> {
    let mut names = map.read_all(|_, name| name.clone());
    names.sort();
    names
}

#[test]
fn two_threads_make_one_upstream() {
    let set_up = || (UpstreamMap::new(10), AtomicU64::new(0));
    let call = |(map, made): &(UpstreamMap<u64>, AtomicU64)| {
        let make = |_: &UpstreamKey| made.fetch_add(1, Relaxed);
        map.with(&KeyRef::Named("a".into()), make, |_| false, |slot, _| *slot.value())
    };
    race(set_up, call, call, |(_, made), one, two| assert_eq!((one, two, made.load(Relaxed)), (0, 0, 1)));
}

#[test]
fn no_upstream_is_lost_while_another_is_added() {
    race(
        || Names::new(10),
        |map| call(map, "a"),
        |map| call(map, "b"),
        |map, (), ()| {
            assert_eq!(names(map), ["a", "b"]);
        },
    );
}

#[test]
fn two_upstreams_added_to_a_full_map_evict_two() {
    race(
        || full_with(&["a", "b"]),
        |map| call(map, "c"),
        |map| call(map, "d"),
        |map, (), ()| {
            assert_eq!(names(map), ["c", "d"]);
        },
    );
}

#[test]
fn a_call_gets_its_upstream_although_another_evicts_it() {
    race(
        || full_with(&["a"]),
        |map| call(map, "a"),
        |map| call(map, "b"),
        |map, (), ()| {
            assert_eq!(names(map).len(), 1);
        },
    );
}

#[test]
fn two_uses_have_different_ages() {
    race(|| Names::new(1), Names::next_age, Names::next_age, |_, one, two| assert_ne!(one, two));
}

#[test]
fn a_use_recorded_late_does_not_replace_a_later_use() {
    let two = |map: &Names| _ = (call(map, "b"), call(map, "a"));
    race(
        || full_with(&["a", "b", "c"]),
        |map| call(map, "a"),
        two,
        |map, (), ()| {
            call(map, "d");
            call(map, "e");
            assert_eq!(names(map), ["a", "d", "e"]);
        },
    );
}

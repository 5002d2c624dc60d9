use std::collections::BTreeSet;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::AddressChange::{Added, Removed};
use super::*;

fn v4(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

fn v6(number: u16) -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, number])
}

fn v4s(numbers: impl IntoIterator<Item = u8>) -> Vec<IpAddr> {
    numbers.into_iter().map(v4).collect()
}

fn in_use(known: &KnownAddresses) -> BTreeSet<IpAddr> {
    known.current().collect()
}

fn set(addresses: impl IntoIterator<Item = IpAddr>) -> BTreeSet<IpAddr> {
    addresses.into_iter().collect()
}

fn known(answer: impl IntoIterator<Item = IpAddr>) -> KnownAddresses {
    let mut known = KnownAddresses::new(64, 7);
    known.answered(answer);
    known
}

#[test]
fn the_first_answer_adds_each_address_once() {
    let mut known = KnownAddresses::new(64, 7);
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
    let changes = known.answered([v4(1), v4(2), v4(1), mapped]);
    assert_eq!(changes.len(), 2);
    assert!(changes.contains(&Added(v4(1))) && changes.contains(&Added(v4(2))));
    assert_eq!(in_use(&known), set(v4s([1, 2])));
    assert_eq!(known.answered(v4s([2, 1])), []);
}

#[test]
fn an_empty_answer_changes_nothing() {
    let mut known = known(v4s(1..=4));
    for _ in 0..100 {
        assert_eq!(known.answered([]), []);
    }
    for _ in 0..3 {
        assert_eq!(known.answered(v4s(1..=3)), []);
        assert_eq!(known.answered([]), []);
    }
    assert_eq!(known.answered(v4s(1..=3)), [Removed(v4(4))]);
}

#[test]
fn one_of_four_is_removed_after_four_answers_without_it() {
    let mut known = known(v4s(1..=4));
    for _ in 0..3 {
        assert_eq!(known.answered(v4s(1..=3)), []);
    }
    assert_eq!(known.answered(v4s(1..=3)), [Removed(v4(4))]);
    assert_eq!(in_use(&known), set(v4s(1..=3)));
}

#[test]
fn one_of_two_hundred_is_removed_after_three_answers_without_it() {
    let mut known = known(v4s(0..200));
    assert_eq!(known.answered(v4s(1..200)), []);
    assert_eq!(known.answered(v4s(1..200)), []);
    known.answered(v4s(1..200));
    assert_eq!(known.known.len(), 199);
}

#[test]
fn a_reappearing_address_starts_anew() {
    let mut known = known(v4s(1..=4));
    for _ in 0..5 {
        for _ in 0..3 {
            assert_eq!(known.answered(v4s(1..=3)), []);
        }
        assert_eq!(known.answered(v4s(1..=4)), []);
    }
    for _ in 0..3 {
        assert_eq!(known.answered(v4s(1..=3)), []);
    }
    assert_eq!(known.answered(v4s(1..=3)), [Removed(v4(4))]);
    assert_eq!(known.answered(v4s(1..=4)), [Added(v4(4))]);
}

#[test]
fn a_replaced_pool_changes_over_within_ten_answers() {
    let mut known = known(v4s(1..=4));
    known.answered(v4s(5..=8));
    assert_eq!(in_use(&known), set(v4s(1..=8)), "the addresses that are no longer listed are kept at first");
    let answers = (2..100).find(|_| !known.answered(v4s(5..=8)).is_empty());
    assert_eq!(answers, Some(9), "4 × 0.5^9 is less than 1 %");
    assert_eq!(in_use(&known), set(v4s(5..=8)));
}

#[test]
fn rotating_answers_remove_almost_no_address() {
    let pool = v4s(0..40);
    let (mut removed, mut in_use) = (0, 0);
    for seed in 0..10 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut known = KnownAddresses::new(64, 7);
        for answer in 0..500 {
            let changes = known.answered(pool.sample(&mut rng, 8).copied());
            removed += changes.iter().filter(|change| matches!(change, Removed(_))).count();
            if answer >= 50 {
                in_use += known.current().count();
            }
        }
    }
    assert!(removed <= 20, "{removed} removals in 10 × 500 answers");
    assert!(in_use >= 10 * 450 * 40 * 999 / 1000, "less than 99.9 % in use: {in_use}");
}

#[test]
fn after_a_rotating_pool_has_shrunk_the_lost_addresses_are_removed() {
    let pool = v4s(0..40);
    let mut rng = SmallRng::seed_from_u64(3);
    let mut known = KnownAddresses::new(64, 7);
    for _ in 0..200 {
        known.answered(pool.sample(&mut rng, 8).copied());
    }
    assert_eq!(known.current().count(), 40);
    let answers = (1..100).find(|_| {
        known.answered(v4s(0..8));
        known.current().count() == 8
    });
    assert!(answers.is_some_and(|answers| (20..=40).contains(&answers)), "{answers:?}");
}

#[test]
fn no_address_stays_longer_than_sixty_answers() {
    let mut rng = SmallRng::seed_from_u64(4);
    let mut known = KnownAddresses::new(10_000, 7);
    for _ in 0..500 {
        known.answered((0..8).map(|_| IpAddr::from(rng.random::<[u8; 4]>())));
    }
    assert_eq!(known.current().count(), 8 * 60);
}

#[test]
fn after_a_pause_a_missing_address_is_removed_at_once() {
    let mut known = known(v4s(1..=4));
    known.paused();
    assert_eq!(in_use(&known), set(v4s(1..=4)));
    let changes = known.answered(v4s(4..=6));
    assert_eq!(in_use(&known), set(v4s(4..=6)));
    assert_eq!(changes.len(), 5);
    for _ in 0..3 {
        assert_eq!(known.answered(v4s(5..=6)), [], "an address that was listed after the pause starts anew");
    }
}

#[test]
fn only_the_family_of_the_first_address_is_used() {
    let mut known = known([v4(1), v6(1), v6(2), v4(2)]);
    assert_eq!(in_use(&known), set(v4s([1, 2])));
    assert_eq!(known.other_family().collect::<Vec<_>>(), [v6(1), v6(2)]);
    assert_eq!(known.answered([v6(1), v6(3), v4(1), v4(2)]), [], "another order changes no family");
    assert_eq!(known.other_family().collect::<Vec<_>>(), [v6(1), v6(3)]);
}

#[test]
fn an_answer_without_the_family_switches_to_the_other() {
    let mut known = known([v4(1), v6(1)]);
    assert_eq!(known.answered([v6(1)]), [Added(v6(1))]);
    assert_eq!(in_use(&known), set([v4(1), v6(1)]));
    let answers = (2..100).find(|_| !known.answered([v4(1), v6(1)]).is_empty());
    assert_eq!(answers, Some(7), "0.5^7 is less than 1 %");
    assert_eq!(in_use(&known), set([v6(1)]));
    assert_eq!(known.other_family().collect::<Vec<_>>(), [v4(1)]);
}

#[test]
fn a_preferred_family_replaces_the_other_at_once_and_stays() {
    let mut known = known([v6(1), v4(1), v6(2), v4(2)]);
    let changes = known.switch_family(v4(2));
    assert_eq!(changes[..2].iter().filter(|change| matches!(change, Removed(_))).count(), 2);
    assert_eq!(in_use(&known), set(v4s([1, 2])));
    assert_eq!(known.other_family().collect::<Vec<_>>(), [v6(1), v6(2)]);
    assert_eq!(known.switch_family(v4(1)), []);
    assert_eq!(known.answered([v6(1), v4(1), v4(2)]), []);
}

#[test]
fn a_family_that_the_last_answer_lacks_is_not_preferred() {
    let mut known = KnownAddresses::new(64, 7);
    assert_eq!(known.switch_family(v4(1)), []);
    assert_eq!(known.other_family().count(), 0);
    known.answered([v6(1)]);
    assert_eq!(known.switch_family(v4(1)), []);
    assert_eq!(in_use(&known), set([v6(1)]));
}

#[test]
fn the_choice_among_more_than_max_is_stable_and_differs_between_seeds() {
    let choice = |seed, answer: Vec<IpAddr>| {
        let mut known = KnownAddresses::new(4, seed);
        known.answered(answer);
        in_use(&known)
    };
    let chosen = choice(7, v4s(1..=16));
    assert_eq!(chosen.len(), 4);
    assert_eq!(chosen, choice(7, v4s((1..=16).rev())));
    let fewer = v4s(1..=16).into_iter().filter(|address| chosen.contains(address) || *address > v4(8));
    assert_eq!(chosen, choice(7, fewer.collect()), "the loss of unused addresses changes no choice");
    let choices: BTreeSet<_> = (0..32).map(|seed| choice(seed, v4s(1..=16))).collect();
    assert!(choices.len() > 24, "32 seeds make {} choices", choices.len());
}

#[test]
fn a_known_address_moves_up_when_one_in_use_is_removed() {
    let mut known = KnownAddresses::new(4, 7);
    known.answered(v4s(1..=6));
    let lost = known.current().next().unwrap();
    let rest = || v4s(1..=6).into_iter().filter(|address| *address != lost);
    let next = known.known[4].address;
    let changes = (0..10).map(|_| known.answered(rest())).find(|changes| !changes.is_empty());
    assert_eq!(changes, Some(vec![Removed(lost), Added(next)]));
}

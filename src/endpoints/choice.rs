//! The choice of an endpoint for an attempt: power of two choices among the endpoints that look well.
//!
//! Of two random endpoints, the cheaper one gets the attempt (Mitzenmacher 2001, "The Power of Two Choices in
//! Randomized Load Balancing"). The cheapest of all would get the attempts of all processes at the same moment.
//!
//! Endpoints are left out in tiers. The first tier with an endpoint decides:
//!
//! 1. available, not tried by this call, and not silent
//! 2. not tried by this call: the cheapest, so that an ejected endpoint is used only if the others look worse
//! 3. all: the cheapest
//!
//! A high price alone would not exclude an endpoint: if two of four are bad, a sixth of all random pairs has only bad
//! endpoints.

use super::load::Price;
use crate::internal::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The endpoints of a group, as sets of bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidates {
    pub(super) all: u64,
    pub(super) available: u64,
    /// The endpoints that this call has tried.
    pub(super) tried: u64,
}

impl Candidates {
    pub(super) const fn untried_available(self) -> u64 {
        self.all & self.available & !self.tried
    }
}

/// Chooses one of the candidates; `None` if there are none.
#[inline]
pub(super) fn choose(
    candidates: Candidates,
    price: impl Fn(u32) -> Price,
    dice: &mut DiceRoll,
) -> Option<u32> {
    let Candidates { all, tried, .. } = candidates;
    let well = choose_well(candidates.untried_available(), &price, dice);
    well.or_else(|| {
        let untried = all & !tried;
        cheapest(if untried == 0 { all } else { untried }, price, dice)
    })
}

/// Chooses one of a set of endpoints that is not silent; `None` if there is none.
#[inline]
pub(super) fn choose_well(mut set: u64, price: impl Fn(u32) -> Price, dice: &mut DiceRoll) -> Option<u32> {
    while set != 0 {
        let count = set.count_ones();
        if count == 1 {
            let only = set.trailing_zeros();
            return (!price(only).is_silent).then_some(only);
        }
        let (one, two) = dice.pair(count);
        let (one, two) = (nth_bit(set, one), nth_bit(set, two));
        let (price_of_one, price_of_two) = (price(one), price(two));
        match (price_of_one.is_silent, price_of_two.is_silent) {
            (false, false) => {
                return Some(if is_clearly_below(price_of_two, price_of_one) { two } else { one });
            }
            (first, second) => {
                if first {
                    set &= !(1 << one);
                }
                if second {
                    set &= !(1 << two);
                }
            }
        }
    }
    None
}

/// True if a price is below three quarters of another one. Two endpoints that are nearly equal get equal shares:
/// otherwise, one that is always a little slower would get nothing.
#[inline]
const fn is_clearly_below(price: Price, other: Price) -> bool {
    price.units < other.units - other.units / 4
}

/// Returns the cheapest endpoint of a set. Of equal ones, a random one is first.
#[cold]
fn cheapest(set: u64, price: impl Fn(u32) -> Price, dice: &mut DiceRoll) -> Option<u32> {
    let begin = nth_bit(set, dice.below(set.count_ones()));
    (0..64)
        .map(|step| (begin + step) % 64)
        .filter(|bit| set & (1 << bit) != 0)
        .min_by_key(|bit| price(*bit).units)
}

/// Returns the position of the set bit number `n`, counted from zero.
#[inline]
fn nth_bit(mut set: u64, n: u32) -> u32 {
    for _ in 0..n {
        set &= set - 1;
    }
    set.trailing_zeros()
}

/// The source of random numbers for choices (`SplitMix64`, Steele et al. 2014), shared by all threads without a lock.
#[derive(Debug)]
pub(super) struct Dice(AtomicU64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    #[inline]
    pub(super) fn roll(&self) -> DiceRoll {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        DiceRoll(self.0.fetch_add(STEP, Relaxed))
    }
}

/// The random numbers of one choice.
#[derive(Debug)]
pub(super) struct DiceRoll(u64);

impl DiceRoll {
    /// Returns a random number below `bound`.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        let random = u64::from(self.next() as u32);
        ((random * u64::from(bound)) >> 32) as u32
    }

    /// Returns two different numbers below `bound`, which is at least two.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    fn pair(&mut self, bound: u32) -> (u32, u32) {
        let random = self.next();
        let one = ((u64::from(random as u32) * u64::from(bound)) >> 32) as u32;
        let two = (((random >> 32) * u64::from(bound - 1)) >> 32) as u32;
        (one, if two >= one { two + 1 } else { two })
    }

    #[inline]
    fn next(&mut self) -> u64 {
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = mixed ^ (mixed >> 31);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Price = Price { units: 1, is_silent: false };

    fn candidates(all: u64, available: u64, tried: u64) -> Candidates {
        Candidates { all, available, tried }
    }

    /// The number of times that each endpoint is chosen in 6,000 choices.
    fn shares(candidates: Candidates, price: impl Fn(u32) -> Price) -> [u32; 8] {
        let dice = Dice::new(7);
        let mut shares = [0; 8];
        for _ in 0..6000 {
            let chosen = choose(candidates, &price, &mut dice.roll()).unwrap();
            shares[chosen as usize] += 1;
        }
        shares
    }

    #[test]
    fn equal_endpoints_get_equal_shares() {
        let shares = shares(candidates(0b1011_0100, !0, 0), |_| CHEAP);
        for (bit, share) in shares.into_iter().enumerate() {
            let is_fair = (1350..1650).contains(&share);
            assert!(if 0b1011_0100 & (1 << bit) == 0 { share == 0 } else { is_fair }, "{shares:?}");
        }
    }

    #[test]
    fn nearly_equal_endpoints_get_equal_shares() {
        let shares =
            shares(candidates(0b1111, !0, 0), |bit| Price { units: 100 + 8 * u64::from(bit), ..CHEAP });
        assert!(shares[..4].iter().all(|share| (1350..1650).contains(share)), "{shares:?}");
    }

    #[test]
    fn the_dearest_endpoint_is_not_chosen_and_the_cheapest_not_always() {
        let shares = shares(candidates(0b1111, !0, 0), |bit| Price { units: 10 << bit, ..CHEAP });
        assert_eq!(shares[3], 0, "{shares:?}");
        assert!((2700..3300).contains(&shares[0]) && (800..1200).contains(&shares[2]), "{shares:?}");
    }

    #[test]
    fn two_bad_endpoints_of_four_get_nothing_however_cheap() {
        let shares =
            shares(candidates(0b1111, 0b0011, 0), |bit| Price { units: 9 - u64::from(bit), ..CHEAP });
        assert_eq!(shares[2..4], [0, 0], "{shares:?}");
        let silent = |bit| Price { units: 1, is_silent: bit > 1 };
        assert_eq!(self::shares(candidates(0b1111, 0b1111, 0), silent)[2..4], [0, 0]);
    }

    #[test]
    fn an_endpoint_that_the_call_has_tried_is_the_last_resort() {
        assert_eq!(shares(candidates(0b0111, !0, 0b0011), |_| CHEAP)[2], 6000);
        assert_eq!(shares(candidates(0b0111, 0b0011, 0b0011), |_| CHEAP)[2], 6000, "not even an ejected one");
        let all_tried = shares(candidates(0b0111, 0b0011, 0b0111), |_| CHEAP);
        assert!(all_tried[..3].iter().all(|share| *share > 0), "{all_tried:?}");
    }

    #[test]
    fn if_all_look_bad_all_are_used() {
        let ejected = shares(candidates(0b1111, 0, 0), |_| CHEAP);
        assert!(ejected[..4].iter().all(|share| *share > 500), "{ejected:?}");
        let silent = shares(candidates(0b1111, !0, 0), |_| Price { units: 1, is_silent: true });
        assert!(silent[..4].iter().all(|share| *share > 500), "{silent:?}");
    }

    #[test]
    fn one_endpoint_and_none() {
        assert_eq!(shares(candidates(0b100, 0, 0b100), |_| CHEAP)[2], 6000);
        assert_eq!(choose(candidates(0, 0, 0), |_| CHEAP, &mut Dice::new(1).roll()), None);
    }

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let run = |seed| {
            let dice = Dice::new(seed);
            let choice = |_| choose(candidates(!0, !0, 0), |_| CHEAP, &mut dice.roll());
            (0..20).map(choice).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}

//! Loom models of the retry budget: invariants that hold in every interleaving of the threads.

use std::time::Duration;

use super::*;
use crate::internal::sync::race;

/// A budget that starts with `tokens`. Successes and failures do not change the number of tokens.
fn holding(tokens: f64) -> RetryBudgetBuilder {
    RetryBudget::builder().initial(tokens).per_success(0.0).per_failure(0.0)
}

fn thousandths_in(budget: &RetryBudget) -> u32 {
    Word::unpack(budget.0.word.load(Ordering::Relaxed)).tokens
}

#[test]
fn a_token_is_not_paid_out_twice() {
    let retry = |budget: &RetryBudget| budget.withdraw().map(Token::spend).is_some();
    race(
        || holding(1.0).build().unwrap(),
        retry,
        retry,
        |budget, one, two| {
            assert_ne!(one, two);
            assert_eq!(thousandths_in(budget), 0);
        },
    );
}

#[test]
fn tokens_are_neither_made_nor_lost() {
    let set_up = || holding(2.0).per_success(0.5).build().unwrap();
    let given_back = |budget: &RetryBudget| drop(budget.withdraw());
    race(set_up, given_back, RetryBudget::success, |budget, (), ()| {
        assert_eq!(thousandths_in(budget), 2500);
    });
}

#[test]
fn a_bucket_that_is_left_full_lacks_nothing() {
    let set_up = || holding(1.0).capacity(1.0).per_success(0.5).per_failure(0.25).build().unwrap();
    race(set_up, RetryBudget::success, RetryBudget::failure, |budget, (), ()| {
        // 750 if the success came first and found the bucket full; 1000 if the failure came first.
        assert!([750, 1000].contains(&thousandths_in(budget)));
    });
}

#[test]
fn a_refill_is_added_once() {
    let set_up = || {
        let settings = SharedSettings::new(
            holding(0.0).per_second(1.0).per_success(0.5).build().unwrap().0.settings.read(|it| *it),
        );
        // The epoch is 1.5 s ago, so that every thread counts one whole second.
        let epoch = Instant::now() - Duration::from_millis(1500);
        let word = AtomicU64::new(0);
        RetryBudget(Arc::new(TokenBucket { name: None, settings, epoch, word, retries: AtomicU64::new(0) }))
    };
    race(set_up, RetryBudget::success, RetryBudget::success, |budget, (), ()| {
        assert_eq!(thousandths_in(budget), 2000);
    });
}

#[test]
fn every_retry_is_counted() {
    let retry = |budget: &RetryBudget| budget.withdraw().unwrap().spend();
    race(
        || holding(2.0).build().unwrap(),
        retry,
        retry,
        |budget, (), ()| {
            assert_eq!(budget.retries(), 2);
            assert!(budget.is_spent());
        },
    );
}

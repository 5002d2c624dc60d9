//! Tests of the bucket's arithmetic, the refill by time, and the ranges of the settings. `docs/known_mistakes.md`
//! lists the known mistakes by number.

use std::time::Duration;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn empty() -> RetryBudgetBuilder {
    RetryBudget::builder().initial(0.0).per_success(0.0).per_failure(0.0)
}

#[test]
fn a_new_bucket_pays_for_two_retries() {
    let budget = RetryBudget::default();
    budget.withdraw().unwrap().spend();
    budget.withdraw().unwrap().spend();
    assert!(budget.withdraw().is_none());
}

#[test]
fn a_success_does_not_pay_for_its_own_retry() {
    // Known mistake 15: 1,000 calls that fail once and then succeed must not make 2,000 attempts.
    let budget = RetryBudget::default();
    let mut retries = 0;
    for _ in 0..1000 {
        budget.failure();
        if let Some(token) = budget.withdraw() {
            token.spend();
            retries += 1;
            budget.success();
        }
    }
    assert!(retries < 10, "{retries} retries");
}

#[test]
fn failures_close_the_bucket_even_without_retries() {
    let budget = RetryBudget::default();
    for _ in 0..4 {
        budget.failure();
    }
    assert!(budget.withdraw().is_none());
    assert!((budget.tokens() - 0.8).abs() < 1e-9);
}

#[test]
fn successes_fill_the_bucket_to_its_capacity_and_no_further() {
    let budget = RetryBudget::default();
    for _ in 0..1000 {
        budget.success();
    }
    assert!((budget.tokens() - 10.0).abs() < f64::EPSILON);
}

#[test]
fn a_fraction_is_used_as_it_is_configured() {
    // Known mistake 16: a budget that truncates a ratio of 0.7 allows a retry for every call.
    let budget = empty().per_call(0.7).build().unwrap();
    let mut retries = 0;
    for _ in 0..1000 {
        budget.call();
        if let Some(token) = budget.withdraw() {
            token.spend();
            retries += 1;
        }
    }
    assert_eq!(retries, 700);
}

#[test]
fn a_retry_that_was_never_sent_gives_its_token_back() {
    let budget = RetryBudget::default();
    drop(budget.withdraw().unwrap());
    assert!((budget.tokens() - 2.0).abs() < f64::EPSILON);
}

#[test]
fn a_reserve_is_left_in_the_bucket() {
    let grpc = RetryBudget::builder()
        .initial(10.0)
        .per_success(0.1)
        .per_failure(1.0)
        .per_retry(0.0)
        .reserve(5.0)
        .build()
        .unwrap();
    let retries = (0..20)
        .take_while(|_| {
            grpc.failure();
            grpc.withdraw().map(Token::spend).is_some()
        })
        .count();
    assert_eq!(retries, 4);
}

#[tokio::test(start_paused = true)]
async fn time_refills_the_bucket_without_losing_fractions() {
    let budget = empty().per_second(2.0).build().unwrap();
    for _ in 0..1000 {
        tokio::time::advance(SECOND * 3 / 1000).await;
        budget.failure();
    }
    assert!((budget.tokens() - 6.0).abs() < f64::EPSILON, "{}", budget.tokens());
    tokio::time::advance(SECOND * 3600 * 24 * 60).await;
    assert!((budget.tokens() - 10.0).abs() < f64::EPSILON);
}

#[test]
fn a_clone_is_the_same_bucket_and_a_fresh_one_is_not() {
    let budget = RetryBudget::default();
    budget.clone().withdraw().unwrap().spend();
    assert!((budget.tokens() - 1.0).abs() < f64::EPSILON);
    assert!((budget.fresh("sku").tokens() - 2.0).abs() < f64::EPSILON);
}

#[test]
fn tokens_are_neither_made_nor_lost_when_threads_race() {
    let budget = RetryBudget::builder().capacity(1e6).initial(1e5).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    budget.withdraw().unwrap().spend();
                    drop(budget.withdraw());
                }
            });
        }
    });
    assert!((budget.tokens() - 60_000.0).abs() < f64::EPSILON);
}

#[test]
fn a_budget_that_cannot_work_is_refused_by_field() {
    let field = |builder: RetryBudgetBuilder| builder.build().unwrap_err().field();
    assert_eq!(field(RetryBudget::builder().capacity(-1.0)), "retry.budget.capacity");
    assert_eq!(field(RetryBudget::builder().capacity(f64::INFINITY)), "retry.budget.capacity");
    assert_eq!(field(RetryBudget::builder().initial(11.0)), "retry.budget.initial");
    assert_eq!(field(RetryBudget::builder().per_success(f64::NAN)), "retry.budget.per_success");
    assert_eq!(field(RetryBudget::builder().per_retry(0.0001)), "retry.budget.per_retry");
}

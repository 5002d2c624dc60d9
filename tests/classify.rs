//! The classification of results, which retry, breaker and last-known-good share.
//!
//! Known mistakes are listed in `docs/known_mistakes.md`.

use std::io;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Response, StatusCode};
use steadfast::http::{Fault, HttpClassifier, TransportError};
use steadfast::{Classify, Error, ErrorKind, Judge, Outcome, TimeoutScope, classify};

/// 1994-11-06 08:49:37 UTC, the date of RFC 9110's examples.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
}

fn response(status: u16, headers: &[(&'static str, &str)]) -> Response<()> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(()).unwrap()
}

fn of_status(classifier: &HttpClassifier, status: u16) -> Outcome {
    of_response(classifier, &response(status, &[]))
}

fn of_response(classifier: &HttpClassifier, response: &Response<()>) -> Outcome {
    classifier.classify(Ok::<_, &Error<io::Error>>(response))
}

fn of_error(error: &Error<io::Error>) -> Outcome {
    HttpClassifier::new().classify(Err::<&Response<()>, _>(error))
}

fn retry_after(outcome: Outcome) -> Option<Duration> {
    match outcome {
        Outcome::Transient { retry_after, .. } => retry_after,
        other => panic!("{other:?} is not transient"),
    }
}

fn statuses(numbers: &[u16]) -> Vec<StatusCode> {
    numbers.iter().map(|number| StatusCode::from_u16(*number).unwrap()).collect()
}

// ===== The table =====

#[test]
fn every_status_has_the_outcome_of_the_table() {
    // Known mistake 7: a 503 is a success. Known mistake 20: a 501 is transient.
    let classifier = HttpClassifier::new();
    for status in 100..=599 {
        let expected = match status {
            502..=504 => Outcome::Transient { retry_after: None },
            500..=599 => Outcome::Failure,
            _ => Outcome::Success,
        };
        assert_eq!(of_status(&classifier, status), expected, "{status}");
    }
}

#[test]
fn a_status_that_no_rfc_knows_is_not_a_fault() {
    for status in 600..=999 {
        assert_eq!(of_status(&HttpClassifier::new(), status), Outcome::Success, "{status}");
    }
}

#[test]
fn the_default_is_the_table() {
    for status in 100..=599 {
        assert_eq!(
            of_status(&HttpClassifier::default(), status),
            of_status(&HttpClassifier::new(), status),
            "{status}"
        );
    }
}

#[test]
fn only_transient_outcomes_and_failures_are_faults() {
    assert!(Outcome::transient().is_fault());
    assert!(Outcome::Transient { retry_after: None }.is_fault());
    assert!(Outcome::Failure.is_fault());
    assert!(!Outcome::Neutral.is_fault());
    assert!(!Outcome::Success.is_fault());
}

// ===== The knobs =====

#[test]
fn the_transient_statuses_can_be_replaced() {
    let classifier = HttpClassifier::new().transient(statuses(&[500, 503]));
    for (status, transient) in [(500, true), (503, true), (502, false), (504, false), (501, false)] {
        let expected = if transient { Outcome::transient() } else { Outcome::Failure };
        assert_eq!(of_status(&classifier, status), expected, "{status}");
    }
}

#[test]
fn a_status_that_is_both_transient_and_neutral_is_transient() {
    let classifier = HttpClassifier::new().transient(statuses(&[429])).neutral(statuses(&[408, 429]));
    assert_eq!(of_status(&classifier, 429), Outcome::transient());
    assert_eq!(of_status(&classifier, 408), Outcome::Neutral);
}

#[test]
fn the_neutral_statuses_can_be_replaced() {
    let classifier = HttpClassifier::new().neutral(statuses(&[404, 501]));
    assert_eq!(of_status(&classifier, 404), Outcome::Neutral);
    assert_eq!(of_status(&classifier, 501), Outcome::Neutral);
    assert_eq!(of_status(&classifier, 429), Outcome::Success);
    assert_eq!(of_status(&classifier, 408), Outcome::Success);
}

#[test]
fn a_transient_status_may_be_any_status() {
    for status in 100..=999 {
        let classifier = HttpClassifier::new().transient(statuses(&[status]));
        assert_eq!(of_status(&classifier, status), Outcome::transient(), "{status}");
        let others = (100..=999).filter(|other| *other != status);
        let transient = others.filter(|other| of_status(&classifier, *other) == Outcome::transient());
        assert_eq!(transient.count(), 0, "beside {status}");
    }
}

#[test]
fn a_custom_outcome_comes_first_and_leaves_the_rest_to_the_table() {
    let classifier = HttpClassifier::new().on_response(|status, headers| {
        if headers.contains_key("x-maintenance") {
            return Some(Outcome::Neutral);
        }
        (status == StatusCode::OK && headers.contains_key("x-partial-answer")).then(Outcome::transient)
    });
    let judge = |status, headers: &[_]| of_response(&classifier, &response(status, headers));
    assert_eq!(judge(200, &[("x-partial-answer", "1")]), Outcome::transient());
    assert_eq!(judge(503, &[("x-maintenance", "1")]), Outcome::Neutral);
    assert_eq!(judge(200, &[]), Outcome::Success);
    assert_eq!(judge(503, &[]), Outcome::transient());
    assert_eq!(judge(500, &[]), Outcome::Failure);
    assert_eq!(judge(429, &[]), Outcome::Success);
}

#[test]
fn a_clone_gives_the_same_outcomes() {
    let classifier = HttpClassifier::new()
        .transient(statuses(&[500]))
        .neutral(statuses(&[404]))
        .on_response(|status, _| (status == StatusCode::IM_A_TEAPOT).then_some(Outcome::Failure));
    let clone = classifier.clone();
    for status in 100..=599 {
        assert_eq!(of_status(&classifier, status), of_status(&clone, status), "{status}");
    }
}

// ===== Retry-After =====

#[test]
fn a_transient_status_carries_the_wait_in_seconds() {
    for status in [502, 503, 504] {
        let outcome = of_response(&HttpClassifier::new(), &response(status, &[("retry-after", "7")]));
        assert_eq!(retry_after(outcome), Some(Duration::from_secs(7)), "{status}");
    }
}

#[test]
fn a_date_is_read_against_the_clock_that_was_set() {
    let classifier = HttpClassifier::new().wall_clock(now);
    let wait = |date| retry_after(of_response(&classifier, &response(503, &[("retry-after", date)])));
    assert_eq!(wait("Sun, 06 Nov 1994 08:49:40 GMT"), Some(Duration::from_secs(3)));
    // Known mistake 19: a date in the past, and a date with a wrong weekday.
    assert_eq!(wait("Sun, 06 Nov 1994 08:49:36 GMT"), Some(Duration::ZERO));
    assert_eq!(wait("Mon, 06 Nov 1994 08:49:40 GMT"), None);
}

#[test]
fn by_default_a_date_is_read_against_the_clock_of_the_system() {
    let wait =
        |date| retry_after(of_response(&HttpClassifier::new(), &response(503, &[("retry-after", date)])));
    assert_eq!(wait("Sun, 06 Nov 1994 08:49:40 GMT"), Some(Duration::ZERO));
    assert!(wait("Fri, 31 Dec 9999 23:59:59 GMT") > Some(Duration::ZERO));
}

#[test]
fn nonsense_asks_for_no_wait() {
    let nonsense =
        ["", " ", "-1", "+1", "1.5", "1e3", "0x10", "soon", "1, 2", "Sun, 99 Foo 0000 99:99:99 GMT"];
    for value in nonsense {
        let outcome = of_response(&HttpClassifier::new(), &response(503, &[("retry-after", value)]));
        assert_eq!(outcome, Outcome::transient(), "{value:?}");
    }
    let mut headers = response(503, &[]);
    let bytes = http::HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    headers.headers_mut().insert("retry-after", bytes);
    assert_eq!(of_response(&HttpClassifier::new(), &headers), Outcome::transient());
}

#[test]
fn only_a_transient_outcome_has_a_wait() {
    let outcome = |status| of_response(&HttpClassifier::new(), &response(status, &[("retry-after", "7")]));
    assert_eq!(outcome(429), Outcome::Success);
    assert_eq!(outcome(500), Outcome::Failure);
    assert_eq!(outcome(301), Outcome::Success);
}

#[test]
fn a_429_that_was_made_transient_carries_its_wait() {
    let classifier = HttpClassifier::new().transient(statuses(&[429]));
    let outcome = of_response(&classifier, &response(429, &[("retry-after", "2")]));
    assert_eq!(retry_after(outcome), Some(Duration::from_secs(2)));
}

// ===== Errors =====

#[test]
fn a_connection_that_did_not_come_about_sent_nothing() {
    let error = Error::from_upstream(io::ErrorKind::ConnectionRefused.into());
    assert_eq!(of_error(&error), Outcome::transient());
    assert!(!error.maybe_sent());
}

#[test]
fn a_connection_that_broke_may_have_sent_something() {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, NetworkUnreachable, Other, TimedOut,
        UnexpectedEof, WriteZero,
    };
    let kinds = [BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, NetworkUnreachable, Other];
    for kind in kinds.into_iter().chain([TimedOut, UnexpectedEof, WriteZero]) {
        let error = Error::from_upstream(kind.into());
        assert_eq!(of_error(&error), Outcome::transient(), "{kind}");
        assert!(error.maybe_sent(), "{kind}");
    }
}

#[test]
fn a_timeout_is_transient_and_may_have_sent_something() {
    let after = Duration::from_secs(1);
    let error = Error::new(ErrorKind::Timeout { scope: TimeoutScope::Attempt, after: Some(after) });
    assert_eq!(of_error(&error), Outcome::transient());
    assert!(error.maybe_sent());
}

#[test]
fn a_body_cut_short_is_transient() {
    assert_eq!(of_error(&Error::from_body("cut short")), Outcome::transient());
}

/// The error of a custom client.
#[derive(Debug)]
struct Mine(Fault);

impl std::fmt::Display for Mine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Mine {}

impl TransportError for Mine {
    fn fault(&self) -> Fault {
        self.0
    }
}

#[test]
fn a_custom_error_is_classified_by_the_fault_that_it_names() {
    let classify = |fault| {
        let error = Error::from_upstream(Mine(fault));
        HttpClassifier::new().classify(Err::<&Response<()>, _>(&error))
    };
    assert_eq!(classify(Fault::Connect), Outcome::Transient { retry_after: None });
    assert_eq!(classify(Fault::Exchange), Outcome::transient());
    // The fault is the caller's: a decoding error, a redirect loop, a request that cannot be built.
    assert_eq!(classify(Fault::Caller), Outcome::Neutral);
}

#[test]
fn a_custom_outcome_of_responses_does_not_apply_to_errors() {
    let classifier = HttpClassifier::new().on_response(|_, _: &HeaderMap| panic!("asked about an error"));
    let error = Error::from_upstream(io::Error::from(io::ErrorKind::ConnectionReset));
    assert_eq!(classifier.classify(Err::<&Response<()>, _>(&error)), Outcome::transient());
}

// ===== Closures =====

#[test]
fn a_closure_classifies_non_http_results() {
    // Known mistake 37: the classifier is built without a turbofish.
    let by_value = classify::from_fn(|result| match result {
        Ok(0) => Outcome::Success,
        Ok(_) => Outcome::Failure,
        Err(_) => Outcome::transient(),
    });
    let judge = Classify::<(), u8, io::Error>::judge(&by_value, &());
    let classify = |result: Result<&u8, &Error<io::Error>>| judge.classify(result);
    assert_eq!(classify(Ok(&0)), Outcome::Success);
    assert_eq!(classify(Ok(&1)), Outcome::Failure);
    assert_eq!(classify(Err(&Error::from_body("gone"))), Outcome::transient());
}

//! Tests of the error type: the summary line, the chain of causes, and boxed errors.

use std::io;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn of(kind: ErrorKind) -> Error<io::Error> {
    Error::new(kind)
}

fn reset() -> Error<io::Error> {
    Error::from_upstream(io::Error::new(io::ErrorKind::ConnectionReset, "reset by peer"))
}

#[test]
fn the_summary_is_one_line_that_names_the_upstream_the_cause_and_the_attempts() {
    let text = |error: Error<io::Error>| error.with_upstream("http://sku.internal").to_string();
    let total = |after| ErrorKind::Timeout { scope: TimeoutScope::Total, after: Some(after) };
    let attempt = |after| ErrorKind::Timeout { scope: TimeoutScope::Attempt, after: Some(after) };
    let cases = [
        (
            of(ErrorKind::CircuitOpen { retry_after: Some(1234 * MS) }),
            "circuit open, retry after 1.2 s (0 attempts)",
        ),
        (of(ErrorKind::CircuitOpen { retry_after: None }), "circuit open (0 attempts)"),
        (
            of(ErrorKind::BulkheadFull { max_concurrent: 128 }),
            "bulkhead full, 128 attempts in flight (0 attempts)",
        ),
        (of(attempt(294 * MS)), "attempt timed out after 294 ms (1 attempt)"),
        (of(total(3000 * MS)).with_attempts(2), "deadline passed after 3 s (2 attempts)"),
        (reset(), "connection broke off: reset by peer (1 attempt)"),
        (
            reset().with_stop_reason(Some(StopReason::NotIdempotent)),
            "connection broke off: reset by peer (1 attempt, no retry: not_idempotent)",
        ),
        (Error::from_body("11 of 16 bytes"), "response body broke off: 11 of 16 bytes (1 attempt)"),
    ];
    for (error, expected) in cases {
        assert_eq!(text(error), format!("http://sku.internal: {expected}"));
    }
    assert_eq!(of(ErrorKind::Overloaded).to_string(), "refused by a load-shedding layer (0 attempts)");
}

#[test]
fn the_summary_of_an_unknown_error_is_one_line_without_secrets() {
    #[derive(Debug)]
    struct Mine(&'static str);
    impl fmt::Display for Mine {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }
    impl StdError for Mine {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            None
        }
    }
    let text = |text| Error::from_upstream(Mine(text)).to_string();
    assert_eq!(text("no such symbol"), "no such symbol (1 attempt)");
    assert_eq!(text("one\ntwo\nthree"), "one (1 attempt)");
    assert_eq!(
        text("cannot reach https://user:secret@sku.internal/v1?token=secret (twice)"),
        "cannot reach https://sku.internal/v1?… (twice) (1 attempt)"
    );
    assert_eq!(
        Error::from_upstream(io::Error::other("no such symbol")).to_string(),
        "no such symbol (1 attempt)"
    );
}

#[test]
fn times_are_rounded() {
    let text = |after| of(ErrorKind::CircuitOpen { retry_after: Some(after) }).to_string();
    for (after, expected) in [
        (Duration::from_micros(12), "12 µs"),
        (Duration::from_micros(999_600), "1 s"),
        (Duration::from_secs(75), "75 s"),
        (9960 * MS, "10 s"),
        (Duration::ZERO, "0 ms"),
    ] {
        assert_eq!(text(after), format!("circuit open, retry after {expected} (0 attempts)"));
    }
}

#[test]
fn each_level_of_the_chain_has_its_own_message() {
    let error = reset();
    let chain = std::iter::successors(Some(&error as &dyn StdError), |error| StdError::source(*error));
    let lines: Vec<_> = chain.map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "connection broke off: reset by peer (1 attempt)",
            "the client had no answer; the upstream may have seen the request",
            "reset by peer"
        ]
    );
}

#[test]
fn the_error_of_the_client_comes_back_as_it_was() {
    let error = reset();
    assert_eq!(error.inner().map(io::Error::kind), Some(io::ErrorKind::ConnectionReset));
    assert_eq!(error.into_inner().unwrap().to_string(), "reset by peer");
    assert!(of(ErrorKind::Overloaded).into_inner().is_none());
    let boxed = Error::from_boxed("no more");
    assert_eq!(boxed.inner().unwrap().to_string(), "no more");
    assert_eq!(boxed.into_inner().unwrap().to_string(), "no more");
}

#[test]
fn maybe_sent_is_false_only_for_a_refusal_or_a_failed_connect() {
    let io = |kind| Error::from_upstream(io::Error::from(kind));
    assert!(io(io::ErrorKind::ConnectionReset).maybe_sent());
    let refused = io(io::ErrorKind::ConnectionRefused);
    assert_eq!((refused.maybe_sent(), refused.attempts(), refused.is_connect()), (false, 1, true));
    assert!(!of(ErrorKind::BulkheadFull { max_concurrent: 1 }).maybe_sent());
    assert!(Error::from_boxed("of a kind that nobody knows").maybe_sent());
}

#[test]
fn a_box_around_a_box_loses_nothing() {
    let endpoint = EndpointId::new(std::num::NonZeroU16::MIN);
    let error = reset().with_upstream("sku").with_attempts(3).at_endpoint(endpoint);
    let error = error.with_stop_reason(Some(StopReason::Budget));
    // Wrap the error in a foreign error, as `tower::buffer` does.
    let wrapped = io::Error::other(error);
    let error = Error::from_boxed(Error::from_boxed(wrapped));
    assert_eq!((error.kind(), error.upstream(), error.attempts()), (ErrorKind::Upstream, Some("sku"), 3));
    assert_eq!((error.stop_reason(), error.endpoint()), (Some(StopReason::Budget), Some(endpoint)));
}

#[test]
fn a_box_does_not_change_the_summary() {
    let line = "http://sku.internal: connection broke off: reset by peer (1 attempt)";
    let named = || reset().with_upstream("http://sku.internal");
    assert_eq!(named().to_string(), line);
    assert_eq!(Error::from_boxed(named()).to_string(), line);
    assert_eq!(Error::from_boxed(Error::from_boxed(io::Error::other(named()))).to_string(), line);
    let unknown = || Error::from_upstream(std::fmt::Error).with_upstream("sku");
    assert_eq!(Error::from_boxed(unknown()).to_string(), unknown().to_string());
}

#[test]
fn the_errors_of_towers_layers_have_their_kinds() {
    let elapsed = Error::from_boxed(tower::timeout::error::Elapsed::new());
    assert!(elapsed.is_timeout() && elapsed.maybe_sent() && !elapsed.is_total_timeout());
    let overloaded = Error::from_boxed(tower::load_shed::error::Overloaded::new());
    assert!(overloaded.is_refusal() && !overloaded.maybe_sent());
    assert_eq!((overloaded.attempts(), overloaded.stop_reason()), (0, Some(StopReason::Overloaded)));
}

#[test]
fn the_innermost_upstream_name_wins() {
    let error = of(ErrorKind::Overloaded).with_upstream("nearest").with_upstream("further out");
    assert_eq!(error.upstream(), Some("nearest"));
}

#[test]
fn an_error_is_an_error_whatever_its_client() {
    fn is_error<T: StdError + Send + Sync + 'static>() {}
    is_error::<Error<BoxError>>();
    is_error::<Error<std::rc::Rc<()>>>();
}

//! `Retry-After` with arbitrary content: parsing never panics, and no wait is longer than a day.

#![no_main]

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use http::header::{HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use libfuzzer_sys::fuzz_target;
use steadfast::http::HttpClassifier;
use steadfast::{Error, Judge, Outcome};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fuzz_target!(|input: (u32, &[u8])| {
    let (clock, value) = input;
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(clock.into());
    let classifier = HttpClassifier::new().wall_clock(move || now);

    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(RETRY_AFTER, value.clone());
    let result: Result<&Response<()>, &Error<Infallible>> = Ok(&response);
    let Outcome::Transient { retry_after } = classifier.classify(result) else {
        panic!("a 503 is transient, whatever its headers");
    };

    assert!(retry_after.is_none_or(|wait| wait <= DAY));
    // A number of seconds is used as it is, up to the bound.
    let seconds = value.to_str().ok().filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    if let Some(Ok(seconds)) = seconds.filter(|it| !it.is_empty()).map(str::parse::<u64>) {
        assert_eq!(retry_after, Some(Duration::from_secs(seconds).min(DAY)));
    }
});

//! Parses `Retry-After` (RFC 9110 §10.2.3): the wait that an upstream asks for.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::RETRY_AFTER};

/// The longest wait that [`parse`] returns, one day. A much longer wait could overflow an `Instant`.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the wait that the headers ask for, counted from `now`, at most [`MAX_WAIT`]; `None` without a valid
/// `Retry-After`.
///
/// The value is a number of seconds or a date. A date in the past is a wait of zero.
pub(crate) fn parse(headers: &HeaderMap, now: impl FnOnce() -> SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that overflows asks for a very long wait.
        return Some(value.parse().map_or(MAX_WAIT, Duration::from_secs).min(MAX_WAIT));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now()).unwrap_or_default().min(MAX_WAIT))
}

/// Returns the system's time, to compare with a date in `Retry-After`.
#[allow(clippy::disallowed_methods)]
pub(crate) fn system_time() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06 08:49:37 UTC, the date of RFC 9110's examples.
    const NOW: Duration = Duration::from_secs(784_111_777);

    fn wait(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        parse(&headers, || SystemTime::UNIX_EPOCH + NOW)
    }

    #[test]
    fn seconds_are_read() {
        assert_eq!(wait("0"), Some(Duration::ZERO));
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait(" 7 "), Some(Duration::from_secs(7)));
    }

    #[test]
    fn every_form_of_a_date_is_read_against_the_clock() {
        for date in
            ["Sun, 06 Nov 1994 08:49:40 GMT", "Sunday, 06-Nov-94 08:49:40 GMT", "Sun Nov  6 08:49:40 1994"]
        {
            assert_eq!(wait(date), Some(Duration::from_secs(3)), "{date}");
        }
    }

    #[test]
    fn a_date_in_the_past_asks_for_no_wait() {
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:36 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn a_wait_beyond_a_day_is_a_day() {
        assert_eq!(wait("99999999999999999999999999"), Some(MAX_WAIT));
        assert_eq!(wait("86401"), Some(MAX_WAIT));
        assert_eq!(wait("Fri, 31 Dec 9999 23:59:59 GMT"), Some(MAX_WAIT));
    }

    #[test]
    fn nonsense_is_ignored() {
        for nonsense in ["", "-1", "1.5", "soon", "1 s", "Mon, 06 Nov 1994 08:49:40 GMT", "٣"] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, http::HeaderValue::from_bytes(nonsense.as_bytes()).unwrap());
            assert_eq!(parse(&headers, || SystemTime::UNIX_EPOCH), None, "{nonsense:?}");
        }
        assert_eq!(parse(&HeaderMap::new(), || SystemTime::UNIX_EPOCH), None);
    }
}

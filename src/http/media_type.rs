//! Matches the media type of a message (RFC 9110 §8.3).

use http::{HeaderMap, header::CONTENT_TYPE};

/// True if the `Content-Type` is `media_type`. Parameters and letter case are ignored.
pub(crate) fn is_of_type(headers: &HeaderMap, media_type: &str) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let (essence, parameters) = value.as_bytes().split_at_checked(media_type.len()).unwrap_or_default();
        let ends = parameters.trim_ascii_start().first().is_none_or(|byte| *byte == b';');
        ends && essence.eq_ignore_ascii_case(media_type.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_make_no_other_type() {
        for (value, is) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("text/event-stream ;x", true),
            ("text/event-streams", false),
            ("text/event", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())]);
            assert_eq!(is_of_type(&headers, "text/event-stream"), is, "{value}");
        }
        assert!(!is_of_type(&HeaderMap::new(), "text/event-stream"));
    }
}

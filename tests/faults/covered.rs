//! The faults that the cache covers for each kind of body: the table of `docs/last_known_good.md`, row by row.

use http::Method;
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodBuilder};

use super::*;

const MEBIBYTE: usize = 1024 * 1024;
const EVENTS: &[(&str, &str)] = &[("content-type", "text/event-stream")];

/// The result that a caller gets during a fault.
#[derive(Debug, PartialEq, Eq)]
enum Observed {
    /// A stale response with this cause.
    Stale(Cause),
    /// A whole answer of the upstream.
    Status(u16),
    /// An error instead of an answer.
    Failed,
    /// The beginning of an answer, and an error while the body is read.
    Broken { is_timeout: bool },
}

const CUT: Observed = Observed::Broken { is_timeout: false };
const TIMED_OUT: Observed = Observed::Broken { is_timeout: true };

/// A kind of answer, with the request and the settings that lead to it.
struct Kind {
    method: Method,
    headers: &'static [(&'static str, &'static str)],
    cache: fn(LastKnownGoodBuilder) -> LastKnownGoodBuilder,
    buffer: BufferBodyLayer,
    good: Reply,
}

impl Kind {
    fn of(good: Reply) -> Self {
        let (method, buffer) = (Method::GET, BufferBodyLayer::new());
        Self { method, headers: &[], cache: |it| it, buffer, good }
    }

    /// The result for an upstream that gives the good answer once, and `fault` to all later attempts.
    async fn observe(&self, fault: Reply) -> Observed {
        let server = Server::new([self.good.clone(), fault]);
        let cache = (self.cache)(LastKnownGood::builder()).build().unwrap();
        let patient = eager().last_known_good(cache.clone()).buffer_body(self.buffer).build().unwrap();
        soon(self.ask(&patient, &server).send()).await.unwrap().bytes().await.unwrap();

        let hasty = eager().last_known_good(cache.clone()).buffer_body(self.buffer).attempt_timeout(SHORT);
        let hasty = hasty.total_timeout(12 * SHORT).build().unwrap();
        let Ok(response) = soon(self.ask(&hasty, &server).send()).await else { return Observed::Failed };
        let (status, cause) = (response.status().as_u16(), response.stale().map(|stale| stale.cause));
        match (soon(response.bytes()).await, cause) {
            (Ok(_), Some(cause)) => Observed::Stale(cause),
            (Ok(_), None) => Observed::Status(status),
            (Err(error), _) => Observed::Broken { is_timeout: error.is_timeout() },
        }
    }

    fn ask(&self, client: &Client, server: &Server) -> RequestBuilder {
        let request = client.request(self.method.clone(), server.url("/"));
        self.headers.iter().fold(request, |it, (name, value)| it.header(*name, *value))
    }

    /// The results for an upstream that closes the connection, that answers 503, and that is silent.
    async fn before_the_head(&self) -> [Observed; 3] {
        tokio::join!(
            self.observe(Reply::closed()),
            self.observe(Reply::unavailable()),
            self.observe(Reply::never())
        )
        .into()
    }
}

fn all_stale() -> [Observed; 3] {
    let unavailable = Cause::Status(StatusCode::SERVICE_UNAVAILABLE);
    [Cause::Transport, unavailable, Cause::Timeout(TimeoutScope::Attempt)].map(Observed::Stale)
}

const NOTHING_STORED: [Observed; 3] = [Observed::Failed, Observed::Status(503), Observed::Failed];

#[tokio::test]
async fn an_answer_without_a_body() {
    for (method, good) in [
        (Method::GET, Reply::status(204, &[], "")),
        (Method::GET, Reply::ok("")),
        (Method::HEAD, Reply::Answer(message(200, &[], 1000, b""))),
    ] {
        let kind = Kind { method, ..Kind::of(good) };
        assert_eq!(kind.before_the_head().await, all_stale());
    }
}

#[tokio::test]
async fn a_small_body_of_a_stated_length() {
    let kind = Kind::of(Reply::ok("good"));
    assert_eq!(kind.before_the_head().await, all_stale());
    let half = message(200, &[], 4, b"go");
    assert_eq!(kind.observe(Reply::Close(half.clone())).await, Observed::Stale(Cause::Body));
    let timeout = Cause::Timeout(TimeoutScope::Attempt);
    assert_eq!(kind.observe(Reply::Stall(half)).await, Observed::Stale(timeout));
}

#[tokio::test]
async fn a_large_body() {
    let half = message(200, &[], 2 * MEBIBYTE, b"half");
    let kind = Kind::of(Reply::ok(vec![b'x'; 2 * MEBIBYTE]));
    assert_eq!(kind.before_the_head().await, NOTHING_STORED);
    // With a larger limit, the body is stored. A fault after the head still reaches the caller.
    let kind = Kind { cache: |it| it.max_entry_bytes(4 * MEBIBYTE), ..kind };
    assert_eq!(kind.before_the_head().await, all_stale());
    assert_eq!(kind.observe(Reply::Close(half.clone())).await, CUT);
    assert_eq!(kind.observe(Reply::Stall(half)).await, TIMED_OUT);
}

#[tokio::test]
async fn a_body_of_no_stated_length() {
    let kind = Kind::of(Reply::chunked(200, &[b"good"]));
    let half = [chunked_head(200), chunk(b"go")].concat();
    assert_eq!(kind.before_the_head().await, all_stale());
    assert_eq!(kind.observe(Reply::Close(half.clone())).await, CUT);
    assert_eq!(kind.observe(Reply::Stall(half.clone())).await, TIMED_OUT);
    // With `unsized_bodies`, the body is buffered, so that faults within the body are covered, too.
    let kind = Kind { buffer: BufferBodyLayer::new().unsized_bodies(true), ..kind };
    assert_eq!(kind.before_the_head().await, all_stale());
    assert_eq!(kind.observe(Reply::Close(half.clone())).await, Observed::Stale(Cause::Body));
    let timeout = Cause::Timeout(TimeoutScope::Attempt);
    assert_eq!(kind.observe(Reply::Stall(half)).await, Observed::Stale(timeout));
}

/// The framing of HTTP/1.0: a cut body looks like a whole body, so neither is stored.
#[tokio::test]
async fn a_body_that_ends_with_its_connection() {
    for head in ["HTTP/1.0 200 Status\r\n\r\n", "HTTP/1.1 200 Status\r\nconnection: close\r\n\r\n"] {
        let until_the_end = |body: &str| Reply::Close(format!("{head}{body}").into_bytes());
        let kind = Kind::of(until_the_end("good"));
        assert_eq!(kind.before_the_head().await, NOTHING_STORED);
        assert_eq!(kind.observe(until_the_end("go")).await, Observed::Status(200));
        assert_eq!(kind.observe(Reply::Stall(format!("{head}go").into_bytes())).await, TIMED_OUT);
    }
}

#[tokio::test]
async fn a_stream_of_events() {
    let kind = Kind::of(Reply::status(200, EVENTS, "data"));
    let half = message(200, EVENTS, 4, b"da");
    assert_eq!(kind.before_the_head().await, NOTHING_STORED);
    assert_eq!(kind.observe(Reply::Close(half.clone())).await, CUT);
    assert_eq!(kind.observe(Reply::Stall(half)).await, TIMED_OUT);
}

#[tokio::test]
async fn a_part_of_a_response() {
    let kind = Kind { headers: &[("range", "bytes=0-3")], ..Kind::of(Reply::status(206, &[], "part")) };
    let half = message(206, &[], 4, b"pa");
    assert_eq!(kind.before_the_head().await, NOTHING_STORED);
    assert_eq!(kind.observe(Reply::Close(half.clone())).await, CUT);
    assert_eq!(kind.observe(Reply::Stall(half)).await, TIMED_OUT);
}

#[tokio::test]
async fn an_answer_to_a_request_for_an_upgrade() {
    let headers = &[("connection", "upgrade"), ("upgrade", "other/1")];
    let kind = Kind { headers, ..Kind::of(Reply::ok("good")) };
    let half = message(200, &[], 4, b"go");
    assert_eq!(kind.before_the_head().await, NOTHING_STORED);
    assert_eq!(kind.observe(Reply::Close(half.clone())).await, CUT);
    assert_eq!(kind.observe(Reply::Stall(half)).await, TIMED_OUT);
}

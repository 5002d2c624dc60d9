//! Bodies that do not arrive whole.

use super::*;

#[tokio::test]
async fn a_sized_body_that_is_cut_short_is_a_failed_attempt() {
    let server = Server::new([Reply::cut_short("go", 4), Reply::ok("good")]);
    let response = client().get(server.url("/")).send().await.unwrap();
    assert_eq!(response.attempts(), 2);
    assert_eq!(response.text().await.unwrap(), "good");
}

#[tokio::test]
async fn a_body_that_is_always_cut_short_fails_when_it_is_read() {
    let server = Server::new([Reply::cut_short("go", 4)]);
    let client = client();
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!((response.attempts(), stopped(&response)), (4, Some(StopReason::Exhausted)));
    assert!(response.text().await.is_err());
    assert_eq!(server.requests(), 4);
    assert_eq!(failures(&client, &server.url("/")), 4);
}

#[tokio::test]
async fn a_success_whose_body_is_cut_short_keeps_its_head() {
    let head = b"HTTP/1.1 201 Created\r\nlocation: /orders/7\r\ncontent-length: 4\r\n\r\ngo";
    let server = Server::new([Reply::Close(head.to_vec())]);
    let client = client();
    let mut response = client.post(server.url("/orders")).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (201, &"/orders/7".parse().unwrap())
    );
    assert_eq!(response.chunk().await.unwrap().unwrap(), "go");
    let error = response.chunk().await.unwrap_err();
    assert!(!error.is_timeout(), "{error:?}");
    assert_eq!((server.requests(), failures(&client, &server.url("/"))), (1, 1));
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_answered_stale() {
    let server = Server::new([Reply::ok("good"), Reply::cut_short("go", 4)]);
    let client = client();
    prime_cache(&client, &server.url("/")).await;
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(response.stale().map(|stale| stale.cause), Some(Cause::Body));
    assert_eq!(response.text().await.unwrap(), "good");
}

#[tokio::test]
async fn a_sized_body_that_stalls_is_a_failed_attempt() {
    let server = Server::new([Reply::Stall(message(200, &[], 4, b"go")), Reply::ok("good")]);
    let client = eager().attempt_timeout(SHORT).build().unwrap();
    let response = soon(client.get(server.url("/")).send()).await.unwrap();
    assert!(response.attempts() > 1);
    assert_eq!(response.text().await.unwrap(), "good");
}

#[tokio::test]
async fn a_large_body_streams() {
    let size = 3 * 1024 * 1024;
    let body = vec![b'x'; size];
    let (first, second) = body.split_at(size / 2);
    let gate = Arc::new(Notify::new());
    let head = message(200, &[], size, first);
    let server = Server::new([Reply::Gate(head, Arc::clone(&gate), second.to_vec())]);
    let mut response = soon(client().get(server.url("/")).send()).await.unwrap();
    assert_eq!(response.content_length(), Some(size as u64));
    let mut read = response.chunk().await.unwrap().unwrap().len();
    gate.notify_one();
    while let Some(chunk) = response.chunk().await.unwrap() {
        read += chunk.len();
    }
    assert_eq!(read, size);
}

#[tokio::test]
async fn a_streamed_body_that_breaks_is_the_callers_to_handle_and_counts_once() {
    let server = Server::new([Reply::Close([chunked_head(200), chunk(b"one")].concat())]);
    let client = client();
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!((response.status(), failures(&client, &server.url("/"))), (StatusCode::OK, 0));
    response.bytes().await.unwrap_err();
    assert_eq!((server.requests(), failures(&client, &server.url("/"))), (1, 1));
}

#[tokio::test]
async fn an_answer_without_a_body_ends_with_its_head() {
    let server = Server::new([Reply::Answer(message(200, &[], 1000, b""))]);
    let response = soon(client().head(server.url("/")).send()).await.unwrap();
    assert_eq!(response.headers()["content-length"], "1000");
    assert_eq!(soon(response.bytes()).await.unwrap(), "");
}

#[tokio::test]
async fn a_stated_length_beyond_all_memory_is_a_body_that_fails_and_no_panic() {
    let gate = Arc::new(Notify::new());
    let head = message(200, &[], usize::MAX - 2, b"one");
    let server = Server::new([Reply::Gate(head, Arc::clone(&gate), vec![b'x'; 256 * 1024]), Reply::closed()]);
    let builder = eager().buffer_body(BufferBodyLayer::new().limit(usize::MAX)).attempt_timeout(4 * SHORT);
    let client = builder.without_retry().build().unwrap();
    gate.notify_one();
    let response = soon(client.get(server.url("/")).send()).await.unwrap();
    let error = response.bytes().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
}

#[tokio::test]
async fn a_success_whose_body_stalls_keeps_its_head() {
    let head = b"HTTP/1.1 201 Created\r\nlocation: /orders/7\r\ncontent-length: 4\r\n\r\ngo";
    for total in [false, true] {
        let server = Server::new([Reply::Stall(head.to_vec())]);
        let client = eager().without_attempt_timeout().total_timeout(4 * SHORT);
        let client = if total { client } else { client.attempt_timeout(SHORT).total_timeout(MINUTE) };
        let client = client.build().unwrap();
        let mut response = soon(client.post(server.url("/orders")).send()).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["location"]),
            (201, &"/orders/7".parse().unwrap())
        );
        if !total {
            assert_eq!(response.chunk().await.unwrap().unwrap(), "go");
        }
        assert!(response.chunk().await.unwrap_err().is_timeout());
        assert_eq!((server.requests(), failures(&client, &server.url("/"))), (1, u16::from(!total)));
    }
}

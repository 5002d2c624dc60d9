//! Copies of requests, streaming uploads, and the responses before a retry that is not refused.

use super::*;

// ===== Copies =====

/// A request with a counter of its copies.
struct Counted {
    copies: Arc<AtomicU32>,
    safety: RetrySafety,
    can_be_copied: bool,
}

impl HasCallOptions for Counted {}

impl RetryableRequest for Counted {
    fn retry_safety(&self) -> RetrySafety {
        self.safety
    }

    fn try_clone(&self) -> Option<Self> {
        self.can_be_copied.then(|| {
            self.copies.fetch_add(1, Ordering::Relaxed);
            Self { copies: Arc::clone(&self.copies), ..*self }
        })
    }
}

/// Makes a call; returns the numbers of attempts and copies, and the stop reason.
async fn copies(
    layer: &RetryLayer,
    answers: impl IntoIterator<Item = support::Answer>,
    safety: RetrySafety,
    can_be_copied: bool,
) -> (usize, u32, Option<StopReason>) {
    let upstream = Upstream::answering(answers);
    let copies = Arc::default();
    let request = Counted { copies: Arc::clone(&copies), safety, can_be_copied };
    let result = send(&layer.layer(upstream.clone()), request).await;
    let stop = result.ok().and_then(|response| stopped(&response));
    (upstream.count(), copies.load(Ordering::Relaxed), stop)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_must_not_be_sent_again_is_not_copied() {
    // Known mistake 22. Any other request may turn out as not processed, and is then sent again.
    let exhausted = Some(StopReason::Exhausted);
    assert_eq!(copies(&retry(), [status(200)], RetrySafety::Idempotent, true).await, (1, 1, None));
    assert_eq!(copies(&retry(), [status(503)], RetrySafety::Idempotent, true).await, (4, 4, exhausted));
    let none = RetryLayer::new(policy(0));
    assert_eq!(copies(&none, [status(503)], RetrySafety::Idempotent, true).await, (1, 1, None));
    let not = Some(StopReason::NotIdempotent);
    assert_eq!(copies(&retry(), [status(503)], RetrySafety::Never, true).await, (1, 0, not));
    assert_eq!(copies(&retry(), [status(503)], RetrySafety::UnlessSent, true).await, (1, 1, not));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_copied_is_sent_once_and_never_refused() {
    // Known mistake 21.
    for (code, stop) in [(200, None), (404, None), (503, Some(StopReason::NotReplayable))] {
        assert_eq!(copies(&retry(), [status(code)], RetrySafety::Idempotent, false).await, (1, 0, stop));
    }
    let reset = copies(&retry(), [fault(ConnectionReset)], RetrySafety::Idempotent, false).await;
    assert_eq!(reset, (1, 0, None));
}

// ===== Streaming request bodies =====

/// The request bodies that an upstream read, or the errors of reading.
type Bodies = Arc<Mutex<Vec<Result<String, String>>>>;

/// An upstream that reads the whole body of each request and answers with the next status. The last status repeats.
fn reading(
    bodies: &Bodies,
    statuses: &'static [u16],
) -> impl Service<
    Request<ReplayBody<TestBody>>,
    Response = Response<TestBody>,
    Error = Error<io::Error>,
    Future: Send,
> + Clone {
    let bodies = Arc::clone(bodies);
    let calls = Arc::new(AtomicUsize::new(0));
    tower::service_fn(move |request: Request<ReplayBody<TestBody>>| {
        let code = statuses[calls.fetch_add(1, Ordering::Relaxed).min(statuses.len() - 1)];
        let bodies = Arc::clone(&bodies);
        async move {
            let read = request.into_body().collect().await;
            let read = read.map(|body| String::from_utf8(body.to_bytes().to_vec()).unwrap());
            bodies.lock().unwrap().push(read.map_err(|error| error.to_string()));
            let body = Script::of(&[]).sized().start();
            Ok(Response::builder().status(code).body(body).unwrap())
        }
    })
}

fn put(body: &Script) -> Request<TestBody> {
    Request::put("http://sku.internal/v1/items/42").body(body.start()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_streaming_body_is_sent_again_from_its_buffer() {
    let bodies = Bodies::default();
    let service = ServiceBuilder::new()
        .layer(ReplayBodyLayer::new(64))
        .layer(retry())
        .service(reading(&bodies, &[503, 503, 200]));
    let body = Script::pieces(&["one ", "two"]).then(Step::Wait(SECOND)).then(Step::Data("three".into()));
    let response = send(&service, put(&body)).await.unwrap();
    assert_eq!((response.status().as_u16(), attempts(&response).unwrap().made), (200, 3));
    assert_eq!(*bodies.lock().unwrap(), vec![Ok("one twothree".to_owned()); 3]);
    assert_eq!(body.read(), 12, "the body itself is read once");
}

#[tokio::test(start_paused = true)]
async fn a_streaming_body_over_the_limit_is_sent_once_and_never_refused() {
    // Known mistake 21.
    for (statuses, expected, stop) in
        [(&[200][..], 200, None), (&[503, 200], 503, Some(StopReason::NotReplayable))]
    {
        let bodies = Bodies::default();
        let service = ServiceBuilder::new()
            .layer(ReplayBodyLayer::new(10))
            .layer(retry())
            .service(reading(&bodies, statuses));
        let response = send(&service, put(&Script::pieces(&["one ", "two ", "three"]))).await.unwrap();
        assert_eq!((response.status().as_u16(), stopped(&response)), (expected, stop));
        assert_eq!(*bodies.lock().unwrap(), [Ok("one two three".to_owned())]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_body_that_was_not_read_can_be_sent_again_whatever_its_size() {
    let bodies = Bodies::default();
    let reading = reading(&bodies, &[200]);
    let refusals = Arc::new(AtomicU32::new(2));
    let upstream = tower::service_fn(move |request| {
        let refuse = refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let call = refuse.is_err().then(|| reading.clone().oneshot(request));
        async move {
            match call {
                Some(call) => call.await,
                None => Err(Error::from_upstream(ConnectionRefused.into())),
            }
        }
    });
    let service = ServiceBuilder::new().layer(ReplayBodyLayer::new(1)).layer(retry()).service(upstream);
    let response = send(&service, put(&Script::pieces(&["one ", "two ", "three"]))).await.unwrap();
    assert_eq!(attempts(&response).unwrap().made, 3);
    assert_eq!(*bodies.lock().unwrap(), [Ok("one two three".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn the_options_of_a_call_pass_through_the_replay_layer() {
    let bodies = Bodies::default();
    let service = ServiceBuilder::new()
        .layer(ReplayBodyLayer::default())
        .layer(retry())
        .map_request(Call::into_inner)
        .service(reading(&bodies, &[503]));
    let call = Call::new(put(&Script::pieces(&["one"]))).retry_safety(RetrySafety::Never);
    assert_eq!(stopped(&send(&service, call).await.unwrap()), Some(StopReason::NotIdempotent));
    assert_eq!(bodies.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_outgrows_the_limit_while_the_retry_waits_costs_the_caller_nothing() {
    let calls = Arc::new(AtomicUsize::new(0));
    let upstream = tower::service_fn(move |request: Request<ReplayBody<TestBody>>| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        async move {
            let mut body = request.into_body();
            if call == 0 {
                // The upstream answers early, while the connection continues to read the upload.
                body.frame().await.unwrap().unwrap();
                tokio::spawn(body.collect());
                return Ok(Response::builder().status(503).body(Script::of(&[]).sized().start()).unwrap());
            }
            let read = body.collect().await.map_err(|error| Error::from_upstream(io::Error::other(error)))?;
            assert_eq!(read.to_bytes(), "one two three");
            Ok(Response::new(Script::of(&[]).sized().start()))
        }
    });
    let body = Script::pieces(&["one "])
        .then(Step::Wait(50 * MS))
        .then(Step::Data("two ".into()))
        .then(Step::Data("three".into()));
    let service = ServiceBuilder::new().layer(ReplayBodyLayer::new(8)).layer(retry()).service(upstream);
    let response = send(&service, put(&body)).await.unwrap();
    assert!(matches!(response.status().as_u16(), 200 | 503));
}

// ===== Discarded responses =====

#[tokio::test(start_paused = true)]
async fn a_discarded_response_is_read_to_its_end() {
    // Known mistake 23: a response that is dropped unread costs its connection.
    let body = Script::of(&[Step::Data(vec![0; 60_000].into()), Step::Wait(50 * MS), Step::Data("x".into())]);
    let (result, _) = one(&retry(), [status(503).body(&body), status(200)], get()).await;
    assert_eq!(result.unwrap().status(), 200);
    assert_eq!((body.read(), body.ended(), body.dropped()), (60_001, true, 1));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_64_kib_of_a_discarded_response_are_read() {
    let body = Script::of(&[Step::Endless(vec![0; 1024].into())]);
    let (_, upstream) = one(&retry(), [status(503).body(&body), status(200)], get()).await;
    assert!((64 * 1024..=65 * 1024).contains(&body.read()), "{} bytes", body.read());
    assert_eq!((body.dropped(), upstream.waits()), (1, vec![100 * MS]));
}

#[tokio::test(start_paused = true)]
async fn a_discarded_response_is_read_for_no_longer_than_the_wait() {
    let body = Script::pieces(&["x"]).then(Step::Stall);
    let (_, upstream) = one(&retry(), [status(503).body(&body), status(200)], get()).await;
    assert_eq!((body.read(), body.dropped(), upstream.waits()), (1, 1, vec![100 * MS]));
}

#[tokio::test(start_paused = true)]
async fn a_discarded_response_of_endless_empty_frames_is_dropped() {
    let body = Script::of(&[Step::Endless(Bytes::new())]);
    let (_, upstream) = one(&retry(), [status(503).body(&body), status(200)], get()).await;
    assert_eq!((body.dropped(), upstream.waits()), (1, vec![100 * MS]));
}

#[tokio::test(start_paused = true)]
async fn the_permit_of_a_discarded_response_is_given_back_before_the_wait() {
    let nothing = Script::of(&[Step::Stall]);
    let some = Script::pieces(&["x"]).then(Step::Stall);
    let endless = Script::of(&[Step::Endless(vec![0; 1024].into())]);
    for body in [nothing, some, endless] {
        let bulkhead = Bulkhead::builder().max_concurrent(1).max_waiting(0).build().unwrap();
        let service = ServiceBuilder::new()
            .layer(retry())
            .layer(BulkheadLayer::new(bulkhead.clone()))
            .service(Upstream::answering([status(503).body(&body), status(204), status(200)]));
        let mut call = tokio_test::task::spawn(send(&service, get()));
        assert!(call.poll().is_pending());
        assert_eq!(bulkhead.in_flight(), 0);
        assert_eq!(send(&service, get()).await.unwrap().status(), 204, "while the first call backs off");
        assert_eq!(call.await.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_discarded_response_that_breaks_is_no_second_failure_of_the_circuit() {
    for body in [Script::of(&[Step::Fail]), Script::of(&[Step::Wait(50 * MS), Step::Fail])] {
        let circuit = CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO).build().unwrap();
        let service = ServiceBuilder::new()
            .layer(retry().advised_by(circuit.clone()))
            .layer(CircuitBreakerLayer::new(circuit))
            .service(Upstream::answering([status(503).body(&body), status(200)]));
        assert_eq!(send(&service, get()).await.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn the_response_that_the_caller_gets_is_not_read() {
    for code in [200, 503] {
        let body = Script::pieces(&["one"]).then(Step::Stall);
        let (result, _) = one(&retry(), [status(code).body(&body)], post()).await;
        assert_eq!((body.read(), body.dropped()), (0, 0));
        assert_eq!(result.unwrap().into_body().frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    }
}

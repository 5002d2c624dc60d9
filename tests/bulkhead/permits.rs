//! The lifetime of a permit, and changes to the number of permits.

use super::*;

// ===== The lifetime of a permit =====

#[tokio::test(start_paused = true)]
async fn the_permit_is_held_while_the_body_is_read() {
    // Known mistake 28.
    let rig = Rig::one();
    let mut call = rig.begin("a");
    let (pieces, response) = streaming();
    rig.upstream.answer(Ok(response));
    let mut body = assert_ready_ok!(call.poll()).into_body();
    drop(call);
    assert_eq!(rig.bulkhead.in_flight(), 1);
    let mut waiter = rig.begin("b");
    pieces.send(Ok("slowly")).unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "slowly");
    assert_pending!(waiter.poll());
    drop(pieces);
    assert!(body.frame().await.is_none());
    assert!(waiter.is_woken(), "the body object lives on");
    assert_pending!(waiter.poll());
    assert_eq!(rig.upstream.pending(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn the_permit_is_given_back_when_the_body_is_dropped() {
    // Known mistake 28.
    let rig = Rig::one();
    let mut call = rig.begin("a");
    let (_pieces, response) = streaming();
    rig.upstream.answer(Ok(response));
    let response = assert_ready_ok!(call.poll());
    assert_eq!(rig.bulkhead.in_flight(), 1);
    drop(response);
    assert_eq!(rig.bulkhead.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_frame_gives_the_permit_back_although_the_body_lives_on() {
    let bulkhead = one().build().unwrap();
    let service = BulkheadLayer::new(bulkhead.clone()).layer(tower::service_fn(async |_: Request| {
        Ok::<_, Error<Infallible>>(Response::new(Full::new(Bytes::from_static(b"whole"))))
    }));
    let mut body = service.oneshot(Call::new("a")).await.unwrap().into_body();
    assert_eq!(bulkhead.in_flight(), 1);
    body.frame().await.unwrap().unwrap();
    assert_eq!(bulkhead.in_flight(), 0);
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_gives_the_permit_back_at_once() {
    let rig = Rig::one();
    let mut call = rig.begin("a");
    rig.upstream.answer(Ok(empty()));
    let _response = assert_ready_ok!(call.poll());
    assert_eq!(rig.bulkhead.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_gives_the_permit_back() {
    let rig = Rig::one();
    let mut call = rig.begin("a");
    let (pieces, response) = streaming();
    rig.upstream.answer(Ok(response));
    let mut body = assert_ready_ok!(call.poll()).into_body();
    pieces.send(Err(())).unwrap();
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(rig.bulkhead.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_gives_the_permit_back() {
    let rig = Rig::one();
    let mut call = rig.begin("a");
    rig.upstream.answer(Err(io::ErrorKind::ConnectionReset.into()));
    assert_ready_err!(call.poll());
    assert_eq!(rig.bulkhead.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_non_http_response_gives_the_permit_back() {
    let bulkhead = one().build().unwrap();
    let (inner, mut upstream) = mock::pair::<Request, &'static str>();
    let service = ServiceBuilder::new()
        .layer(BulkheadLayer::new(bulkhead.clone()).non_http())
        .map_err(Error::from_boxed)
        .service(inner);
    let mut call = task::spawn(service.oneshot(Call::new("a")));
    assert_pending!(call.poll());
    assert_eq!(bulkhead.in_flight(), 1);
    upstream.next_request().await.unwrap().1.send_response("plain");
    let _response = assert_ready_ok!(call.poll());
    assert_eq!(bulkhead.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_permit_is_held_while_a_retry_backs_off() {
    let bulkhead = one().max_waiting(0).build().unwrap();
    let policy = RetryPolicy::builder().backoff(Backoff::new()).seed(1).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(policy).without_budget().classifier(classify::from_fn(faulty)))
        .layer(BulkheadLayer::new(bulkhead.clone()))
        .service_fn(async |_: HttpRequest| {
            // The body never ends, so only dropping it frees its permit.
            let (pieces, response) = streaming();
            tokio::spawn(async move { pieces.closed().await });
            Ok::<_, Error<io::Error>>(response)
        });
    let mut call = task::spawn(service.call_once(idempotent()));
    assert_pending!(call.poll());
    assert_eq!(bulkhead.in_flight(), 0);
}

// ===== Size =====

#[tokio::test(start_paused = true)]
async fn growing_wakes_waiters() {
    let rig = Rig::one();
    let _holder = rig.begin("a");
    let mut queue = rig.begin_all(["b", "c", "d"]);
    rig.bulkhead.resize(3).unwrap();
    assert_eq!(queue.each_ref().map(task::Spawn::is_woken), [true, true, false]);
    for waiter in &mut queue {
        assert_pending!(waiter.poll());
    }
    assert_eq!(rig.upstream.pending(), ["a", "b", "c"]);
    assert_eq!(rig.figures(), (3, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn shrinking_lets_calls_in_flight_finish_and_takes_effect_as_they_do() {
    let rig = Rig::new(one().max_concurrent(3).max_waiting(0));
    let [a, b, c] = rig.begin_all(["a", "b", "c"]);
    rig.bulkhead.resize(1).unwrap();
    assert_eq!(rig.bulkhead.in_flight(), 3);
    assert!(matches!(rig.refused("d").kind(), ErrorKind::BulkheadFull { max_concurrent: 1 }));
    drop(a);
    assert!(rig.refused("d").is_bulkhead_full());
    drop(b);
    assert!(rig.refused("d").is_bulkhead_full());
    drop(c);
    let _next = rig.begin("d");
    assert!(rig.refused("e").is_bulkhead_full());
}

#[tokio::test(start_paused = true)]
async fn shrinking_keeps_the_queue_waiting_until_the_size_is_reached() {
    let rig = Rig::new(one().max_concurrent(2));
    let [a, b] = rig.begin_all(["a", "b"]);
    let mut waiter = rig.begin("c");
    rig.bulkhead.resize(1).unwrap();
    drop(a);
    assert_pending!(waiter.poll());
    assert_eq!(rig.upstream.pending(), ["a", "b"]);
    drop(b);
    assert_pending!(waiter.poll());
    assert_eq!(rig.upstream.pending(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_a_dropped_waiter_gives_back_goes_to_the_smaller_size_first() {
    let rig = Rig::new(one().max_concurrent(2));
    let [_a, b] = rig.begin_all(["a", "b"]);
    let waiter = rig.begin("c");
    drop(b);
    assert!(waiter.is_woken());
    rig.bulkhead.resize(1).unwrap();
    drop(waiter);
    let _newcomer = rig.begin("d");
    assert_eq!(rig.upstream.pending(), ["a", "b"], "one at a time, and that is a");
}

#[tokio::test(start_paused = true)]
async fn a_size_that_goes_down_and_up_again_is_neither_lost_nor_doubled() {
    let rig = Rig::new(one().max_concurrent(5).max_waiting(0));
    let held = rig.begin_all(["a", "b", "c", "d"]);
    for size in [1, 5, 2, 3, 1, 4, 2] {
        rig.bulkhead.resize(size).unwrap();
    }
    drop(held);
    let _two = rig.begin_all(["e", "f"]);
    assert!(rig.refused("g").is_bulkhead_full());
}

#[tokio::test(start_paused = true)]
async fn a_size_of_zero_is_refused_and_changes_nothing() {
    let rig = Rig::one();
    let error = rig.bulkhead.resize(0).unwrap_err();
    assert_eq!((error.field(), error.value()), ("bulkhead.max_concurrent", "0"));
    let _holder = rig.begin("a");
    assert_eq!(rig.bulkhead.max_concurrent(), 1);
}

/// Counts a call in flight until the guard is dropped, also when the call itself is dropped.
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_permit_is_lost_or_made_when_calls_and_sizes_race() {
    let bulkhead = Bulkhead::builder().max_concurrent(4).max_waiting(8).build().unwrap();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let service = BulkheadLayer::new(bulkhead.clone()).layer(tower::service_fn({
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        move |_: HttpRequest| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                let now = InFlight::new(now);
                most.fetch_max(now.0.load(Ordering::SeqCst), Ordering::SeqCst);
                tokio::task::yield_now().await;
                drop(now);
                Ok::<_, Error<Infallible>>(Response::new(Full::<Bytes>::default()))
            }
        }
    }));
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let (service, bulkhead) = (service.clone(), bulkhead.clone());
            tokio::spawn(async move {
                for round in 0..500 {
                    // Every third call is dropped, in the queue or in flight.
                    let call = service.clone().oneshot(HttpRequest::new(()));
                    if round % 3 == 0 {
                        tokio::select! {
                            biased;
                            _ = call => {}
                            () = std::future::ready(()) => {}
                        }
                    } else {
                        let _ = call.await;
                    }
                    if round % 50 == number {
                        bulkhead.resize(1 + (round + number) % 6).unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (0, 0));
    bulkhead.resize(3).unwrap();
    let held: Vec<_> = (0..3).map(|_| service.clone().call_once(HttpRequest::new(()))).collect();
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (3, 0));
    let _fourth = service.clone().call_once(HttpRequest::new(()));
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (3, 1));
    drop(held);
    assert!(most.load(Ordering::SeqCst) <= 6, "more than the largest size at a time");
}

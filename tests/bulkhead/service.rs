//! The bulkhead as a tower service: sharing, readiness, and configuration.

use super::*;

// ===== Sharing, figures =====

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_applied_twice_shares_its_bulkhead() {
    // Known mistake 8.
    let bulkhead = one().max_waiting(0).build().unwrap();
    let layer = BulkheadLayer::new(bulkhead.clone());
    let (one, two) = (layer.layer(Upstream::default()), layer.clone().layer(Upstream::default()));
    let _holder = one.call_once(Call::new("a"));
    assert!(two.oneshot(Call::new("b")).await.unwrap_err().is_bulkhead_full());
}

#[tokio::test(start_paused = true)]
async fn a_fresh_bulkhead_shares_only_the_configuration() {
    let rig = Rig::new(one().max_waiting(0));
    let _holder = rig.begin("a");
    let fresh = rig.bulkhead.fresh("fresh");
    assert_eq!((fresh.max_concurrent(), fresh.in_flight()), (1, 0));
    let service = BulkheadLayer::new(fresh).layer(Upstream::default());
    let _other = service.clone().call_once(Call::new("b"));
    assert!(service.oneshot(Call::new("c")).await.unwrap_err().is_bulkhead_full());
}

#[tokio::test(start_paused = true)]
async fn the_figures_count_calls_in_flight_waiting_and_refused() {
    let rig = Rig::new(one().max_concurrent(2).max_waiting(1));
    assert_eq!(rig.figures(), (0, 0, 0));
    let [mut a, _b] = rig.begin_all(["a", "b"]);
    assert_eq!(rig.figures(), (2, 0, 0));
    let mut displaced = rig.begin("c");
    assert_eq!(rig.figures(), (2, 1, 0));
    let mut waiter = rig.begin("d");
    assert_ready_err!(displaced.poll());
    assert_eq!(rig.figures(), (2, 1, 1));
    rig.upstream.answer(Ok(empty()));
    drop(assert_ready_ok!(a.poll()));
    assert_pending!(waiter.poll());
    assert_eq!(rig.figures(), (2, 0, 1));
}

// ===== Readiness =====

#[tokio::test(start_paused = true)]
async fn a_thousand_clones_that_are_ready_and_never_called_hold_nothing() {
    // Known mistake 29.
    let rig = Rig::one();
    let mut idle: Vec<_> = (0..1000).map(|_| rig.service.clone()).collect();
    for service in &mut idle {
        service.ready().await.unwrap();
    }
    assert_eq!(rig.figures(), (0, 0, 0));
    let _call = rig.begin("a");
    assert_eq!(rig.upstream.pending(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_parked_clone_does_not_absorb_the_next_permit() {
    // Known mistake 29.
    let rig = Rig::one();
    let holder = rig.begin("a");
    let mut parked = rig.service.clone();
    parked.ready().await.unwrap();
    drop(holder);
    let _next = rig.begin("b");
    assert_eq!(rig.upstream.pending(), ["a", "b"]);
}

/// A service whose clones are numbered. Each clone counts the times that it was polled ready.
#[derive(Debug)]
struct Numbered {
    number: usize,
    next: Arc<AtomicUsize>,
    polled: usize,
    /// For each call, the number of the clone, and the times that the clone was polled ready since its last call.
    called: Arc<Mutex<Vec<(usize, usize)>>>,
}

impl Numbered {
    fn new() -> Self {
        Self { number: 0, next: Arc::new(AtomicUsize::new(1)), polled: 0, called: Arc::default() }
    }
}

impl Clone for Numbered {
    fn clone(&self) -> Self {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Self { number, next: Arc::clone(&self.next), polled: 0, called: Arc::clone(&self.called) }
    }
}

impl Service<Request> for Numbered {
    type Response = Response<Full<Bytes>>;
    type Error = Error<Infallible>;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.polled += 1;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request) -> Self::Future {
        self.called.lock().unwrap().push((self.number, self.polled));
        self.polled = 0;
        std::future::ready(Ok(Response::new(Full::new(Bytes::from_static(b"held")))))
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_wait_the_service_that_was_polled_ready_is_the_one_that_is_called() {
    let bulkhead = one().build().unwrap();
    let inner = Numbered::new();
    let called = Arc::clone(&inner.called);
    let mut service = BulkheadLayer::new(bulkhead).layer(inner);
    let mut holder = task::spawn(service.ready().await.unwrap().call(Call::new("a")));
    let response = assert_ready_ok!(holder.poll());
    // Clone 0 was polled ready and waits in the queue. The service continues with a new clone.
    let mut waiter = task::spawn(service.ready().await.unwrap().call(Call::new("b")));
    assert_pending!(waiter.poll());
    let mut next = task::spawn(service.ready().await.unwrap().call(Call::new("c")));
    assert_pending!(next.poll());
    drop(response);
    drop(assert_ready_ok!(waiter.poll()));
    drop(assert_ready_ok!(next.poll()));
    assert_eq!(*called.lock().unwrap(), [(0, 1), (0, 1), (1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_is_as_ready_as_the_service_below() {
    let (inner, mut upstream) = mock::pair::<Request, &'static str>();
    let service = ServiceBuilder::new()
        .layer(BulkheadLayer::new(one().build().unwrap()).non_http())
        .map_err(Error::from_boxed)
        .service(inner);
    let mut service = mock::Spawn::new(service);
    upstream.allow(0);
    assert_pending!(service.poll_ready());
    upstream.allow(1);
    assert_ready!(service.poll_ready()).unwrap();
    // The mock panics if it is called before it was polled ready.
    let mut call = task::spawn(service.call(Call::new("a")));
    assert_pending!(call.poll());
    upstream.next_request().await.unwrap().1.send_response("answer");
    assert_eq!(assert_ready_ok!(call.poll()), "answer");
}

#[tokio::test(start_paused = true)]
async fn no_task_is_spawned() {
    let rig = Rig::one();
    let _holder = rig.begin("a");
    let _waiter = rig.begin("b");
    advance(SECOND).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

// ===== Configuration =====

#[test]
fn a_configuration_that_cannot_work_is_refused_when_it_is_built() {
    let error = Bulkhead::builder().max_concurrent(0).build().unwrap_err();
    assert_eq!(error.to_string(), "bulkhead.max_concurrent is 0: it must be between 1 and 1000000");
    let error = Bulkhead::builder().max_wait(Duration::MAX).build().unwrap_err();
    assert_eq!(error.field(), "bulkhead.max_wait");
}

#[tokio::test(start_paused = true)]
async fn the_extremes_that_are_allowed_work() {
    let year = Duration::from_secs(60 * 60 * 24 * 365);
    let largest = Bulkhead::builder().max_concurrent(1_000_000).max_waiting(1_000_000).max_wait(year);
    let rig = Rig::new(largest);
    rig.bulkhead.resize(1).unwrap();
    let holder = rig.begin("a");
    let mut waiter = rig.begin("b");
    drop(holder);
    assert_pending!(waiter.poll());
    assert_eq!(rig.upstream.pending(), ["a", "b"]);
}

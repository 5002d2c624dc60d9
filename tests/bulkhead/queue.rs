//! Refusals and the queue.

use super::*;

// ===== Refusals =====

#[tokio::test(start_paused = true)]
async fn without_a_queue_a_full_bulkhead_refuses_at_once() {
    // Known mistake 26. Known mistake 27.
    let rig = Rig::new(Bulkhead::builder().max_concurrent(2).max_waiting(0));
    let _holders = rig.begin_all(["a", "b"]);
    let before = Instant::now();
    let error = rig.refused("c");
    assert!(matches!(error.kind(), ErrorKind::BulkheadFull { max_concurrent: 2 }));
    assert_eq!(Instant::now(), before);
    assert_eq!(rig.upstream.pending(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn full_is_not_a_timeout() {
    // Known mistake 26.
    let rig = Rig::one();
    let _holder = rig.begin("a");
    let mut waiter = rig.begin("b");
    advance(10 * SECOND).await;
    let error = assert_ready_err!(waiter.poll());
    assert!(error.is_bulkhead_full() && error.is_refusal() && !error.is_timeout());
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_zero_refuses_at_once() {
    let rig = Rig::new(one().max_wait(Duration::ZERO));
    let _holder = rig.begin("a");
    assert!(rig.refused("b").is_bulkhead_full());
    assert_eq!(rig.figures(), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    // Known mistake 27.
    let rig = Rig::new(one().max_waiting(3));
    let _holder = rig.begin("a");
    let [mut oldest, _c, _d] = rig.begin_all(["b", "c", "d"]);
    let _newcomer = rig.begin("e");
    assert!(oldest.is_woken());
    assert!(assert_ready_err!(oldest.poll()).is_bulkhead_full());
    assert_eq!(rig.figures(), (1, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_bounded() {
    // Known mistake 27.
    let rig = Rig::one();
    let _holder = rig.begin("a");
    let mut waiter = rig.begin("b");
    advance(9999 * MS).await;
    assert_pending!(waiter.poll());
    advance(MS).await;
    assert!(assert_ready_err!(waiter.poll()).is_bulkhead_full());
    assert_eq!(rig.figures(), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn by_default_no_call_waits_for_ever() {
    // Known mistake 27.
    let rig = Rig::new(Bulkhead::builder());
    let _holders: Vec<_> = (0..128).map(|_| rig.begin("holder")).collect();
    let mut waiters: Vec<_> = (0..20_000).map(|_| rig.begin("waiter")).collect();
    assert_eq!(rig.figures(), (128, 10_000, 0));
    for waiter in &mut waiters[..10_000] {
        tokio::task::consume_budget().await;
        assert!(assert_ready_err!(waiter.poll()).is_bulkhead_full());
    }
    advance(SECOND).await;
    for waiter in &mut waiters[10_000..] {
        tokio::task::consume_budget().await;
        assert!(assert_ready_err!(waiter.poll()).is_bulkhead_full());
    }
    assert_eq!(rig.figures(), (128, 0, 20_000));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_call_bounds_its_wait() {
    let rig = Rig::one();
    let _holder = rig.begin("a");
    let mut hurried = rig.begin(Call::new("b").deadline(Instant::now() + SECOND));
    let mut patient = rig.begin(Call::new("c").deadline(Instant::now() + 100 * SECOND));
    advance(SECOND).await;
    assert!(assert_ready_err!(hurried.poll()).is_bulkhead_full());
    assert_pending!(patient.poll());
    advance(9 * SECOND).await;
    assert!(assert_ready_err!(patient.poll()).is_bulkhead_full(), "nobody waits for long without any answer");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_deadline_has_passed_does_not_wait() {
    let rig = Rig::one();
    let _holder = rig.begin("a");
    assert!(rig.refused(Call::new("b").deadline(Instant::now())).is_bulkhead_full());
}

#[tokio::test(start_paused = true)]
async fn a_total_timeout_above_bounds_the_wait() {
    let bulkhead = one().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(SECOND))
        .layer(BulkheadLayer::new(bulkhead.clone()))
        .service(Upstream::default());
    let mut holder = task::spawn(service.clone().call(Call::new("a").timeout(100 * SECOND)));
    assert_pending!(holder.poll());
    let before = Instant::now();
    assert!(service.oneshot(Call::new("b")).await.unwrap_err().is_bulkhead_full());
    assert_eq!(before.elapsed(), 706 * MS, "the rest is for the attempt");
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_retry_gives_up_at_once_when_the_bulkhead_is_full() {
    let bulkhead = one().max_waiting(0).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::default()).without_budget().classifier(classify::from_fn(faulty)))
        .layer(BulkheadLayer::new(bulkhead.clone()))
        .service(tower::service_fn(async |_: HttpRequest| std::future::pending::<Answered>().await));
    let mut holder = task::spawn(service.clone().call(idempotent()));
    assert_pending!(holder.poll());
    let mut refused = task::spawn(service.clone().call(idempotent()));
    assert!(assert_ready_err!(refused.poll()).is_bulkhead_full());
    assert_eq!(bulkhead.refused(), 1);
}

// ===== The queue =====

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_the_order_in_which_they_came() {
    let rig = Rig::one();
    let mut calls = rig.begin_all(["a", "b", "c", "d"]);
    for (index, name) in [(1, "b"), (2, "c"), (3, "d")] {
        rig.upstream.answer(Ok(empty()));
        drop(assert_ready_ok!(calls[index - 1].poll()));
        let waiting = &calls[index..];
        assert!(waiting[0].is_woken() && !waiting[1..].iter().any(task::Spawn::is_woken));
        assert_pending!(calls[index].poll());
        assert_eq!(rig.upstream.pending(), [name]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_the_queue() {
    let rig = Rig::one();
    let holder = rig.begin("a");
    let mut waiter = rig.begin("b");
    drop(holder);
    // The permit belongs to the waiter already, although the waiter was not polled yet.
    let _newcomer = rig.begin("c");
    assert_pending!(waiter.poll());
    assert_eq!(rig.upstream.pending(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_leaves_no_trace_and_its_turn_passes_on() {
    let rig = Rig::one();
    let holder = rig.begin("a");
    let [first, mut second] = rig.begin_all(["b", "c"]);
    drop(first);
    assert_eq!(rig.figures(), (1, 1, 0));
    drop(holder);
    assert!(second.is_woken());
    assert_pending!(second.poll());
    assert_eq!(rig.upstream.pending(), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_leaves_is_not_woken() {
    let rig = Rig::one();
    let _holder = rig.begin("a");
    let mut task = task::spawn(());
    let mut waiter = Box::pin(rig.service.clone().call(Call::new("b")));
    assert_pending!(task.enter(|cx, _| waiter.as_mut().poll(cx)));
    drop(waiter);
    assert!(!task.is_woken());
    assert_eq!(rig.figures(), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_dropped_after_its_turn_has_come_passes_it_on() {
    let rig = Rig::one();
    let holder = rig.begin("a");
    let [first, mut second] = rig.begin_all(["b", "c"]);
    drop(holder);
    assert!(first.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert_pending!(second.poll());
    assert_eq!(rig.upstream.pending(), ["a", "c"]);
    drop(second);
    assert_eq!(rig.figures(), (0, 0, 0));
    assert_pending!(rig.begin("d").poll());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_time_is_up_passes_its_turn_on() {
    let rig = Rig::one();
    let holder = rig.begin("a");
    let mut late = rig.begin(Call::new("b").deadline(Instant::now() + SECOND));
    let mut next = rig.begin("c");
    advance(SECOND).await;
    assert_ready_err!(late.poll());
    drop(holder);
    assert_pending!(next.poll());
    assert_eq!(rig.upstream.pending(), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_any_point_leaves_no_trace() {
    let rig = Rig::one();
    for _ in 0..100 {
        let never_polled = rig.service.clone().call(Call::new("a"));
        assert_eq!(rig.figures(), (1, 0, 0));
        let waits_unpolled = rig.service.clone().call(Call::new("b"));
        let waits = rig.begin("c");
        assert_eq!(rig.figures(), (1, 2, 0));
        drop((never_polled, waits_unpolled, waits));
        assert_eq!(rig.figures(), (0, 0, 0));
        let in_flight = rig.begin("d");
        drop(in_flight);
        assert_eq!(rig.figures(), (0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_service_below_gives_the_permit_back() {
    let bulkhead = one().build().unwrap();
    let service = BulkheadLayer::new(bulkhead.clone()).layer(tower::service_fn(async |request: Request| {
        assert!(request.into_inner() != "a", "a bug of someone else's");
        Ok::<_, Error<Infallible>>(Response::new(Full::<Bytes>::default()))
    }));
    assert!(tokio::spawn(service.oneshot(Call::new("a"))).await.unwrap_err().is_panic());
    assert_eq!(bulkhead.in_flight(), 0);
}

// ===== Bursts and overloads =====

/// The time of an answer by the upstream, which a test can change.
type AnswerTime = Arc<Mutex<Duration>>;

/// The course of some calls through a bulkhead of 10 permits.
struct Course {
    bulkhead: Bulkhead,
    answer_time: AnswerTime,
    ended: mpsc::UnboundedReceiver<(usize, Duration, bool)>,
    begin: Box<dyn Fn(usize, Duration)>,
}

impl Course {
    fn new() -> Self {
        let bulkhead = Bulkhead::builder().max_concurrent(10).build().unwrap();
        let answer_time: AnswerTime = Arc::new(Mutex::new(50 * MS));
        let (sender, ended) = mpsc::unbounded_channel();
        let service = ServiceBuilder::new()
            .layer(DeadlineLayer::new(10 * SECOND))
            .layer(BulkheadLayer::new(bulkhead.clone()))
            .service(tower::service_fn({
                let answer_time = Arc::clone(&answer_time);
                move |_: Call<usize>| {
                    let time = *answer_time.lock().unwrap();
                    async move {
                        tokio::time::sleep(time).await;
                        Ok::<_, Error<Infallible>>(Response::new(Full::<Bytes>::default()))
                    }
                }
            }));
        let begin = Box::new(move |number, timeout| {
            let (service, sender, begun) = (service.clone(), sender.clone(), Instant::now());
            tokio::spawn(async move {
                let is_ok = service.oneshot(Call::new(number).timeout(timeout)).await.is_ok();
                let _ = sender.send((number, begun.elapsed(), is_ok));
            });
        });
        Self { bulkhead, answer_time, ended, begin }
    }

    fn begin_all(&self, number: usize) {
        (0..number).for_each(|number| (self.begin)(number, 10 * SECOND));
    }

    /// Waits for the ends of `number` calls. Returns the number, the time and the success of each.
    async fn ends(&mut self, number: usize) -> Vec<(usize, Duration, bool)> {
        let mut ends = vec![];
        self.ended.recv_many(&mut ends, number).await;
        while ends.len() < number {
            ends.push(self.ended.recv().await.unwrap());
        }
        ends
    }

    fn set_answer_time(&self, time: Duration) {
        *self.answer_time.lock().unwrap() = time;
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_the_upstream_works_off_is_served_whole_and_in_order() {
    // Case 36, with 10 permits.
    let mut course = Course::new();
    for calls in [400, 400] {
        course.begin_all(calls);
        let ends = course.ends(calls).await;
        assert!(ends.iter().all(|(_, _, is_ok)| *is_ok));
        assert!(ends.is_sorted_by_key(|(number, ..)| *number));
        assert!(ends.last().unwrap().1 <= 2100 * MS, "40 rounds of 50 ms");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_after_a_burst_overtake_it_when_the_upstream_slows_down() {
    let mut course = Course::new();
    course.begin_all(10);
    course.ends(10).await;
    course.begin_all(400);
    course.set_answer_time(250 * MS);
    tokio::time::sleep(2 * SECOND).await;
    (course.begin)(1000, 10 * SECOND);
    let mut ends: Vec<(usize, Duration, bool)> = vec![];
    while ends.last().is_none_or(|(number, ..)| *number != 1000) {
        ends.extend(course.ends(1).await);
    }
    let (_, took, is_ok) = ends.last().unwrap();
    assert!(*is_ok && *took <= 550 * MS, "{took:?}");
    assert!(course.bulkhead.waiting() > 200);
}

#[tokio::test(start_paused = true)]
async fn newcomers_to_a_hopeless_queue_are_told_after_max_wait() {
    let mut course = Course::new();
    course.set_answer_time(400 * MS);
    course.begin_all(10);
    course.ends(10).await;
    course.begin_all(1000); // 40 s of work.
    let ends = course.ends(900).await;
    let told = ends.iter().filter(|(_, took, is_ok)| !is_ok && *took == SECOND).count();
    assert!(told > 600, "{told}");
}

#[tokio::test(start_paused = true)]
async fn the_callers_of_an_upstream_that_hangs_are_told_after_max_wait() {
    let mut course = Course::new();
    course.begin_all(10);
    course.ends(10).await;
    course.set_answer_time(60 * SECOND);
    course.begin_all(110);
    for (_, took, is_ok) in course.ends(100).await {
        assert!(!is_ok && took == SECOND, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_moves_is_waited_for_beyond_max_wait() {
    let mut course = Course::new();
    course.set_answer_time(500 * MS);
    course.begin_all(100);
    let ends = course.ends(100).await;
    assert!(ends.iter().all(|(_, _, is_ok)| *is_ok));
    assert!(ends.last().unwrap().1 > 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn one_slow_answer_before_a_burst_costs_nobody_a_permit() {
    let mut course = Course::new();
    course.set_answer_time(5 * SECOND);
    course.begin_all(1);
    course.ends(1).await;
    course.set_answer_time(50 * MS);
    course.begin_all(1000);
    assert!(course.ends(1000).await.iter().all(|(_, _, is_ok)| *is_ok));
}

#[tokio::test(start_paused = true)]
async fn a_burst_on_an_upstream_that_takes_longer_than_max_wait_is_served_whole() {
    let mut course = Course::new();
    course.set_answer_time(1500 * MS);
    course.begin_all(10);
    course.ends(10).await;
    course.begin_all(40);
    assert!(course.ends(40).await.iter().all(|(_, _, is_ok)| *is_ok));
}

#[tokio::test(start_paused = true)]
async fn a_lasting_overload_keeps_the_latency_of_the_newest_calls() {
    let mut course = Course::new();
    course.set_answer_time(100 * MS);
    // 10 permits serve 100 calls a second, and 125 come.
    for number in 0..60 * 125 {
        (course.begin)(number, 10 * SECOND);
        tokio::time::sleep(8 * MS).await;
    }
    assert_ne!(course.bulkhead.waiting(), 0);
    let mut ends = vec![];
    while let Ok(end) = course.ended.try_recv() {
        ends.push(end);
    }
    let answered: Vec<_> = ends.iter().filter(|(_, _, is_ok)| *is_ok).collect();
    assert!(answered.len() > 5900, "{}", answered.len());
    let late = answered.iter().filter(|(_, took, _)| *took > SECOND).count();
    assert!(late * 10 < answered.len(), "{late} of {} are late", answered.len());
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_deadline_waits_for_the_answer_of_a_slow_upstream() {
    let bulkhead = Bulkhead::builder().max_concurrent(1).build().unwrap();
    let service = BulkheadLayer::new(bulkhead).layer(tower::service_fn(async |_: Call<usize>| {
        tokio::time::sleep(1500 * MS).await;
        Ok::<_, Error<Infallible>>(Response::new(Full::<Bytes>::default()))
    }));
    for number in 0..5 {
        service.clone().oneshot(Call::new(number)).await.unwrap();
    }
    let (first, second) =
        tokio::join!(service.clone().oneshot(Call::new(5)), service.clone().oneshot(Call::new(6)));
    assert!(first.is_ok() && second.is_ok());
}

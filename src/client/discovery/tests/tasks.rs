//! The starts and the ends of the task.

use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::sleep;

use super::rig::Answer::Never;
use super::rig::Rig;
use super::{added, v4, v4s};
use crate::client::discovery::news::IDLE;
use crate::client::discovery::{AddressNews, NameDiscovery};

#[tokio::test(start_paused = true)]
async fn uses_during_the_report_of_idle_start_one_task() {
    let discovery = Arc::<Mutex<Option<NameDiscovery>>>::default();
    let of_sink = Arc::clone(&discovery);
    let rig = Rig::with_sink([v4s([1])], move |news| {
        if news == AddressNews::Idle {
            let of_call = Arc::clone(&of_sink);
            // This task runs after the end of the old task, but before the new task.
            tokio::spawn(async move { of_call.lock().unwrap().as_ref().unwrap().used() });
            of_sink.lock().unwrap().as_ref().unwrap().used();
        }
        news
    });
    rig.discovery.used();
    *discovery.lock().unwrap() = Some(rig.discovery);
    sleep(IDLE + Duration::from_millis(1)).await;
    assert_eq!(*rig.news.lock().unwrap(), [added(v4(1)), AddressNews::Idle]);
    assert_eq!(rig.script.times(), [0, 90_000]);
    let discovery = discovery.lock().unwrap().take().unwrap();
    assert_eq!(Arc::weak_count(&discovery.shared), 1, "one task runs");
}

#[test]
fn without_a_runtime_a_use_does_nothing() {
    let rig = Rig::new([v4s([1])]);
    rig.discovery.used();
    rig.discovery.hint();
    assert_eq!(rig.script.look_ups(), 0);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(rig.use_once());
    assert_eq!(rig.news(), [added(v4(1))]);
}

#[test]
fn the_next_use_survives_the_end_of_a_runtime() {
    let rig = Rig::new([v4s([1]), Never, v4s([1, 2])]);
    let runtime = || Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (first, second, third) = (runtime(), runtime(), runtime());
    first.block_on(rig.use_once());
    drop(first); // The task was waiting.
    second.block_on(rig.use_once());
    assert_eq!((rig.script.look_ups(), rig.script.running()), (2, 1));
    drop(second); // The task was looking up.
    assert_eq!(rig.script.running(), 0);
    let on_third = third.enter();
    rig.discovery.used();
    drop(on_third);
    drop(third); // The task has not started.
    runtime().block_on(rig.use_once());
    assert_eq!(rig.news(), [added(v4(1)), added(v4(2))]);
    assert_eq!(rig.script.look_ups(), 3);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_discovery_ends_its_task() {
    for answer in [v4s([1]), Never] {
        let rig = Rig::new([answer]);
        rig.use_once().await;
        drop(rig.discovery);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(Arc::strong_count(&rig.script), 1, "the task has dropped its resolver");
        assert_eq!(Arc::strong_count(&rig.news), 1, "the sink is dropped");
    }
}

#[test]
fn many_threads_start_one_task() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    for _ in 0..50 {
        let rig = Rig::new([v4s([1])]);
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let _runtime = runtime.enter();
                    barrier.wait();
                    for _ in 0..100 {
                        rig.discovery.used();
                    }
                });
            }
        });
        while rig.news.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!((rig.script.look_ups(), rig.news()), (1, vec![added(v4(1))]));
    }
}

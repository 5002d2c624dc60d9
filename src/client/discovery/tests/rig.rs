//! A discovery whose resolver follows a script.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::{Instant, sleep};

use super::super::*;

pub(super) const REFRESH: Duration = Duration::from_secs(5);

/// One answer of the script.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Addresses(Vec<IpAddr>),
    Failure,
    Late(Duration, Vec<IpAddr>),
    Never,
}

/// Gives the answers in their order, and the last one again and again.
pub(super) struct Script {
    answers: Mutex<VecDeque<Answer>>,
    start: Instant,
    /// The times of the look-ups.
    times: Mutex<Vec<Duration>>,
    running: Arc<AtomicUsize>,
    most_running: AtomicUsize,
}

/// Counts a running look-up.
struct Look(Arc<AtomicUsize>);

impl Drop for Look {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Resolve for Script {
    fn resolve(&self, _: Name) -> Resolving {
        self.times.lock().unwrap().push(self.start.elapsed());
        self.most_running.fetch_max(self.running.fetch_add(1, Relaxed) + 1, Relaxed);
        let look = Look(Arc::clone(&self.running));
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let answer = answer.unwrap();
        Box::pin(async move {
            let _look = look;
            let addresses: Vec<IpAddr> = match answer {
                Answer::Addresses(addresses) => addresses,
                Answer::Failure => return Err("no such name".into()),
                Answer::Late(after, addresses) => {
                    sleep(after).await;
                    addresses
                }
                Answer::Never => pending().await,
            };
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

impl Script {
    pub(super) fn look_ups(&self) -> usize {
        self.times.lock().unwrap().len()
    }

    pub(super) fn running(&self) -> usize {
        self.running.load(Relaxed)
    }

    pub(super) fn most_running(&self) -> usize {
        self.most_running.load(Relaxed)
    }

    /// The times of the look-ups in milliseconds.
    pub(super) fn times(&self) -> Vec<u128> {
        self.times.lock().unwrap().iter().map(Duration::as_millis).collect()
    }

    /// The times between the look-ups.
    pub(super) fn pauses(&self) -> Vec<Duration> {
        self.times.lock().unwrap().windows(2).map(|pair| pair[1].abs_diff(pair[0])).collect()
    }
}

pub(super) struct Rig {
    pub(super) discovery: NameDiscovery,
    pub(super) script: Arc<Script>,
    pub(super) news: Arc<Mutex<Vec<AddressNews>>>,
}

impl Rig {
    pub(super) fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::with_sink(answers, |news| news)
    }

    /// Each report passes `sink` before it is recorded.
    pub(super) fn with_sink(
        answers: impl IntoIterator<Item = Answer>,
        sink: impl Fn(AddressNews) -> AddressNews + Send + Sync + 'static,
    ) -> Self {
        let script = Arc::new(Script {
            answers: Mutex::new(answers.into_iter().collect()),
            start: Instant::now(),
            times: Mutex::default(),
            running: Arc::default(),
            most_running: AtomicUsize::new(0),
        });
        let news = Arc::<Mutex<Vec<AddressNews>>>::default();
        let reported = Arc::clone(&news);
        let settings = DiscoverySettings { refresh: REFRESH, max_addresses: 64, seed: 7 };
        let discovery = NameDiscovery::new(
            "sku.internal".into(),
            "sku".into(),
            Resolver::new(HashMap::new(), Some(Arc::clone(&script) as Arc<dyn Resolve>)),
            settings,
            Arc::new(move |report| {
                let report = sink(report);
                reported.lock().unwrap().push(report);
            }),
        );
        Self { discovery, script, news }
    }

    /// Takes the reports.
    pub(super) fn news(&self) -> Vec<AddressNews> {
        std::mem::take(&mut *self.news.lock().unwrap())
    }

    /// Uses the name once, and lets the task run.
    pub(super) async fn use_once(&self) {
        self.discovery.used();
        sleep(Duration::from_millis(1)).await;
    }

    /// Uses the name often for `time`.
    pub(super) async fn keep_using(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.discovery.used();
            sleep(Duration::from_millis(50)).await;
        }
    }
}

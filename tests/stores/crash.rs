//! A process that is killed at any moment leaves each entry whole or absent, and all flushed entries on the disk.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use steadfast::last_known_good::Store as _;
use steadfast::stores::DiskStore;

use crate::contract::noise;
use crate::folder::Folder;

const KILLS: usize = 200;
/// The number of store files. For each file, one child after the other is killed; the files are tested concurrently.
const FILES: usize = 4;

const KEYS: u64 = 24;
const KEEP_FOR: Duration = Duration::from_secs(24 * 3600);
/// The environment variable with the number of a child's first put and the path of the store.
const CHILD: &str = "STEADFAST_CRASH_TEST";

// ===== keys and values =====

/// The key of the put with this number.
fn key(number: u64) -> u64 {
    SmallRng::seed_from_u64(number).random_range(0..KEYS)
}

/// The value of the put with this number: the number, followed by noise from zero bytes to several pages.
fn value(number: u64) -> Bytes {
    let mut random = SmallRng::seed_from_u64(!number);
    let length =
        if random.random_bool(0.1) { random.random_range(0..60_000) } else { random.random_range(0..5000) };
    let mut value = number.to_le_bytes().to_vec();
    value.extend(noise(number, length));
    value.into()
}

// ===== the child =====

/// Puts and flushes until killed, and reports each put and flush on stderr.
#[tokio::test]
#[ignore = "it is run by the test below, in a process of its own"]
async fn child() {
    let Some(argument) = env::var_os(CHILD) else { return };
    let argument = argument.into_string().unwrap();
    let (first, path) = argument.split_once(' ').unwrap();
    let store = DiskStore::open(path).unwrap();
    // Each line is one write, so that the kill cuts no line short.
    let say = |line: String| std::io::stderr().write_all(line.as_bytes()).unwrap();
    say("opened\n".to_owned());
    let mut random = SmallRng::seed_from_u64(first.parse().unwrap());
    for number in first.parse().unwrap().. {
        store.put(&key(number).to_string(), value(number), KEEP_FOR).await.unwrap();
        say(format!("put {number}\n"));
        if random.random_bool(0.2) {
            store.flush().await.unwrap();
            say(format!("flushed {number}\n"));
        }
    }
}

struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(path: &Path, first: u64) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "crash::child", "--nocapture"])
            .env(CHILD, format!("{first} {}", path.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let reader = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || reader.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Waits for `lines` lines of the child, lets the child run for `time`, and kills it. Returns all its lines.
    fn kill_after(mut self, lines: usize, time: Duration) -> Vec<String> {
        let patience = Duration::from_secs(60);
        let mut reports: Vec<_> = (0..lines).map_while(|_| self.lines.recv_timeout(patience).ok()).collect();
        assert_eq!(reports.len(), lines, "it ended by itself: {reports:?}");
        // Nothing comes on this channel, so the wait lasts for `time`.
        let (_silent, silence) = channel::<()>();
        assert_eq!(silence.recv_timeout(time), Err(RecvTimeoutError::Timeout));
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        reports.extend(self.lines);
        assert!(!reports.iter().any(|line| line.contains("panicked")), "{reports:?}");
        reports
    }
}

// ===== the test =====

#[tokio::test]
async fn a_killed_process_leaves_each_entry_whole_or_absent() {
    let folder = Folder::new("crash");
    let mut files = Vec::new();
    for file in 0..FILES {
        let path = folder.0.join(file.to_string());
        files.push(tokio::spawn(async move { kill_over_and_over(&path, file as u64).await }));
    }
    let mut flushed = 0;
    for file in files {
        flushed += file.await.unwrap();
    }
    // With fewer flushes, the test would prove little.
    assert!(flushed > KILLS / 2, "{flushed} flushes");
}

/// Kills one child after the other. Returns the number of flushes that the children reported.
async fn kill_over_and_over(path: &Path, seed: u64) -> usize {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut flushes = 0;
    // Puts up to `promised` were flushed and must be on the disk. Later puts up to `last` may be on the disk.
    let (mut promised, mut last) = (0, 0);
    // The newest flushed put of each key.
    let mut newest = BTreeMap::new();
    for kill in 0..KILLS / FILES {
        // After zero lines, the child is still starting, opening or repairing. Later, the child is writing.
        let lines = if random.random_bool(0.2) { 0 } else { random.random_range(1..40) };
        let time = Duration::from_micros(random.random_range(0..15_000));
        // Puts that may be lost are repeated, so that the next flush covers all puts before it.
        let running = Running::start(path, promised + 1);
        let reports = tokio::task::spawn_blocking(move || running.kill_after(lines, time)).await.unwrap();
        for line in reports {
            match line.split_once(' ') {
                Some(("put", number)) => last = last.max(number.parse().unwrap()),
                Some(("flushed", number)) => {
                    let all = number.parse().unwrap();
                    newest.extend((promised + 1..=all).map(|number| (key(number), number)));
                    promised = all;
                    flushes += 1;
                }
                _ => {}
            }
        }
        // After the other kills, the next child opens the file first, so that some children are killed during a
        // repair.
        if kill % 3 == 0 || kill == KILLS / FILES - 1 {
            // The child may have made one more put than it reported.
            verify(path, &newest, last + 1).await;
        }
    }
    flushes
}

async fn verify(path: &Path, newest: &BTreeMap<u64, u64>, most: u64) {
    let store = DiskStore::open(path).unwrap();
    let (mut entries, mut bytes) = (0, 0);
    for of in 0..KEYS {
        let found = store.get(&of.to_string()).await.unwrap();
        let least = newest.get(&of);
        let Some(found) = found else {
            assert_eq!(least, None, "what was put under {of} was flushed, and is gone");
            continue;
        };
        let number = u64::from_le_bytes(found[..8].try_into().unwrap());
        assert!(found == value(number), "the entry of put {number} is not what was put");
        assert_eq!(key(number), of, "put {number} is under another key");
        assert!(number <= most && Some(&number) >= least, "{number} is not between {least:?} and {most}");
        entries += 1;
        bytes += (of.to_string().len() + found.len() + 128) as u64;
    }
    assert_eq!((store.len(), store.bytes()), (entries, bytes), "what is counted is what there is");
    store.close().await.unwrap();
}

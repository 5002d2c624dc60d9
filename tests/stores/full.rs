//! A full disk, simulated by a process whose files may not grow beyond a limit. The limit is lifted later.

use std::env;
use std::panic;
use std::path::Path;
use std::process::{self, Command};
use std::time::Duration;

use steadfast::last_known_good::Store as _;
use steadfast::stores::{DiskStore, DiskStoreError};

use crate::contract::noise;
use crate::folder::Folder;

const HOUR: Duration = Duration::from_secs(3600);
/// The environment variable with the path of the child's store.
const CHILD: &str = "STEADFAST_FULL_TEST";

#[test]
fn a_full_disk_loses_only_the_puts_made_meanwhile() {
    let folder = Folder::new("full");
    // With `SIGXFSZ` ignored, a write beyond the limit is an error and does not end the process.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "full::child", "--nocapture"])
        .env(CHILD, folder.file())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

fn limit_files(bytes: &str) {
    let pid = process::id().to_string();
    let limit = format!("--fsize={bytes}:unlimited");
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
}

#[tokio::test]
#[ignore = "it is run by the test above, in a process of its own"]
async fn child() {
    let Some(path) = env::var_os(CHILD) else { return };
    let path = Path::new(&path);
    // Every panic aborts the child, as with `panic = "abort"`: a full disk must not cause a panic.
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        report(panic);
        process::abort();
    }));
    let store = DiskStore::open(path).unwrap();
    let put = async |key: &str| store.put(key, noise(1, 1024 * 1024).into(), HOUR).await;
    put("before").await.unwrap();
    store.flush().await.unwrap();

    limit_files("8000000");
    let mut written = 0;
    let failure = loop {
        put(&written.to_string()).await.unwrap();
        match store.flush().await {
            Ok(()) => written += 1,
            Err(failure) => break failure,
        }
        assert!(written < 100, "the disk is never full");
    };
    assert!(matches!(failure, DiskStoreError::Failed(_)), "{failure:?}");
    // The next write fails, too. Either the put or the flush reports the failure.
    let again = match put("meanwhile").await {
        Ok(()) => store.flush().await.map_err(steadfast::BoxError::from),
        refused => refused,
    };
    assert!(again.is_err());
    for key in 0..written {
        assert!(store.get(&key.to_string()).await.unwrap().is_some(), "{key}");
    }
    assert_eq!(store.get("before").await.unwrap().unwrap(), noise(1, 1024 * 1024));

    limit_files("unlimited");
    put("after").await.unwrap();
    store.flush().await.unwrap();
    store.close().await.unwrap();
    let store = DiskStore::open(path).unwrap();
    assert_eq!(store.len(), written + 2);
    assert_eq!(store.get("after").await.unwrap().unwrap(), noise(1, 1024 * 1024));
    assert!(store.get("meanwhile").await.unwrap().is_none());
}

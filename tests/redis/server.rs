//! A Redis server for each test.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, fs, io, process};

use redis::{Cmd, FromRedisValue, RedisError};

use super::eventually;

/// A `redis-server` process with a port and a directory of its own. Ends when dropped.
pub(crate) struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
    password: &'static str,
}

/// A server for this test. `None` if no `redis-server` is installed.
pub(crate) async fn server() -> Option<Server> {
    server_with_password("").await
}

/// A server that requires a password, like [`server`].
pub(crate) async fn server_with_password(password: &'static str) -> Option<Server> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if !*INSTALLED {
        let required = env::var_os("STEADFAST_REQUIRE_REDIS").is_some_and(|it| it == "1");
        assert!(!required, "there is no redis-server, and STEADFAST_REQUIRE_REDIS=1 asks for it");
        return None;
    }
    let folder = format!("steadfast-redis-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = env::temp_dir().join(folder);
    // Another process can take the free port before the server binds to it.
    for _ in 0..10 {
        fs::create_dir_all(&folder).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut server =
            Server { child: spawn(port, &folder, password), port, folder: folder.clone(), password };
        if server.is_up().await {
            return Some(server);
        }
        println!("redis-server does not start: {}", server.log());
    }
    panic!("redis-server does not start");
}

/// True if a `redis-server` is installed. If not, writes a warning directly to stderr: the test harness hides printed
/// output, but not direct writes.
static INSTALLED: LazyLock<bool> = LazyLock::new(|| {
    let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    if version.is_ok_and(|status| status.success()) {
        return true;
    }
    let line = "=".repeat(100);
    let warning = format!(
        "\n{line}\nLEFT OUT: there is no redis-server on this machine, so the store in Redis was NOT tested against one.\n\
         Debian has it: apt-get install redis-server. STEADFAST_REQUIRE_REDIS=1 makes this a failure.\n{line}\n\n"
    );
    io::stderr().write_all(warning.as_bytes()).unwrap();
    false
});

fn spawn(port: u16, folder: &PathBuf, password: &str) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--requirepass", password])
        .args(["--save", "", "--appendonly", "no", "--logfile", "redis.log", "--dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

impl Server {
    pub(crate) fn url(&self) -> String {
        let (port, password) = (self.port, self.password);
        if password.is_empty() {
            format!("redis://127.0.0.1:{port}")
        } else {
            format!("redis://:{password}@127.0.0.1:{port}")
        }
    }

    /// Runs a command on the server, over a separate connection.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).await.unwrap()
    }

    async fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> Result<T, RedisError> {
        let client = redis::Client::open(self.url())?;
        let patient = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(10)))
            .set_response_timeout(Some(Duration::from_secs(10)));
        let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
        let mut command = Cmd::new();
        command.arg(words);
        command.query_async(&mut connection).await
    }

    /// A number from `INFO`. Zero if the server does not list the name.
    pub(crate) async fn info(&self, section: &str, name: &str) -> u64 {
        let info: String = self.ask(&["INFO", section]).await;
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map_or(0, |number| number.parse().unwrap())
    }

    /// The number of times that the server has run this command.
    pub(crate) async fn calls(&self, command: &str) -> u64 {
        let info: String = self.ask(&["INFO", "commandstats"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    /// The number of connections accepted so far, with the connection that asks.
    pub(crate) async fn connections(&self) -> u64 {
        self.info("stats", "total_connections_received").await
    }

    /// Waits until `count` clients are connected, without the connection that asks.
    pub(crate) async fn has_clients(&self, count: u64) {
        let connected = async || self.info("clients", "connected_clients").await - 1;
        eventually(&format!("{count} clients"), async || connected().await == count).await;
    }

    /// Makes the server hang: its sockets stay open, but the server neither reads nor answers.
    pub(crate) fn stop(&self) {
        self.signal("STOP");
    }

    /// Lets a stopped server continue.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Kills the server, so that all its data is lost.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts an empty server on the same port.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.port, &self.folder, self.password);
        assert!(self.is_up().await, "redis-server does not start again: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("redis.log")).unwrap_or_default()
    }

    /// Waits until the server answers. False if the process has ended.
    async fn is_up(&mut self) -> bool {
        let mut ended = false;
        eventually("redis-server answers", async || {
            ended = self.child.try_wait().unwrap().is_some();
            // A foreign server that took the port first has another process id.
            let answers = self
                .try_ask::<String>(&["INFO", "server"])
                .await
                .is_ok_and(|info| info.lines().any(|line| line == format!("process_id:{}", self.child.id())));
            ended || answers
        })
        .await;
        !ended
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = (self.child.kill(), self.child.wait());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

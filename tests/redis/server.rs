//! A server of one's own.

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

/// A `redis-server` on a port of its own, with a directory of its own. It ends with the test.
pub(crate) struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
    password: &'static str,
}

/// A server for this test, or `None` where there is no `redis-server`.
pub(crate) async fn server() -> Option<Server> {
    server_with_password("").await
}

/// The same, for who knows the password.
pub(crate) async fn server_with_password(password: &'static str) -> Option<Server> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if !*INSTALLED {
        let required = env::var_os("STEADFAST_REQUIRE_REDIS").is_some_and(|it| it == "1");
        assert!(!required, "there is no redis-server, and STEADFAST_REQUIRE_REDIS=1 asks for it");
        return None;
    }
    let folder = format!("steadfast-redis-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = env::temp_dir().join(folder);
    // Somebody else can take a port that was free a moment ago.
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

/// Whether there is a `redis-server`. If not, says what is left out where a person sees it: the test harness keeps what is
/// printed to itself, but not what is written.
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

    /// Asks the server directly, over a connection for this alone.
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

    /// A number of `INFO`; zero if it is not there.
    pub(crate) async fn info(&self, section: &str, name: &str) -> u64 {
        let info: String = self.ask(&["INFO", section]).await;
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map_or(0, |number| number.parse().unwrap())
    }

    /// How often it was asked to do this.
    pub(crate) async fn calls(&self, command: &str) -> u64 {
        let info: String = self.ask(&["INFO", "commandstats"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    /// How many connections there have been, with that of who asks.
    pub(crate) async fn connections(&self) -> u64 {
        self.info("stats", "total_connections_received").await
    }

    /// Waits until so many are connected, without who asks.
    pub(crate) async fn has_clients(&self, count: u64) {
        let connected = async || self.info("clients", "connected_clients").await - 1;
        eventually(&format!("{count} clients"), async || connected().await == count).await;
    }

    /// It hangs: its sockets stay open, and nothing is read or answered.
    pub(crate) fn stop(&self) {
        self.signal("STOP");
    }

    /// It goes on as if nothing had been.
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// It is gone, with all that it had.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Another one in its place, empty.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.port, &self.folder, self.password);
        assert!(self.is_up().await, "redis-server does not start again: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("redis.log")).unwrap_or_default()
    }

    /// Waits until it answers; `false` if it has ended.
    async fn is_up(&mut self) -> bool {
        let mut ended = false;
        eventually("redis-server answers", async || {
            ended = self.child.try_wait().unwrap().is_some();
            // Somebody else's server, on the port that was to be this one's, has another process id.
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
        // Either fails only if it has been done already.
        let _ = (self.child.kill(), self.child.wait());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

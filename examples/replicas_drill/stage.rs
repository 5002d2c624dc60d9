//! The stage: the replicas of one client in one arrangement, which play the script.

use std::cmp::Reverse;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::directory::Directory;
use crate::replica::{Arrivals, Behaviour, Replica};
use crate::script::{Event, Phase, REPLICAS};
use crate::subject::Subject;

/// A fault strikes the replica with the most requests in this time.
const RECENT: Duration = Duration::from_secs(2);

/// An event follows the start of its phase after this time, so that no call of the phase before meets it on its way.
const MOMENT: Duration = Duration::from_millis(10);

pub struct Stage {
    pub subject: Subject,
    pub directory: Directory,
    /// All replicas: those at the start, and the one that is added.
    replicas: Vec<Replica>,
    in_service: Vec<usize>,
    /// The replica of each phase so far: that which breaks, comes or goes.
    pub concerned: Vec<Option<usize>>,
}

impl Stage {
    /// Starts the first replicas.
    pub fn open(subject: Subject) -> io::Result<Self> {
        let addresses = free_addresses(REPLICAS + 1)?;
        let in_service: Vec<_> = (0..REPLICAS).collect();
        let named = addresses[..REPLICAS].to_vec();
        let mut replicas: Vec<_> = (1..).zip(addresses).map(|(seed, it)| Replica::new(it, seed)).collect();
        in_service.iter().try_for_each(|index| replicas[*index].start())?;
        let directory = Directory::open(subject.arrangement, named, 1)?;
        Ok(Self { subject, directory, replicas, in_service, concerned: Vec::new() })
    }

    /// Plays the script. The replicas run until the stage is dropped.
    pub async fn play(mut self, phases: Vec<Phase>, epoch: Instant) -> io::Result<Self> {
        for phase in phases {
            sleep_until(epoch + phase.start + MOMENT).await;
            let end = epoch + phase.end;
            let concerned = match phase.event {
                Event::Nothing => None,
                Event::Fail => Some(self.strike(Behaviour::Failing, end).await),
                Event::Hang => Some(self.strike(Behaviour::Hanging, end).await),
                Event::Slow => Some(self.strike(Behaviour::Slow, end).await),
                Event::Restart => {
                    self.restart_all(phase.length()).await?;
                    None
                }
                Event::Add => Some(self.add()?),
                Event::Remove => Some(self.remove(phase.length()).await),
            };
            self.concerned.push(concerned);
        }
        Ok(self)
    }

    /// The arrivals at each replica.
    pub fn arrivals(&self) -> Vec<Arrivals> {
        self.replicas.iter().map(Replica::arrivals).collect()
    }

    /// Breaks a replica until `end`.
    async fn strike(&self, behaviour: Behaviour, end: Instant) -> usize {
        let struck = self.busiest();
        self.replicas[struck].behave(behaviour);
        sleep_until(end).await;
        self.replicas[struck].behave(Behaviour::Healthy);
        struck
    }

    /// Restarts the replicas one after the other. Each is down for a quarter of its turn.
    async fn restart_all(&mut self, length: Duration) -> io::Result<()> {
        let turn = length / u32::try_from(REPLICAS).unwrap_or(u32::MAX);
        let start = Instant::now();
        for (index, count) in (0..REPLICAS).zip(1..) {
            self.take_out(index, turn / 12).await;
            sleep(turn / 4).await;
            self.put_in(index)?;
            sleep_until(start + turn * count).await;
        }
        Ok(())
    }

    fn add(&mut self) -> io::Result<usize> {
        self.put_in(REPLICAS)?;
        Ok(REPLICAS)
    }

    async fn remove(&mut self, length: Duration) -> usize {
        let removed = self.busiest();
        self.take_out(removed, length / 12).await;
        removed
    }

    fn put_in(&mut self, index: usize) -> io::Result<()> {
        self.replicas[index].start()?;
        self.in_service.push(index);
        self.publish();
        Ok(())
    }

    /// Takes a replica out of the directory, and stops it a moment later: the clients that have just found the
    /// replica can still connect.
    async fn take_out(&mut self, index: usize, moment: Duration) {
        self.in_service.retain(|it| *it != index);
        self.publish();
        sleep(moment).await;
        self.replicas[index].stop().await;
    }

    fn publish(&self) {
        let in_service = self.in_service.iter();
        self.directory.set(in_service.map(|index| self.replicas[*index].address()).collect());
    }

    /// The replica, of those at the start, that has received the most requests of late.
    fn busiest(&self) -> usize {
        let since = Instant::now().checked_sub(RECENT);
        let requests = |index: &usize| since.map(|since| self.replicas[*index].requests_since(since));
        // Of several, the first.
        (0..REPLICAS).min_by_key(|index| Reverse(requests(index))).unwrap_or_default()
    }
}

/// Addresses on loopback that share a port.
fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    const TRIES: usize = 100;
    let numbers = (1..=u8::MAX).take(count);
    let ips: Vec<_> = numbers.map(|number| Ipv4Addr::new(127, 0, 78, number)).collect();
    for ip in &ips {
        TcpListener::bind((*ip, 0)).map_err(|error| explain(*ip, &error))?;
    }
    for _ in 0..TRIES {
        let first = TcpListener::bind((ips[0], 0))?;
        let port = first.local_addr()?.port();
        if ips[1..].iter().all(|ip| TcpListener::bind((*ip, port)).is_ok()) {
            return Ok(ips.iter().map(|ip| (*ip, port).into()).collect());
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no port is free at every address of the replicas"))
}

fn explain(ip: Ipv4Addr, error: &io::Error) -> io::Error {
    let hint = if cfg!(target_os = "macos") {
        format!("; try: sudo ifconfig lo0 alias {ip}")
    } else {
        String::new()
    };
    io::Error::new(error.kind(), format!("a replica cannot listen at {ip}: {error}{hint}"))
}

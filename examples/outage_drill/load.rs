//! The load: the same calls through both clients, in an open loop.
//!
//! A closed-loop caller, which waits for an answer before its next call, puts less load on a slow server and so hides
//! the slowness. Here each call starts when it is due, however many calls are in flight.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use steadfast::UpstreamHandle;
use steadfast::circuit_breaker::CircuitBreaker;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clients::{self, Client, SIDES, Side};
use crate::progress::Progress;
use crate::record::{Call, CompletedPhase, Record};
use crate::script::{Phase, RATE};
use crate::server::{ITEMS, Server};

/// The seed for the choice of items and for the servers' random behaviour.
const SEED: u64 = 1972;

pub async fn run(script: &[Phase]) -> Result<Record, Box<dyn Error>> {
    let mut servers = [Server::start(SEED)?, Server::start(SEED)?];
    let urls = servers.each_ref().map(|server| format!("http://{}", server.address()));
    let steadfast = clients::steadfast()?;
    let upstream = steadfast.upstream_at(&urls[Side::Steadfast as usize])?;
    let clients = [Client::Bare(clients::bare()?), Client::Steadfast(steadfast)];

    let mut drill = Drill {
        callers: Arc::new((clients, urls)),
        progress: Progress::new(script.iter().map(|phase| phase.calls).sum()),
        chance: SmallRng::seed_from_u64(SEED),
        epoch: Instant::now(),
        started: 0,
        attempts: 0,
        record: Record::default(),
        upstream,
    };
    for phase in script {
        for server in &mut servers {
            server.play(phase.behaviour).await?;
        }
        drill.play(phase).await?;
    }
    drill.progress.finish();

    let since_start = |arrival: Instant| arrival.duration_since(drill.epoch);
    drill.record.arrivals = servers.map(|server| server.arrivals().into_iter().map(since_start).collect());
    Ok(drill.record)
}

struct Drill {
    /// The clients, and the URLs of their servers.
    callers: Arc<([Client; 2], [String; 2])>,
    upstream: UpstreamHandle,
    progress: Progress,
    chance: SmallRng,
    epoch: Instant,
    /// The calls started so far through each client.
    started: u32,
    /// The attempts of the steadfast client, up to the end of the previous phase.
    attempts: u64,
    record: Record,
}

impl Drill {
    /// Starts the calls of a phase and waits until the last has ended, so that no call and no attempt reaches into
    /// the next phase. Each call ends within [`CALL_TIMEOUT`](clients::CALL_TIMEOUT).
    async fn play(&mut self, phase: &Phase) -> Result<(), Box<dyn Error>> {
        let start = self.epoch.elapsed();
        let period = Duration::from_secs(1) / RATE;
        let mut schedule = tokio::time::interval_at(self.epoch + start, period);
        let Some(mut circuit) = self.upstream.circuit_breaker().map(CircuitBreaker::watch) else {
            return Err("the steadfast client has no circuit breaker".into());
        };
        circuit.mark_changed();
        let mut under_way = JoinSet::new();
        let mut due = 0;
        self.progress.begin(phase.name);
        while due < phase.calls || !under_way.is_empty() {
            tokio::select! {
                _ = schedule.tick(), if due < phase.calls => {
                    self.call(&mut under_way, start + period * due);
                    due += 1;
                }
                Some(call) = under_way.join_next() => {
                    let call = call?;
                    self.progress.count(&call);
                    self.record.calls.push(call);
                }
                Ok(()) = circuit.changed() => {
                    let state = *circuit.borrow_and_update();
                    self.record.circuit.push((self.epoch.elapsed(), state));
                    self.progress.circuit(state);
                }
            }
        }
        // The next phase starts on time, even if every call has ended early.
        let calls_end = start + period * phase.calls;
        tokio::time::sleep_until(self.epoch + calls_end).await;

        let attempts = clients::attempts(&self.upstream, self.started.into());
        self.record.phases.push(CompletedPhase {
            name: phase.name,
            start,
            calls_end,
            end: self.epoch.elapsed(),
            attempts: [phase.calls.into(), attempts - self.attempts],
        });
        self.attempts = attempts;
        self.progress.end(phase.name);
        Ok(())
    }

    /// Starts the next call, through both clients.
    fn call(&mut self, under_way: &mut JoinSet<Call>, due: Duration) {
        // The first calls get each item once; later calls choose items at random.
        let item = if self.started < ITEMS { self.started } else { self.chance.random_range(0..ITEMS) };
        self.started += 1;
        let phase = self.record.phases.len();
        for side in SIDES {
            let callers = Arc::clone(&self.callers);
            let started = Instant::now();
            under_way.spawn(async move {
                let (clients, urls) = &*callers;
                let url = format!("{}/items/{item}", urls[side as usize]);
                let answer = clients[side as usize].call(&url, item).await;
                Call { side, phase, due, took: started.elapsed(), answer }
            });
        }
    }
}

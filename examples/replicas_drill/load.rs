//! The load: the same calls by every subject, in an open loop.
//!
//! A closed-loop caller, which waits for an answer before its next call, puts less load on a slow server and so hides
//! the slowness. Here each call starts when it is due, however many calls are in flight.

use std::error::Error;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::clients::{Client, Protocol};
use crate::progress::Progress;
use crate::record::{Call, Record};
use crate::script::{Due, Script};
use crate::stage::Stage;
use crate::subject::{SUBJECTS, Subject};

/// A client in an arrangement, and the URL of the upstream.
struct Caller {
    subject: Subject,
    client: Client,
    url: String,
}

/// Plays the script to all subjects at the same time.
pub async fn run(script: Script, protocol: Protocol) -> Result<Record, Box<dyn Error>> {
    let opened: Vec<_> = SUBJECTS.into_iter().map(Stage::open).collect::<Result<_, _>>()?;
    let callers: Vec<_> =
        opened.iter().map(|stage| Caller::new(stage, protocol).map(Arc::new)).collect::<Result<_, _>>()?;

    let epoch = Instant::now();
    let mut playing = JoinSet::new();
    for stage in opened {
        playing.spawn(stage.play(script.phases.clone(), epoch));
    }
    let mut progress = Progress::new(&script);
    let mut record = Record::new(&script);
    let mut under_way = JoinSet::new();
    // The replicas run until the last call has ended.
    let mut stages = Vec::new();
    let mut dues = script.calls.iter().peekable();
    loop {
        let next = dues.peek().map(|due| epoch + due.at);
        tokio::select! {
            () = sleep_until(next.unwrap_or(epoch)), if next.is_some() => {
                if let Some(due) = dues.next() {
                    let phase = script.phase_at(due.at);
                    progress.start(phase);
                    for caller in &callers {
                        under_way.spawn(Arc::clone(caller).call(*due, phase));
                    }
                }
            }
            Some(call) = under_way.join_next() => {
                let call = call?;
                progress.count(&call);
                record.calls.push(call);
            }
            Some(stage) = playing.join_next() => stages.push(stage??),
            else => break,
        }
    }
    progress.finish();

    stages.sort_by_key(|stage| stage.subject.index());
    record.observed = stages.iter().map(|stage| crate::record::Observed::new(stage, epoch)).collect();
    Ok(record)
}

// ===== impl Caller =====

impl Caller {
    fn new(stage: &Stage, protocol: Protocol) -> Result<Self, Box<dyn Error>> {
        let client = Client::new(stage.subject.side, stage.directory.names(), protocol)?;
        Ok(Self { subject: stage.subject, client, url: stage.directory.url() })
    }

    async fn call(self: Arc<Self>, due: Due, phase: usize) -> Call {
        let started = Instant::now();
        let url = format!("{}/items/{}", self.url, due.item);
        let answer = self.client.call(&url, due.item).await;
        Call { subject: self.subject, phase, due: due.at, took: started.elapsed(), answer }
    }
}

//! The plan of an upstream: its service model, and its faults over time.

use std::time::Duration;

use http::StatusCode;

/// The latency model of an upstream.
#[derive(Debug, Clone, Copy)]
pub enum Model {
    /// A latency drawn between 0.5 and 1.5 times this duration, whatever the load.
    Steady(Duration),
    /// `base`, plus `each` for every other request in progress (Brooker 2022-08-11).
    Contended { base: Duration, each: Duration },
    /// A queue in front of `workers`: a request takes `work`, `places` requests can wait, and more are answered with
    /// 503 at once.
    Queue { workers: usize, work: Duration, places: usize },
}

/// The fault of an upstream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// This share of the attempts is answered with 503.
    Fails(f64),
    /// This share of the attempts is answered with an error within a few milliseconds, without any work.
    QuickErrors {
        share: f64,
        status: StatusCode,
    },
    /// Connections are refused.
    Refuses,
    /// No attempt is ever answered.
    Hangs,
    /// Every attempt takes this many times as long.
    Slow(f64),
    /// Every attempt is answered with 503 and this `Retry-After`, in seconds.
    RetryAfter(u32),
    /// Every attempt gets this reply, unless its route has a reply of its own.
    Replies(Reply),
}

/// The reply to an attempt that has met no other fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// 200, with a body that arrives with the head.
    Ok,
    /// 500: the application fails, the upstream is alive.
    InternalError,
    /// 200, with a body that arrives after the head.
    Body(Shape),
}

/// A response body that arrives piece by piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub pieces: u32,
    /// At least 8, the length of the time stamp in the first piece.
    pub piece_bytes: usize,
    /// The mean time before each piece. Each time is drawn between 0.5 and 1.5 times the mean.
    pub gap: Duration,
    /// The number of pauses. Each is before a random piece of its own section of the body.
    pub pauses: u32,
    pub pause: Duration,
    /// True if the head states the length of the body.
    pub states_length: bool,
    pub end: End,
}

/// The end of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Whole,
    /// After this number of pieces, the connection breaks at the time of the next piece.
    BreaksAfter(u32),
    /// After this number of pieces, no more arrives.
    StallsAfter(u32),
}

/// A path that has a reply of its own.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub path: &'static str,
    pub reply: Reply,
}

/// A fault that lasts until a time, counted from the start.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    pub until: Duration,
    pub fault: Fault,
}

/// A replica of an upstream: it runs from one time to another, counted from the start.
#[derive(Debug, Clone, Copy)]
pub struct Replica {
    pub starts: Duration,
    pub stops: Duration,
    pub stop: Stop,
}

/// How a replica stops. In both cases, it accepts no more connections, and its idle connections are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The requests in flight are finished.
    Graceful,
    /// The requests in flight break.
    Killed,
}

impl Replica {
    /// A replica that runs all the time.
    pub const ALWAYS: Self = Self { starts: Duration::ZERO, stops: Duration::MAX, stop: Stop::Graceful };
}

/// The model and the faults of an upstream.
#[derive(Debug, Clone)]
pub struct Plan {
    pub model: Model,
    /// The replicas. A restarted replica is a new one.
    pub replicas: Vec<Replica>,
    /// If true, only the first replica has the faults.
    pub one_faulty: bool,
    /// The paths that have a reply of their own.
    pub routes: Vec<Route>,
    /// The phases in order. The last phase never ends.
    pub phases: Vec<Phase>,
}

impl Plan {
    /// An upstream of one replica without faults.
    pub fn healthy(model: Model) -> Self {
        Self { model, replicas: vec![Replica::ALWAYS], one_faulty: false, routes: vec![], phases: vec![] }
    }

    /// True if the replica runs at this time.
    pub fn runs(&self, replica: usize, time: Duration) -> bool {
        let Replica { starts, stops, .. } = self.replicas[replica];
        (starts..stops).contains(&time)
    }

    /// The replicas that run at this time.
    pub fn running(&self, time: Duration) -> impl Iterator<Item = usize> + Clone {
        (0..self.replicas.len()).filter(move |replica| self.runs(*replica, time))
    }

    /// True if the replica accepts connections at this time.
    pub fn listens(&self, replica: usize, time: Duration) -> bool {
        self.runs(replica, time) && self.fault_of(replica, time) != Fault::Refuses
    }

    /// The fault of a replica at this time.
    pub fn fault_of(&self, replica: usize, time: Duration) -> Fault {
        if self.one_faulty && replica > 0 { Fault::None } else { self.fault(time) }
    }

    /// The fault at this time.
    pub fn fault(&self, time: Duration) -> Fault {
        let phase = self.phases.iter().find(|phase| time < phase.until).or(self.phases.last());
        phase.map_or(Fault::None, |phase| phase.fault)
    }

    /// The reply to an attempt to this path that has met no other fault than `fault`.
    pub fn reply(&self, path: &str, fault: Fault) -> Reply {
        match (self.routes.iter().find(|route| route.path == path), fault) {
            (Some(route), _) => route.reply,
            (None, Fault::Replies(reply)) => reply,
            (None, _) => Reply::Ok,
        }
    }

    /// The work that a worker can do until `time`. A slow upstream does less work in the same time.
    pub fn work_until(&self, time: Duration) -> Duration {
        self.segments().map(|(from, until, slow)| until.min(time).saturating_sub(from).div_f64(slow)).sum()
    }

    /// The time when this much work is done: the inverse of [`work_until`](Self::work_until).
    pub fn time_of(&self, work: Duration) -> Duration {
        let mut left = work;
        for (from, until, slow) in self.segments() {
            let need = left.mul_f64(slow);
            if need <= until.saturating_sub(from) {
                return from + need;
            }
            left -= (until - from).div_f64(slow);
        }
        unreachable!("the last segment never ends")
    }

    /// The phases as (start, end, slowdown factor).
    fn segments(&self) -> impl Iterator<Item = (Duration, Duration, f64)> {
        let begins = std::iter::once(Duration::ZERO).chain(self.phases.iter().map(|phase| phase.until));
        let last = self.phases.len().saturating_sub(1);
        self.phases.iter().zip(begins).enumerate().map(move |(index, (phase, from))| {
            let slow = if let Fault::Slow(times) = phase.fault { times } else { 1.0 };
            (from, if index == last { Duration::MAX } else { phase.until }, slow)
        })
    }
}

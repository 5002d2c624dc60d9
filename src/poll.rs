//! What layers say to each other by the way a future or a body is polled.
//!
//! Layers do not know each other, and between two of them can stand types that nothing here can name. What one has to
//! tell another is therefore a flag of the thread, set only while a poll is running that passes through both, as tokio
//! does for its cooperative budget.

use std::cell::Cell;
use std::thread::LocalKey;

use tokio::time::Instant;

use crate::attempts::Attempts;

thread_local! {
    static DISCARDING: Cell<bool> = const { Cell::new(false) };
    static WAITS: Cell<Waits> = const { Cell::new(Waits::Unsaid) };
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
    static REFUSING: Cell<bool> = const { Cell::new(false) };
    static REFUSING_UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
    static SENT: Cell<bool> = const { Cell::new(false) };
    static ATTEMPTS: Cell<Option<Attempts>> = const { Cell::new(None) };
}

/// Polls a body that nobody wants: who holds something for its sake lets go.
pub(crate) fn discarding<T>(poll: impl FnOnce() -> T) -> T {
    let _scope = Scope::enter(&DISCARDING, true);
    poll()
}

/// Whether the body that is being polled is being thrown away.
pub(crate) fn is_discarding() -> bool {
    DISCARDING.get()
}

/// What a call that is not ready waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Something on this side: the upstream has not been asked yet.
    Queue,
    /// The upstream, since then.
    Upstream(Instant),
}

/// Which kind of [`Wait`]: what every call reads and writes is one byte.
#[derive(Clone, Copy)]
enum Waits {
    Unsaid,
    Queue,
    Upstream,
}

/// Says what the future that is being polled waits for. Who is nearest to it knows best.
pub(crate) fn say_wait(wait: Wait) {
    if let Waits::Unsaid = WAITS.get() {
        match wait {
            Wait::Queue => WAITS.set(Waits::Queue),
            Wait::Upstream(since) => {
                SINCE.set(Some(since));
                WAITS.set(Waits::Upstream);
            }
        }
    }
}

/// Listens for what a call waits for.
pub(crate) fn listen_wait() -> WaitScope {
    let waits = Scope::enter(&WAITS, Waits::Unsaid);
    let since = if let Waits::Upstream = waits.before { SINCE.get() } else { None };
    WaitScope { waits, since }
}

pub(crate) struct WaitScope {
    waits: Scope<Waits>,
    /// What was said before this, if anything was.
    since: Option<Instant>,
}

impl WaitScope {
    pub(crate) fn heard(self) -> Option<Wait> {
        match self.waits.flag.get() {
            Waits::Unsaid => None,
            Waits::Queue => Some(Wait::Queue),
            Waits::Upstream => SINCE.get().map(Wait::Upstream),
        }
    }
}

impl Drop for WaitScope {
    fn drop(&mut self) {
        if let Waits::Upstream = self.waits.before {
            SINCE.set(self.since);
        }
    }
}

/// Another attempt would be refused, until then; `None` is without an end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) until: Option<Instant>,
}

/// Says, with the result of an attempt, that another one would be refused.
pub(crate) fn say_refusing(refusal: Refusal) {
    REFUSING_UNTIL.set(refusal.until);
    REFUSING.set(true);
}

/// Listens for whether another attempt would be refused.
pub(crate) fn listen_refusing() -> RefusingScope {
    let refusing = Scope::enter(&REFUSING, false);
    let until = if refusing.before { REFUSING_UNTIL.get() } else { None };
    RefusingScope { refusing, until }
}

pub(crate) struct RefusingScope {
    refusing: Scope<bool>,
    /// What was said before this, if anything was.
    until: Option<Instant>,
}

impl RefusingScope {
    pub(crate) fn heard(self) -> Option<Refusal> {
        self.refusing.flag.get().then(|| Refusal { until: REFUSING_UNTIL.get() })
    }
}

impl Drop for RefusingScope {
    fn drop(&mut self) {
        if self.refusing.before {
            REFUSING_UNTIL.set(self.until);
        }
    }
}

/// Says that something was sent, although what the attempt ends with may look as if nothing was.
#[cfg(feature = "reqwest")]
pub(crate) fn say_sent() {
    SENT.set(true);
}

/// Listens for whether something was sent.
pub(crate) fn listen_sent() -> Scope<bool> {
    Scope::enter(&SENT, false)
}

/// Says how many attempts a call took that ends with an error, on which there is no place to note it.
pub(crate) fn say_attempts(attempts: Attempts) {
    ATTEMPTS.set(Some(attempts));
}

/// Listens for what a call says of its attempts.
pub(crate) fn listen_attempts() -> Scope<Option<Attempts>> {
    Scope::enter(&ATTEMPTS, None)
}

/// A flag that is set for the length of one poll, and then as it was before: what is said in another is never heard.
pub(crate) struct Scope<T: Copy + 'static> {
    flag: &'static LocalKey<Cell<T>>,
    before: T,
}

impl<T: Copy> Scope<T> {
    fn enter(flag: &'static LocalKey<Cell<T>>, value: T) -> Self {
        Self { flag, before: flag.replace(value) }
    }

    /// What was said since this began.
    pub(crate) fn heard(self) -> T {
        self.flag.get()
    }
}

impl<T: Copy> Drop for Scope<T> {
    fn drop(&mut self) {
        self.flag.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_said_within_is_not_heard_outside() {
        let (first, second) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let (waits, refusing) = (listen_wait(), listen_refusing());
        say_wait(Wait::Upstream(first));
        say_refusing(Refusal { until: Some(first) });
        {
            let (waits, refusing) = (listen_wait(), listen_refusing());
            say_wait(Wait::Upstream(second));
            say_refusing(Refusal { until: Some(second) });
            assert_eq!(waits.heard(), Some(Wait::Upstream(second)));
            assert_eq!(refusing.heard().unwrap().until, Some(second));
        }
        assert_eq!(waits.heard(), Some(Wait::Upstream(first)));
        assert_eq!(refusing.heard().unwrap().until, Some(first));
        assert_eq!(listen_wait().heard(), None);
        assert!(listen_refusing().heard().is_none());
    }
}

//! What layers say to each other by the way a future or a body is polled.
//!
//! Layers do not know each other, and between two of them can stand types that nothing here can name. What one has to
//! tell another is therefore a flag of the thread, set only while a poll is running that passes through both, as tokio
//! does for its cooperative budget.

use std::cell::Cell;
use std::thread::LocalKey;

use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::deadline;

thread_local! {
    static DISCARDING: Cell<bool> = const { Cell::new(false) };
    static WAIT: Said<Wait> = const { Said::nothing() };
    static REFUSING: Said<Refusal> = const { Said::nothing() };
    static SENT: Cell<bool> = const { Cell::new(false) };
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
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

/// Says what the future that is being polled waits for. Who is nearest to it knows best.
pub(crate) fn say_wait(wait: Wait) {
    WAIT.with(|said| {
        if !said.anything.get() {
            said.say(wait);
        }
    });
}

/// Listens for what a call waits for.
pub(crate) fn listen_wait() -> Listening<Wait> {
    Listening::to(&WAIT)
}

/// Why there should be no other attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It would be refused, until then; `None` is without an end.
    Until(Option<Instant>),
    /// It would be let through, and most likely fail as well.
    Advised,
}

/// Says, with the result of an attempt, that there should be no other one.
pub(crate) fn say_refusing(refusal: Refusal) {
    REFUSING.with(|said| said.say(refusal));
}

/// Listens for whether there should be another attempt.
pub(crate) fn listen_refusing() -> Listening<Refusal> {
    Listening::to(&REFUSING)
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

/// Says when the call that is being polled has to end. Of several ends, the first counts.
pub(crate) fn say_deadline(end: Option<Instant>) {
    DEADLINE.set(deadline::earliest(DEADLINE.get(), end));
}

/// Listens for when a call has to end.
pub(crate) fn listen_deadline() -> Scope<Option<Instant>> {
    Scope::enter(&DEADLINE, None)
}

/// Says how many attempts a call took that ends with an error, on which there is no place to note it.
pub(crate) fn say_attempts(attempts: Attempts) {
    ATTEMPTS.set(Some(attempts));
}

/// Listens for what a call says of its attempts.
pub(crate) fn listen_attempts() -> Scope<Option<Attempts>> {
    Scope::enter(&ATTEMPTS, None)
}

/// Polls something that is no part of the call: what is said there is not about it.
pub(crate) fn apart<T>(poll: impl FnOnce() -> T) -> T {
    let _wait = listen_wait();
    let _refusing = listen_refusing();
    let _others = (listen_sent(), listen_attempts(), listen_deadline());
    poll()
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

/// Something with a value that is said rarely: what every call reads and writes of it is one byte.
struct Said<T> {
    anything: Cell<bool>,
    /// What it is, if anything is.
    what: Cell<Option<T>>,
}

impl<T: Copy> Said<T> {
    const fn nothing() -> Self {
        Self { anything: Cell::new(false), what: Cell::new(None) }
    }

    fn say(&self, what: T) {
        self.what.set(Some(what));
        self.anything.set(true);
    }

    fn get(&self) -> Option<T> {
        if self.anything.get() { self.what.get() } else { None }
    }
}

/// Listens for the length of one poll; then what was said before is as it was.
pub(crate) struct Listening<T: Copy + 'static> {
    said: &'static LocalKey<Said<T>>,
    before: Option<T>,
}

impl<T: Copy> Listening<T> {
    fn to(said: &'static LocalKey<Said<T>>) -> Self {
        let before = said.with(|said| {
            let before = said.get();
            said.anything.set(false);
            before
        });
        Self { said, before }
    }

    /// What was said since this began.
    pub(crate) fn heard(self) -> Option<T> {
        self.said.with(Said::get)
    }
}

impl<T: Copy> Drop for Listening<T> {
    fn drop(&mut self) {
        self.said.with(|said| match self.before {
            Some(before) => said.say(before),
            None => said.anything.set(false),
        });
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
        say_refusing(Refusal::Until(Some(first)));
        {
            let (waits, refusing) = (listen_wait(), listen_refusing());
            say_wait(Wait::Upstream(second));
            say_refusing(Refusal::Advised);
            assert_eq!(waits.heard(), Some(Wait::Upstream(second)));
            assert_eq!(refusing.heard(), Some(Refusal::Advised));
        }
        assert_eq!(waits.heard(), Some(Wait::Upstream(first)));
        assert_eq!(refusing.heard(), Some(Refusal::Until(Some(first))));
        assert_eq!(listen_wait().heard(), None);
        assert!(listen_refusing().heard().is_none());
    }
}

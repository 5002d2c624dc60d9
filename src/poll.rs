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
    static QUEUED: Cell<bool> = const { Cell::new(false) };
    static REFUSING: Cell<Option<Refusal>> = const { Cell::new(None) };
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

/// Says that the future that is being polled waits on this side, and the upstream has not been asked yet.
pub(crate) fn say_queued() {
    QUEUED.set(true);
}

/// Polls a future; also returns whether it waits on this side. Who listens further out hears it too.
pub(crate) fn hear_queued<T>(poll: impl FnOnce() -> T) -> (T, bool) {
    let (polled, queued) = hear(&QUEUED, poll);
    if queued {
        say_queued();
    }
    (polled, queued)
}

/// Another attempt would be refused, until then; `None` is without an end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) until: Option<Instant>,
}

/// Says, with the result of an attempt, that another one would be refused.
pub(crate) fn say_refusing(refusal: Refusal) {
    REFUSING.set(Some(refusal));
}

/// Polls an attempt; also returns whether another one would be refused.
pub(crate) fn hear_refusing<T>(poll: impl FnOnce() -> T) -> (T, Option<Refusal>) {
    hear(&REFUSING, poll)
}

/// Says that something was sent, although what the attempt ends with may look as if nothing was.
#[cfg(feature = "reqwest")]
pub(crate) fn say_sent() {
    SENT.set(true);
}

/// Polls an attempt; also returns whether it says that something was sent.
pub(crate) fn hear_sent<T>(poll: impl FnOnce() -> T) -> (T, bool) {
    hear(&SENT, poll)
}

/// Says how many attempts a call took that ends with an error, on which there is no place to note it.
pub(crate) fn say_attempts(attempts: Attempts) {
    ATTEMPTS.set(Some(attempts));
}

/// Polls a call; also returns what it says of its attempts.
pub(crate) fn hear_attempts<T>(poll: impl FnOnce() -> T) -> (T, Option<Attempts>) {
    hear(&ATTEMPTS, poll)
}

/// Listens for what is said during one poll, and no other.
fn hear<T, N: Copy + Default>(flag: &'static LocalKey<Cell<N>>, poll: impl FnOnce() -> T) -> (T, N) {
    let _scope = Scope::enter(flag, N::default());
    let polled = poll();
    (polled, flag.get())
}

/// A flag that is set for a while, and then as it was before.
struct Scope<T: Copy + 'static> {
    flag: &'static LocalKey<Cell<T>>,
    before: T,
}

impl<T: Copy> Scope<T> {
    fn enter(flag: &'static LocalKey<Cell<T>>, value: T) -> Self {
        Self { flag, before: flag.replace(value) }
    }
}

impl<T: Copy> Drop for Scope<T> {
    fn drop(&mut self) {
        self.flag.set(self.before);
    }
}

//! What layers say to each other by the way a future or a body is polled.
//!
//! Layers do not know each other, and between two of them can stand types that nothing here can name. What one has to
//! tell another is therefore a flag of the thread, set only while a poll is running that passes through both, as tokio
//! does for its cooperative budget.

use std::cell::Cell;
use std::thread::LocalKey;

use crate::attempts::Attempts;

thread_local! {
    static DISCARDING: Cell<bool> = const { Cell::new(false) };
    static QUEUED: Cell<bool> = const { Cell::new(false) };
    static REFUSING: Cell<bool> = const { Cell::new(false) };
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

/// Polls a future; also returns whether it waits on this side.
pub(crate) fn hear_queued<T>(poll: impl FnOnce() -> T) -> (T, bool) {
    hear(&QUEUED, poll)
}

/// Says, with the result of an attempt, that another one would be refused.
pub(crate) fn say_refusing() {
    REFUSING.set(true);
}

/// Polls an attempt; also returns whether another one would be refused.
pub(crate) fn hear_refusing<T>(poll: impl FnOnce() -> T) -> (T, bool) {
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
    let scope = Scope::enter(&ATTEMPTS, None);
    let polled = poll();
    let said = ATTEMPTS.get();
    drop(scope);
    (polled, said)
}

fn hear<T>(flag: &'static LocalKey<Cell<bool>>, poll: impl FnOnce() -> T) -> (T, bool) {
    let scope = Scope::enter(flag, false);
    let polled = poll();
    let said = flag.get();
    drop(scope);
    // Who listens further out hears it too.
    flag.set(flag.get() || said);
    (polled, said)
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

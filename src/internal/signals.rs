//! Advice that layers give each other while one polls another.
//!
//! Layers do not know each other, and between two of them can stand types that nothing here can name. Two pieces of advice
//! are worth a thread-local for the length of one poll, as tokio has one for its cooperative budget:
//!
//! - *downward*, that a body is read only to be thrown away, so that a permit that is held for it goes back at once;
//! - *upward*, what a pending call waits for, so that the time in a queue is not taken for the upstream's.
//!
//! # What is lost across tasks
//!
//! A layer that moves the call or the body to another task (`tokio::spawn`, `tower::buffer`) hides both. Then a permit goes
//! back when a discarded body has ended or is dropped, and the circuit breaker counts the time in a queue towards slow and
//! abandoned calls, which can open a circuit earlier. A call of another stack that is polled in the same poll (`join!`) is heard,
//! too, and can do the opposite. What decides whether a request may be sent again travels in the request's options, in the
//! error, or in the response's extensions.

use std::cell::Cell;
use std::thread::LocalKey;

use tokio::time::Instant;

thread_local! {
    static DISCARDING: Signal<()> = const { Signal::silent() };
    static WAIT: Signal<Wait> = const { Signal::silent() };
}

/// Polls a body that nobody wants: a layer that holds something for its sake gives it back.
pub(crate) fn discarding<T>(poll: impl FnOnce() -> T) -> T {
    let _scope = SignalScope::enter(&DISCARDING, Some(()));
    poll()
}

/// Whether the body that is being polled is being thrown away.
pub(crate) fn is_discarding() -> bool {
    DISCARDING.with(|signal| signal.is_raised.get())
}

/// What a pending call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// A permit: the upstream has not been asked yet.
    Queue,
    /// The upstream, since this instant.
    Upstream(Instant),
}

/// Tells the layers above what the call waits for. The innermost layer wins.
pub(crate) fn raise_wait(wait: Wait) {
    WAIT.with(|signal| {
        if !signal.is_raised.get() {
            signal.set(Some(wait));
        }
    });
}

/// Listens for what a call waits for.
pub(crate) fn listen_wait() -> SignalScope<Wait> {
    SignalScope::enter(&WAIT, None)
}

/// Polls something that is no part of the call, and drops what it signals.
pub(crate) fn isolated<T>(poll: impl FnOnce() -> T) -> T {
    let _wait = listen_wait();
    poll()
}

/// A value that is rarely there: a poll that passes without one reads and writes a single byte.
struct Signal<T> {
    is_raised: Cell<bool>,
    value: Cell<Option<T>>,
}

impl<T: Copy> Signal<T> {
    const fn silent() -> Self {
        Self { is_raised: Cell::new(false), value: Cell::new(None) }
    }

    fn get(&self) -> Option<T> {
        if self.is_raised.get() { self.value.get() } else { None }
    }

    fn set(&self, value: Option<T>) {
        self.is_raised.set(value.is_some());
        if value.is_some() {
            self.value.set(value);
        }
    }
}

/// The length of one poll. When it ends, the signal is as it was before.
pub(crate) struct SignalScope<T: Copy + 'static> {
    signal: &'static LocalKey<Signal<T>>,
    before: Option<T>,
}

impl<T: Copy> SignalScope<T> {
    fn enter(signal: &'static LocalKey<Signal<T>>, value: Option<T>) -> Self {
        let before = signal.with(|signal| {
            let before = signal.get();
            signal.set(value);
            before
        });
        Self { signal, before }
    }

    /// What was signalled in the scope.
    pub(crate) fn heard(self) -> Option<T> {
        self.signal.with(Signal::get)
    }
}

impl<T: Copy> Drop for SignalScope<T> {
    fn drop(&mut self) {
        self.signal.with(|signal| signal.set(self.before));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn signals_in_a_scope_are_not_visible_outside() {
        let (first, second) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let outer = listen_wait();
        raise_wait(Wait::Upstream(first));
        {
            let inner = listen_wait();
            raise_wait(Wait::Upstream(second));
            assert_eq!(inner.heard(), Some(Wait::Upstream(second)));
        }
        isolated(|| raise_wait(Wait::Queue));
        assert_eq!(outer.heard(), Some(Wait::Upstream(first)));
        assert_eq!(listen_wait().heard(), None);
    }

    #[test]
    fn the_innermost_layer_wins() {
        let outer = listen_wait();
        raise_wait(Wait::Queue);
        raise_wait(Wait::Upstream(Instant::now()));
        assert_eq!(outer.heard(), Some(Wait::Queue));
    }

    #[test]
    fn only_what_is_polled_inside_is_discarded() {
        assert!(!is_discarding());
        assert!(discarding(is_discarding));
        assert!(!is_discarding());
    }
}

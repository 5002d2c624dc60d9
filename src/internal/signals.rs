//! Thread-local signals: advice that one layer gives another during a single poll.
//!
//! Layers do not know each other, and types from other crates can stand between two layers. Facts that correctness
//! needs therefore travel in types: the request's options, the error, and the response's extensions. (The one
//! exception is explained in `client/reqwest_service.rs`.) Two signals have no type to travel in. They are
//! thread-locals, set for one poll as tokio's cooperative budget is, and only give advice:
//!
//! - *Downward*: this body is being discarded. The holder of a permit returns it at once, and the cache stops
//!   recording.
//! - *Upward*: the reason why the call is pending. The circuit breaker does not count a wait for a permit as time of
//!   the upstream.
//!
//! The downward signal has two alternatives, and both are worse. A trait on body types cannot be implemented for
//! foreign bodies. A handle in the response's extensions costs an allocation for each call.
//!
//! # Lost across tasks
//!
//! If a user's layer moves the call or the body to another task (`tokio::spawn`, `tower::buffer`), both signals are
//! lost:
//!
//! - A permit returns only when the discarded body has ended or is dropped.
//! - The circuit breaker counts the time in a queue towards slow and abandoned calls, which can open the circuit
//!   earlier.
//!
//! A wrong signal can also arrive: from another stack that is polled inside the same poll (`join!`). No signal
//! decides whether a request may be sent again. The one thread-local that does is explained in
//! `client/reqwest_service.rs`.
//!
//! # Implementation
//!
//! A signal is a flag and a value. A poll without a signal reads and writes only the flag, a single byte. A
//! [`SignalScope`] saves the signal on entry and restores it on drop.

use std::cell::Cell;
use std::thread::LocalKey;

use tokio::time::Instant;

thread_local! {
    static DISCARDING: Signal<()> = const { Signal::silent() };
    static WAIT: Signal<Wait> = const { Signal::silent() };
}

/// Polls a discarded body, so that layers release permits and other resources held for the body.
pub(crate) fn discarding<T>(poll: impl FnOnce() -> T) -> T {
    let _scope = SignalScope::enter(&DISCARDING, Some(()));
    poll()
}

/// True while the current poll discards a body.
pub(crate) fn is_discarding() -> bool {
    DISCARDING.with(|signal| signal.is_raised.get())
}

/// The reason why a call is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The call waits for a permit; the upstream has not been asked yet.
    Queue,
    /// The call has waited for the upstream since this instant.
    Upstream(Instant),
}

/// Records why the call is pending. The innermost layer wins.
pub(crate) fn raise_wait(wait: Wait) {
    WAIT.with(|signal| {
        if !signal.is_raised.get() {
            signal.set(Some(wait));
        }
    });
}

/// Opens a scope for the poll of a call. If the call is pending, the scope receives the reason.
pub(crate) fn listen_wait() -> SignalScope<Wait> {
    SignalScope::enter(&WAIT, None)
}

/// Polls a future that is not part of the call, and discards the reason why that future is pending.
pub(crate) fn isolated<T>(poll: impl FnOnce() -> T) -> T {
    let _wait = listen_wait();
    poll()
}

/// A value that is rarely set. While it is unset, access touches only the flag.
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

/// A scope for one signal, usually one poll. Dropping the scope restores the previous value.
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

    /// Returns the signal raised in the scope.
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
    fn only_signals_inside_the_scope_are_discarded() {
        assert!(!is_discarding());
        assert!(discarding(is_discarding));
        assert!(!is_discarding());
    }
}

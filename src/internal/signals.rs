//! Thread-local signals: advice that one layer gives another during a single poll.
//!
//! Layers do not know each other, and layers from other crates can stand between them. Facts on which correctness
//! depends therefore travel in typed values: the request's options, the error, and the response's extensions. (The
//! exceptions are explained in `client/reqwest_service.rs`.) Seven signals have no such value to travel in. Like
//! tokio's cooperative budget, they are thread-locals that are set for one poll. They are only advice:
//!
//! - *Downward*: this body is being discarded. The bulkhead then returns the permit at once, and the cache stops
//!   recording the body.
//! - *Downward*: the time of the attempt is up. Body buffering then passes on the head of a response whose body
//!   stalls, and the reqwest edge says whether there was a connection.
//! - *Downward*: the circuit has opened. A bulkhead then refuses the call, if the call waits in its queue.
//! - *Upward*: the reason why the call is pending. The circuit breaker then does not count a wait for a permit, or
//!   for the target of a redirect, as time that the upstream took. The circuit breaker also learns that an attempt is
//!   overdue.
//! - *Upward*: the body that is being read still arrives. The timeout then does not cut the attempt at its share of
//!   the total time.
//! - *Upward*: the whole body of the response is in memory. The layers above then need not wait for the end of the
//!   body.
//! - *Upward*: the endpoint of a body that has broken off or stalled, and the terms on which a retry may follow. Body
//!   buffering then writes both into the extensions of the response. `http/broken_body.rs` declares this signal.
//!
//! The signal about a discarded body has two alternatives, and each is worse. A trait on body types cannot be
//! implemented for the bodies of other crates. A handle in the response's extensions costs an allocation for each
//! call.
//!
//! # Lost across tasks
//!
//! If a user's layer moves the call or the body to another task (`tokio::spawn`, `tower::buffer`), the signals are
//! lost:
//!
//! - The caller loses the head of a response whose body stalls. A request that is cut while it connects counts as
//!   possibly sent.
//! - The bulkhead returns a permit only when the discarded body has ended or is dropped.
//! - The circuit breaker counts a wait for a permit, or for the target of a redirect, as time that the upstream took.
//!   More calls then count as slow, hung or abandoned, so the circuit can open earlier.
//! - A call in a queue waits on when the circuit opens, and may reach the upstream.
//! - The circuit breaker judges an overdue attempt only when the attempt ends, so an overload is noticed later.
//! - A buffered body that still arrives is cut when the share of its attempt is over.
//! - The bulkhead holds the permit of a response in memory until the caller has read or dropped the body.
//! - A retry after a body that breaks off may meet the same endpoint, and is charged to the retry budget.
//!
//! A signal can also come from the wrong stack, if two stacks are polled inside the same poll (`join!`). No signal of
//! this file decides whether a request may be sent again. The two thread-locals that decide this are explained in
//! `client/reqwest_service.rs` and `client/connecting.rs`.
//!
//! # Implementation
//!
//! A signal is a flag and a value; the signal that a body is in memory is a value alone. A poll without a signal
//! reads and writes only the flag, a single byte. A [`SignalScope`] saves the signal when the scope begins, and
//! restores it on drop.

use std::cell::Cell;
use std::thread::LocalKey;
use std::time::Duration;

use tokio::time::Instant;

thread_local! {
    static DISCARDING: Signal<()> = const { Signal::silent() };
    static TIME_IS_UP: Signal<TimeUp> = const { Signal::silent() };
    static CIRCUIT_OPENED: Signal<CircuitOpened> = const { Signal::silent() };
    static IN_MEMORY: Cell<Option<u64>> = const { Cell::new(None) };
    static WAIT: Signal<Wait> = const { Signal::silent() };
    static ARRIVING: Signal<Arriving> = const { Signal::silent() };
}

/// Runs `poll` on a discarded body. The layers below see the signal, and release permits and other resources held for
/// the body.
pub(crate) fn discarding<T>(poll: impl FnOnce() -> T) -> T {
    let _scope = SignalScope::enter(&DISCARDING, Some(()));
    poll()
}

/// True if the current poll discards a body.
pub(crate) fn is_discarding() -> bool {
    DISCARDING.with(|signal| signal.is_raised.get())
}

/// The time limit of an attempt that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeUp {
    /// True if the limit is the deadline of the call.
    pub(crate) is_total: bool,
    /// True if the limit is a share of the caller's own timeout.
    pub(crate) is_callers_share: bool,
    pub(crate) after: Duration,
}

/// Polls an attempt for the last time. A layer below sees the signal, and returns the part of the result that it has.
pub(crate) fn last_poll<T>(limit: TimeUp, poll: impl FnOnce() -> T) -> T {
    let _scope = SignalScope::enter(&TIME_IS_UP, Some(limit));
    poll()
}

/// Returns the limit if the current poll is the last one of an attempt whose time is up.
pub(crate) fn time_is_up() -> Option<TimeUp> {
    TIME_IS_UP.with(Signal::get)
}

/// The circuit has opened, for this time if it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CircuitOpened {
    pub(crate) retry_after: Option<Duration>,
}

/// Polls a call whose circuit has opened. If the call waits in the queue of a bulkhead below, the bulkhead sees the
/// signal, and refuses the call.
pub(crate) fn leaving_queue<T>(opened: CircuitOpened, poll: impl FnOnce() -> T) -> T {
    let _scope = SignalScope::enter(&CIRCUIT_OPENED, Some(opened));
    poll()
}

/// Returns the signal if a call in a queue is to be refused.
pub(crate) fn circuit_opened() -> Option<CircuitOpened> {
    CIRCUIT_OPENED.with(Signal::get)
}

/// The reason why a call is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The call waits for a permit; the upstream has not been asked yet.
    Queue,
    /// The call has waited for the upstream since this instant.
    Upstream(Instant),
    /// The call waits for another host, to which the upstream has redirected the call.
    RedirectTarget,
    /// The share of the attempt is over and no body arrives, but the attempt goes on, because no other can follow.
    /// Raised once for an attempt.
    Overdue,
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

/// A body that is being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arriving {
    /// The time at which data last arrived.
    pub(crate) last: Instant,
    /// The time without data after which the body counts as idle.
    pub(crate) idle_timeout: Duration,
}

/// Tells the timeout that a body is being read.
pub(crate) fn raise_arriving(arriving: Arriving) {
    ARRIVING.with(|signal| signal.set(Some(arriving)));
}

/// Opens a scope for the poll of an attempt. If a body is being read, the scope hears of it.
pub(crate) fn listen_arriving() -> SignalScope<Arriving> {
    SignalScope::enter(&ARRIVING, None)
}

/// Tells the layers above that the network delivers nothing more for the response of this poll. Its body of this
/// exact length is in memory, whole or up to the point where it broke off.
pub(crate) fn raise_in_memory(length: Option<u64>) {
    IN_MEMORY.set(length);
}

/// Withdraws the signal of [`raise_in_memory`]: before a call is polled, and for a response whose body is not in
/// memory. A retry may poll several attempts in one poll; the last response counts.
pub(crate) fn withdraw_in_memory() {
    IN_MEMORY.set(None);
}

/// True if the body of the response that the last poll has returned is in memory. `length` returns the exact length
/// of this body. A call in the same poll, for example for a token, may have raised the signal, too; its body usually
/// has another length. The signal stays raised for further layers above.
pub(crate) fn is_in_memory(length: impl FnOnce() -> Option<u64>) -> bool {
    IN_MEMORY.get().is_some_and(|raised| length() == Some(raised))
}

/// Runs `poll` on a future that is not part of the call. Ignores why this future is pending, and the body that it
/// reads.
pub(crate) fn isolated<T>(poll: impl FnOnce() -> T) -> T {
    let _wait = listen_wait();
    let _arriving = listen_arriving();
    poll()
}

/// A value that is rarely set. While no value is set, only the flag is read and written.
pub(crate) struct Signal<T> {
    is_raised: Cell<bool>,
    value: Cell<Option<T>>,
}

impl<T: Copy> Signal<T> {
    pub(crate) const fn silent() -> Self {
        Self { is_raised: Cell::new(false), value: Cell::new(None) }
    }

    fn get(&self) -> Option<T> {
        if self.is_raised.get() { self.value.get() } else { None }
    }

    pub(crate) fn set(&self, value: Option<T>) {
        self.is_raised.set(value.is_some());
        if value.is_some() {
            self.value.set(value);
        }
    }
}

/// The scope of one signal, usually a single poll. Dropping the scope restores the previous value of the signal.
pub(crate) struct SignalScope<T: Copy + 'static> {
    signal: &'static LocalKey<Signal<T>>,
    before: Option<T>,
}

impl<T: Copy> SignalScope<T> {
    pub(crate) fn enter(signal: &'static LocalKey<Signal<T>>, value: Option<T>) -> Self {
        let before = signal.with(|signal| {
            let before = signal.get();
            signal.set(value);
            before
        });
        Self { signal, before }
    }

    /// Returns the signal that was raised in the scope, if any.
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
    fn the_last_response_of_a_poll_tells_whether_its_body_is_in_memory() {
        raise_in_memory(Some(5));
        assert!(is_in_memory(|| Some(5)) && !is_in_memory(|| Some(6)) && !is_in_memory(|| None));
        withdraw_in_memory();
        assert!(!is_in_memory(|| Some(5)));
    }

    #[test]
    fn only_signals_inside_the_scope_are_discarded() {
        assert!(!is_discarding());
        assert!(discarding(is_discarding));
        assert!(!is_discarding());
    }
}

//! Reading a body that nobody wants, so that its connection can be used again.
//!
//! The layers below a retry hold things for the sake of a body: a permit, the right to speak of a failure. They
//! must let go before the leftovers are read, and they can be anywhere inside a body type that nothing here can
//! name. So that is said to them by the way the body is polled: a flag of this thread, set while a poll that
//! discards is running, as tokio does with its cooperative budget.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::Body;
use pin_project::pin_project;

thread_local! {
    static DISCARDING: Cell<bool> = const { Cell::new(false) };
}

/// Whether the body that is being polled on this thread is being thrown away.
pub(crate) fn is_active() -> bool {
    DISCARDING.get()
}

/// Sets the flag, and on drop what it was before.
struct Scope(bool);

impl Scope {
    fn enter() -> Self {
        Self(DISCARDING.replace(true))
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        DISCARDING.set(self.0);
    }
}

/// Reads a body to its end, or until it has shown itself to be larger than it is worth.
#[pin_project]
#[derive(Debug)]
pub struct Drain<B> {
    #[pin]
    body: B,
    left: usize,
}

impl<B> Drain<B> {
    /// A connection is worth this many bytes: reading more takes longer than opening another.
    pub(crate) const LIMIT: usize = 64 * 1024;

    pub(crate) fn new(body: B) -> Self {
        Self { body, left: Self::LIMIT }
    }
}

impl<B: Body> Future for Drain<B> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let _scope = Scope::enter();
        loop {
            match this.body.as_mut().poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(()),
                Poll::Ready(Some(Ok(frame))) => {
                    let len = frame.data_ref().map_or(0, bytes::Buf::remaining);
                    match this.left.checked_sub(len) {
                        Some(left) => *this.left = left,
                        None => return Poll::Ready(()),
                    }
                }
            }
        }
    }
}

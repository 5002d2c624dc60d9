//! Reads the rest of a discarded body, so that the connection can be reused.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::Body;
use pin_project::pin_project;

use crate::internal::frame_quota::FrameQuota;
use crate::internal::signals::discarding;

/// Reads a body to its end, or stops after 64 KiB.
#[pin_project]
#[derive(Debug)]
pub struct Drain<B> {
    #[pin]
    body: B,
    left: usize,
}

impl<B> Drain<B> {
    /// The number of bytes after which to stop. Beyond 64 KiB, opening a new connection is cheaper than reading on.
    pub(crate) const LIMIT: usize = 64 * 1024;

    pub(crate) fn new(body: B) -> Self {
        Self { body, left: Self::LIMIT }
    }
}

impl<B: Body> Future for Drain<B> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let mut quota = FrameQuota::of_a_poll();
        loop {
            ready!(quota.poll_take(cx));
            match discarding(|| this.body.as_mut().poll_frame(cx)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(()),
                Poll::Ready(Some(Ok(frame))) => {
                    // Count an empty frame as one byte: otherwise an endless row of empty frames would never reach
                    // the limit.
                    let len = frame.data_ref().map_or(0, bytes::Buf::remaining).max(1);
                    match this.left.checked_sub(len) {
                        Some(left) => *this.left = left,
                        None => return Poll::Ready(()),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::task::Waker;

    use bytes::Bytes;
    use http_body::Frame;

    use super::*;

    /// A body of empty frames without end. It counts its frames.
    struct EmptyFrames(usize);

    impl Body for EmptyFrames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0 += 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
        }
    }

    #[test]
    fn no_poll_reads_ten_thousand_empty_frames() {
        let mut drain = Drain::new(EmptyFrames(0));
        let mut polls = 0;
        while Pin::new(&mut drain).poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            polls += 1;
            assert!(drain.body.0 < 10_000 * polls);
        }
        assert_eq!(drain.body.0, Drain::<EmptyFrames>::LIMIT + 1, "an empty frame counts as one byte");
    }
}

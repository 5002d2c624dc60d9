//! The body of an answer: it arrives with the head, or piece by piece at times that are drawn with the answer.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::plan::{End, Shape};

/// The body of an answer. Its first eight bytes are the time at which the answer was given.
#[derive(Debug)]
pub enum AnswerBody {
    Whole(Full<Bytes>),
    Paced(Box<Paced>),
}

/// The times at which the pieces of a body arrive.
#[derive(Debug)]
pub struct Schedule {
    shape: Shape,
    arrivals: VecDeque<Instant>,
    /// The time of the first piece that does not arrive, if the body ends early.
    end: Instant,
}

/// A body that arrives piece by piece.
#[derive(Debug)]
pub struct Paced {
    schedule: Schedule,
    /// `None` once the first piece has been read.
    stamp: Option<[u8; 8]>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// The content of all pieces.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

impl Schedule {
    /// Draws the times of a body whose head is given at `start`.
    pub fn draw(shape: Shape, start: Instant, rng: &mut SmallRng) -> Self {
        let mut gaps: Vec<_> =
            (0..shape.pieces).map(|_| shape.gap.mul_f64(rng.random_range(0.5..1.5))).collect();
        for pause in 0..shape.pauses {
            let section = shape.pieces * pause / shape.pauses..shape.pieces * (pause + 1) / shape.pauses;
            gaps[rng.random_range(section) as usize] += shape.pause;
        }
        let mut time = start;
        let mut arrivals: VecDeque<_> = gaps
            .into_iter()
            .map(|gap| {
                time += gap;
                time
            })
            .collect();
        let arriving = match shape.end {
            End::Whole => shape.pieces,
            End::BreaksAfter(pieces) | End::StallsAfter(pieces) => pieces,
        };
        let end = arrivals.get(arriving as usize).copied().unwrap_or(time);
        arrivals.truncate(arriving as usize);
        Self { shape, arrivals, end }
    }
}

impl AnswerBody {
    /// The body of an answer that is given at this time, counted from the start.
    pub fn new(given_at: Duration, schedule: Option<Schedule>) -> Self {
        let stamp = u64::try_from(given_at.as_nanos()).unwrap_or(u64::MAX).to_be_bytes();
        match schedule {
            None => Self::Whole(Full::new(Bytes::copy_from_slice(&stamp))),
            Some(schedule) => Self::Paced(Box::new(Paced { schedule, stamp: Some(stamp), timer: None })),
        }
    }
}

/// The time at which the answer with this body was given.
pub fn given_at(body: &[u8]) -> Duration {
    Duration::from_nanos(u64::from_be_bytes(*body.first_chunk().expect("every answer bears its time")))
}

impl Paced {
    fn poll_until(&mut self, cx: &mut Context<'_>, time: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(time)));
        if timer.deadline() != time {
            timer.as_mut().reset(time);
        }
        timer.as_mut().poll(cx)
    }

    fn piece(&mut self) -> Bytes {
        let zeros = &ZEROS[..self.schedule.shape.piece_bytes];
        let Some(stamp) = self.stamp.take() else { return Bytes::from_static(zeros) };
        let mut piece = BytesMut::from(zeros);
        piece[..stamp.len()].copy_from_slice(&stamp);
        piece.freeze()
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        if let Some(time) = self.schedule.arrivals.front().copied() {
            ready!(self.poll_until(cx, time));
            self.schedule.arrivals.pop_front();
            return Poll::Ready(Some(Ok(self.piece())));
        }
        match self.schedule.shape.end {
            End::Whole => Poll::Ready(None),
            End::StallsAfter(_) => Poll::Pending,
            End::BreaksAfter(_) => {
                ready!(self.poll_until(cx, self.schedule.end));
                Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Paced(body) => body.poll_piece(cx).map_ok(Frame::data),
        }
    }

    /// As in hyper, the last piece of a body is known to be the last if the head states the length.
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Paced(body) => {
                let Schedule { shape, arrivals, .. } = &body.schedule;
                shape.states_length && shape.end == End::Whole && arrivals.is_empty()
            }
        }
    }

    /// The stated length that is left, also of a body that ends early.
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Paced(body) => {
                let Schedule { shape, arrivals, .. } = &body.schedule;
                let missing = match shape.end {
                    End::Whole => 0,
                    End::BreaksAfter(pieces) | End::StallsAfter(pieces) => shape.pieces - pieces,
                };
                let left = (arrivals.len() + missing as usize) * shape.piece_bytes;
                if shape.states_length { SizeHint::with_exact(left as u64) } else { SizeHint::default() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use rand::SeedableRng;
    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SHAPE: Shape = Shape {
        pieces: 4,
        piece_bytes: 100,
        gap: SECOND,
        pauses: 0,
        pause: Duration::ZERO,
        states_length: true,
        end: End::Whole,
    };

    fn body(shape: Shape) -> AnswerBody {
        let schedule = Schedule::draw(shape, Instant::now(), &mut SmallRng::seed_from_u64(1));
        AnswerBody::new(7 * SECOND, Some(schedule))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_arrives_piece_by_piece_with_its_stated_length() {
        let (start, mut body) = (Instant::now(), body(SHAPE));
        let (mut bytes, mut last) = (vec![], start);
        while !body.is_end_stream() {
            assert_eq!(body.size_hint().exact(), Some(400 - bytes.len() as u64));
            bytes.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
            let gap = last.elapsed();
            assert!((SECOND / 2..SECOND * 3 / 2 + SECOND / 100).contains(&gap), "{gap:?}");
            last = Instant::now();
        }
        assert_eq!((bytes.len(), given_at(&bytes)), (400, 7 * SECOND));
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_add_to_the_time_of_a_body() {
        let took = async |shape| {
            let start = Instant::now();
            assert_eq!(body(shape).collect().await.unwrap().to_bytes().len(), 400);
            start.elapsed()
        };
        let plain = took(SHAPE).await;
        let pausing = took(Shape { pauses: 2, pause: 10 * SECOND, ..SHAPE }).await;
        assert!((19..22).contains(&(pausing - plain).as_secs()), "{plain:?}, {pausing:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_breaks_off_gives_its_pieces_and_then_an_error() {
        let mut body = body(Shape { states_length: false, end: End::BreaksAfter(1), ..SHAPE });
        assert_eq!(body.size_hint().exact(), None);
        assert!(body.frame().await.unwrap().is_ok());
        assert!(!body.is_end_stream());
        let error = timeout(2 * SECOND, body.frame()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_gives_its_pieces_and_then_nothing() {
        let mut body = body(Shape { end: End::StallsAfter(2), ..SHAPE });
        assert_eq!(body.size_hint().exact(), Some(400));
        assert!(body.frame().await.unwrap().is_ok() && body.frame().await.unwrap().is_ok());
        assert_eq!(body.size_hint().exact(), Some(200));
        assert!(timeout(1000 * SECOND, body.frame()).await.is_err());
    }
}

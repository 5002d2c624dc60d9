//! The slow parts of an HTTP/2 connection, which come later while other streams go on.

use std::future;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::super::{GOOD_BODY, PIECES, SLOW_BODY, SLOW_HEAD, SLOW_UPLOAD};
use super::frames::{Connection, Field};

/// The bytes by which a slow server widens its window in one step.
const WINDOW: u32 = 20 << 10;

/// The parts to come, with their streams.
#[derive(Default)]
pub(super) struct Later(Vec<(Instant, u32, Part)>);

#[derive(Clone, Copy)]
pub(super) enum Part {
    Answer,
    Data { ends: bool },
    Window,
}

impl Later {
    pub(super) fn answer(&mut self, stream: u32) {
        self.0.push((Instant::now() + SLOW_HEAD, stream, Part::Answer));
    }

    /// A body of one byte for each piece.
    pub(super) fn body(&mut self, stream: u32) {
        let part = |piece| Part::Data { ends: piece == PIECES };
        self.0.extend((1..=PIECES).map(|piece| (part_of(SLOW_BODY, piece), stream, part(piece))));
    }

    pub(super) fn window(&mut self, stream: u32) {
        self.0.extend((1..=PIECES).map(|piece| (part_of(SLOW_UPLOAD, piece), stream, Part::Window)));
    }

    /// Forgets a stream that the client has reset.
    pub(super) fn forget(&mut self, stream: u32) {
        self.0.retain(|(_, of, _)| *of != stream);
    }

    /// Waits for the next part; forever if there is none.
    pub(super) async fn next(&mut self) -> (u32, Part) {
        let earliest = (0..self.0.len()).min_by_key(|at| self.0[*at].0);
        let Some(earliest) = earliest else { return future::pending().await };
        sleep_until(self.0[earliest].0).await;
        let (_, stream, part) = self.0.remove(earliest);
        (stream, part)
    }
}

impl Part {
    pub(super) async fn send(self, connection: &mut Connection<'_>, stream: u32) -> io::Result<()> {
        match self {
            Self::Answer => answer_well(connection, stream).await,
            Self::Data { ends } => connection.data(stream, b"x", ends).await,
            Self::Window => connection.widen(stream, WINDOW).await,
        }
    }
}

/// The answer of a healthy server.
pub(super) async fn answer_well(connection: &mut Connection<'_>, stream: u32) -> io::Result<()> {
    connection.head(stream, "200", &[Field::length(GOOD_BODY.len())], false).await?;
    connection.data(stream, GOOD_BODY, true).await
}

/// The instant at which `pieces` pieces of `time` have passed from now on.
fn part_of(time: Duration, pieces: u32) -> Instant {
    Instant::now() + time / PIECES * pieces
}

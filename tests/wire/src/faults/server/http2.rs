//! The faults of an HTTP/2 server, with prior knowledge.

mod frames;
mod later;

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use self::frames::{Connection, Field, Kind, code};
use self::later::{Later, answer_well};
use super::super::fault::Fault;
use super::{OVERSIZED, PART, PIECES, STATED, Script, TRICKLED, drain};

/// The next step of a connection.
enum Next {
    GoOn,
    Close,
}

/// Serves the streams of one connection, until the script breaks the connection or the client closes it.
pub(super) async fn serve(stream: &mut TcpStream, script: &Script, is_first: bool) -> io::Result<()> {
    let mut connection = Connection::accept(stream).await?;
    let mut streams = Streams::default();
    loop {
        let frame = tokio::select! {
            frame = connection.read() => frame?,
            (stream, part) = streams.later.next() => {
                part.send(&mut connection, stream).await?;
                continue;
            }
        };
        let Some(frame) = frame else { return Ok(()) };
        let ends = match frame.kind {
            Kind::HEADERS => {
                script.requests.head();
                streams.opened += 1;
                if script.fault == Fault::EarlyAnswer {
                    // RFC 9113, section 8.1: the client need not send the rest of the body.
                    connection.head(frame.stream, "413", &[Field::length(0)], true).await?;
                    connection.reset_stream(frame.stream, code::NO_ERROR).await?;
                    continue;
                }
                if script.fault == Fault::SlowUpload {
                    streams.later.window(frame.stream);
                }
                frame.ends_stream()
            }
            Kind::RST_STREAM => {
                streams.later.forget(frame.stream);
                false
            }
            Kind::DATA => frame.ends_stream(),
            _ => false,
        };
        if !ends {
            continue;
        }
        script.requests.whole();
        let next = match script.fault {
            Fault::IdleSilent if is_first && streams.opened > 1 => Next::GoOn,
            Fault::IdleReset if is_first && streams.opened > 1 => reset(&mut connection)?,
            _ => answer(&mut connection, script, frame.stream, &mut streams).await?,
        };
        if matches!(next, Next::Close) {
            return Ok(());
        }
        if is_first && script.fault == Fault::IdleClosed {
            connection.stream().shutdown().await?;
            drain(connection.stream()).await?;
            script.idle_closed.notify_one();
            return Ok(());
        }
    }
}

/// The streams of a connection.
#[derive(Default)]
struct Streams {
    opened: usize,
    /// The last stream that was answered; 0 at first.
    answered: u32,
    later: Later,
}

async fn answer(
    connection: &mut Connection<'_>,
    script: &Script,
    stream: u32,
    streams: &mut Streams,
) -> io::Result<Next> {
    let fault = match script.fault {
        Fault::RefusedFirstStream if streams.opened > 1 => None,
        Fault::GoAwayBelowEvery { streams: many } if streams.opened <= many => None,
        Fault::GoAwayAfterEvery { streams: many } if streams.opened < many => None,
        _ => script.next_exchange(),
    };
    let next = match fault {
        Some(fault) => react(connection, script, fault, stream, streams).await?,
        None => {
            answer_well(connection, stream).await?;
            Next::GoOn
        }
    };
    streams.answered = stream;
    Ok(next)
}

async fn react(
    connection: &mut Connection<'_>,
    script: &Script,
    fault: Fault,
    stream: u32,
    streams: &mut Streams,
) -> io::Result<Next> {
    let of_length = [Field::length(STATED)];
    match fault {
        Fault::ClosedAfterRequest => return Ok(Next::Close),
        Fault::ResetAfterRequest => return reset(connection),
        Fault::StallBeforeHead => {}
        Fault::OversizedHead => {
            let field = Field::named("x-large", &"x".repeat(16_000));
            let fields = vec![field; OVERSIZED / 16_000];
            connection.head(stream, "200", &fields, true).await?;
        }
        Fault::Trickle => {
            connection.head(stream, "200", &[Field::length(TRICKLED)], false).await?;
            for sent in 1..=TRICKLED {
                connection.data(stream, b"x", sent == TRICKLED).await?;
                tokio::task::yield_now().await;
            }
        }
        Fault::BodyTooLong => {
            connection.head(stream, "200", &[Field::length(PART.len() - 1)], false).await?;
            connection.data(stream, PART, true).await?;
        }
        Fault::Unavailable { retry_after } => {
            let fields = [Field::retry_after(retry_after), Field::length(0)];
            connection.head(stream, "503", &fields, true).await?;
        }
        Fault::StallInBody
        | Fault::ClosedInBody
        | Fault::ResetInBody
        | Fault::BodyTooShort
        | Fault::StreamResetInBody
        | Fault::StreamEndInBody => {
            connection.head(stream, "200", &of_length, false).await?;
            connection.data(stream, PART, fault == Fault::BodyTooShort).await?;
            match fault {
                Fault::ClosedInBody => return Ok(Next::Close),
                Fault::ResetInBody => return reset(connection),
                Fault::StreamResetInBody => connection.reset_stream(stream, code::INTERNAL_ERROR).await?,
                Fault::StreamEndInBody => connection.reset_stream(stream, code::NO_ERROR).await?,
                _ => {}
            }
        }
        Fault::CreatedThenClosed => {
            let fields = [Field::location("/items/1"), Field::length(STATED)];
            connection.head(stream, "201", &fields, false).await?;
            connection.data(stream, PART, false).await?;
            return Ok(Next::Close);
        }
        Fault::RefusedFirstStream | Fault::RefusedStream => {
            script.requests.not_processed();
            connection.reset_stream(stream, code::REFUSED_STREAM).await?;
        }
        Fault::Cancel => connection.reset_stream(stream, code::CANCEL).await?,
        Fault::Calm => connection.reset_stream(stream, code::ENHANCE_YOUR_CALM).await?,
        Fault::GoAwayBelow | Fault::GoAwayBelowEvery { .. } => {
            script.requests.not_processed();
            connection.go_away(streams.answered, code::NO_ERROR).await?;
            drain(connection.stream()).await?;
            return Ok(Next::Close);
        }
        Fault::GoAwayAfterEvery { .. } => {
            answer_well(connection, stream).await?;
            connection.go_away(stream, code::NO_ERROR).await?;
            return Ok(Next::Close);
        }
        Fault::GoAwayCalm => {
            connection.go_away(stream, code::ENHANCE_YOUR_CALM).await?;
            return Ok(Next::Close);
        }
        Fault::HeadEndsInHeaders => connection.head(stream, "200", &[Field::length(1000)], true).await?,
        Fault::CorruptGzip => {
            let fields = [Field::encoding("gzip"), Field::length(PART.len())];
            connection.head(stream, "200", &fields, false).await?;
            connection.data(stream, PART, true).await?;
        }
        Fault::RedirectToRefused => {
            let location = Field::location(&format!("http://{}/", script.refusing));
            connection.head(stream, "303", &[location, Field::length(0)], true).await?;
        }
        Fault::SlowHead => streams.later.answer(stream),
        Fault::SlowBody => {
            connection.head(stream, "200", &[Field::length(PIECES as usize)], false).await?;
            streams.later.body(stream);
        }
        // Only the reading is slow.
        Fault::SlowUpload => answer_well(connection, stream).await?,
        Fault::NotModified => connection.head(stream, "304", &[Field::length(1000)], true).await?,
        Fault::HeadEndsInData => {
            connection.head(stream, "200", &[Field::length(1000)], false).await?;
            connection.data(stream, b"", true).await?;
        }
        _ => unreachable!("{fault} is no fault of an HTTP/2 exchange"),
    }
    Ok(Next::GoOn)
}

fn reset(connection: &mut Connection<'_>) -> io::Result<Next> {
    connection.stream().set_zero_linger()?;
    Ok(Next::Close)
}

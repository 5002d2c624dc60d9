//! The faults of an HTTP/1.1 server.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::super::fault::Fault;
use super::{
    GOOD_BODY, OVERSIZED, PART, PIECES, SLOW_BODY, SLOW_HEAD, SLOW_UPLOAD, STATED, Script, TRICKLED, drain,
};

/// Serves the requests of one connection, until the script breaks the connection or the client closes it.
pub(super) async fn serve(stream: &mut TcpStream, script: &Script, is_first: bool) -> io::Result<()> {
    let mut buffer = Vec::new();
    while read_request(stream, &mut buffer, script).await? {
        let goes_on = match script.next_exchange() {
            Some(fault) => react(stream, script, fault).await?,
            None => {
                stream.write_all(&message("200 OK", "", GOOD_BODY.len(), GOOD_BODY)).await?;
                true
            }
        };
        if !goes_on || (is_first && leave_idle(stream, script).await?) {
            return Ok(());
        }
    }
    Ok(())
}

/// Answers one request by a fault. `false` if the connection is to be closed.
async fn react(stream: &mut TcpStream, script: &Script, fault: Fault) -> io::Result<bool> {
    match fault {
        Fault::ResetAfterRequest => stream.set_zero_linger()?,
        Fault::ClosedAfterRequest => {}
        Fault::StallBeforeHead => drain(stream).await?,
        Fault::StallInBody => {
            stream.write_all(&message("200 OK", "", STATED, PART)).await?;
            drain(stream).await?;
        }
        Fault::Garbage => {
            stream.write_all(b"????????????????\r\n\r\n").await?;
            drain(stream).await?;
        }
        Fault::OversizedHead => {
            let field = format!("x-large: {}\r\n", "x".repeat(OVERSIZED));
            stream.write_all(&message("200 OK", &field, 0, b"")).await?;
            drain(stream).await?;
        }
        Fault::ClosedInBody => stream.write_all(&message("200 OK", "", STATED, PART)).await?,
        Fault::ResetInBody => {
            stream.write_all(&message("200 OK", "", STATED, PART)).await?;
            stream.set_zero_linger()?;
        }
        Fault::ClosedInChunks => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await?;
        }
        Fault::CreatedThenClosed => {
            stream.write_all(&message("201 Created", "location: /items/1\r\n", STATED, PART)).await?;
        }
        Fault::Trickle => {
            stream.write_all(&message("200 OK", "", TRICKLED, b"")).await?;
            for _ in 0..TRICKLED {
                stream.write_all(b"x").await?;
                tokio::task::yield_now().await;
            }
            return Ok(true);
        }
        Fault::BodyTooLong => stream.write_all(&message("200 OK", "", PART.len() - 1, PART)).await?,
        Fault::Unavailable { retry_after } => {
            let field = format!("retry-after: {retry_after}\r\n");
            stream.write_all(&message("503 Service Unavailable", &field, 0, b"")).await?;
            return Ok(true);
        }
        Fault::CorruptGzip => {
            let field = "content-encoding: gzip\r\n";
            stream.write_all(&message("200 OK", field, PART.len(), PART)).await?;
            return Ok(true);
        }
        Fault::RedirectToRefused => {
            let field = format!("location: http://{}/\r\n", script.refusing);
            stream.write_all(&message("303 See Other", &field, 0, b"")).await?;
            return Ok(true);
        }
        Fault::SlowHead => {
            sleep(SLOW_HEAD).await;
            stream.write_all(&message("200 OK", "", GOOD_BODY.len(), GOOD_BODY)).await?;
            return Ok(true);
        }
        Fault::SlowBody => {
            stream.write_all(&message("200 OK", "", PIECES as usize, b"")).await?;
            for _ in 0..PIECES {
                sleep(SLOW_BODY / PIECES).await;
                stream.write_all(b"x").await?;
            }
            return Ok(true);
        }
        // Only the reading is slow.
        Fault::SlowUpload => {
            stream.write_all(&message("200 OK", "", GOOD_BODY.len(), GOOD_BODY)).await?;
            return Ok(true);
        }
        _ => unreachable!("{fault} is no fault of an HTTP/1.1 exchange"),
    }
    Ok(false)
}

/// Breaks the first connection after its first answer. `false` if the connection serves on.
async fn leave_idle(stream: &mut TcpStream, script: &Script) -> io::Result<bool> {
    match script.fault {
        Fault::IdleClosed => {
            stream.shutdown().await?;
            drain(stream).await?;
            script.idle_closed.notify_one();
        }
        Fault::IdleReset => {
            stream.readable().await?;
            stream.set_zero_linger()?;
        }
        Fault::IdleSilent => while read_request(stream, &mut Vec::new(), script).await? {},
        _ => return Ok(false),
    }
    Ok(true)
}

fn message(status: &str, fields: &str, stated: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: {stated}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Reads and counts a request. `false` if the client has closed the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>, script: &Script) -> io::Result<bool> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(false);
        }
    };
    script.requests.head();
    if script.fault == Fault::EarlyAnswer {
        stream.write_all(&message("413 Content Too Large", "connection: close\r\n", 0, b"")).await?;
        return drain(stream).await.map(|()| false);
    }
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut pieces = 0;
    while buffer.len() < end + length {
        if script.fault == Fault::SlowUpload && buffer.len() * PIECES as usize >= pieces * length {
            sleep(SLOW_UPLOAD / PIECES).await;
            pieces += 1;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(false);
        }
    }
    buffer.drain(..end + length);
    script.requests.whole();
    Ok(true)
}

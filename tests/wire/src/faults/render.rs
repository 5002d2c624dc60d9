//! The section of the page: two tables, one for each protocol version.

use super::case::Protocol;
use super::clients::{BACKOFF, CONNECT, TOTAL};
use super::rows::Row;

/// The cells of a row, apart from the fault and the method.
type Cells = [String; 6];

/// The section with the tables.
pub(crate) fn section(rows: &[Row]) -> String {
    let (total, connect, backoff) = (TOTAL.as_secs(), CONNECT.as_millis(), BACKOFF.as_millis());
    let mut text = format!(
        "\
## Faults

Each fault over real sockets on loopback, through a bare `reqwest::Client` and through a `steadfast::Client` around an
equal one. Settings: total timeout {total} s (so an attempt has 588 ms), connect timeout {connect} ms for bare reqwest
(steadfast replaces it by its default, half an attempt), base backoff {backoff} ms; else the defaults. PUT and POST
have a body in memory: five bytes, or more where the fault is about the upload.

- *once*: the first connection or request meets the fault, and the server is healthy afterwards.
- *requests*: the requests whose head reached the server; *not processed*: the server has said so.
- *failure*: the circuit breaker counted a failure. Measured through a client whose circuit the first failure opens.
- *budget*: the change of the retry budget, from 2 tokens (2.6 after the first call on a connection that is reused).
"
    );
    for protocol in [Protocol::Http1, Protocol::Http2] {
        text.push_str(&format!(
            "\n### {protocol}\n\n\
             | fault | method | bare: caller | bare: requests | steadfast: caller | steadfast: requests | failure | \
             budget |\n|---|---|---|---|---|---|---|---|\n"
        ));
        for (label, methods, cells) in grouped(rows.iter().filter(|row| row.case.protocol == protocol)) {
            text.push_str(&format!("| {label} | {methods} | {} |\n", cells.join(" | ")));
        }
    }
    text
}

/// Joins the methods of a fault whose cells are equal.
fn grouped<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<(String, String, Cells)> {
    let mut groups: Vec<(String, String, Cells)> = Vec::new();
    for row in rows {
        let (label, cells) = (row.case.label(), cells(row));
        match groups.last_mut().filter(|(known, _, same)| *known == label && *same == cells) {
            Some((_, methods, _)) => {
                methods.push_str(", ");
                methods.push_str(row.case.method.as_str());
            }
            None => groups.push((label, row.case.method.to_string(), cells)),
        }
    }
    groups
}

fn cells(row: &Row) -> Cells {
    let lost = row.steadfast.tokens_lost;
    let sign = match lost {
        0 => "",
        1.. => "−",
        _ => "+",
    };
    [
        row.bare.answer.to_string(),
        row.bare.requests.to_string(),
        row.steadfast.answer.to_string(),
        row.steadfast.requests.to_string(),
        if row.is_counted() { "yes" } else { "no" }.to_owned(),
        format!("{sign}{}.{}", lost.abs() / 10, lost.abs() % 10),
    ]
}

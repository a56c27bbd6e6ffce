//! The bodies of the fuzz targets, as functions that plain tests run too.

use crate::{Limits, Replies, Requests, Value};

const SMALL: Limits =
    Limits { message_bytes: 4096, string_bytes: 1024, elements: 64, line_bytes: 256, depth: 4 };

/// Requests come out the same however they are cut, and never hold more than the limits allow.
///
/// # Panics
/// When that is not so.
pub fn requests(bytes: &[u8]) {
    let whole = requests_in_pieces(bytes, bytes.len().max(1));
    for piece in [1, 3, 7] {
        assert_eq!(requests_in_pieces(bytes, piece), whole, "in pieces of {piece}");
    }
}

/// The requests in `bytes`, and whether the last was an error.
fn requests_in_pieces(bytes: &[u8], piece: usize) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
    let mut requests = Requests::new(SMALL);
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        requests.receive(piece);
        loop {
            match requests.poll() {
                Ok(Some(request)) => found.push(request.iter().map(<[u8]>::to_vec).collect()),
                Ok(None) => break,
                Err(error) => return (found, Some(error.to_string())),
            }
        }
        let most = SMALL.message_bytes + SMALL.line_bytes + piece.len();
        assert!(requests.held() <= most, "{} bytes are held", requests.held());
    }
    (found, None)
}

/// Replies come out the same however they are cut.
///
/// # Panics
/// When that is not so.
pub fn replies(bytes: &[u8]) {
    let whole = replies_in_pieces(bytes, bytes.len().max(1));
    for piece in [1, 3, 7] {
        // By their text: a NaN is not equal to itself.
        assert_eq!(
            format!("{:?}", replies_in_pieces(bytes, piece)),
            format!("{whole:?}"),
            "in pieces of {piece}"
        );
    }
}

fn replies_in_pieces(bytes: &[u8], piece: usize) -> (Vec<Value>, Option<String>) {
    let mut replies = Replies::new(SMALL);
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        replies.receive(piece);
        loop {
            match replies.poll() {
                Ok(Some(value)) => found.push(value),
                Ok(None) => break,
                Err(error) => return (found, Some(error.to_string())),
            }
        }
    }
    (found, None)
}

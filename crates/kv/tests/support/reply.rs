//! Replies, as a client reads them.

use resp::{Limits, Replies, Value};

/// What `bytes` say, which must be one whole reply.
///
/// # Panics
/// They are less, or more.
pub fn value(bytes: &[u8]) -> Value {
    let mut replies = Replies::new(Limits::default());
    replies.receive(bytes);
    let value = replies.poll().expect("it is the protocol").expect("one whole reply");
    assert!(replies.poll().expect("it is the protocol").is_none(), "one reply only");
    value
}

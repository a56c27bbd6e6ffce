//! How much a peer may ask this side to hold, and what is wrong with bytes that break the protocol.

/// Bounds on one message. A message beyond one of them is refused as soon as that shows, not when it has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of one message, whole.
    pub message_bytes: usize,
    /// The most bytes of one string in it.
    pub string_bytes: usize,
    /// The most strings of a request, and the most elements of a reply in all.
    pub elements: usize,
    /// The most bytes of a line: an inline command, a number, an error.
    pub line_bytes: usize,
    /// How deep arrays of a reply may nest.
    pub depth: usize,
}

impl Limits {
    /// For clients that have not authenticated: as little as a greeting needs.
    pub const STRANGER: Limits = Limits {
        message_bytes: 16 << 10,
        string_bytes: 16 << 10,
        elements: 16,
        line_bytes: 4 << 10,
        depth: 4,
    };
}

impl Default for Limits {
    /// 64 MiB a message, 16 MiB a string, a million elements, lines of 64 KiB, 32 levels.
    fn default() -> Limits {
        Limits {
            message_bytes: 64 << 20,
            string_bytes: 16 << 20,
            elements: 1 << 20,
            line_bytes: 64 << 10,
            depth: 32,
        }
    }
}

/// The peer broke the protocol or a limit. Where the next message begins is unknown from there on: answer, then close.
///
/// The texts are those that Redis sends, as far as it has them: clients and people know them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A request's count of strings is not a number, or over [`Limits::elements`].
    #[error("Protocol error: invalid multibulk length")]
    Count,
    /// A string's length is not a number, negative, or over [`Limits::string_bytes`].
    #[error("Protocol error: invalid bulk length")]
    Length,
    /// A string of a request does not begin with `$`.
    #[error("Protocol error: expected '$', got '{}'", .0.escape_ascii())]
    NotAString(u8),
    /// No line end where one belongs.
    #[error("Protocol error: expected CRLF")]
    LineEnd,
    /// A line over [`Limits::line_bytes`].
    #[error("Protocol error: too big inline request")]
    Line,
    /// An inline command whose quotes do not pair.
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
    /// A message over [`Limits::message_bytes`].
    #[error("Protocol error: message exceeds {0} bytes")]
    Message(usize),
    /// A reply begins with a byte that means nothing.
    #[error("Protocol error: unknown type '{}'", .0.escape_ascii())]
    Type(u8),
    /// A reply's line is not what its type needs.
    #[error("Protocol error: malformed {0}")]
    Malformed(&'static str),
    /// A reply nests deeper than [`Limits::depth`], or has more elements than [`Limits::elements`].
    #[error("Protocol error: reply nests deeper or has more elements than allowed")]
    Size,
}

//! Abort codes: the one number with which a call or a connection fails.

use std::fmt;

/// Why a call or connection failed, as it travels in an abort packet. Negative codes are Rx's and the stubs',
/// positive ones the application's. In Ubik a *yes* vote is an abort whose code is the voter's clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AbortCode(pub i32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        impl AbortCode {
            $($(#[$doc])* pub const $name: AbortCode = AbortCode($code);)*

            /// What the code means, if it is one that Rx, its stubs or rxkad know.
            pub fn meaning(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Nothing was heard of the peer for the dead time.
    CALL_DEAD = -1, "the peer is silent or gone";
    /// The service or security class is unknown there.
    INVALID_OPERATION = -2, "no such service or security class there";
    /// The call took longer than its hard dead time, or stood idle too long.
    CALL_TIMEOUT = -3, "the call took too long";
    /// The stream ended too early.
    END_OF_STREAM = -4, "the call ended too early";
    /// The peer broke the protocol.
    PROTOCOL_ERROR = -5, "the peer broke the protocol";
    /// The application gave the call up.
    USER_ABORT = -6, "given up by the application";
    /// The port is taken.
    ADDRESS_IN_USE = -7, "the port is taken";
    /// Packets of this size do not reach the peer; smaller ones will be used from now on.
    MESSAGE_SIZE = -8, "packets of this size do not arrive; try again";
    /// The server is starting or stopping.
    RESTARTING = -100, "the server is restarting";
    /// Client could not encode arguments.
    CLIENT_MARSHAL = -450, "the client cannot encode the arguments";
    /// Client could not decode the reply.
    CLIENT_UNMARSHAL = -451, "the client cannot decode the reply";
    /// Server could not encode the reply.
    SERVER_MARSHAL = -452, "the server cannot encode the reply";
    /// Server could not decode the arguments.
    SERVER_UNMARSHAL = -453, "the server cannot decode the arguments";
    /// The opcode could not be decoded.
    DECODE = -454, "the server cannot decode the procedure number";
    /// The service has no such procedure.
    OPCODE = -455, "no such procedure there";
    /// rxkad: inconsistent state.
    RXKAD_INCONSISTENCY = 19270400, "rxkad: inconsistent state";
    /// rxkad: packet too short.
    RXKAD_PACKET_SHORT = 19270401, "rxkad: packet too short";
    /// rxkad: security level refused.
    RXKAD_LEVEL_FAIL = 19270402, "rxkad: security level refused";
    /// rxkad: ticket length out of range.
    RXKAD_TICKET_LENGTH = 19270403, "rxkad: ticket length out of range";
    /// rxkad: response to another challenge.
    RXKAD_OUT_OF_SEQUENCE = 19270404, "rxkad: response to another challenge (a replay?)";
    /// rxkad: not authorized.
    RXKAD_NO_AUTH = 19270405, "rxkad: the ticket is not valid yet or not accepted";
    /// rxkad: bad session key.
    RXKAD_BAD_KEY = 19270406, "rxkad: bad session key";
    /// rxkad: ticket cannot be understood.
    RXKAD_BAD_TICKET = 19270407, "rxkad: the ticket cannot be understood";
    /// rxkad: ticket sealed with a key that the server lacks.
    RXKAD_UNKNOWN_KEY = 19270408, "rxkad: the ticket is sealed with a key that the server does not have";
    /// rxkad: ticket expired.
    RXKAD_EXPIRED = 19270409, "rxkad: the ticket has expired";
    /// rxkad: sealed bytes do not verify.
    RXKAD_SEALED_INCONSISTENT = 19270410, "rxkad: sealed bytes do not verify";
    /// rxkad: length of user bytes wrong.
    RXKAD_DATA_LENGTH = 19270411, "rxkad: sealed length is wrong";
    /// rxkad: no such level.
    RXKAD_ILLEGAL_LEVEL = 19270412, "rxkad: no such security level";
}

impl AbortCode {
    /// Whether it is one of rxkad's: the peers do not agree on keys, tickets or what was sealed.
    pub fn is_rxkad(self) -> bool {
        (Self::RXKAD_INCONSISTENCY.0..=Self::RXKAD_ILLEGAL_LEVEL.0).contains(&self.0)
    }
}

impl fmt::Display for AbortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some(meaning) => write!(f, "{} ({meaning})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for AbortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AbortCode({self})")
    }
}

impl std::error::Error for AbortCode {}

/// How a call failed. The difference matters wherever a code carries an answer, as Ubik's votes do: only
/// [`CallFailure::Aborted`] was said by the peer about this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// The peer answered this very call with an abort packet.
    #[error("{0}")]
    Aborted(AbortCode),
    /// The call was begun and no answer to it came: the peer is silent, the connection failed (with this code, which
    /// may be the peer's word on the whole connection), or the call was ended here.
    #[error("no answer: {0}")]
    Unanswered(AbortCode),
    /// The call was not begun, since the connection had failed before, with this code; nothing was sent.
    #[error("the connection has failed: {0}")]
    NotSent(AbortCode),
}

impl CallFailure {
    /// The application has ended the call, or its connection is gone.
    pub(crate) const GONE: CallFailure = CallFailure::Unanswered(AbortCode::INVALID_OPERATION);
    /// The peer's stream ended within a value.
    pub(crate) const ENDED: CallFailure = CallFailure::Unanswered(AbortCode::END_OF_STREAM);

    /// The code, whoever named it.
    pub fn code(self) -> AbortCode {
        match self {
            CallFailure::Aborted(code) | CallFailure::Unanswered(code) | CallFailure::NotSent(code) => code,
        }
    }
}

/// What a handler tells its own caller when a call fails under it.
impl From<CallFailure> for AbortCode {
    fn from(failure: CallFailure) -> AbortCode {
        failure.code()
    }
}

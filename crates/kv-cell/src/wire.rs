//! Steps and their outcomes as they travel between the servers of a cell, which are of one version: in XDR, as the other
//! calls of Rx.

use kv::{Body, Step, StepError, Watched};
use resp::Version;
use rx::xdr::{Array, Opaque, Xdr, XdrError};
use rx::xdr_struct;

/// The most steps of a call.
pub const MOST_STEPS: usize = 256;
/// About how many bytes of strings the steps of a call have; a single step may have more.
pub const MANY_BYTES: usize = 4 << 20;
/// The most bytes of a call, in each direction; what is not there yet takes no memory.
pub const MOST_BYTES: usize = 1 << 30;

/// The most bytes of strings that one step may have.
pub const LARGEST_STEP: usize = 64 << 20;

type Bytes = Opaque<{ MOST_BYTES as u32 }>;
/// More than any front end lets a command have.
type Strings = Array<Bytes, { 1 << 24 }>;

xdr_struct! {
    struct WireWatched {
        key: Bytes,
        mark: u64,
    }
}

xdr_struct! {
    struct WireStep {
        protocol: u32,
        transaction: bool,
        watched: Array<WireWatched, { 1 << 20 }>,
        commands: Array<Strings, { 1 << 20 }>,
    }
}

xdr_struct! {
    struct WireOutcome {
        kind: u32,
        bytes: Bytes,
    }
}

/// The most bytes of a reply that another server can be sent.
const LARGEST_REPLY: usize = 64 << 20;
const TOO_LARGE: &str = "the reply is too large; ask for less at a time";

const REPLY: u32 = 0;
const UNAVAILABLE: u32 = 1;
const UNDECIDED: u32 = 2;
const REFUSED: u32 = 3;

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    (bytes.len() as u32).encode(out);
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// The steps of a call; none has more strings than [`LARGEST_STEP`] bytes.
pub fn encode_steps<'a>(steps: impl ExactSizeIterator<Item = &'a Step>) -> Vec<u8> {
    let mut out = Vec::new();
    (steps.len() as u32).encode(&mut out);
    for step in steps {
        let protocol: u32 = if step.protocol == Version::Resp3 { 3 } else { 2 };
        protocol.encode(&mut out);
        matches!(step.body, Body::Transaction(_)).encode(&mut out);
        (step.watched.len() as u32).encode(&mut out);
        for watched in &step.watched {
            put_bytes(&watched.key, &mut out);
            watched.mark.encode(&mut out);
        }
        (step.body.commands().len() as u32).encode(&mut out);
        for words in step.body.commands() {
            (words.len() as u32).encode(&mut out);
            words.iter().for_each(|word| put_bytes(word, &mut out));
        }
    }
    out
}

/// The steps that [`encode_steps`] wrote.
///
/// # Errors
/// The bytes are something else.
pub fn decode_steps(mut from: &[u8]) -> Result<Vec<Step>, XdrError> {
    let steps = Array::<WireStep, { MOST_STEPS as u32 }>::decode(&mut from)?;
    steps.into_inner().into_iter().map(step_of).collect()
}

fn step_of(wire: WireStep) -> Result<Step, XdrError> {
    let strings = |strings: Strings| strings.into_inner().into_iter().map(Opaque::into_inner).collect();
    let mut commands: Vec<Vec<Vec<u8>>> = wire.commands.into_inner().into_iter().map(strings).collect();
    let body = match (wire.transaction, commands.len()) {
        (true, _) => Body::Transaction(commands),
        (false, 1) => Body::Command(commands.remove(0)),
        (false, _) => return Err(XdrError::Value),
    };
    let watched = |of: WireWatched| Watched { key: of.key.into_inner(), mark: of.mark };
    Ok(Step {
        database: 0,
        body,
        watched: wire.watched.into_inner().into_iter().map(watched).collect(),
        protocol: if wire.protocol == 3 { Version::Resp3 } else { Version::Resp2 },
    })
}

/// What came of the steps of a call.
pub type Outcomes = Vec<Result<Vec<u8>, StepError>>;

/// The outcomes of a call's steps, in order.
pub fn encode_outcomes(outcomes: Outcomes) -> Vec<u8> {
    let mut out = Vec::new();
    (outcomes.len() as u32).encode(&mut out);
    for outcome in outcomes {
        let (kind, reply) = match outcome {
            Ok(reply) if reply.len() > LARGEST_REPLY => (REFUSED, TOO_LARGE.as_bytes().to_vec()),
            Ok(reply) => (REPLY, reply),
            Err(StepError::Unavailable(text)) => (UNAVAILABLE, text.into_bytes()),
            Err(StepError::Undecided(text)) => (UNDECIDED, text.into_bytes()),
            Err(error) => (REFUSED, error.to_string().into_bytes()),
        };
        kind.encode(&mut out);
        put_bytes(&reply, &mut out);
    }
    out
}

/// The outcomes that [`encode_outcomes`] wrote.
///
/// # Errors
/// The bytes are something else.
pub fn decode_outcomes(mut from: &[u8]) -> Result<Outcomes, XdrError> {
    let outcomes = Array::<WireOutcome, { MOST_STEPS as u32 }>::decode(&mut from)?;
    let outcome = |wire: WireOutcome| {
        let bytes = wire.bytes.into_inner();
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        match wire.kind {
            REPLY => Ok(Ok(bytes)),
            UNAVAILABLE => Ok(Err(StepError::Unavailable(text()))),
            UNDECIDED => Ok(Err(StepError::Undecided(text()))),
            REFUSED => Ok(Err(StepError::Refused(text()))),
            _ => Err(XdrError::Value),
        }
    };
    outcomes.into_inner().into_iter().map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S5: steps and outcomes arrive as they were sent; cut or foreign bytes are refused.
    #[test]
    fn steps_and_outcomes_arrive_as_they_were_sent() {
        let words = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        let steps = [
            Step {
                database: 0,
                body: Body::Command(words("set k \u{0}v")),
                watched: Vec::new(),
                protocol: Version::Resp2,
            },
            Step {
                database: 0,
                body: Body::Transaction(vec![words("get k"), words("del k")]),
                watched: vec![Watched { key: b"k".to_vec(), mark: u64::MAX }],
                protocol: Version::Resp3,
            },
        ];
        let sent = encode_steps(steps.iter());
        assert_eq!(decode_steps(&sent).unwrap(), steps);
        (0..sent.len()).for_each(|short| assert!(decode_steps(&sent[..short]).is_err(), "{short}"));
        let outcomes = vec![
            Ok(b"+OK\r\n".to_vec()),
            Err(StepError::Unavailable("a".into())),
            Err(StepError::Undecided("b".into())),
            Err(StepError::Refused("c".into())),
        ];
        let sent = encode_outcomes(outcomes.clone());
        assert_eq!(decode_outcomes(&sent).unwrap(), outcomes);
        (0..sent.len()).for_each(|short| assert!(decode_outcomes(&sent[..short]).is_err(), "{short}"));
    }
}

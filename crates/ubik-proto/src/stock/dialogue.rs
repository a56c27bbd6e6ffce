//! The dialogue of OpenAFS's transactions: what a server is told, call by call, before it is told to commit.

use std::collections::VecDeque;

use crate::log::Change;
use crate::messages::{DiskCall, LOCK_WRITE, MAX_WRITE_BYTES, MAX_WRITES, Write};
use crate::version::{TransactionId, Version};

/// What one server is still to be told, the first of it under way.
#[derive(Clone, Debug)]
pub(crate) struct Dialogue(VecDeque<DiskCall>);

impl Dialogue {
    /// All that comes before the commit of `changes`; `relabel` is the label before and after, if it changes.
    pub(crate) fn new(
        transaction: TransactionId,
        changes: &[Change],
        relabel: Option<(Version, Version)>,
    ) -> Self {
        Dialogue(preparation(transaction, changes, relabel))
    }

    /// The call that is under way is answered: the next, `None` if that was the last.
    pub(crate) fn next(&mut self) -> Option<DiskCall> {
        self.0.pop_front();
        self.0.front().cloned()
    }

    /// Whether the server has not even begun the transaction.
    pub(crate) fn is_at_begin(&self) -> bool {
        matches!(self.0.front(), Some(DiskCall::Begin(_)))
    }
}

/// What a server is told before the commit.
fn preparation(
    transaction: TransactionId,
    changes: &[Change],
    relabel: Option<(Version, Version)>,
) -> VecDeque<DiskCall> {
    let lock = DiskCall::Lock { transaction, file: 0, position: 1, length: 1, kind: LOCK_WRITE };
    let mut calls = VecDeque::from([DiskCall::Begin(transaction), lock]);
    let mut writes = Vec::new();
    let mut bytes_held = 0;
    for change in changes {
        match change {
            Change::Truncate { length } => {
                send_writes(&mut calls, transaction, &mut writes);
                bytes_held = 0;
                calls.push_back(DiskCall::Truncate { transaction, file: 0, length: *length });
            }
            Change::Write { position, bytes } => {
                for (nth, part) in bytes.chunks(MAX_WRITE_BYTES).enumerate() {
                    if writes.len() == MAX_WRITES || bytes_held + part.len() > MAX_WRITE_BYTES {
                        send_writes(&mut calls, transaction, &mut writes);
                        bytes_held = 0;
                    }
                    bytes_held += part.len();
                    let position = position + (nth * MAX_WRITE_BYTES) as u32;
                    writes.push(Write { file: 0, position, bytes: part.to_vec() });
                }
            }
        }
    }
    send_writes(&mut calls, transaction, &mut writes);
    if let Some((old, new)) = relabel {
        calls.push_back(DiskCall::SetVersion { transaction, old, new });
    }
    calls
}

fn send_writes(calls: &mut VecDeque<DiskCall>, transaction: TransactionId, writes: &mut Vec<Write>) {
    if !writes.is_empty() {
        calls.push_back(DiskCall::WriteV { transaction, writes: std::mem::take(writes) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TransactionId = TransactionId { epoch: 5, counter: 1 };

    fn write(position: u32, length: usize) -> Change {
        Change::Write { position, bytes: vec![1; length] }
    }

    /// U29: changes keep their order, and no call is larger than the wire allows.
    #[test]
    fn changes_become_calls_in_order_and_within_the_limits() {
        let changes: Vec<Change> = (0..70)
            .map(|nth| write(nth, 1))
            .chain([Change::Truncate { length: 9 }, write(0, 40_000), write(0, 150_000)])
            .collect();
        let calls = preparation(ID, &changes, Some((Version::new(4, 9), Version::new(5, 1))));
        let mut rebuilt = Vec::new();
        for call in &calls {
            assert_eq!(DiskCall::decode(&call.encode()).as_ref(), Ok(call), "within the limits of the wire");
            match call {
                DiskCall::WriteV { writes, .. } => {
                    rebuilt.extend(writes.iter().map(|write| (write.position, write.bytes.len())));
                }
                DiskCall::Truncate { .. } => rebuilt.push((9, usize::MAX)),
                _ => {}
            }
        }
        let mut expected: Vec<(u32, usize)> = (0..70).map(|nth| (nth, 1)).collect();
        expected.extend([(9, usize::MAX), (0, 40_000), (0, 65_536), (65_536, 65_536), (131_072, 18_928)]);
        assert_eq!(rebuilt, expected);
        assert!(matches!(calls.back(), Some(DiskCall::SetVersion { .. })));
    }
}

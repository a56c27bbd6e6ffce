//! Statistics of traces whose contents are known.

use tdb_replay::stat::Statistics;
use tdb_replay::trace::{History, Tolerance};

const FIRST: &str = "0 tdb_open 131 0x880 0x42 #0+10
1 tdb_store 1:61 3:010203 0 = 0 #100+10
1 tdb_store 1:61 1:01 0x2 = -1 #120+10
2 tdb_append 1:62 NULL = 2:0102 #140+10
2 tdb_chainlock 1:61 #160+10
4 tdb_fetch 1:61 = 3:010203 #180+10
4 tdb_chainunlock 1:61 #200+10
4 tdb_transaction_start #220+10
5 tdb_store 1:63 1:01 0 = 0 #240+10
5 tdb_transaction_cancel #260+10
4 tdb_traverse_read_start #280+10
4 traverse 1:61 = 3:010203 #300+10
4 traverse 1:62 = 2:0102 #320+10
4 tdb_traverse_end #340+10
4 tdb_close #360+10
";
const SECOND: &str = "0 tdb_open 131 0x880 0x42 #0+10
3 tdb_delete 1:62 = 0 #150+10
3 tdb_fetch 1:62 = NULL #170+30
4 tdb_transaction_start #190+10
5 tdb_store 1:64 4:01020304 0 = 0 #210+10
6 tdb_store 1:64 1:01 0 = 0 #230+10
6 tdb_transaction_commit #250+50
6 tdb_exists 1:61 = 1 #400+10
6 tdb_close #500+20
";

fn statistics(texts: &[&str]) -> Statistics {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths: Vec<_> = (0..texts.len()).map(|nth| folder.path().join(format!("{nth}.trace"))).collect();
    for (path, text) in paths.iter().zip(texts) {
        std::fs::write(path, text).expect("a temporary file");
    }
    Statistics::of(&History::read(&paths, Tolerance::default(), |_| {}).expect("traces"), 2)
}

/// R25: operations, keys, sizes and conflicts come out as counted by hand.
#[test]
fn operations_keys_and_conflicts_are_counted() {
    let found = statistics(&[FIRST, SECOND]);
    assert_eq!((found.traces, found.lines, found.span_ns), (2, 24, Some(420)));
    let of = |name: &str| {
        found
            .operations
            .iter()
            .find(|operation| operation.name == name)
            .map(|found| (found.count, found.failed))
    };
    assert_eq!(of("tdb_store"), Some((5, 1)));
    assert_eq!(of("tdb_fetch"), Some((2, 1)));
    assert_eq!(of("tdb_open"), Some((2, 0)));
    assert_eq!(of("tdb_nextkey"), None);
    let keys = &found.keys;
    assert_eq!(
        (keys.used, keys.changed, keys.changed_by_several, keys.changed_and_read_by_others),
        (4, 3, 1, 1)
    );
    assert_eq!((keys.operations, keys.contended_operations), (12, 4));
    let hot: Vec<_> = keys
        .hot
        .iter()
        .map(|key| (key.key.as_str(), key.operations, key.changes, key.traces, key.writers))
        .collect();
    assert_eq!(hot, [("\"a\"", 5, 1, 2, 1), ("\"b\"", 4, 2, 2, 2)]);
    let written = found.written_bytes;
    assert_eq!((written.count, written.total, written.min, written.max), (5, 11, 1, 4));
    assert_eq!((found.read_bytes.count, found.read_bytes.total), (3, 8));
}

/// R25: locks, transactions and traversals, in sequence numbers and in time.
#[test]
fn locks_transactions_and_traversals_are_measured() {
    let found = statistics(&[FIRST, SECOND]);
    let chain = found.locks.iter().find(|lock| lock.kind == "chain lock, write").expect("one was taken");
    // Taken at 170, released from 200 on; changes 3 and 4 were seen meanwhile.
    assert_eq!((chain.held_seq.max, chain.held_ns.map(|held| held.max)), (2, Some(30)));
    assert_eq!(chain.waited_ns.map(|waited| waited.max), Some(10));
    assert_eq!(found.locks.len(), 3);
    let transactions = &found.transactions;
    assert_eq!((transactions.committed, transactions.cancelled, transactions.left_open), (1, 1, 0));
    assert_eq!((transactions.operations.min, transactions.operations.max), (1, 2));
    let traversals = &found.traversals;
    assert_eq!((traversals.read, traversals.write, traversals.visited.max), (1, 0, 2));
}

/// R25: traces without times have no durations, and no operation at all is not an error.
#[test]
fn plain_and_empty_traces_have_statistics() {
    let found = statistics(&["0 tdb_open 131 0x1 0x42\n0 tdb_close\n"]);
    assert_eq!(
        (found.span_ns, found.operation_count(), found.keys.used, found.key_bytes.count),
        (None, 2, 0, 0)
    );
    assert!(found.operations.iter().all(|operation| operation.duration_ns.is_none()));
}

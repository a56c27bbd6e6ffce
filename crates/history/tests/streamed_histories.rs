//! Histories that are given out operation by operation.

use history::generate::{History, Shape};

/// R29: a streamed run is the run that is kept, each process's operations in its own order, and keeps none itself.
#[test]
fn a_streamed_run_gives_the_operations_of_the_kept_one() {
    let shape =
        Shape { processes: 7, operations: 5000, seed: testbed::seed("streamed_run"), ..Shape::default() };
    let kept = History::new(&shape);
    let mut streamed = vec![vec![]; 7];
    let mut bytes = vec![];
    History::stream(&shape, |operation, history| {
        assert!(history.operations.is_empty());
        streamed[operation.process as usize].push(*operation);
        bytes.push((operation.written, history.bytes_of(operation.written)));
        Ok::<(), ()>(())
    })
    .expect("the closure never fails");
    for process in 0..7 {
        let of_kept: Vec<_> =
            kept.operations.iter().filter(|operation| operation.process == process).copied().collect();
        assert_eq!(streamed[process as usize], of_kept);
    }
    assert!(bytes.iter().all(|(value, bytes)| kept.bytes_of(*value) == *bytes));
}

/// R27: versions lie between the sequence number noted before and the one noted after, and give each key's order.
#[test]
fn versions_order_the_changes_of_a_key() {
    let shape = Shape { operations: 5000, seed: testbed::seed("versions"), ..Shape::default() };
    let mut last = vec![0; shape.keys as usize];
    for operation in &History::new(&shape).operations {
        assert!(operation.version <= operation.sequence);
        let before = &mut last[operation.key as usize];
        assert!(*before <= operation.version && (*before < operation.version || !operation.modifies()));
        *before = operation.version;
    }
}

/// R29: a run ends with the first error of who takes its operations.
#[test]
fn a_streamed_run_ends_with_the_first_error() {
    let mut taken = 0;
    let ended = History::stream(&Shape::default(), |_, _| {
        taken += 1;
        if taken == 10 { Err("full") } else { Ok(()) }
    });
    assert_eq!((ended, taken), (Err("full"), 10));
}

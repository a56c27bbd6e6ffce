//! Every order of what may happen in a small cell.

use sim::model::{Limits, explore};
use ubik_proto::plant::{Fault, plant};

/// Small enough for every test run, as this with no write and a crash, and with no election and a crash, are.
const SMALL: Limits = Limits { elections: 1, writes: 1, crashes: 0, losses: 0, states: 1_000_000 };

/// U35, U45: no order of an election and a write, or of either and a power failure, breaks a property, and there are some in
/// which the write is committed. In full length there are an election, a write and a power failure, or a call that is lost or late. A call that a
/// server's earlier life took may come again.
#[test]
fn no_order_of_a_small_cell_breaks_a_property() {
    let long = [Limits { losses: 1, ..SMALL }, Limits { crashes: 1, ..SMALL }];
    let crash = Limits { crashes: 1, ..SMALL };
    let short = [SMALL, Limits { writes: 0, ..crash }, Limits { elections: 0, ..crash }];
    let all = if std::env::var_os("QUORATE_LONG").is_some() { &long[..] } else { &short[..] };
    for limits in all {
        let report = explore(*limits);
        println!("{limits:?}: {} states, {} steps", report.states, report.steps);
        assert_eq!(report.violation, None);
        assert!(report.complete && report.committed == usize::from(limits.writes), "{report:?}");
    }
}

/// U45: the search finds what it is for: rules left out that only an order of calls, disks and elections shows.
#[test]
fn rules_that_are_left_out_are_found() {
    for fault in [Fault::OwnCopyOnly, Fault::UndecidedCalledFailed] {
        plant(Some(fault));
        let report = explore(SMALL);
        plant(None);
        println!("{fault:?}: {} states, {:?}", report.states, report.violation);
        assert!(report.violation.is_some(), "{fault:?}");
    }
}

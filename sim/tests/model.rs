//! Every order of what may happen in a small cell.

use sim::model::{Limits, explore};
use ubik_proto::plant::{Fault, plant};

/// Small enough for every test run.
const SMALL: Limits = Limits { elections: 1, writes: 1, crashes: 0, losses: 0, states: 1_000_000 };

/// U35, U45: no order of an election and a write breaks a property, and there are some in which the write is committed. In full
/// length a call is lost or late, too, or a server loses power.
#[test]
fn no_order_of_a_small_cell_breaks_a_property() {
    let long = [Limits { losses: 1, ..SMALL }, Limits { crashes: 1, ..SMALL }];
    let all = if std::env::var_os("QUORATE_LONG").is_some() { &long[..] } else { &[SMALL] };
    for limits in all {
        let report = explore(*limits);
        println!("{limits:?}: {} states, {} steps", report.states, report.steps);
        assert_eq!(report.violation, None);
        assert!(report.complete && report.committed == 1, "{report:?}");
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

//! Our servers and OpenAFS's in one cell, in network namespaces: who is elected, what is written, that it is the same
//! everywhere. Skipped, with the reason, where packages or namespaces are absent.
//!
//! OpenAFS's elections take more than a minute. The normal run has one of each role, side by side; `QUORATE_LONG=1` runs
//! every role with ptserver and vlserver, with and without keys, through elections in both directions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cell;
mod raw;
mod roles;

use cell::{PRDB, PRDB_KEYS, Service, VLDB, VLDB_KEYS};

/// A name, what happens, and with which of OpenAFS's services.
type Scenario = (&'static str, fn(Service), Service);

/// Runs scenarios side by side, since most of their time is waiting; each panics by itself.
fn side_by_side(test: &str, scenarios: &[Scenario]) {
    if let Some(reason) = cell::missing() {
        return testbed::skip(test, &reason);
    }
    std::thread::scope(|scope| {
        for &(name, scenario, service) in scenarios {
            let thread = std::thread::Builder::new().name(format!("{name} {}", service.name));
            thread.spawn_scoped(scope, move || scenario(service)).unwrap();
        }
    });
}

fn is_long() -> bool {
    std::env::var_os("QUORATE_LONG").is_some()
}

/// U4, U18, U29, U37, U39, U43, U54, X12: ours as follower and clone of an OpenAFS sync site, and as the sync site of OpenAFS's
/// followers; what either wrote is the same everywhere, byte for byte, and each program's tools say so of the other's. Ours that only
/// votes, at the lowest address, leaves OpenAFS the lead. With keys, a vote once ended its connection (a false mandate).
#[test]
fn a_mixed_cell_elects_writes_and_recovers() {
    let test = "a_mixed_cell_elects_writes_and_recovers";
    side_by_side(
        test,
        &[
            ("follower", roles::follower, PRDB),
            ("sync site", roles::sync_site, PRDB_KEYS),
            ("only votes", roles::only_votes, VLDB_KEYS),
        ],
    );
}

/// U22, U23, U43: as sync site of an OpenAFS follower whose clock is far ahead, which alone makes the quorum; the skew is
/// measured, logged and shown.
#[test]
fn a_follower_whose_clock_is_off_takes_part_and_is_told_of() {
    let test = "a_follower_whose_clock_is_off_takes_part_and_is_told_of";
    if !std::path::Path::new(testbed::lab::FAKETIME).exists() {
        return testbed::skip(test, "faketime is not installed");
    }
    if !is_long() {
        return testbed::skip(test, "waits for an election; QUORATE_LONG=1 (`cargo xtask interop`) runs it");
    }
    side_by_side(test, &[("skewed", roles::skewed_follower, PRDB)]);
}

/// U29, U31, U43: the same for the volume location database, with the cell's key on every call, and through elections in
/// both directions.
#[test]
fn mixed_cells_of_every_kind_go_through_elections() {
    let test = "mixed_cells_of_every_kind_go_through_elections";
    if !is_long() {
        return testbed::skip(test, "takes ten minutes; QUORATE_LONG=1 (`cargo xtask interop`) runs it");
    }
    side_by_side(
        test,
        &[
            ("follower, long", roles::follower_through_elections, PRDB_KEYS),
            ("follower, long", roles::follower_through_elections, VLDB),
            ("sync site, long", roles::sync_site_through_elections, PRDB),
            ("sync site, long", roles::sync_site_through_elections, VLDB_KEYS),
        ],
    );
}

/// U20, U26, P17: ours as sync site sends a database that takes longer than a mandate over a slow line: it is not unseated,
/// and writes and reads go on.
#[test]
fn a_long_transfer_to_openafs_costs_no_quorum() {
    let test = "a_long_transfer_to_openafs_costs_no_quorum";
    if !is_long() {
        return testbed::skip(test, "takes five minutes; QUORATE_LONG=1 (`cargo xtask interop`) runs it");
    }
    side_by_side(test, &[("long transfer", roles::long_transfer, PRDB)]);
}

/// U29: the calls that no database of OpenAFS's makes here, to a live server of OpenAFS's: Write, Truncate and Abort mean there
/// what they mean here.
#[test]
fn openafs_writes_cuts_and_aborts_as_it_is_told() {
    let test = "openafs_writes_cuts_and_aborts_as_it_is_told";
    if !is_long() {
        return testbed::skip(test, "waits for a vote; QUORATE_LONG=1 (`cargo xtask interop`) runs it");
    }
    side_by_side(test, &[("raw calls", raw::every_call, PRDB)]);
}

/// U31: in a cell with keys, a caller from a member's own address that has no ticket gets no vote and changes nothing.
#[test]
fn only_members_that_hold_the_key_are_served() {
    let test = "only_members_that_hold_the_key_are_served";
    if let Some(reason) = cell::missing() {
        return testbed::skip(test, &reason);
    }
    roles::strangers(PRDB_KEYS);
}

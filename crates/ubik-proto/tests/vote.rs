//! One voter, beacon by beacon.

use ubik_proto::cell::{Cell, Dialect, Server, ServerId, ServerKind};
use ubik_proto::election::promise::PromiseRecord;
use ubik_proto::election::vote::{Refusal, Vote, Voter};
use ubik_proto::messages::Beacon;
use ubik_proto::profile::Profile;
use ubik_proto::time::{Moment, Now};
use ubik_proto::version::{TransactionId, Version};

const MINUTE: u64 = 60_000_000;

fn at(seconds: u64) -> Moment {
    Moment::from_micros(seconds * 1_000_000 + MINUTE * 10)
}

fn now(seconds: u64) -> Now {
    Now { moment: at(seconds), wall: 1_700_000_000 }
}

fn voter(me: u32, record: PromiseRecord) -> Voter {
    let server = |address| Server { address, kind: ServerKind::Voter, dialect: Dialect::Quorate };
    let clone = Server { kind: ServerKind::Clone, ..server(9) };
    let cell = Cell::new(vec![server(0), server(1), server(2), clone], me).unwrap();
    Voter::new(cell, Profile::openafs(), record, Version::FRESH, at(0))
}

fn id(index: usize) -> ServerId {
    ServerId::new(index)
}

fn candidate(epoch: i32) -> Beacon {
    let transaction = TransactionId::default();
    Beacon { claims_sync_site: false, start: epoch, version: Version::NONE, transaction }
}

fn sync_site(epoch: u32, version: Version) -> Beacon {
    let transaction = TransactionId { epoch, counter: 1 };
    Beacon { claims_sync_site: true, start: 5000, version, transaction }
}

fn yes(epoch: u32, to: usize) -> Vote {
    Vote::Yes { persist: Some(PromiseRecord { max_epoch: epoch, to: Some(id(to)) }) }
}

const RENEWED: Vote = Vote::Yes { persist: None };

/// U35: a yes whose record could not be written, or is still being written, is not a promise yet: the next yes asks for
/// the same record again. (A voter whose disk was full once said yes to the renewal, lost power, and agreed to less.)
#[test]
fn a_yes_waits_until_its_record_is_saved() {
    let mut voter = voter(2, PromiseRecord::default());
    let record = PromiseRecord { max_epoch: 100, to: Some(id(0)) };
    assert_eq!(voter.handle_beacon(now(76), id(0), 1, &candidate(100), false), yes(100, 0));
    assert_eq!(voter.handle_beacon(now(91), id(0), 1, &candidate(100), false), yes(100, 0));
    assert!(voter.on_saved(record));
    assert_eq!(voter.handle_beacon(now(92), id(0), 1, &candidate(100), false), RENEWED);
}

/// U50: a yes that could not be written was not given, and binds nobody: another server gets one at once. One that was
/// written after all is not sent when the promise has gone elsewhere.
#[test]
fn a_yes_that_could_not_be_saved_binds_nobody() {
    let mut voter = voter(2, PromiseRecord::default());
    let record = |epoch, to| PromiseRecord { max_epoch: epoch, to: Some(id(to)) };
    assert_eq!(voter.handle_beacon(now(76), id(1), 1, &candidate(100), false), yes(100, 1));
    assert_eq!(voter.handle_beacon(now(77), id(0), 1, &candidate(103), false), Vote::No(Refusal::Promised));
    voter.on_save_failed(record(100, 1));
    assert_eq!(voter.following(), None);
    assert_eq!(voter.handle_beacon(now(78), id(0), 1, &candidate(103), false), yes(103, 0));
    assert!(!voter.on_saved(record(100, 1)), "a second try for the first, late");
    voter.on_save_failed(record(103, 0));
    assert!(voter.on_saved(record(103, 0)), "the second try was written");
    assert_eq!(voter.handle_beacon(now(79), id(1), 1, &candidate(106), false), Vote::No(Refusal::Promised));
}

/// U14, U22: one promise per BIGTIME, on the monotonic clock, also right after a start.
#[test]
fn nobody_gets_a_vote_before_an_older_promise_has_run_out() {
    let mut voter = voter(2, PromiseRecord::default());
    assert_eq!(voter.handle_beacon(now(75), id(0), 1, &candidate(100), false), Vote::No(Refusal::Promised));
    assert_eq!(voter.handle_beacon(now(76), id(0), 1, &candidate(100), false), yes(100, 0));
    assert_eq!(voter.handle_beacon(now(151), id(1), 1, &candidate(101), false), Vote::No(Refusal::Promised));
    assert_eq!(voter.handle_beacon(now(152), id(1), 1, &candidate(101), false), yes(101, 1));
}

/// U11, U35: a voter never agrees to an epoch that is not above all it agreed to, except with the same server.
#[test]
fn an_epoch_is_agreed_to_with_one_server_only() {
    let mut voter = voter(2, PromiseRecord { max_epoch: 100, to: Some(id(1)) });
    assert_eq!(voter.handle_beacon(now(1), id(1), 1, &candidate(99), false), Vote::No(Refusal::OldEpoch));
    assert_eq!(voter.handle_beacon(now(1), id(1), 1, &candidate(100), false), RENEWED);
    assert_eq!(voter.handle_beacon(now(80), id(0), 1, &candidate(100), false), Vote::No(Refusal::OldEpoch));
    assert_eq!(
        voter.handle_beacon(now(80), id(0), 1, &sync_site(100, Version::NONE), false),
        Vote::No(Refusal::OldEpoch)
    );
    assert_eq!(voter.handle_beacon(now(80), id(0), 1, &candidate(101), false), yes(101, 0));
}

/// U14: the lowest address that asks is preferred for two beacons; clones and impossible times get no vote.
#[test]
fn the_lowest_address_is_preferred_while_there_is_no_sync_site() {
    let mut voter = voter(2, PromiseRecord { max_epoch: 200, to: None });
    assert_eq!(voter.handle_beacon(now(80), id(0), 1, &candidate(200), false), Vote::No(Refusal::OldEpoch));
    assert_eq!(voter.handle_beacon(now(81), id(1), 1, &candidate(300), false), Vote::No(Refusal::LowerAsks));
    assert_eq!(voter.handle_beacon(now(111), id(1), 1, &candidate(300), false), yes(300, 1));
    assert_eq!(voter.handle_beacon(now(111), id(3), 1, &candidate(400), false), Vote::No(Refusal::FromClone));
    assert_eq!(voter.handle_beacon(now(111), id(1), 1, &candidate(-4), false), Vote::No(Refusal::BadStart));
}

/// U14: a candidate gives way to a lower address and not to a higher one.
#[test]
fn a_candidate_votes_for_a_lower_address_only() {
    let mut voter = voter(1, PromiseRecord::default());
    assert_eq!(voter.handle_beacon(now(80), id(2), 1, &candidate(100), true), Vote::No(Refusal::LowerAsks));
    assert_eq!(voter.handle_beacon(now(80), id(0), 1, &candidate(100), true), yes(100, 0));
}

/// U43: a sync site of OpenAFS's is followed in the epoch it has, also by a voter that agreed to a higher one meanwhile.
#[test]
fn a_foreign_sync_site_is_followed_in_its_old_epoch() {
    let server = |address, dialect| Server { address, kind: ServerKind::Voter, dialect };
    let servers = vec![server(0, Dialect::OpenAfs), server(1, Dialect::Quorate), server(2, Dialect::Quorate)];
    let record = PromiseRecord { max_epoch: 100, to: Some(id(1)) };
    let cell = Cell::new(servers, 2).unwrap();
    let mut voter = Voter::new(cell, Profile::openafs(), record, Version::FRESH, at(0));
    let old = sync_site(90, Version::new(90, 2));
    assert_eq!(voter.handle_beacon(now(75), id(0), 1, &old, false), Vote::No(Refusal::Promised));
    assert_eq!(voter.handle_beacon(now(76), id(0), 1, &candidate(90), false), Vote::No(Refusal::OldEpoch));
    assert_eq!(voter.handle_beacon(now(76), id(0), 1, &old, false), yes(100, 0));
    voter.on_saved(PromiseRecord { max_epoch: 100, to: Some(id(0)) });
    assert_eq!(voter.handle_beacon(now(91), id(0), 1, &old, false), RENEWED);
}

/// U22, U34: a lease counts from the yes that the next beacon of the same connection proves to have arrived.
#[test]
fn a_lease_counts_from_the_yes_before_the_last() {
    let mut voter = voter(2, PromiseRecord { max_epoch: 9, to: Some(id(0)) });
    let version = Version::new(10, 5);
    let beacon = sync_site(10, version);
    voter.handle_beacon(now(11), id(0), 1, &beacon, false);
    voter.handle_beacon(now(11), id(0), 1, &beacon, false);
    assert_eq!(voter.may_read(at(11)), None, "the first of them may have been sent to an earlier life");
    voter.handle_beacon(now(12), id(0), 2, &beacon, false);
    assert_eq!(voter.may_read(at(13)), None, "nothing proves that the first yes arrived");
    voter.handle_beacon(now(27), id(0), 2, &beacon, false);
    assert_eq!(voter.may_read(at(56)), Some(version));
    assert_eq!(voter.may_read(at(57)), None);
    voter.handle_beacon(now(61), id(0), 3, &beacon, false);
    assert_eq!(voter.may_read(at(61)), None, "another connection proves nothing");
    voter.handle_beacon(now(62), id(0), 3, &sync_site(10, Version::new(9, 9)), false);
    assert_eq!(voter.may_read(at(62)), None, "not relabelled yet");
    voter.handle_beacon(now(63), id(0), 3, &sync_site(10, Version::NONE), false);
    assert_eq!(voter.may_read(at(63)), None, "grants nothing");
}

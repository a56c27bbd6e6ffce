//! Elections, step by step: what comes out of `Election` for what goes in.

use std::time::Duration;

use ubik_proto::cell::{Cell, Dialect, Server, ServerId, ServerKind, ServerSet};
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::election::epochs::{EpochRange, LAST, LAST_USABLE};
use ubik_proto::election::promise::PromiseRecord;
use ubik_proto::election::vote::{Refusal, Vote};
use ubik_proto::election::{Claim, Command, Election, Event, Standing};
use ubik_proto::messages::Beacon;
use ubik_proto::profile::Profile;
use ubik_proto::time::{Moment, Now};
use ubik_proto::version::{TransactionId, Version};

const WALL: i64 = 1_700_000_000;

fn id(index: usize) -> ServerId {
    ServerId::new(index)
}

fn at(seconds: u64) -> Now {
    Now { moment: Moment::from_micros((1000 + seconds) * 1_000_000), wall: WALL + seconds as i64 }
}

fn server(me: u32, voters: u32) -> Election {
    let server = |address| Server { address, kind: ServerKind::Voter, dialect: Dialect::Quorate };
    let cell = Cell::new((0..voters).map(server).collect(), me).unwrap();
    Election::new(cell, Profile::openafs(), PromiseRecord::default(), Version::FRESH, at(0).moment)
}

fn numbers(commands: &[Command]) -> Vec<(ServerId, u64, Beacon)> {
    let beacon = |command: &Command| match command {
        Command::Beacon { to, number, beacon, .. } => Some((*to, *number, *beacon)),
        _ => None,
    };
    commands.iter().filter_map(beacon).collect()
}

/// A server that has just been elected at `at(90)` with the vote of server 1.
fn elected() -> (Election, u32, Vec<Command>) {
    let mut election = server(0, 3);
    let asked = numbers(&election.poll(at(90)));
    let epoch = asked[0].2.start as u32;
    let commands = election.on_vote(at(91), id(1), asked[0].1, VoteReply::Yes(asked[0].2.start));
    let record = PromiseRecord { max_epoch: epoch, to: Some(id(0)) };
    assert!(commands.contains(&Command::PersistOwnVote(record)));
    let commands = election.on_own_vote_persisted(at(91), record);
    (election, epoch, commands)
}

/// U54: a server that only votes gives its vote, and never asks for one, however long nobody else does.
#[test]
fn a_server_that_only_votes_never_stands() {
    let server = |address| Server { address, kind: ServerKind::Voter, dialect: Dialect::OpenAfs };
    let cell = Cell::new((0..3).map(server).collect(), 0).unwrap().only_voting();
    let mut election =
        Election::new(cell, Profile::openafs(), PromiseRecord::default(), Version::FRESH, at(0).moment);
    for second in 0..2000 {
        assert_eq!(election.poll(at(second)), []);
        assert!(election.next_deadline() > at(second).moment, "it does not look again at once");
    }
    let transaction = TransactionId::default();
    let start = WALL as i32 + 2000;
    let beacon = Beacon { claims_sync_site: false, start, version: Version::NONE, transaction };
    assert!(matches!(election.on_beacon(at(2000), id(1), 1, &beacon).0, Vote::Yes { .. }));
    for second in 2000..4000 {
        assert_eq!(election.poll(at(second)), []);
    }
}

/// U14, U22: a server that has just started asks nobody before its own promise is over, whatever the wall clock says.
#[test]
fn nobody_stands_before_the_promise_of_an_earlier_life_is_over() {
    let mut election = server(0, 3);
    assert_eq!(election.poll(at(74)), []);
    let jumped = Now { wall: WALL + 90_000, ..at(75) };
    assert_eq!(election.poll(jumped), []);
    assert!(election.next_deadline() > at(75).moment);
    assert_eq!(numbers(&election.poll(at(90))).len(), 2);
}

/// U11: a proposal is not below the wall clock, and of this server's own residue, so that nobody else proposes it.
#[test]
fn a_proposal_belongs_to_one_server() {
    for me in 0..3 {
        let mut election = server(me, 3);
        let asked = numbers(&election.poll(at(95)));
        let epoch = asked[0].2.start as u32;
        assert!(epoch % 3 == me && i64::from(epoch) >= WALL + 95 && i64::from(epoch) < WALL + 98);
    }
}

/// U19, U14: the own vote comes last, only if it decides, and counts only when it is on disk.
#[test]
fn the_own_vote_is_cast_last_and_on_disk_first() {
    let mut election = server(0, 5);
    let asked = numbers(&election.poll(at(90)));
    let yes = VoteReply::Yes(asked[0].2.start);
    let persists =
        |commands: &[Command]| commands.iter().any(|command| matches!(command, Command::PersistOwnVote(_)));
    assert!(
        !persists(&election.on_vote(at(91), id(1), asked[0].1, yes)),
        "one other of five does not decide"
    );
    let epoch = asked[0].2.start as u32;
    assert_eq!(election.voter().promised_to(), None, "nothing is promised yet");
    assert!(persists(&election.on_vote(at(91), id(2), asked[1].1, yes)));
    assert_eq!(election.standing(), Standing::Candidate { epoch });
    let record = PromiseRecord { max_epoch: epoch, to: Some(id(0)) };
    let commands = election.on_own_vote_persisted(at(92), record);
    assert_eq!(commands[0], Command::Notify(Event::Elected { epoch }));
    assert!(election.holds_mandate(at(92).moment));
}

/// U19: a new sync site says so to everybody at once, and lets nobody read before it has something to vouch for.
#[test]
fn a_new_sync_site_advertises_and_grants_nothing_yet() {
    let (mut election, epoch, commands) = elected();
    for (_, _, beacon) in numbers(&commands) {
        assert!(
            beacon.claims_sync_site && beacon.version == Version::NONE && beacon.transaction.epoch == epoch
        );
    }
    let version = Version::new(epoch, 2);
    let in_step: ServerSet = [id(1)].into_iter().collect();
    let answered = numbers(&commands).into_iter().find(|(to, ..)| *to == id(1)).unwrap();
    election.on_vote(at(92), id(1), answered.1, VoteReply::Yes(answered.2.start));
    let told =
        numbers(&election.set_claim(
            at(92),
            Claim { version, in_step, transaction: 2, deciding: false, relabelling: None },
        ));
    assert_eq!(told.len(), 1, "server 2 has not answered yet");
    assert_eq!((told[0].0, told[0].2.version), (id(1), version));
}

/// U22: the mandate counts from when the beacon was sent, not from when the answer came.
#[test]
fn a_mandate_counts_from_the_asking() {
    let (election, ..) = elected();
    assert_eq!(election.mandate_end(), Some(at(90).moment + Duration::from_secs(58)));
    assert!(election.holds_mandate(at(147).moment) && !election.holds_mandate(at(148).moment));
}

/// U21: without votes it steps down, beacons stop, and its own promise lasts from its last beacon.
#[test]
fn a_sync_site_without_votes_stops_and_stays_bound() {
    let (mut election, epoch, _) = elected();
    let (vote, _) = election.on_beacon(at(100), id(1), 1, &candidate(epoch + 1));
    assert!(matches!(vote, Vote::No(_)), "it holds a mandate");
    let commands = election.poll(at(148));
    assert_eq!(
        commands.iter().find(|command| matches!(command, Command::Notify(_))),
        Some(&Command::Notify(Event::SteppedDown { epoch }))
    );
    assert_eq!(numbers(&commands), []);
    let (vote, _) = election.on_beacon(at(166), id(1), 1, &candidate(epoch + 1));
    assert!(matches!(vote, Vote::No(_)), "its last beacon was sent 75 s ago");
    let (vote, commands) = election.on_beacon(at(167), id(1), 1, &candidate(epoch + 1));
    assert!(matches!(vote, Vote::Yes { persist: Some(_) }), "free again");
    assert!(commands.contains(&Command::Notify(Event::Follows { host: id(1), epoch: epoch + 1 })));
}

/// U34: a new sync site owes every server that did not vote for it the lease of whoever came before.
#[test]
fn a_server_that_did_not_vote_may_still_be_reading() {
    let (election, ..) = elected();
    let wait = Profile::openafs().lease_wait;
    assert_eq!(election.beaconer().obligation(id(1)), None);
    assert_eq!(election.beaconer().obligation(id(2)), Some(at(91).moment + wait));
}

/// U34, P12: the sync site that this server followed until its promise was over has been told nothing by anybody since, so
/// nobody waits for it; but only if it is certain that there was no other one in between.
#[test]
fn nobody_waits_for_the_predecessor() {
    let owed = |voters, last_beacon: u64, proven: bool| {
        let mut election = server(1, voters);
        let beacon = |epoch| Beacon {
            claims_sync_site: true,
            start: 1,
            version: Version::new(epoch, 2),
            transaction: TransactionId { epoch, counter: 1 },
        };
        for (nth, second) in [last_beacon - 15, last_beacon].into_iter().enumerate() {
            let series = if proven { 1 } else { nth as u64 };
            let (vote, _) = election.on_beacon(at(second), id(0), series, &beacon(9));
            assert!(matches!(vote, Vote::Yes { .. }));
        }
        let now = at(260);
        let asked = numbers(&election.poll(now));
        let epoch = asked[0].2.start as u32;
        for (to, number, beacon) in asked.into_iter().filter(|&(to, ..)| to >= id(2)) {
            election.on_vote(now, to, number, VoteReply::Yes(beacon.start));
        }
        election.on_own_vote_persisted(now, PromiseRecord { max_epoch: epoch, to: Some(id(1)) });
        assert_eq!(election.standing(), Standing::SyncSite { epoch });
        election.beaconer().obligation(id(0)).is_some()
    };
    assert!(!owed(3, 180, true));
    assert!(owed(3, 180, false), "it may have been unseated when it sent its last beacon");
    assert!(owed(3, 120, true), "so late, there may have been another");
    assert!(owed(5, 180, true), "others may have elected another meanwhile");
}

/// U48: one server's wall clock was past 2038 for a moment, and two voters agreed to what it proposed. Whoever stands after
/// that is told how high it must go, and is elected. (The proposal once was the last epoch there is, and nobody ever after
/// agreed to any other.)
#[test]
fn a_clock_of_another_century_uses_no_epochs_up() {
    let far = Now { wall: 4_000_000_000, ..at(95) };
    let proposed = numbers(&server(1, 3).poll(far))[0].2;
    assert!(u32::try_from(proposed.start).unwrap() < LAST_USABLE, "{}", proposed.start);
    let mut voter = server(2, 3);
    assert!(matches!(voter.on_beacon(at(100), id(1), 1, &proposed).0, Vote::Yes { .. }));
    let mut zero = server(0, 3);
    for round in 0..3 {
        let now = at(200 + 4 * round);
        let asked = numbers(&zero.poll(now));
        let &(_, number, beacon) = asked.iter().find(|(to, ..)| *to == id(2)).unwrap();
        if let (Vote::Yes { .. }, _) = voter.on_beacon(now, id(0), 1, &beacon) {
            return assert_eq!(round, 1, "it was told once");
        }
        zero.on_vote(now, id(2), number, VoteReply::No(voter.agreeable(now, id(0))));
    }
    panic!("server 0 never proposes what the voter agrees to");
}

/// U48: what a candidate proposes, or a voter says that it has agreed to, takes nobody near the end.
#[test]
fn a_peer_that_names_the_last_epoch_is_not_believed() {
    let mut voter = server(2, 3);
    for beacon in [candidate(LAST), candidate(LAST - 1_000_000)] {
        let (vote, _) = voter.on_beacon(at(100), id(0), 1, &beacon);
        assert_eq!(vote, Vote::No(Refusal::FarEpoch));
    }
    let (vote, _) = voter.on_beacon(at(101), id(1), 1, &candidate(WALL as u32));
    assert!(matches!(vote, Vote::Yes { .. }), "who asked before was not preferred");
    let mut election = server(0, 3);
    for (to, number, _) in numbers(&election.poll(at(90))) {
        election.on_vote(
            at(91),
            to,
            number,
            VoteReply::No(Some(EpochRange { above: LAST - 5, up_to: LAST })),
        );
    }
    for (_, _, beacon) in numbers(&election.poll(at(95))) {
        assert!((beacon.start as u32) < LAST_USABLE, "{}", beacon.start);
    }
}

/// U24: a peer that fails is probed, not asked, until it answers; then it is asked at once, on a new connection.
#[test]
fn a_peer_that_fails_is_probed() {
    let (mut election, _, commands) = elected();
    let (to, number, _) = numbers(&commands)[0];
    let series = election.beaconer().link(to).series;
    let commands = election.on_vote(at(103), to, number, VoteReply::Failed);
    assert_eq!(commands, [Command::Notify(Event::Down { peer: to })]);
    assert!(election.poll(at(133)).contains(&Command::Probe { to }));
    let again = election.on_probe(at(134), to, true);
    assert!(
        matches!(again[..], [Command::Beacon { to: asked, series: new, .. }] if asked == to && new > series)
    );
}

/// U11: a database of a newer epoch in the quorum makes the sync site stand again above it.
#[test]
fn a_newer_epoch_is_outbid() {
    let (mut election, epoch, _) = elected();
    let commands = election.demand_epoch(at(93), epoch + 5000);
    assert_eq!(commands[0], Command::Notify(Event::SteppedDown { epoch }));
    assert!(
        numbers(&election.poll(at(120)))
            .iter()
            .chain(&numbers(&commands))
            .all(|(_, _, beacon)| beacon.start as u32 > epoch + 5000)
    );
}

fn candidate(epoch: u32) -> Beacon {
    let transaction = TransactionId::default();
    Beacon { claims_sync_site: false, start: epoch as i32, version: Version::NONE, transaction }
}

//! What a sync site of ours tells OpenAFS's followers, step by step.

use std::time::Duration;

use ubik_proto::cell::{Cell, Dialect, Server, ServerId, ServerKind};
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::election::epochs::EpochRange;
use ubik_proto::election::promise::PromiseRecord;
use ubik_proto::election::{Claim, Command, Election, Standing};
use ubik_proto::messages::Beacon;
use ubik_proto::profile::Profile;
use ubik_proto::time::{Moment, Now};
use ubik_proto::version::Version;

const WALL: i64 = 1_700_000_000;

fn at(seconds: u64) -> Now {
    Now { moment: Moment::from_micros((1000 + seconds) * 1_000_000), wall: WALL + seconds as i64 }
}

fn peer() -> ServerId {
    ServerId::new(1)
}

fn beacons(commands: &[Command]) -> Vec<(u64, Beacon)> {
    let to_peer = |command: &Command| match command {
        Command::Beacon { to, number, beacon, .. } if *to == peer() => Some((*number, *beacon)),
        _ => None,
    };
    commands.iter().filter_map(to_peer).collect()
}

/// A sync site elected by an OpenAFS voter (or what is taken for one), whose answers are `answer(start, now)`; the beacons
/// that the voter got after the election, one a second, with when they left.
fn reign(answer: impl Fn(i32, Now) -> i32, seconds: u64) -> (Election, Vec<(Now, Beacon)>) {
    let (election, told, _) = reign_by(at, answer, seconds);
    (election, told)
}

/// As above, with the sync site's own clocks; and how far ahead of them the voter's clock was found to be, each time.
fn reign_by(
    at: impl Fn(u64) -> Now,
    answer: impl Fn(i32, Now) -> i32,
    seconds: u64,
) -> (Election, Vec<(Now, Beacon)>, Vec<i64>) {
    let server = |address, dialect| Server { address, kind: ServerKind::Voter, dialect };
    let servers = vec![server(0, Dialect::Quorate), server(1, Dialect::OpenAfs), server(2, Dialect::OpenAfs)];
    let cell = Cell::new(servers, 0).unwrap();
    let mut election =
        Election::new(cell, Profile::openafs(), PromiseRecord::default(), Version::FRESH, at(0).moment);
    let (mut told, mut ahead) = (Vec::new(), Vec::new());
    for second in 90..90 + seconds {
        let now = at(second);
        let mut commands = election.poll(now);
        while !commands.is_empty() {
            let mut next = Vec::new();
            for command in &commands {
                match command {
                    Command::PersistOwnVote(record) => {
                        next.extend(election.on_own_vote_persisted(now, *record));
                    }
                    Command::Clock { ahead_secs, .. } => ahead.push(*ahead_secs),
                    _ => {}
                }
            }
            for (number, beacon) in beacons(&commands) {
                if beacon.claims_sync_site {
                    told.push((now, beacon));
                }
                next.extend(election.on_vote(now, peer(), number, VoteReply::Yes(answer(beacon.start, now))));
            }
            commands = next;
        }
    }
    (election, told, ahead)
}

/// U22: a C follower is told its own clock less a constant, whatever that clock shows, every second; and a commit that it
/// misses waits a few seconds for it, not a minute.
#[test]
fn a_follower_counts_its_claim_on_its_own_clock() {
    for skew in [-50, 0, 50] {
        let clock = |_, now: Now| (now.wall + skew) as i32;
        let (mut election, told) = reign(clock, 20);
        assert!(told.len() >= 19, "one a second");
        for (now, beacon) in &told[2..] {
            let shifted = now.wall + skew - i64::from(beacon.start);
            assert!((56..=58).contains(&shifted), "{shifted} s before its clock");
        }
        let Standing::SyncSite { epoch } = election.standing() else { panic!("it was elected") };
        let in_step = [peer()].into_iter().collect();
        let claim = Claim { version: Version::new(epoch, 2), in_step, transaction: 1, ..Claim::default() };
        election.set_claim(at(110), claim);
        let until = election.beaconer().obligation(peer()).unwrap();
        assert!(until.since(at(110).moment) <= Duration::from_secs(6), "{until:?}");
    }
}

/// U22: a server of ours that was not named as one answers with the start that it was told; that is not its clock, or each
/// start would be earlier than the one before.
#[test]
fn an_echo_is_not_taken_for_a_clock() {
    let (election, told, ahead) = reign_by(at, |start, _| start, 200);
    assert!(matches!(election.standing(), Standing::SyncSite { .. }));
    for (now, beacon) in told {
        assert_eq!(now.wall - i64::from(beacon.start), 28);
    }
    assert_eq!(ahead, [0; 0], "no clock was told");
    let (.., ahead) = reign_by(at, |_, now| (now.wall + 50) as i32, 5);
    assert!(ahead.len() >= 5 && ahead.iter().all(|&secs| secs == 50), "{ahead:?}");
}

/// U14, U22, M2: an OpenAFS voter whose clock is set forward or back, which may end its promises, counts as no vote for as long
/// as one lasts, and counts again after that. Setting this server's own wall clock means nothing.
#[test]
fn a_voter_whose_clock_was_set_counts_for_nothing() {
    let stepped = |by: i64| {
        let clock = move |_, now: Now| (now.wall + if now.wall >= WALL + 120 { by } else { 0 }) as i32;
        let holds = |seconds| matches!(reign(clock, seconds).0.standing(), Standing::SyncSite { .. });
        // From 90 on; set at 120, the mandate of the vote before lasts 58 s, and a new one follows at 195.
        [holds(25), holds(95), holds(125)]
    };
    assert_eq!(stepped(0), [true; 3]);
    assert_eq!(stepped(4), [true; 3], "less than a step");
    assert_eq!(stepped(80), [true, false, true]);
    assert_eq!(stepped(-80), [true, false, true]);
    // An answer that is given again and again, since no beacon travels, is not a vote: its clock stands.
    let stands = |_, now: Now| (WALL + (now.moment.as_micros() as i64 / 1_000_000 - 1000).min(100)) as i32;
    assert!(!matches!(reign_by(at, stands, 95).0.standing(), Standing::SyncSite { .. }));
    let set_here = |seconds| {
        let Now { moment, wall } = at(seconds);
        Now { moment, wall: wall + if seconds >= 120 { 80 } else { 0 } }
    };
    let steady = |_, now: Now| (WALL + now.moment.as_micros() as i64 / 1_000_000 - 1000) as i32;
    assert!(matches!(reign_by(set_here, steady, 95).0.standing(), Standing::SyncSite { .. }));
}

/// U11, U43: told by a voter of ours that it has agreed to far more, a candidate beside OpenAFS's voters proposes little above the wall
/// clock: the epoch of whichever of them is elected next is the wall clock then, and must be above its own.
#[test]
fn a_proposal_beside_openafs_stays_near_the_wall_clock() {
    let server = |address, dialect| Server { address, kind: ServerKind::Voter, dialect };
    let servers = vec![server(0, Dialect::Quorate), server(1, Dialect::OpenAfs), server(2, Dialect::Quorate)];
    let highest = |servers| {
        let cell = Cell::new(servers, 0).unwrap();
        let profile = Profile::openafs();
        let mut election =
            Election::new(cell, profile, PromiseRecord::default(), Version::FRESH, at(0).moment);
        let mut ahead = 0;
        for second in 90..3000 {
            let now = at(second);
            for command in election.poll(now) {
                if let Command::Beacon { to, number, beacon, .. } = command {
                    ahead = ahead.max(i64::from(beacon.start) - now.wall);
                    let far = beacon.start as u32 + 500;
                    let told =
                        (to == ServerId::new(2)).then_some(EpochRange { above: far, up_to: far + 1000 });
                    election.on_vote(now, to, number, VoteReply::No(told));
                }
            }
        }
        ahead
    };
    let ours = servers.iter().map(|one| Server { dialect: Dialect::Quorate, ..one.clone() }).collect();
    let (mixed, alone) = (highest(servers), highest(ours));
    assert!((16..70).contains(&mixed), "{mixed} s ahead");
    assert!(alone > 200, "among our own it goes as far as it must: {alone} s");
}

/// U16, U17: a beacon that was sent while a commit was decided is followed by one with the version that came of it.
#[test]
fn a_version_told_during_a_commit_is_corrected() {
    let (mut election, _) = reign(|_, now| now.wall as i32, 20);
    let Standing::SyncSite { epoch } = election.standing() else { panic!("it was elected") };
    let in_step = [peer()].into_iter().collect();
    let claim = |counter, deciding| Claim {
        version: Version::new(epoch, counter),
        in_step,
        transaction: 1,
        deciding,
        relabelling: None,
    };
    let answered = |election: &mut Election, now: Now, commands: &[Command]| {
        for (number, _) in beacons(commands) {
            election.on_vote(now, peer(), number, VoteReply::Yes(now.wall as i32));
        }
    };
    let first = election.set_claim(at(111), claim(2, false));
    answered(&mut election, at(111), &first);
    election.set_claim(at(111), claim(2, true));
    let during = election.poll(at(113));
    assert_eq!(beacons(&during)[0].1.version, Version::new(epoch, 2), "the commit is not decided yet");
    answered(&mut election, at(113), &during);
    let after = beacons(&election.set_claim(at(113), claim(3, false)));
    assert_eq!(after[0].1.version, Version::new(epoch, 3));
}

/// U14: OpenAFS's voters know no epochs: a candidate that they keep waiting may be elected long after another was sync
/// site, and its epoch must be above that one's. So it never proposes one that is older than a promise.
#[test]
fn a_candidate_that_waits_for_openafs_proposes_anew() {
    let server = |address, dialect| Server { address, kind: ServerKind::Voter, dialect };
    let servers = vec![server(0, Dialect::Quorate), server(1, Dialect::OpenAfs), server(2, Dialect::OpenAfs)];
    let cell = Cell::new(servers, 0).unwrap();
    let profile = Profile::openafs();
    let mut election =
        Election::new(cell, profile.clone(), PromiseRecord::default(), Version::FRESH, at(0).moment);
    let oldest = (profile.promise + profile.beacon).as_secs() as i64;
    let mut asked = 0;
    for second in 90..90 + 2 * profile.promise.as_secs() {
        let now = at(second);
        for (number, beacon) in beacons(&election.poll(now)) {
            asked += 1;
            let age = now.wall - i64::from(beacon.start);
            assert!(age <= oldest, "after {} s: {age} s old", second - 90);
            assert!(election.on_vote(now, peer(), number, VoteReply::No(None)).is_empty());
        }
    }
    assert!(asked > 30, "{asked}");
}

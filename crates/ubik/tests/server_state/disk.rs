//! What waits for the disk, what does not, and what becomes of its failures.

use ubik::disk_work::DiskWork;
use ubik_proto::messages::VoteCall;

use super::*;

/// A follower that has been told to commit, by a server that then lost its promise; what its disk is to do.
fn asked_to_commit() -> (ServerState, DiskWork) {
    let (state, hand) = state(2);
    hand.set(76);
    assert!(agrees(&state, id(0), 100));
    assert!(answer(&state, id(0), DiskCall::Begin(transaction(100))).is_ok());
    assert!(answer(&state, id(0), write_call(100)).is_ok());
    let mut effects = state.on_call(&mut held(), id(0), ANSWER, DiskCall::Commit(transaction(100)));
    let Some(Effect::Disk(work)) = effects.pop() else { panic!("{effects:?}") };
    assert!(effects.is_empty(), "it is answered when the log is synced: {effects:?}");
    hand.set(152);
    assert!(agrees(&state, id(1), 103), "votes wait for no disk");
    (state, work)
}

/// U35, U46: a new sync site that asks for the version while the disk works on a commit of the old one is answered when that is
/// done, and hears of it. Told the version before, it would take itself to have everything that a quorum acknowledged.
#[test]
fn who_asks_for_the_version_hears_of_work_under_way() {
    let (state, work) = asked_to_commit();
    let asks = AnswerId(2);
    assert!(state.on_call(&mut held(), id(1), asks, DiskCall::GetVersion).is_empty(), "not yet");
    let effects = state.on_disk(&mut held(), state.work(work));
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Answer(of, Ok(Answer::Version(version))) if *of == asks => Some(*version),
        _ => None,
    });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Answer(ANSWER, Ok(Answer::Done)))));
    assert_eq!(told, Version::FRESH.next());
}

/// U46: a read of any version, a debug call and a beacon wait for no disk, however long it takes.
#[test]
fn nobody_waits_for_a_disk_but_who_must() {
    let (state, work) = asked_to_commit();
    let asked = state.begin_read(&mut held(), ClientId(1), ReadKind::Any);
    assert!(matches!(asked[..], [Effect::Client(ClientId(1), _)]), "{asked:?}");
    let asked = state.begin_read(&mut held(), ClientId(2), ReadKind::Newest);
    assert!(matches!(asked[..], [Effect::Client(ClientId(2), _)]), "{asked:?}");
    assert!(state.debug(&mut held(), VoteCall::DebugWithKind).is_some());
    assert!(agrees(&state, id(1), 103));
    assert_eq!(state.database().version(), Version::FRESH, "the disk has not begun");
    assert!(state.work(work).is_ok());
}

/// U50: a disk that fails a vote or a log is told of, and a candidate whose own vote cannot be saved asks nobody any more.
#[test]
fn no_failure_of_the_disk_is_dropped() {
    let mut play = Play::established();
    play.store.set_full(true);
    play.write();
    assert!(play.failures.iter().any(|error| error.contains("was not logged")), "{:?}", play.failures);
    let (state, hand, store) = state_on_disk(0);
    hand.set(90);
    let asked = beacons(&state.on_election_time(&mut held()));
    store.set_full(true);
    let (to, number, beacon) = asked[0];
    let commands = state.on_vote(&mut held(), to, number, VoteReply::Yes(beacon.start));
    let Some(&Command::PersistOwnVote(record)) =
        commands.iter().find(|command| matches!(command, Command::PersistOwnVote(_)))
    else {
        panic!("its own vote decides: {commands:?}")
    };
    assert!(state.save_promise(&mut held(), record).is_err());
    assert_eq!(state.with_election(&mut held(), |_, election| election.standing()), Standing::Follower);
    hand.set(91 + 2 * 75);
    assert!(beacons(&state.on_election_time(&mut held())).is_empty(), "others have had no time yet");
}

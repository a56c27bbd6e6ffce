//! One copy, input by input: which outputs each one has, in their order.

use std::time::Duration;

use ubik_proto::cell::{Cell, Dialect, Server as Member, ServerId, ServerKind};
use ubik_proto::changed::{Changed, Written};
use ubik_proto::code::AbortCode;
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::election::promise::PromiseRecord;
use ubik_proto::election::vote::Vote;
use ubik_proto::election::{Command, Election, Event};
use ubik_proto::log::Change;
use ubik_proto::messages::{Beacon, DiskCall, LOCK_WRITE, Write};
use ubik_proto::profile::Profile;
use ubik_proto::replica::outputs::{
    Answer, AnswerId, CallError, CallToken, ClientId, DiskFailure, Output, ReadError, ReadKind, Reply, Told,
    WriteError,
};
use ubik_proto::replica::{Context, Replica};
use ubik_proto::time::{Moment, Now};
use ubik_proto::version::{TransactionId, Version};

/// A database that was received whole; its bytes are nobody's business here.
type Received = &'static str;
type Out = Output<Received>;

/// A server without a world.
struct Server {
    election: Election,
    replica: Replica<Received>,
    moment: Moment,
}

fn id(index: usize) -> ServerId {
    ServerId::new(index)
}

impl Server {
    fn start(me: u32) -> Self {
        let member = |address| Member { address, kind: ServerKind::Voter, dialect: Dialect::Quorate };
        let cell = Cell::new((0..3).map(member).collect(), me).unwrap();
        let profile = Profile::openafs();
        let promise = PromiseRecord { max_epoch: 1, to: None };
        let tail = Version::FRESH;
        Server {
            election: Election::new(cell.clone(), profile.clone(), promise, tail, Moment::START),
            replica: Replica::new(cell, profile, false, tail),
            // Its own promise is over.
            moment: Moment::START + Duration::from_secs(90),
        }
    }

    fn now(&self) -> Now {
        Now { moment: self.moment, wall: 1_700_000_000 }
    }

    /// What comes of one input.
    fn input(&mut self, act: impl FnOnce(&mut Replica<Received>, &mut Context<'_, Received>)) -> Vec<Out> {
        let mut cx = Context::new(self.now(), &mut self.election);
        act(&mut self.replica, &mut cx);
        cx.outputs
    }

    fn call(&mut self, from: usize, answer: u64, call: DiskCall) -> Vec<Out> {
        self.input(|replica, cx| replica.on_call(cx, id(from), AnswerId(answer), call))
    }

    fn disk(&mut self, done: Result<(), &str>) -> Vec<Out> {
        self.input(|replica, cx| replica.on_disk(cx, done.map_err(|why| DiskFailure(why.to_owned()))))
    }

    fn reply(&mut self, token: u64, reply: Result<Reply<Received>, CallError>) -> Vec<Out> {
        self.input(|replica, cx| replica.on_reply(cx, CallToken(token), reply))
    }

    /// Promises `epoch` to another server, and has it on disk.
    fn agree(&mut self, to: usize, epoch: u32) {
        let transaction = TransactionId::default();
        let beacon =
            Beacon { claims_sync_site: false, start: epoch as i32, version: Version::NONE, transaction };
        match self.election.on_beacon(self.now(), id(to), 1, &beacon).0 {
            Vote::Yes { persist: Some(record) } => assert!(self.election.on_promise_saved(record)),
            other => panic!("{other:?}"),
        }
    }

    /// The beacons under way are answered with yes, and the next, which let the others read, are on their way.
    fn let_read(&mut self) {
        for (peer, number) in [1, 2].into_iter().flat_map(|peer| (1..10).map(move |number| (peer, number))) {
            self.election.on_vote(self.now(), id(peer), number, VoteReply::Yes(1));
        }
    }

    /// Is elected by the two others; returns its epoch.
    fn win(&mut self) -> u32 {
        let mut waiting = self.election.poll(self.now());
        let mut elected = None;
        while let Some(command) = waiting.pop() {
            waiting.extend(match command {
                Command::Beacon { to, number, beacon, .. } => {
                    let yes = VoteReply::Yes(beacon.start);
                    self.election.on_vote(self.now(), to, number, yes)
                }
                Command::PersistOwnVote(record) => {
                    self.election.on_promise_saved(record);
                    self.election.on_own_vote_persisted(self.now(), record)
                }
                Command::Notify(Event::Elected { epoch }) => {
                    elected = Some(epoch);
                    Vec::new()
                }
                Command::Notify(_) | Command::Probe { .. } | Command::Clock { .. } => Vec::new(),
            });
        }
        elected.expect("both vote for it")
    }
}

fn answered(id: u64) -> Out {
    Output::Answer(AnswerId(id), Ok(Answer::Done))
}

fn refused(id: u64, code: AbortCode) -> Out {
    Output::Answer(AnswerId(id), Err(code))
}

/// The outputs without those of votes, which have tests of their own.
fn but_votes(outputs: Vec<Out>) -> Vec<Out> {
    outputs.into_iter().filter(|output| !matches!(output, Output::Election(_))).collect()
}

fn call(to: usize, token: u64, call: DiskCall) -> Out {
    Output::Call { to: id(to), token: CallToken(token), call }
}

const WRITE: [u8; 2] = [7, 8];

fn change() -> Change {
    Change::Write { position: 4, bytes: WRITE.to_vec() }
}

fn writes(transaction: TransactionId) -> DiskCall {
    let write = Write { file: 0, position: 4, bytes: WRITE.to_vec() };
    DiskCall::WriteV { transaction, writes: vec![write] }
}

/// U29, U35, U46: a commit is logged before it is answered and shown when it is released; a call that comes while the disk works is
/// answered after it, and hears of it.
#[test]
fn a_follower_logs_then_answers_then_reveals() {
    let mut server = Server::start(2);
    server.agree(0, 100);
    let transaction = TransactionId { epoch: 100, counter: 1 };
    let version = Version::FRESH.next().unwrap();
    assert_eq!(server.call(0, 1, DiskCall::Begin(transaction)), [answered(1)]);
    assert_eq!(server.call(0, 2, writes(transaction)), [answered(2)]);
    let append = Output::Append { changes: vec![change()], version };
    assert_eq!(server.call(0, 3, DiskCall::Commit(transaction)), [append]);
    assert_eq!(server.call(1, 4, DiskCall::GetVersion), []);
    assert_eq!(server.replica.tail(), Version::FRESH, "it is not durable yet");
    let told = Output::Answer(AnswerId(4), Ok(Answer::Version(version)));
    assert_eq!(server.disk(Ok(())), [answered(3), told]);
    assert_eq!((server.replica.tail(), server.replica.visible()), (version, None));
    let released = server.call(0, 5, DiskCall::ReleaseLocks(transaction));
    assert_eq!(released, [Output::Reveal(version), answered(5)]);
}

/// U50: a disk that fails is reported, the commit is not answered as done, and the copy is what it was.
#[test]
fn a_follower_whose_disk_fails_commits_nothing() {
    let mut server = Server::start(2);
    server.agree(0, 100);
    let transaction = TransactionId { epoch: 100, counter: 1 };
    server.call(0, 1, DiskCall::Begin(transaction));
    server.call(0, 2, DiskCall::Commit(transaction));
    assert_eq!(server.disk(Err("full")), [Output::DiskFailed("full".to_owned()), refused(2, AbortCode::IO)]);
    assert_eq!(server.replica.tail(), Version::FRESH);
    assert_eq!(
        server.call(0, 3, DiskCall::Commit(transaction)),
        [refused(3, AbortCode::OUT_OF_SYNC)],
        "the transaction is over"
    );
}

/// U31, U49: a whole database is asked about before it is put in place, and what the fence refuses is dropped, not installed.
#[test]
fn a_database_is_installed_for_the_server_with_the_promise_only() {
    let mut server = Server::start(2);
    server.agree(0, 100);
    let version = Version::new(100, 2);
    let send = |server: &mut Server, from, answer, received| {
        server.input(|replica, cx| replica.on_database(cx, id(from), AnswerId(answer), version, received))
    };
    assert_eq!(send(&mut server, 1, 1, "theirs"), [refused(1, AbortCode::OUT_OF_SYNC)]);
    assert_eq!(send(&mut server, 0, 2, "newest"), [Output::Install { received: "newest", version }]);
    assert_eq!(send(&mut server, 0, 3, "again"), [], "it waits for the disk");
    assert_eq!(server.disk(Ok(())), [answered(2), answered(3)], "and is here by then");
}

/// U10, U25: a new sync site asks, labels, spreads the label, logs an empty commit of its own while the others do, and shows
/// nothing before a quorum has it.
#[test]
fn a_new_sync_site_labels_before_it_serves() {
    let mut server = Server::start(0);
    let epoch = server.win();
    let asks = [1, 2].map(|peer| call(peer, peer as u64, DiskCall::GetVersion));
    let elected = server.input(|replica, cx| replica.on_event(cx, Event::Elected { epoch }));
    assert_eq!(but_votes(elected), asks);
    assert_eq!(but_votes(server.reply(1, Ok(Reply::Version(Version::FRESH)))), []);
    let (label, first) = (Version::new(epoch, 1), Version::new(epoch, 2));
    assert_eq!(but_votes(server.reply(2, Ok(Reply::Version(Version::FRESH)))), [Output::Label(label)]);
    let transaction = TransactionId { epoch, counter: 1 };
    let begins = [1, 2].map(|peer| call(peer, peer as u64 + 2, DiskCall::Begin(transaction)));
    assert_eq!(but_votes(server.disk(Ok(()))), begins);
    for token in [3, 4] {
        server.reply(token, Ok(Reply::Done));
    }
    let relabel = DiskCall::SetVersion { transaction, old: Version::FRESH, new: label };
    assert_eq!(but_votes(server.reply(5, Ok(Reply::Done))), [call(1, 7, relabel.clone())]);
    assert_eq!(but_votes(server.reply(6, Ok(Reply::Done))), [call(2, 8, relabel)]);
    assert_eq!(but_votes(server.reply(7, Ok(Reply::Done))), [], "server 2 has not answered");
    let commit = DiskCall::Commit(transaction);
    let append = Output::Append { changes: Vec::new(), version: first };
    let told = [call(1, 9, commit.clone()), call(2, 10, commit), append];
    assert_eq!(but_votes(server.reply(8, Ok(Reply::Done))), told);
    assert_eq!(but_votes(server.reply(9, Ok(Reply::Done))), [], "its own log is not synced");
    assert_eq!(server.replica.visible(), None);
    let release = call(1, 11, DiskCall::ReleaseLocks(transaction));
    assert_eq!(but_votes(server.disk(Ok(()))), [Output::Reveal(first), release]);
}

/// A sync site that serves, all of whose followers are in step; the next token and transaction.
fn serving() -> (Server, u64, TransactionId) {
    let mut server = Server::start(0);
    let epoch = server.win();
    let mut outputs = server.input(|replica, cx| replica.on_event(cx, Event::Elected { epoch }));
    let mut last = 0;
    while !outputs.is_empty() {
        let mut next = Vec::new();
        for output in outputs {
            next.extend(match output {
                Output::Call { token, call, .. } => {
                    last = last.max(token.0);
                    let version = matches!(call, DiskCall::GetVersion);
                    server.reply(
                        token.0,
                        Ok(if version { Reply::Version(Version::FRESH) } else { Reply::Done }),
                    )
                }
                Output::Label(_) | Output::Append { .. } => server.disk(Ok(())),
                _ => Vec::new(),
            });
        }
        outputs = next;
    }
    assert_eq!(server.replica.visible(), Some(Version::new(epoch, 2)));
    (server, last + 1, TransactionId { epoch, counter: 2 })
}

/// U19: votes tell the copy from several threads, so that a new sync site may hear of its next election before it hears of the one before.
/// That one ends nothing. (It did: the server stayed sync site, and served nobody.)
#[test]
fn an_election_that_is_heard_of_late_ends_no_later_one() {
    let (mut server, _, transaction) = serving();
    let late = Event::Elected { epoch: transaction.epoch - 3 };
    assert_eq!(server.input(|replica, cx| replica.on_event(cx, late)), []);
    assert!(server.replica.role().is_some_and(|role| role.epoch() == transaction.epoch));
}

fn written() -> Written {
    Written { changes: vec![change()], pages: Changed::default(), bytes: WRITE.len() }
}

/// U34, U35: a write is spread, committed everywhere at once, and shown and told when a quorum has it, this server too, and nobody
/// may read what was before.
#[test]
fn a_write_is_told_when_a_quorum_has_it() {
    let (mut server, token, transaction) = serving();
    let client = ClientId(1);
    let begun = server.input(|replica, cx| replica.begin_write(cx, client));
    assert_eq!(begun, [Output::LetWrite { client, over: Vec::new(), certain: true }]);
    let begins = [1, 2].map(|peer| call(peer, token + peer as u64 - 1, DiskCall::Begin(transaction)));
    assert_eq!(but_votes(server.input(|replica, cx| replica.commit(cx, client, written()))), begins);
    let mut next = token;
    for round in 0..2 {
        for peer in [1, 2] {
            let step = match round {
                0 => DiskCall::Lock { transaction, file: 0, position: 1, length: 1, kind: LOCK_WRITE },
                _ => writes(transaction),
            };
            assert_eq!(server.reply(next, Ok(Reply::Done)), [call(peer, next + 2, step)]);
            next += 1;
        }
    }
    assert_eq!(server.reply(next, Ok(Reply::Done)), []);
    let version = Version::new(transaction.epoch, 3);
    let commit = DiskCall::Commit(transaction);
    let append = Output::Append { changes: vec![change()], version };
    let told = [call(1, next + 2, commit.clone()), call(2, next + 3, commit), append];
    assert_eq!(but_votes(server.reply(next + 1, Ok(Reply::Done))), told);
    assert_eq!(but_votes(server.disk(Ok(()))), [], "it is durable here only");
    let committed = Output::Tell(client, Told::Committed(version));
    let release = |peer, token| call(peer, token, DiskCall::ReleaseLocks(transaction));
    let decided = but_votes(server.reply(next + 3, Ok(Reply::Done)));
    assert_eq!(decided, [Output::Reveal(version), committed, release(2, next + 4)]);
    let late = but_votes(server.reply(next + 2, Ok(Reply::Done)));
    assert_eq!(late, [call(1, next + 5, DiskCall::GetVersion)], "what it holds is asked, not believed");
}

/// U34: a server that was let read, and then does not answer, holds a commit up until its lease is over, and no longer.
#[test]
fn a_commit_waits_for_the_lease_of_a_server_that_missed_it() {
    let (mut server, token, _) = serving();
    server.let_read();
    let lease = server.election.beaconer().obligation(id(2)).expect("it was let read");
    server.input(|replica, cx| replica.begin_write(cx, ClientId(1)));
    server.input(|replica, cx| replica.commit(cx, ClientId(1), written()));
    for token in token..token + 6 {
        server.reply(token, Ok(Reply::Done));
    }
    assert_eq!(but_votes(server.disk(Ok(()))), []);
    assert_eq!(but_votes(server.reply(token + 6, Ok(Reply::Done))), []);
    assert_eq!(but_votes(server.reply(token + 7, Err(CallError::Unreachable))), []);
    assert_eq!(server.replica.next_deadline(lease), Some(lease + Duration::from_micros(1)));
    server.moment = lease;
    let shown = |outputs: Vec<Out>| outputs.into_iter().any(|output| matches!(output, Output::Reveal(_)));
    assert!(!shown(server.input(|replica, cx| replica.on_time(cx))));
    server.moment = lease + Duration::from_micros(1);
    assert!(shown(server.input(|replica, cx| replica.on_time(cx))));
}

/// U27: a server that missed a commit is asked what it holds, sent the whole database, and in step after that; commits go on
/// without it until then.
#[test]
fn a_server_that_missed_a_commit_is_sent_the_database() {
    let (mut server, token, _) = serving();
    server.input(|replica, cx| replica.begin_write(cx, ClientId(1)));
    server.input(|replica, cx| replica.commit(cx, ClientId(1), written()));
    server.reply(token + 1, Err(CallError::Aborted(AbortCode::INTERNAL)));
    for token in [token, token + 2, token + 3] {
        server.reply(token, Ok(Reply::Done));
    }
    let (before, version) = (server.replica.tail(), server.replica.tail().next().unwrap());
    server.disk(Ok(()));
    let release = server.reply(token + 4, Ok(Reply::Done));
    assert!(release.contains(&Output::Reveal(version)), "server 1 and this one decide: {release:?}");
    let retry = server.replica.next_deadline(server.moment).expect("server 2 is tried again");
    server.moment = retry;
    let time = |server: &mut Server| but_votes(server.input(|replica, cx| replica.on_time(cx)));
    assert_eq!(time(&mut server), [call(2, token + 6, DiskCall::GetVersion)]);
    let send = Output::Send { to: id(2), token: CallToken(token + 7), version };
    assert_eq!(but_votes(server.reply(token + 6, Ok(Reply::Version(before)))), [send]);
    server.reply(token + 7, Ok(Reply::Done));
    assert_eq!(server.replica.role().and_then(|role| role.version_of(id(2))), Some(version));
}

/// U35: without a quorum of takers nothing is logged anywhere, and the client is told that it failed.
#[test]
fn a_write_that_nobody_takes_is_undone() {
    let (mut server, token, _) = serving();
    let client = ClientId(1);
    server.input(|replica, cx| replica.begin_write(cx, client));
    server.input(|replica, cx| replica.commit(cx, client, written()));
    assert_eq!(but_votes(server.reply(token, Err(CallError::Unreachable))), []);
    let failed = Output::Tell(client, Told::WriteFailed(WriteError::NoQuorum));
    assert_eq!(but_votes(server.reply(token + 1, Err(CallError::Unreachable))), [failed]);
}

/// U21, U34, U35: with its mandate a sync site ends all that it has under way: what was logged is undecided, what was made over it
/// failed; and it lets nobody read.
#[test]
fn a_mandate_takes_its_transactions_along() {
    let (mut server, token, transaction) = serving();
    for client in [1, 2] {
        server.input(|replica, cx| replica.begin_write(cx, ClientId(client)));
        server.input(|replica, cx| replica.commit(cx, ClientId(client), written()));
    }
    for token in token..token + 6 {
        server.reply(token, Ok(Reply::Done));
    }
    let version = Version::new(transaction.epoch, 3);
    server.disk(Ok(()));
    assert_eq!(server.replica.tail(), version, "it was logged");
    server.moment = server.moment + Profile::openafs().mandate;
    let epoch = transaction.epoch;
    server.election.poll(server.now());
    let read = server.input(|replica, cx| replica.begin_read(cx, ClientId(3), ReadKind::Newest));
    let no_lease = ReadError::NoLease { sync_site: None };
    assert_eq!(read, [Output::Tell(ClientId(3), Told::ReadFailed(no_lease))]);
    let ended = server.input(|replica, cx| replica.on_event(cx, Event::SteppedDown { epoch }));
    let lost = Told::WriteFailed(WriteError::LostMandate);
    let told = [Output::Tell(ClientId(2), lost), Output::Tell(ClientId(1), Told::Undecided(version))];
    assert_eq!(but_votes(ended), told);
}

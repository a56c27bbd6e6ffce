//! An election as one step: time passes until every promise is over, a candidate asks, one or both of the others agree.

use std::time::Duration;

use ubik_proto::cell::ServerId;
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::election::vote::Vote;
use ubik_proto::election::{Command, Standing};

use super::cell::{Cell, SERVERS};

/// Longer than two promises: whoever had one is free, whoever rests stands again.
const LONG: Duration = Duration::from_secs(400);
/// A candidate's turn comes within so many beacons.
const TURNS: usize = 60;

impl Cell {
    /// `candidate` is elected by its own vote and that of `voters`; `None` if it cannot be.
    pub(super) fn elect(mut self, candidate: usize, voters: &[usize]) -> Option<Cell> {
        self.pass(LONG);
        self.waited = false;
        self.elections += 1;
        for at in 0..SERVERS {
            self.end_mandate(at);
        }
        for _ in 0..TURNS {
            self.pass(Duration::from_secs(1));
            let now = self.clock();
            let commands = self.servers[candidate].election.poll(now);
            if self.ask(candidate, voters, commands) {
                return Some(self);
            }
        }
        None
    }

    /// A sync site whose votes are old notices it; its copy hears of that when it does. No beacon is under way any more.
    fn end_mandate(&mut self, at: usize) {
        let now = self.clock();
        let server = &mut self.servers[at];
        let mut commands = Vec::new();
        for to in 0..SERVERS {
            let peer = ServerId::new(to);
            if let Some(number) = server.beacons[to].take() {
                commands.extend(server.election.on_vote(now, peer, number, VoteReply::Failed));
            }
        }
        if let Standing::SyncSite { .. } = server.election.standing() {
            commands.extend(server.election.poll(now));
        }
        for command in commands {
            self.command(at, command);
        }
        let server = &mut self.servers[at];
        server.beacons = [None; SERVERS];
        for peer in server.election.cell().peers().collect::<Vec<_>>() {
            let commands = server.election.on_peer_seen(now, peer);
            assert!(commands.is_empty(), "nobody asks for votes: {commands:?}");
        }
    }

    /// Carries the candidate's beacons to the voters and their votes back; returns whether it is elected.
    fn ask(&mut self, candidate: usize, voters: &[usize], commands: Vec<Command>) -> bool {
        let mut waiting = commands;
        while !waiting.is_empty() {
            let command = waiting.remove(0);
            match command {
                Command::Beacon { to, series, number, beacon } if voters.contains(&to.index()) => {
                    let from = ServerId::new(candidate);
                    let now = self.clock();
                    let voter = &mut self.servers[to.index()];
                    let (vote, told) = voter.election.on_beacon(now, from, series, &beacon);
                    let reply = match vote {
                        Vote::No(_) => VoteReply::No(voter.election.agreeable(now, from)),
                        Vote::Yes { persist } => {
                            if let Some(record) = persist {
                                voter.disk.promise = record;
                                voter.election.on_promise_saved(record);
                            }
                            VoteReply::Yes(beacon.start)
                        }
                    };
                    told.into_iter().for_each(|command| self.command(to.index(), command));
                    waiting.extend(self.servers[candidate].election.on_vote(now, to, number, reply));
                }
                Command::PersistOwnVote(record) => {
                    let now = self.clock();
                    let server = &mut self.servers[candidate];
                    server.disk.promise = record;
                    server.election.on_promise_saved(record);
                    waiting.extend(server.election.on_own_vote_persisted(now, record));
                }
                other => self.command(candidate, other),
            }
        }
        self.servers[candidate].election.holds_mandate(self.now)
    }
}

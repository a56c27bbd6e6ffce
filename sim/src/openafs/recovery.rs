//! C's recovery: every four seconds, find the newest of a quorum, get it, send it to whoever differs.

use ubik::effect::CallToken;
use ubik_proto::cell::ServerId;
use ubik_proto::code::AbortCode;
use ubik_proto::messages::DiskCall;
use ubik_proto::version::Version;

use super::{Act, Disk, Peer};
use crate::event::{Request, Said};

/// How far it is, and what it waits for.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    found: bool,
    have: bool,
    sent: bool,
    awaited: Vec<(CallToken, ServerId, Purpose)>,
    answers: usize,
    best: Option<(Version, ServerId)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Ask,
    Fetch,
    Send(Version),
}

impl Recovery {
    pub(super) fn reset(&mut self) {
        *self = Recovery::default();
    }

    pub(super) fn has_database(&self) -> bool {
        self.have
    }

    /// A server came back: who has what is to be found out again.
    pub(super) fn look_again(&mut self) {
        self.sent = false;
        self.found = false;
    }

    pub(super) fn moves_databases(&self) -> bool {
        self.awaited.iter().any(|(_, _, purpose)| *purpose != Purpose::Ask)
    }
}

impl Peer {
    pub(super) fn recover(&mut self, now: i64) -> Vec<Act> {
        let mut acts = Vec::new();
        for peer in self.cell.peers() {
            let link = &mut self.links[peer.index()];
            if !link.up && link.next_probe <= now {
                link.next_probe = now + 30;
                acts.push(Act::Probe { to: peer });
            }
        }
        if !self.is_sync_site(now) {
            self.recovery.reset();
            return acts;
        }
        if !self.recovery.awaited.is_empty() {
            return acts;
        }
        let all_current =
            self.cell.peers().all(|peer| !self.links[peer.index()].up || self.links[peer.index()].current);
        if self.recovery.sent && !all_current && now % 30 < 4 {
            self.recovery.look_again();
        }
        if !self.recovery.found {
            acts.extend(self.find());
        } else if self.recovery.have && !self.recovery.sent && self.write.is_none() {
            acts.extend(self.send());
        }
        acts
    }

    fn ask(&mut self, to: ServerId, purpose: Purpose, asked: Request) -> Act {
        let token = self.token();
        self.recovery.awaited.push((token, to, purpose));
        Act::Call { to, token, asked }
    }

    fn find(&mut self) -> Vec<Act> {
        self.recovery.answers = 1;
        self.recovery.best = None;
        let wanted = |peer: &ServerId| self.links[peer.index()].up && self.cell.is_voter(*peer);
        let peers: Vec<ServerId> = self.cell.peers().filter(wanted).collect();
        if peers.is_empty() {
            return self.found();
        }
        peers.into_iter().map(|to| self.ask(to, Purpose::Ask, Request::Call(DiskCall::GetVersion))).collect()
    }

    /// Enough have answered: the best is here, or is to be fetched.
    fn found(&mut self) -> Vec<Act> {
        if self.recovery.answers < self.quorum() {
            return Vec::new();
        }
        self.recovery.found = true;
        match self.recovery.best.filter(|&(version, _)| version > self.disk.label) {
            Some((_, from)) => {
                // What is here is worth nothing from now on, whatever becomes of the transfer.
                self.recovery.have = false;
                self.disk.label = Version::NONE;
                vec![self.ask(from, Purpose::Fetch, Request::Call(DiskCall::GetFile { file: 0 }))]
            }
            None => {
                self.have_database();
                Vec::new()
            }
        }
    }

    fn have_database(&mut self) {
        self.recovery.have = true;
        if self.disk.label.epoch == 1 {
            self.disk.label = Version::new(2, 1);
        }
    }

    /// No transaction runs: whoever has another version than this server now is sent it.
    fn send(&mut self) -> Vec<Act> {
        for peer in self.cell.peers() {
            let link = &mut self.links[peer.index()];
            link.current = link.up && link.version == self.disk.label;
        }
        let behind = |peer: &ServerId| self.links[peer.index()].up && !self.links[peer.index()].current;
        let peers: Vec<ServerId> = self.cell.peers().filter(behind).collect();
        self.recovery.sent = peers.is_empty();
        let Disk { label, bytes } = self.disk.clone();
        peers
            .into_iter()
            .map(|to| self.ask(to, Purpose::Send(label), Request::Database(label, bytes.clone())))
            .collect()
    }

    pub(super) fn recovery_answered(
        &mut self,
        now: i64,
        token: CallToken,
        reply: Option<Result<Said, AbortCode>>,
    ) -> Vec<Act> {
        let Some(nth) = self.recovery.awaited.iter().position(|&(waiting, _, _)| waiting == token) else {
            return Vec::new();
        };
        let (_, peer, purpose) = self.recovery.awaited.swap_remove(nth);
        let silent = reply.is_none();
        match (purpose, reply) {
            (Purpose::Ask, Some(Ok(Said::Version(version)))) => {
                self.links[peer.index()].version = version;
                self.recovery.answers += 1;
                self.recovery.best = self.recovery.best.max(Some((version, peer)));
            }
            (Purpose::Fetch, Some(Ok(Said::Database(label, bytes)))) => {
                self.disk = Disk { label, bytes };
                self.have_database();
            }
            (Purpose::Fetch, _) => self.recovery.found = false,
            (Purpose::Send(version), Some(Ok(_))) => {
                self.links[peer.index()].version = version;
                self.links[peer.index()].current = version == self.disk.label;
            }
            _ => {}
        }
        if silent {
            self.lost_server(now, peer);
        }
        let asked_all = purpose == Purpose::Ask && self.recovery.awaited.is_empty();
        if asked_all && self.is_sync_site(now) { self.found() } else { Vec::new() }
    }
}

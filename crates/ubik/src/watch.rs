//! What an operator should know of elections and recovery, in words and with the reason.
//!
//! [`Watch`] looks at a server's state after something happened and says what has changed since it looked last. It
//! decides nothing, and keeps no lock while it speaks.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ubik_proto::cell::{Cell, ServerId};
use ubik_proto::code::AbortCode;
use ubik_proto::election::{Election, Resignation, Standing};
use ubik_proto::replica::recovery::Progress;
use ubik_proto::time::Now;
use ubik_proto::version::Version;

use crate::locks::{Held, Nothing};
use crate::server_state::ServerState;

/// Where the words go: one line each, without its end.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// A log that nobody reads.
pub fn silent() -> Log {
    Arc::new(|_| {})
}

/// The votes' side, as it was seen last.
#[derive(Clone, Debug, PartialEq)]
struct Votes {
    standing: Standing,
    /// Whom this server follows, whether that one claims to be sync site, and in which epoch.
    following: Option<(ServerId, bool, u32)>,
    up: Vec<bool>,
    /// Peers whose clock was set a short time ago.
    distrusted: Vec<bool>,
}

/// The copy's side.
#[derive(Clone, Debug, PartialEq)]
struct Copy {
    progress: Option<Progress>,
    version: Version,
    broken: bool,
}

/// Says what changes.
pub struct Watch {
    log: Log,
    seen: Mutex<(Option<Votes>, Option<Copy>)>,
    /// What was said last of each state that lasts: a disk that fails, a peer that refuses. Said once, not for each try.
    states: Mutex<HashMap<String, String>>,
}

impl Watch {
    /// Says it to `log`.
    pub fn new(log: Log) -> Self {
        Watch { log, seen: Mutex::default(), states: Mutex::default() }
    }

    fn say(&self, lines: &[String]) {
        lines.iter().for_each(|line| (self.log)(line));
    }

    /// A call to a peer was answered, with an error or not.
    pub fn answered(
        &self,
        state: &ServerState,
        held: &mut Held<'_, Nothing>,
        peer: ServerId,
        call: &str,
        refused: Option<AbortCode>,
    ) {
        let of = format!("{call} to {}", peer.index());
        let line = refused.map(|code| {
            let peer = state.with_election(held, |_, election| name(election.cell(), peer));
            format!("{peer} refuses {call}: {code}")
        });
        self.say_of_state(of, line);
    }

    /// A peer has told its clock. Whether that is news is known once for all databases of its host.
    pub fn clock(&self, state: &ServerState, held: &mut Held<'_, Nothing>, of: ServerId, ahead_secs: i64) {
        let Some(hosts) = state.hosts() else { return };
        let (name, limit) = state
            .with_election(held, |_, election| (name(election.cell(), of), election.profile().skew_limit));
        if hosts.note_clock(of, ahead_secs, limit) {
            let side = if ahead_secs > 0 { "ahead of" } else { "behind" };
            let secs = ahead_secs.unsigned_abs();
            (self.log)(&format!(
                "the clock of {name} is {secs} s {side} this one's (limit {limit:?}); set the clocks"
            ));
        }
    }

    /// A disk did what it was to do for `what`, or failed.
    pub fn disk(&self, what: &str, failure: Option<String>) {
        self.say_of_state(format!("disk: {what}"), failure);
    }

    /// Says how a lasting state is, if that is news; `None` is well.
    fn say_of_state(&self, of: String, line: Option<String>) {
        let news = {
            let mut states = self.states.lock().expect("no code here panics while it holds this lock");
            match &line {
                Some(line) => states.insert(of, line.clone()).as_ref() != Some(line),
                None => {
                    states.remove(&of);
                    false
                }
            }
        };
        if let (true, Some(line)) = (news, line) {
            (self.log)(&line);
        }
    }

    /// Looks at the votes.
    pub fn look_at_votes(&self, state: &ServerState, held: &mut Held<'_, Nothing>) {
        let lines = state.with_election(held, |now, election| {
            let new = votes(now, election);
            let mut seen = self.seen.lock().expect("no code here panics while it holds this lock");
            match seen.0.replace(new.clone()) {
                Some(old) if old != new => changes_of_votes(now, election, &old, &new),
                _ => Vec::new(),
            }
        });
        self.say(&lines);
    }

    /// Looks at the copy.
    pub fn look_at_copy(&self, state: &ServerState, held: &mut Held<'_, Nothing>) {
        let (lines, known): (Vec<String>, Vec<String>) = state.with_replica(held, |replica| {
            let new = Copy {
                progress: replica.role().map(|role| role.progress()),
                version: state.database().version(),
                broken: state.database().is_broken(),
            };
            let mut seen = self.seen.lock().expect("no code here panics while it holds this lock");
            let lines = match seen.1.replace(new.clone()) {
                Some(old) if old != new => changes_of_copy(&old, &new),
                _ => Vec::new(),
            };
            let newer = |id: ServerId| replica.role().and_then(|role| role.version_of(id));
            let known = replica.cell().peers().filter_map(|id| Some((id, newer(id)?)));
            (
                lines,
                known.map(|(id, version)| format!("{} has {version}", name(replica.cell(), id))).collect(),
            )
        });
        self.say_with(&lines, &known);
    }

    /// Recovery's lines end with what is known of the others.
    fn say_with(&self, lines: &[String], known: &[String]) {
        for line in lines {
            if line.starts_with("recovery") && !known.is_empty() {
                (self.log)(&format!("{line} ({})", known.join(", ")));
            } else {
                (self.log)(line);
            }
        }
    }
}

/// A server's address.
fn name(cell: &Cell, id: ServerId) -> Ipv4Addr {
    Ipv4Addr::from(cell.server(id).address)
}

fn votes(now: Now, election: &Election) -> Votes {
    let cell = election.cell();
    let link = |id: ServerId| election.beaconer().link(id);
    let following = election.voter().following();
    Votes {
        standing: election.standing(),
        following: following.map(|seen| (seen.host, seen.claims_sync_site, seen.epoch)),
        up: cell.ids().map(|id| id == cell.me() || link(id).up).collect(),
        distrusted: cell.ids().map(|id| link(id).is_distrusted(now.moment)).collect(),
    }
}

fn changes_of_votes(now: Now, election: &Election, old: &Votes, new: &Votes) -> Vec<String> {
    let cell = election.cell();
    let mut lines = Vec::new();
    for id in cell.peers().filter(|id| old.up[id.index()] != new.up[id.index()]) {
        lines.push(if new.up[id.index()] {
            format!("{} answers again", name(cell, id))
        } else {
            let every = election.profile().probe;
            format!("{} is down: a call to it was not answered; probing it every {every:?}", name(cell, id))
        });
    }
    if old.standing != new.standing {
        lines.extend(change_of_standing(now, election, old, new));
    }
    if old.following != new.following
        && let Some((host, claims, epoch)) = new.following
    {
        let host_name = name(cell, host);
        let same = old.following.is_some_and(|before| (before.0, before.1) == (host, claims));
        if claims && !same {
            lines.push(format!("follows {host_name}, which is sync site in epoch {epoch}"));
        } else if !claims && !same {
            lines.push(format!("has promised its vote to {host_name}, which proposes epoch {epoch}"));
        }
    }
    for id in cell.peers().filter(|id| !old.distrusted[id.index()] && new.distrusted[id.index()]) {
        let lasts = election.profile().promise;
        lines.push(format!(
            "the clock of {} was set; it keeps its promises by that clock, so its votes count for nothing for {lasts:?}",
            name(cell, id)
        ));
    }
    lines
}

fn change_of_standing(now: Now, election: &Election, old: &Votes, new: &Votes) -> Option<String> {
    Some(match (old.standing, new.standing) {
        (Standing::SyncSite { epoch }, _) => {
            format!("is no longer sync site (epoch {epoch}): {}", why_it_ended(now, election))
        }
        (_, Standing::SyncSite { epoch }) => {
            let cell = election.cell();
            let voters: Vec<String> = cell
                .peers()
                .filter(|&id| cell.is_voter(id) && election.has_vote_of(id))
                .map(|id| name(cell, id).to_string())
                .collect();
            match voters.is_empty() {
                true => format!("was elected sync site in epoch {epoch}, with only its own vote"),
                false => format!(
                    "was elected sync site in epoch {epoch}, with its own vote and those of {}",
                    voters.join(", ")
                ),
            }
        }
        (Standing::Follower, Standing::Candidate { epoch }) => {
            format!("asks for votes in epoch {epoch}: no sync-site beacon for one promise interval")
        }
        (Standing::Candidate { epoch }, Standing::Follower) if new.following == old.following => {
            format!("stops asking for votes in epoch {epoch}: no quorum gave theirs")
        }
        _ => return None,
    })
}

fn why_it_ended(now: Now, election: &Election) -> String {
    let cell = election.cell();
    let recent = |last: ubik_proto::time::Moment| now.moment.since(last) < Duration::from_secs(1);
    if let Some(following) = election.voter().following().filter(|seen| recent(seen.last_yes)) {
        return format!("it voted for {}", name(cell, following.host));
    }
    if let Some(why) = election.resigned() {
        let why = match why {
            Resignation::Stopping => "it is stopping",
            Resignation::DiskFailed => "its disk failed",
            Resignation::HigherEpoch => "it needs a higher epoch and stands again",
        };
        return format!("it gave its mandate up, since {why}");
    }
    let missing = cell.peers().filter(|&id| cell.is_voter(id)).filter_map(|id| {
        let link = election.beaconer().link(id);
        match (link.up, link.last_vote) {
            (false, _) => Some(format!("{} is down", name(cell, id))),
            (true, false) => Some(format!("{} says no", name(cell, id))),
            (true, true) => None,
        }
    });
    let missing: Vec<String> = missing.collect();
    let mandate = election.profile().mandate;
    let missing = if missing.is_empty() { "answers are late".to_owned() } else { missing.join(", ") };
    format!("no quorum of votes younger than {mandate:?}; {missing}")
}

fn changes_of_copy(old: &Copy, new: &Copy) -> Vec<String> {
    let mut lines = Vec::new();
    if old.progress != new.progress {
        let version = new.version;
        lines.extend(new.progress.map(|progress| {
            match progress {
                // A copy without data proves nothing: another server may have lost its disk.
                Progress::SyncSite if version.is_fresh() => {
                    "recovery: waits for the versions of all voters, or of a quorum \
                                                         that has data, since it was elected and has none"
                        .to_owned()
                }
                Progress::SyncSite => {
                    "recovery: asks a quorum for their versions, since it was elected".to_owned()
                }
                Progress::FoundDatabase => {
                    "recovery: fetches the database, since another server has a newer one".to_owned()
                }
                Progress::HaveDatabase => {
                    format!(
                        "recovery: has the newest database, {version}: no server of a quorum has a newer one"
                    )
                }
                Progress::Labelled => {
                    format!(
                        "recovery: labelled the database {version}: a quorum must have it before it is served"
                    )
                }
                Progress::Established => {
                    format!("recovery: serves reads and writes, since a quorum has {version}")
                }
            }
        }));
    }
    if new.broken && !old.broken {
        lines.push(
            "the disk failed within a commit: nothing is written before a restart replays the log".to_owned(),
        );
    }
    if old.version.epoch != new.version.epoch {
        lines.push(format!(
            "the database is now version {}, which the sync site labelled; it was {}",
            new.version, old.version
        ));
    }
    lines
}

//! `quorate status`: what a database server is and what it knows of the others, in words; OpenAFS's servers and ours.

mod table;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use rx::rpc::CallStream;
use rx::security::NullSecurity;
use rx::{AbortCode, CallFailure, Port, PortConfig, ServiceId, Timeouts};
use serde_json::{Value, json};
use ubik::over_rx::Services;
use ubik_proto::messages::VoteCall;
use ubik_proto::stock::debug::{ServerDebug, SiteDebug};
use ubik_proto::version::Version;

use crate::Outcome;
use crate::failure::Failure;
use crate::input::for_programs;
use crate::service::client::Connection;

/// Say whether the service is well, or what a database server of AFS is and does.
///
/// The first line is OK, or DEGRADED with the reasons; a table of the cell's servers follows. Without HOST a server of the service is asked. With
/// HOST it is a database server, OpenAFS's or ours (as udebug does), and what that one alone knows follows, too; every other server of its cell
/// is asked as well, for its clock, its version, and whether it only votes.
#[derive(Args)]
#[command(after_help = "Examples:
  quorate status
  quorate status --server 10.0.0.1:6379 --json
  quorate status db1.example.org
  quorate status 192.0.2.7:7003 --json

Exit code 0 if there is a sync site and every server is up, and of AFS's also in step and within the limit of clock skew; 1 if not;
3 if no server of the service answers, 4 if a database server does not.")]
pub struct Arguments {
    #[command(flatten)]
    service: Connection,
    /// Name or address of a database server of AFS, and its UDP port: 7002, which is prdb's, if none is given; 7003 is vldb's
    #[arg(value_name = "HOST[:PORT]")]
    host: Option<String>,
    /// Which database of that port, counted from 0, where several share it
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..1000))]
    nth: u16,
    /// A difference between clocks above this is a complaint, in seconds
    #[arg(long, default_value_t = 10)]
    skew_limit_secs: u64,
    /// Ask this server only, not the others of its cell
    #[arg(long)]
    alone: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One server's answer, and how its clock stands.
struct Answer {
    site: SiteDebug,
    /// Whether it may become sync site: one of ours beside OpenAFS's servers only votes.
    stands: bool,
    /// How far its clock is ahead of this machine's, in seconds; known to `uncertain`.
    skew: f64,
    uncertain: f64,
}

/// What the asked server says of another, and what that one says itself.
struct Other {
    debug: ServerDebug,
    own: Option<Answer>,
}

/// Everything that was found.
struct Report {
    peer: SocketAddr,
    answer: Answer,
    others: Vec<Other>,
    complaints: Vec<String>,
}

/// Asks, prints, and judges.
pub fn run(arguments: &Arguments) -> Outcome {
    for_programs(arguments.json, tell(arguments))
}

fn tell(arguments: &Arguments) -> Outcome {
    let Some(host) = &arguments.host else {
        return crate::service::status::run(&arguments.service, arguments.json);
    };
    let peer = resolve(host)?;
    let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let port = Port::open(any, PortConfig::default()).map_err(Failure::system)?;
    let votes = Services::nth(arguments.nth).vote;
    let way = Way { port, votes, patience: arguments.service.timeout() };
    let failed = |code| Failure::gave_up(format!("{peer} does not answer as a database server does: {code}"));
    let answer = ask(&way, peer).map_err(failed)?;
    let others = ask_others(arguments, &way, peer, &answer).map_err(failed)?;
    let mut report = Report { peer, answer, others, complaints: Vec::new() };
    report.complaints = complaints(&report, arguments);
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{:#}", to_json(&report))?;
    } else {
        table::print(&mut out, &report)?;
    }
    if report.complaints.is_empty() { Ok(()) } else { Err(Failure::no("")) }
}

/// The port of prdb.
const PRDB_PORT: u16 = 7002;

fn resolve(text: &str) -> Result<SocketAddr, Failure> {
    let (host, port) = match text.split_once(':') {
        None => (text, Some(PRDB_PORT)),
        Some((host, port)) => (host, port.parse().ok().filter(|&port| port != 0)),
    };
    let port = port.ok_or_else(|| Failure::input(format!("{text:?} is not HOST or HOST:PORT")))?;
    let found = (host, port).to_socket_addrs();
    let found = found.map_err(|error| Failure::input(format!("{host}: {error}")))?;
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| Failure::input(format!("{host} has no address")))
}

/// How servers are asked.
struct Way {
    port: Port,
    votes: ServiceId,
    patience: Duration,
}

/// An answer that cannot be read.
const MALFORMED: CallFailure = CallFailure::Unanswered(AbortCode::CLIENT_UNMARSHAL);

fn call(way: &Way, peer: SocketAddr, question: VoteCall) -> Result<Vec<u8>, CallFailure> {
    let timeouts = Timeouts { dead: way.patience, hard_dead: Some(way.patience), ..Timeouts::default() };
    let connection = way.port.connect(peer, way.votes, &NullSecurity, timeouts);
    let mut call = connection.start()?;
    call.write(&question.encode())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        match call.read(&mut buffer)? {
            0 => return Ok(answer),
            _ if answer.len() > 1 << 16 => return Err(MALFORMED),
            count => answer.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Asks in the newest way that the server knows.
fn newest(way: &Way, peer: SocketAddr, questions: [VoteCall; 3]) -> Result<Vec<u8>, CallFailure> {
    let mut last = MALFORMED;
    for question in questions {
        match call(way, peer, question) {
            Err(unknown @ CallFailure::Aborted(AbortCode::OPCODE)) => last = unknown,
            other => return other,
        }
    }
    Err(last)
}

fn ask(way: &Way, peer: SocketAddr) -> Result<Answer, CallFailure> {
    let questions = [VoteCall::DebugWithKind, VoteCall::Debug, VoteCall::DebugOld];
    let asked = Instant::now();
    let bytes = newest(way, peer, questions)?;
    let took = asked.elapsed().as_secs_f64();
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() - took / 2.0;
    let site = SiteDebug::decode(&bytes).map_err(|_| MALFORMED)?;
    // Its clock is told in whole seconds: on the average it is half a second later.
    let skew = f64::from(site.now) + 0.5 - here;
    let stands = stands(way, peer)?;
    Ok(Answer { site, stands, skew, uncertain: 0.5 + took / 2.0 })
}

/// Whether a server may become sync site. OpenAFS's servers do not know the question, and stand.
fn stands(way: &Way, peer: SocketAddr) -> Result<bool, CallFailure> {
    match call(way, peer, VoteCall::Stands) {
        Ok(answer) => Ok(answer != 0u32.to_be_bytes()),
        Err(CallFailure::Aborted(AbortCode::OPCODE)) => Ok(true),
        Err(failure) => Err(failure),
    }
}

fn ask_others(
    arguments: &Arguments,
    way: &Way,
    peer: SocketAddr,
    answer: &Answer,
) -> Result<Vec<Other>, CallFailure> {
    let mut listed = Vec::new();
    for which in 0..(answer.site.servers.clamp(1, 20) - 1) as u32 {
        let questions = [
            VoteCall::ServerDebugWithKind(which),
            VoteCall::ServerDebug(which),
            VoteCall::ServerDebugOld(which),
        ];
        let bytes = newest(way, peer, questions)?;
        listed.push(ServerDebug::decode(&bytes).map_err(|_| MALFORMED)?);
    }
    let own = |debug: &ServerDebug| {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(debug.address)), peer.port());
        ask(way, address).ok().filter(|_| !arguments.alone)
    };
    // All at once, so that the silent ones cost the patience only once.
    let answers: Vec<Option<Answer>> = std::thread::scope(|scope| {
        let asked: Vec<_> = listed.iter().map(|debug| scope.spawn(|| own(debug))).collect();
        asked.into_iter().map(|thread| thread.join().unwrap_or(None)).collect()
    });
    Ok(listed.into_iter().zip(answers).map(|(debug, own)| Other { debug, own }).collect())
}

fn host(address: u32) -> Ipv4Addr {
    Ipv4Addr::from(address)
}

/// How far another's clock is ahead of the asked server's, if that is known: by asking it, or by its vote.
fn skew_of(report: &Report, other: &Other) -> Option<(f64, f64)> {
    if let Some(own) = &other.own {
        return Some((own.skew - report.answer.skew, own.uncertain + report.answer.uncertain));
    }
    let debug = &other.debug;
    let voted = debug.last_vote_time != 0 && debug.last_beacon_sent != 0;
    voted.then(|| (f64::from(debug.last_vote_time) - f64::from(debug.last_beacon_sent), 2.0))
}

fn complaints(report: &Report, arguments: &Arguments) -> Vec<String> {
    let site = &report.answer.site;
    let mut complaints = Vec::new();
    if !site.is_sync_site && site.sync_host == 0 {
        complaints.push("no sync site is known to it: nothing can be written".to_owned());
    }
    if site.is_sync_site && site.recovery_state & 0x1f != 0x1f {
        complaints.push(format!("recovery is not complete: {}", recovery(site.recovery_state)));
    }
    for other in &report.others {
        let (debug, name) = (&other.debug, host(other.debug.address));
        if site.is_sync_site && !debug.up {
            complaints.push(format!("{name} is down"));
        } else if site.is_sync_site && !debug.last_vote && !debug.is_clone {
            complaints.push(format!("{name} does not vote for it"));
        } else if site.is_sync_site && !debug.current {
            complaints.push(format!("{name} is out of step"));
        } else if !arguments.alone && other.own.is_none() {
            complaints.push(format!("{name} does not answer"));
        }
        if let Some((skew, uncertain)) = skew_of(report, other)
            && skew.abs() - uncertain > arguments.skew_limit_secs as f64
        {
            let side = if skew > 0.0 { "ahead of" } else { "behind" };
            complaints.push(format!(
                "the clock of {name} is {:.0} s {side} the asked server's; the limit is {} s",
                skew.abs(),
                arguments.skew_limit_secs
            ));
        }
    }
    complaints
}

/// C's bits, in words.
fn recovery(bits: i32) -> String {
    let steps = [
        (0x01, "is sync site"),
        (0x02, "found the newest database"),
        (0x04, "has it"),
        (0x08, "labelled it"),
        (0x10, "sent it to all who lacked it"),
    ];
    let done: Vec<&str> = steps.iter().filter(|(bit, _)| bits & bit != 0).map(|&(_, words)| words).collect();
    if done.is_empty() { "none".to_owned() } else { done.join(", ") }
}

fn version_json(version: Version) -> Value {
    json!({"epoch": version.epoch, "counter": version.counter})
}

fn address_json(address: u32) -> Value {
    if address == 0 { Value::Null } else { json!(host(address).to_string()) }
}

fn to_json(report: &Report) -> Value {
    let site = &report.answer.site;
    let others: Vec<Value> = report.others.iter().map(|other| other_json(report, other)).collect();
    json!({
        "server": report.peer.to_string(),
        "addresses": site.addresses.iter().map(|&address| address_json(address)).collect::<Vec<_>>(),
        "clone": site.is_clone,
        "stands": report.answer.stands && !site.is_clone,
        "time": site.now,
        "skew_secs": report.answer.skew,
        "skew_uncertain_secs": report.answer.uncertain,
        "is_sync_site": site.is_sync_site,
        "sync_site": if site.is_sync_site { json!(report.peer.ip().to_string()) } else { address_json(site.sync_host) },
        "sync_site_until": site.sync_site_until,
        "recovery_state": site.recovery_state,
        "version": version_json(site.local_version),
        "sync_version": version_json(site.sync_version),
        "last_yes_host": address_json(site.last_yes_host),
        "last_yes_time": site.last_yes_time,
        "lowest_host": address_json(site.lowest_host),
        "write_transaction": site.active_write || site.write_transaction,
        "write_locks": site.any_write_locks,
        "read_locks": site.any_read_locks,
        "servers": others,
        "complaints": report.complaints,
    })
}

fn other_json(report: &Report, other: &Other) -> Value {
    let debug = &other.debug;
    let skew = skew_of(report, other);
    json!({
        "address": address_json(debug.address),
        "clone": debug.is_clone,
        "up": debug.up,
        "last_beacon_sent": debug.last_beacon_sent,
        "last_vote": debug.last_vote,
        "last_vote_time": debug.last_vote_time,
        "version": version_json(debug.remote_version),
        "current": debug.current,
        "answers": other.own.is_some(),
        "stands": other.own.as_ref().map(|own| own.stands && !own.site.is_clone),
        "own_version": other.own.as_ref().map(|own| version_json(own.site.local_version)),
        "skew_secs": skew.map(|(skew, _)| skew),
        "skew_uncertain_secs": skew.map(|(_, uncertain)| uncertain),
    })
}

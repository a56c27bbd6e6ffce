//! What clients ask about the server. Much of it is asked by libraries in passing, so the form is Redis's.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use kv::status::Status;
use kv::{Body, Step};
use resp::{ReplyWriter, Version};

use super::{Outcome, capitals, number, unknown_subcommand, value};
use crate::auth::DEFAULT;
use crate::session::{Arguments, Next, Refusal, Session, Wait};
use crate::statistics::{SLOW, SLOW_KEPT};

/// The version of Redis whose behaviour clients may expect, as Valkey reports it.
pub const REDIS_VERSION: &str = "7.2.4";

const SECTIONS: &[&str] = &[
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "cluster",
    "keyspace",
    "quorate",
];

pub fn info(_: &mut Session, arguments: Arguments<'_>, _: &mut ReplyWriter) -> Outcome {
    let words = arguments[1..].iter().map(|word| String::from_utf8_lossy(word).to_ascii_lowercase());
    Ok(Next::Wait(Wait::Info(words.collect())))
}

/// Writes the reply to INFO with these sections; all of them without any.
pub async fn info_reply(
    session: &Session,
    wanted: &[String],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let all = wanted.is_empty()
        || wanted.iter().any(|word| matches!(word.as_str(), "all" | "default" | "everything"));
    let status = session.shared.store.status();
    let mut text = String::new();
    for section in SECTIONS.iter().filter(|section| all || wanted.iter().any(|word| word == *section)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let (first, rest) = section.split_at(1);
        let _ = write!(text, "# {}{rest}\r\n", first.to_ascii_uppercase());
        let lines = match *section {
            "server" => about_server(session),
            "clients" => about_clients(session),
            "memory" => about_memory(session),
            "persistence" => "loading:0\nrdb_changes_since_last_save:0\naof_enabled:1\n".to_owned(),
            "stats" => about_traffic(session),
            "replication" => about_replication(&status),
            "cluster" => "cluster_enabled:0\n".to_owned(),
            "keyspace" => about_keys(session).await,
            "quorate" => about_cell(&status),
            _ => String::new(),
        };
        text.push_str(&lines.replace('\n', "\r\n"));
    }
    reply.verbatim(&text);
    Ok(())
}

fn about_server(session: &Session) -> String {
    let uptime = session.shared.statistics.started.elapsed().as_secs();
    format!(
        "redis_version:{REDIS_VERSION}\nquorate_version:{}\nredis_mode:standalone\nos:{}\narch_bits:{}\n\
         process_id:{}\nrun_id:{}\ntcp_port:{}\nuptime_in_seconds:{uptime}\nuptime_in_days:{}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        usize::BITS,
        std::process::id(),
        session.shared.run_id,
        session.client.local.port(),
        uptime / 86_400,
    )
}

fn about_clients(session: &Session) -> String {
    let shared = &session.shared;
    format!(
        "connected_clients:{}\nmaxclients:{}\nblocked_clients:0\ntracking_clients:0\npubsub_clients:0\n",
        shared.clients.len(),
        shared.settings.limits.clients,
    )
}

fn about_memory(session: &Session) -> String {
    let used = resident_bytes();
    let (scripts, script_bytes) = session.shared.scripts.held();
    format!(
        "used_memory:{used}\nused_memory_human:{:.2}M\nused_memory_rss:{used}\nmaxmemory:0\n\
         maxmemory_policy:noeviction\nmem_clients_normal:{}\nnumber_of_cached_scripts:{scripts}\n\
         used_memory_scripts:{script_bytes}\n",
        used as f64 / f64::from(1 << 20),
        session.shared.statistics.held.load(Ordering::Relaxed),
    )
}

/// What the process occupies; 0 where the system does not say.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn about_traffic(session: &Session) -> String {
    let traffic = session.shared.statistics.since_reset();
    format!(
        "total_connections_received:{}\ntotal_commands_processed:{}\ntotal_net_input_bytes:{}\n\
         total_net_output_bytes:{}\nrejected_connections:{}\nexpired_keys:0\nevicted_keys:0\n\
         pubsub_patterns:{}\ntotal_error_replies:{}\nclients_cut_off:{}\nacl_access_denied_auth:{}\n",
        traffic.connections,
        traffic.commands,
        traffic.received,
        traffic.sent,
        traffic.rejected,
        session.shared.channels.patterns(),
        traffic.errors,
        traffic.cut_off,
        traffic.wrong_passwords,
    )
}

/// Every server takes writes, so each is what Redis calls a master without replicas.
fn about_replication(status: &Status) -> String {
    format!(
        "role:master\nconnected_slaves:0\nmaster_failover_state:no-failover\nquorate_standing:{}\n\
         quorate_sync_site:{}\n",
        status.standing,
        status.sync_site().unwrap_or("(none)"),
    )
}

fn about_cell(status: &Status) -> String {
    let mut lines =
        format!("server:{}\nstanding:{}\nservers:{}\n", status.server, status.standing, status.servers.len());
    for (number, server) in status.servers.iter().enumerate() {
        let up = if server.is_up { "up" } else { "down" };
        let version = server.version.as_deref().unwrap_or("unknown");
        let _ = writeln!(lines, "server{number}:name={},state={up},version={version}", server.name);
    }
    lines
}

async fn about_keys(session: &Session) -> String {
    let mut lines = String::new();
    for database in 0..session.shared.store.databases() {
        let body = Body::Command(vec![b"DBSIZE".to_vec()]);
        let step = Step { database, body, watched: Vec::new(), protocol: Version::Resp2 };
        let answer = session.ask(step).await.ok();
        let keys = answer.and_then(|answer| value(&answer)?.as_integer()).unwrap_or(0);
        if keys > 0 {
            let _ = writeln!(lines, "db{database}:keys={keys},expires=0,avg_ttl=0");
        }
    }
    lines
}

pub fn config(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let subcommand = capitals(arguments[1]);
    match (subcommand.as_slice(), &arguments[2..]) {
        (b"GET", patterns) if !patterns.is_empty() => {
            let matching = |name: &str| {
                patterns
                    .iter()
                    .any(|pattern| kv::pattern::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
            };
            let found: Vec<(&str, String)> =
                parameters(session).into_iter().filter(|(name, _)| matching(name)).collect();
            reply.map(found.len());
            for (name, value) in found {
                reply.string(name.as_bytes());
                reply.string(value.as_bytes());
            }
        }
        // What is so already may be set.
        (b"SET", [name, value]) if is_set(session, name, value) => reply.ok(),
        (b"SET", [name, ..]) => {
            return Err(format!(
                "ERR CONFIG SET failed - '{}' cannot be set by clients; edit the configuration file and reload or restart",
                name[..name.len().min(64)].escape_ascii()
            )
            .into());
        }
        (b"RESETSTAT", []) => {
            session.shared.statistics.reset();
            reply.ok();
        }
        _ => return Err(unknown_subcommand(arguments)),
    }
    Ok(Next::Answered)
}

/// Whether a parameter has this value.
fn is_set(session: &Session, name: &[u8], value: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    parameters(session).iter().any(|(known, set)| known.as_bytes() == name && set.as_bytes() == value)
}

/// Redis's parameters, as far as clients ask for them.
fn parameters(session: &Session) -> Vec<(&'static str, String)> {
    let limits = &session.shared.settings.limits;
    let idle = limits.idle_timeout.map_or(0, |timeout| timeout.as_secs());
    vec![
        ("appendfsync", "always".to_owned()),
        ("appendonly", "yes".to_owned()),
        ("cluster-enabled", "no".to_owned()),
        ("databases", session.shared.store.databases().to_string()),
        ("maxclients", limits.clients.to_string()),
        ("maxmemory", "0".to_owned()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("notify-keyspace-events", String::new()),
        ("port", session.client.local.port().to_string()),
        ("proto-max-bulk-len", limits.string_bytes.to_string()),
        ("requirepass", String::new()),
        ("save", String::new()),
        ("slowlog-log-slower-than", SLOW.as_micros().to_string()),
        ("slowlog-max-len", SLOW_KEPT.to_string()),
        ("timeout", idle.to_string()),
    ]
}

pub fn acl(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let subcommand = capitals(arguments[1]);
    let mut names = session.shared.users.names();
    if names.is_empty() {
        names.push(DEFAULT.to_owned());
    }
    match (subcommand.as_slice(), &arguments[2..]) {
        (b"WHOAMI", []) => reply.string(session.user.as_deref().unwrap_or(DEFAULT).as_bytes()),
        (b"USERS", []) => {
            reply.array(names.len());
            names.iter().for_each(|name| reply.string(name.as_bytes()));
        }
        (b"LIST", []) => {
            let password = if session.shared.users.required() { "" } else { " nopass" };
            reply.array(names.len());
            names
                .iter()
                .for_each(|name| reply.string(format!("user {name} on{password} ~* &* +@all").as_bytes()));
        }
        (b"CAT", rest) if rest.len() < 2 => super::table::categories(rest.first().copied(), reply)?,
        _ => return Err(unknown_subcommand(arguments)),
    }
    Ok(Next::Answered)
}

pub fn latency(_: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    match capitals(arguments[1]).as_slice() {
        b"LATEST" | b"HISTORY" => reply.array(0),
        b"HISTOGRAM" => reply.map(0),
        b"RESET" => reply.integer(0),
        b"DOCTOR" => {
            reply.verbatim("Latencies are on the page and at /metrics; slow commands in SLOWLOG GET.\n")
        }
        _ => return Err(unknown_subcommand(arguments)),
    }
    Ok(Next::Answered)
}

pub fn slowlog(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let statistics = &session.shared.statistics;
    let subcommand = capitals(arguments[1]);
    match (subcommand.as_slice(), &arguments[2..]) {
        (b"GET", rest) if rest.len() < 2 => {
            let most = rest.first().map_or(Ok(10), |count| number(count))?;
            let entries = statistics.slowest(usize::try_from(most).unwrap_or(usize::MAX));
            reply.array(entries.len());
            for slow in entries {
                reply.array(6);
                reply.integer(slow.id as i64);
                reply.integer(slow.at_secs as i64);
                reply.integer(slow.took.as_micros() as i64);
                reply.array(slow.arguments.len());
                slow.arguments.iter().for_each(|argument| reply.string(argument));
                reply.string(slow.peer.as_bytes());
                reply.string(b"");
            }
        }
        (b"LEN", []) => reply.integer(statistics.slow_len() as i64),
        (b"RESET", []) => {
            statistics.forget_slow();
            reply.ok();
        }
        _ => return Err(unknown_subcommand(arguments)),
    }
    Ok(Next::Answered)
}

pub fn debug(_: &mut Session, _: Arguments<'_>, _: &mut ReplyWriter) -> Outcome {
    Err("ERR DEBUG is refused: it could stop or spoil this server for all its clients".into())
}

pub fn role(_: &mut Session, _: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    reply.array(3);
    reply.string(b"master");
    reply.integer(0);
    reply.array(0);
    Ok(Next::Answered)
}

/// A write that was answered is at a quorum: there is nothing to wait for, and nothing more to promise.
pub fn wait(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    number(arguments[1])?;
    match number(arguments[2]) {
        Ok(0..) => {}
        Ok(_) => return Err("ERR timeout is negative".into()),
        Err(_) => return Err("ERR timeout is not an integer or out of range".into()),
    }
    reply.integer(session.shared.store.status().quorum() as i64 - 1);
    Ok(Next::Answered)
}

pub fn status(session: &mut Session, _: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let status = session.shared.store.status();
    reply.map(4);
    reply.string(b"server");
    reply.string(status.server.as_bytes());
    reply.string(b"standing");
    reply.string(status.standing.to_string().as_bytes());
    reply.string(b"sync-site");
    reply.optional(status.sync_site().map(str::as_bytes));
    reply.string(b"servers");
    reply.array(status.servers.len());
    for server in &status.servers {
        reply.map(4);
        reply.string(b"name");
        reply.string(server.name.as_bytes());
        reply.string(b"up");
        reply.boolean(server.is_up);
        reply.string(b"sync-site");
        reply.boolean(server.is_sync_site);
        reply.string(b"version");
        reply.optional(server.version.as_deref().map(str::as_bytes));
    }
    Ok(Next::Answered)
}

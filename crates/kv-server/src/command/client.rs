//! CLIENT and its subcommands.

use std::sync::Arc;

use resp::ReplyWriter;

use super::connection::client_name;
use super::{Outcome, capitals, number, unknown_subcommand};
use crate::clients::Client;
use crate::session::{Arguments, Next, Refusal, Session};

pub fn client(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let subcommand = capitals(arguments[1]);
    match (subcommand.as_slice(), &arguments[2..]) {
        (b"ID", []) => reply.integer(session.client.id as i64),
        (b"INFO", []) => reply.verbatim(&format!("{}\n", session.client.line())),
        (b"LIST", rest) => list(session, rest, reply)?,
        (b"GETNAME", []) => {
            let name = session.client.about().name.clone();
            reply.optional((!name.is_empty()).then_some(name.as_bytes()));
        }
        (b"SETNAME", [name]) => {
            session.client.about().name = client_name(name)?;
            reply.ok();
        }
        (b"SETINFO", [attribute, text]) => {
            let text = client_name(text)?;
            match capitals(attribute).as_slice() {
                b"LIB-NAME" => session.client.about().library = text,
                b"LIB-VER" => session.client.about().library_version = text,
                _ => return Err(format!("ERR Unrecognized option '{}'", attribute.escape_ascii()).into()),
            }
            reply.ok();
        }
        // Nothing is ever evicted, and no access times are kept.
        (b"NO-EVICT" | b"NO-TOUCH", [on]) if matches!(capitals(on).as_slice(), b"ON" | b"OFF") => reply.ok(),
        (b"REPLY", [on]) if capitals(on) == b"ON" => reply.ok(),
        (b"GETREDIR", []) => reply.integer(-1),
        (b"TRACKING", [off]) if capitals(off) == b"OFF" => reply.ok(),
        (b"TRACKINGINFO", []) => {
            reply.map(3);
            reply.string(b"flags");
            reply.set(1);
            reply.string(b"off");
            reply.string(b"redirect");
            reply.integer(-1);
            reply.string(b"prefixes");
            reply.array(0);
        }
        // No command blocks.
        (b"UNBLOCK", [id] | [id, _]) => {
            number(id)?;
            reply.integer(0);
        }
        (b"KILL", [address]) => {
            let killed = kill(session, &Filter { address: Some(text(address)), ..Filter::default() });
            if killed == 0 {
                return Err("ERR No such client".into());
            }
            reply.ok();
        }
        (b"KILL", filters) if !filters.is_empty() => {
            let filter = Filter::read(filters, true)?;
            reply.integer(kill(session, &filter));
        }
        _ => return Err(unknown_subcommand(arguments)),
    }
    Ok(Next::Answered)
}

fn list(session: &Session, filters: &[&[u8]], reply: &mut ReplyWriter) -> Result<(), Refusal> {
    let filter = match filters.split_first() {
        Some((word, ids)) if capitals(word) == b"ID" && !ids.is_empty() => {
            let ids = ids.iter().map(|id| number(id)).collect::<Result<Vec<i64>, _>>()?;
            Filter { ids: Some(ids), ..Filter::default() }
        }
        _ => Filter::read(filters, false)?,
    };
    let clients = session.shared.clients.all();
    let lines = clients.iter().filter(|client| filter.fits(client)).map(|client| client.line() + "\n");
    reply.verbatim(&lines.collect::<String>());
    Ok(())
}

/// Ends the connections that fit; how many.
fn kill(session: &mut Session, filter: &Filter) -> i64 {
    let mut killed = 0;
    for client in session.shared.clients.all() {
        let own = Arc::ptr_eq(&client, &session.client);
        if !filter.fits(&client) || (own && filter.skips_own) {
            continue;
        }
        killed += 1;
        if own {
            // It gets the reply first.
            session.closing = true;
        } else {
            client.kill();
        }
    }
    killed
}

/// Which clients are meant.
#[derive(Default)]
struct Filter {
    ids: Option<Vec<i64>>,
    address: Option<String>,
    local: Option<String>,
    user: Option<String>,
    /// Those that have subscribed, or those that have not.
    subscribed: Option<bool>,
    /// No client is of this kind here.
    nobody: bool,
    oldest_secs: Option<i64>,
    skips_own: bool,
}

impl Filter {
    fn read(mut words: &[&[u8]], skips_own: bool) -> Result<Filter, Refusal> {
        let mut filter = Filter { skips_own, ..Filter::default() };
        while let [word, value, rest @ ..] = words {
            match capitals(word).as_slice() {
                b"ID" => filter.ids = Some(vec![number(value)?]),
                b"ADDR" => filter.address = Some(text(value)),
                b"LADDR" => filter.local = Some(text(value)),
                b"USER" => filter.user = Some(text(value)),
                b"MAXAGE" => filter.oldest_secs = Some(number(value)?),
                b"SKIPME" => filter.skips_own = capitals(value) == b"YES",
                b"TYPE" => match capitals(value).as_slice() {
                    b"NORMAL" => filter.subscribed = Some(false),
                    b"PUBSUB" => filter.subscribed = Some(true),
                    b"MASTER" | b"SLAVE" | b"REPLICA" => filter.nobody = true,
                    _ => return Err(format!("ERR Unknown client type '{}'", value.escape_ascii()).into()),
                },
                _ => return Err("ERR syntax error".into()),
            }
            words = rest;
        }
        match words {
            [] => Ok(filter),
            _ => Err("ERR syntax error".into()),
        }
    }

    fn fits(&self, client: &Client) -> bool {
        let about = client.about();
        let subscribed = about.subscriptions != (0, 0);
        !self.nobody
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&(client.id as i64)))
            && self.address.as_ref().is_none_or(|address| *address == client.peer.to_string())
            && self.local.as_ref().is_none_or(|local| *local == client.local.to_string())
            && self.user.as_ref().is_none_or(|user| about.user.as_deref() == Some(user))
            && self.subscribed.is_none_or(|wanted| wanted == subscribed)
            && self.oldest_secs.is_none_or(|least| client.connected.elapsed().as_secs() as i64 >= least)
    }
}

fn text(argument: &[u8]) -> String {
    String::from_utf8_lossy(argument).into_owned()
}

//! PUBLISH, SUBSCRIBE and what belongs to them.

use resp::ReplyWriter;

use super::{Outcome, capitals, unknown_subcommand};
use crate::channels::Kind;
use crate::session::{Arguments, Next, Session};

pub fn publish(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    reply.integer(session.shared.channels.publish(arguments[1], arguments[2]) as i64);
    Ok(Next::Answered)
}

pub fn pubsub(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let channels = &session.shared.channels;
    let subcommand = capitals(arguments[1]);
    match (subcommand.as_slice(), &arguments[2..]) {
        (b"CHANNELS", rest) if rest.len() < 2 => {
            let found = channels.matching(rest.first().copied());
            reply.array(found.len());
            found.iter().for_each(|name| reply.string(name));
        }
        (b"NUMSUB", names) => {
            // A flat array in either version, unlike most pairs: libraries take it apart by twos.
            reply.array(2 * names.len());
            for name in names {
                reply.string(name);
                reply.integer(channels.subscribers(name) as i64);
            }
        }
        (b"NUMPAT", []) => reply.integer(channels.patterns() as i64),
        _ => return Err(unknown_subcommand(arguments)),
    }
    Ok(Next::Answered)
}

pub fn subscribe(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    add(session, Kind::Channel, arguments, reply)
}

pub fn psubscribe(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    add(session, Kind::Pattern, arguments, reply)
}

pub fn unsubscribe(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    take(session, Kind::Channel, arguments, reply)
}

pub fn punsubscribe(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    take(session, Kind::Pattern, arguments, reply)
}

fn add(session: &mut Session, kind: Kind, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let most = session.shared.settings.limits.subscriptions;
    if session.subscriber.count() + arguments.len() - 1 > most {
        return Err(format!("ERR more than {most} subscriptions (limits.subscriptions)").into());
    }
    let word: &[u8] = if kind == Kind::Channel { b"subscribe" } else { b"psubscribe" };
    for name in &arguments[1..] {
        session.subscriber.subscribe(kind, name);
        confirm(session, word, Some(name), reply);
    }
    session.publish_state();
    Ok(Next::Answered)
}

fn take(session: &mut Session, kind: Kind, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let word: &[u8] = if kind == Kind::Channel { b"unsubscribe" } else { b"punsubscribe" };
    let names: Vec<Vec<u8>> = match &arguments[1..] {
        [] => session.subscriber.names(kind).iter().map(|name| name.to_vec()).collect(),
        names => names.iter().map(|name| name.to_vec()).collect(),
    };
    if names.is_empty() {
        confirm(session, word, None, reply);
    }
    for name in names {
        session.subscriber.unsubscribe(kind, &name);
        confirm(session, word, Some(&name), reply);
    }
    session.publish_state();
    Ok(Next::Answered)
}

fn confirm(session: &Session, word: &[u8], name: Option<&[u8]>, reply: &mut ReplyWriter) {
    reply.push(3);
    reply.string(word);
    reply.optional(name);
    reply.integer(session.subscriber.count() as i64);
}

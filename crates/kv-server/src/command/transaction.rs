//! MULTI to EXEC, and the keys that are watched.

use resp::ReplyWriter;

use super::Outcome;
use crate::session::{Arguments, Next, Session, Transaction, Wait, owned};

/// More keys than this nobody watches on purpose.
const WATCHED: usize = 10_000;

pub fn multi(session: &mut Session, _: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    if session.transaction.is_some() {
        // As for WATCH, the transaction goes on.
        reply.error("ERR MULTI calls can not be nested");
        return Ok(Next::Answered);
    }
    session.transaction = Some(Transaction::default());
    session.publish_state();
    reply.ok();
    Ok(Next::Answered)
}

pub fn exec(session: &mut Session, _: Arguments<'_>, _: &mut ReplyWriter) -> Outcome {
    session.exec()
}

pub fn discard(session: &mut Session, _: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    if session.transaction.take().is_none() {
        return Err("ERR DISCARD without MULTI".into());
    }
    session.watched.clear();
    session.publish_state();
    reply.ok();
    Ok(Next::Answered)
}

pub fn watch(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    if session.transaction.is_some() {
        reply.error("ERR WATCH inside MULTI is not allowed");
        return Ok(Next::Answered);
    }
    if session.watched.len() + arguments.len() > WATCHED {
        return Err(format!("ERR more than {WATCHED} watched keys").into());
    }
    Ok(Next::Wait(Wait::Watch(owned(&arguments[1..]))))
}

pub fn unwatch(session: &mut Session, _: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    session.watched.clear();
    session.publish_state();
    reply.ok();
    Ok(Next::Answered)
}

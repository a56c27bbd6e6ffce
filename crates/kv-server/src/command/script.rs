//! Scripts by their text or its hash. The store gets texts only.

use resp::ReplyWriter;

use super::{Outcome, capitals, unknown_subcommand};
use crate::session::{Arguments, Next, Session, owned};

pub fn eval(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    // Without room for one more it runs all the same; EVALSHA then answers NOSCRIPT, which clients know.
    session.shared.scripts.keep(arguments[1]);
    session.data_command(owned(arguments), reply)
}

pub fn evalsha(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let text =
        session.shared.scripts.find(arguments[1]).ok_or("NOSCRIPT No matching script. Please use EVAL.")?;
    let mut words = owned(arguments);
    let reads = capitals(arguments[0]).ends_with(b"_RO");
    words[0] = if reads { b"EVAL_RO".to_vec() } else { b"EVAL".to_vec() };
    words[1] = text;
    session.data_command(words, reply)
}

pub fn script(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let scripts = &session.shared.scripts;
    let subcommand = capitals(arguments[1]);
    match (subcommand.as_slice(), &arguments[2..]) {
        (b"LOAD", [text]) => {
            let hash = scripts.keep(text).ok_or_else(|| {
                let most = session.shared.settings.limits.scripts_bytes;
                format!("ERR scripts exceed {most} bytes (limits.scripts-bytes); SCRIPT FLUSH forgets them")
            })?;
            reply.string(hash.as_bytes());
        }
        (b"EXISTS", hashes) if !hashes.is_empty() => {
            reply.array(hashes.len());
            hashes.iter().for_each(|hash| reply.integer(i64::from(scripts.find(hash).is_some())));
        }
        (b"FLUSH", []) => {
            scripts.flush();
            reply.ok();
        }
        (b"FLUSH", [how]) if matches!(capitals(how).as_slice(), b"SYNC" | b"ASYNC") => {
            scripts.flush();
            reply.ok();
        }
        (b"KILL", []) => {
            return Err(
                "NOTBUSY No scripts in execution right now: they end by themselves at their time limit"
                    .into(),
            );
        }
        _ => return Err(unknown_subcommand(arguments)),
    }
    Ok(Next::Answered)
}

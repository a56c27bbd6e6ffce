//! Who a client is and what it speaks.

use resp::{ReplyWriter, Version};

use super::{Outcome, capitals, number};
use crate::auth::DEFAULT;
use crate::session::{Arguments, Next, Refusal, Session, Wait};

/// What AUTH or HELLO asks for, once the password was right.
pub struct Greeting {
    /// User and password.
    pub credentials: Option<(Vec<u8>, Vec<u8>)>,
    /// The version to speak; the reply is HELLO's.
    pub hello: bool,
    /// The version to speak.
    pub version: Option<Version>,
    /// The connection's name.
    pub name: Option<String>,
}

/// `AUTH [user] password`.
pub fn auth(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let (user, password) = match arguments {
        [_, password] => (DEFAULT.as_bytes(), *password),
        [_, user, password] => (*user, *password),
        _ => return Err("ERR syntax error".into()),
    };
    if !session.shared.users.required() {
        if arguments.len() == 3 {
            without_users(session, user)?;
            reply.ok();
            return Ok(Next::Answered);
        }
        // Libraries know this error by its text.
        return Err(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                    your configuration is correct?"
                .into(),
        );
    }
    let credentials = Some((user.to_vec(), password.to_vec()));
    Ok(Next::Wait(Wait::Authenticate(Greeting { credentials, hello: false, version: None, name: None })))
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`.
pub fn hello(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let greeting = read_hello(arguments)?;
    let known = session.user.is_some() || greeting.credentials.is_some();
    if !known {
        return Err("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
                    <user> <pass> option can be used to authenticate the client and select the RESP protocol version \
                    at the same time"
            .into());
    }
    if let Some((user, _)) = &greeting.credentials {
        if session.shared.users.required() {
            return Ok(Next::Wait(Wait::Authenticate(greeting)));
        }
        without_users(session, user)?;
    }
    greet(session, &greeting, reply)?;
    Ok(Next::Answered)
}

/// Where no users are configured, there is the default one, whom any password fits.
fn without_users(session: &mut Session, user: &[u8]) -> Result<(), Refusal> {
    if user == DEFAULT.as_bytes() { Ok(()) } else { Err(session.wrong_password()) }
}

fn read_hello(arguments: Arguments<'_>) -> Result<Greeting, Refusal> {
    let mut greeting = Greeting { credentials: None, hello: true, version: None, name: None };
    let Some((version, mut rest)) = arguments.get(1..).and_then(<[&[u8]]>::split_first) else {
        return Ok(greeting);
    };
    greeting.version = Some(match *version {
        b"2" => Version::Resp2,
        b"3" => Version::Resp3,
        _ if number(version).is_err() => {
            return Err("ERR Protocol version is not an integer or out of range".into());
        }
        _ => return Err("NOPROTO unsupported protocol version".into()),
    });
    while let Some((option, after)) = rest.split_first() {
        rest = match (capitals(option).as_slice(), after) {
            (b"AUTH", [user, password, after @ ..]) => {
                greeting.credentials = Some((user.to_vec(), password.to_vec()));
                after
            }
            (b"SETNAME", [name, after @ ..]) => {
                greeting.name = Some(client_name(name)?);
                after
            }
            _ => return Err(format!("ERR Syntax error in HELLO option '{}'", option.escape_ascii()).into()),
        };
    }
    Ok(greeting)
}

/// Does what a greeting asks for, and answers it.
pub fn greet(session: &mut Session, greeting: &Greeting, reply: &mut ReplyWriter) -> Result<(), Refusal> {
    if let Some(version) = greeting.version {
        session.protocol = version;
        reply.set_version(version);
    }
    if let Some(name) = &greeting.name {
        session.client.about().name.clone_from(name);
    }
    session.publish_state();
    if !greeting.hello {
        reply.ok();
        return Ok(());
    }
    reply.map(7);
    reply.string(b"server");
    reply.string(b"redis");
    reply.string(b"version");
    reply.string(super::server::REDIS_VERSION.as_bytes());
    reply.string(b"proto");
    reply.integer(if session.protocol == Version::Resp3 { 3 } else { 2 });
    reply.string(b"id");
    reply.integer(session.client.id as i64);
    reply.string(b"mode");
    reply.string(b"standalone");
    reply.string(b"role");
    reply.string(b"master");
    reply.string(b"modules");
    reply.array(0);
    Ok(())
}

/// A name that a client gives itself: it is shown in lines, so it has neither blanks nor line ends.
pub fn client_name(name: &[u8]) -> Result<String, Refusal> {
    if name.len() > 256 || !name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Err(
            "ERR Client names cannot contain spaces, newlines or special characters, and have at most 256"
                .into(),
        );
    }
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// `PING [text]`.
pub fn ping(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let text = match arguments {
        [_] => None,
        [_, text] => Some(*text),
        _ => return Err("ERR wrong number of arguments for 'ping' command".into()),
    };
    if session.protocol == Version::Resp2 && session.subscriber.count() > 0 {
        reply.array(2);
        reply.string(b"pong");
        reply.string(text.unwrap_or_default());
    } else {
        match text {
            None => reply.simple("PONG"),
            Some(text) => reply.string(text),
        }
    }
    Ok(Next::Answered)
}

/// ECHO text.
pub fn echo(_: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    reply.string(arguments[1]);
    Ok(Next::Answered)
}

/// QUIT.
pub fn quit(session: &mut Session, _: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    session.closing = true;
    reply.ok();
    Ok(Next::Answered)
}

/// RESET.
pub fn reset(session: &mut Session, _: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    session.reset();
    let mut about = session.client.about();
    about.name.clear();
    reply.set_version(Version::Resp2);
    reply.simple("RESET");
    Ok(Next::Answered)
}

/// SELECT number.
pub fn select(session: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let databases = session.shared.store.databases();
    let database = usize::try_from(number(arguments[1])?).ok().filter(|database| *database < databases);
    let database = database.ok_or_else(|| -> Refusal {
        format!("ERR DB index is out of range: this service has {databases} (configuration key `databases`)")
            .into()
    })?;
    if !session.watched.is_empty() && database != session.database {
        return Err(
            "ERR SELECT while keys are watched: a transaction is about one database; UNWATCH first".into()
        );
    }
    session.database = database;
    session.publish_state();
    reply.ok();
    Ok(Next::Answered)
}

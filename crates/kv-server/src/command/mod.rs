//! The commands of a connection: those for which the data is not needed, or not alone.
//!
//! * `connection`: who the client is and what it speaks; `client`: what it may know of others
//! * `transaction`: MULTI to EXEC; `messages`: PUBLISH and SUBSCRIBE; `script`: texts of scripts
//! * `server`: INFO, CONFIG and what else tells of the server; `table`: COMMAND
//! * `absent`: commands of Redis that the service does not have

pub mod absent;
mod client;
pub mod connection;
mod messages;
mod script;
pub mod server;
mod table;
mod transaction;

use resp::{Limits, Replies, ReplyWriter, Value};

use crate::session::{Arguments, Next, Refusal, Session};

/// What a command comes to.
type Outcome = Result<Next, Refusal>;

/// A command of the front end.
pub struct Own {
    /// Its name, in capitals.
    pub name: &'static str,
    /// How many strings it takes, its name included; at least so many if negative.
    pub arity: i32,
    /// Whether it is for those that have not authenticated, too.
    pub for_strangers: bool,
    /// Whether it is for those that have subscribed, in version 2.
    pub while_subscribed: bool,
    /// Whether it is carried out, or queued, between MULTI and EXEC.
    pub in_transactions: bool,
    /// Decides about it.
    pub run: fn(&mut Session, Arguments<'_>, &mut ReplyWriter) -> Outcome,
}

macro_rules! commands {
    ($($name:literal $arity:literal [$($flag:ident)*] $run:path;)*) => {
        /// All of them, by name.
        pub const COMMANDS: &[Own] = &[$(Own {
            $($flag: true,)*
            ..Own::plain($name, $arity, $run)
        }),*];
    };
}

commands! {
    "ACL" -2 [] server::acl;
    "AUTH" -2 [for_strangers] connection::auth;
    "CLIENT" -2 [] client::client;
    "COMMAND" -1 [] table::command;
    "CONFIG" -2 [] server::config;
    "DEBUG" -2 [] server::debug;
    "DISCARD" 1 [in_transactions] transaction::discard;
    "ECHO" 2 [] connection::echo;
    "EVAL" -3 [in_transactions] script::eval;
    "EVALSHA" -3 [in_transactions] script::evalsha;
    "EVALSHA_RO" -3 [in_transactions] script::evalsha;
    "EVAL_RO" -3 [in_transactions] script::eval;
    "EXEC" 1 [in_transactions] transaction::exec;
    "HELLO" -1 [for_strangers] connection::hello;
    "INFO" -1 [] server::info;
    "LATENCY" -2 [] server::latency;
    "MULTI" 1 [in_transactions] transaction::multi;
    "PING" -1 [while_subscribed] connection::ping;
    "PSUBSCRIBE" -2 [while_subscribed] messages::psubscribe;
    "PUBLISH" 3 [] messages::publish;
    "PUBSUB" -2 [] messages::pubsub;
    "PUNSUBSCRIBE" -1 [while_subscribed] messages::punsubscribe;
    "QUIT" -1 [for_strangers while_subscribed in_transactions] connection::quit;
    "QUORATE.STATUS" -1 [] server::status;
    "RESET" 1 [for_strangers while_subscribed in_transactions] connection::reset;
    "ROLE" 1 [] server::role;
    "SCRIPT" -2 [] script::script;
    "SELECT" 2 [] connection::select;
    "SLOWLOG" -2 [] server::slowlog;
    "SUBSCRIBE" -2 [while_subscribed] messages::subscribe;
    "UNSUBSCRIBE" -1 [while_subscribed] messages::unsubscribe;
    "UNWATCH" 1 [] transaction::unwatch;
    "WAIT" 3 [] server::wait;
    "WATCH" -2 [in_transactions] transaction::watch;
}

impl Own {
    const fn plain(
        name: &'static str,
        arity: i32,
        run: fn(&mut Session, Arguments<'_>, &mut ReplyWriter) -> Outcome,
    ) -> Own {
        Own { name, arity, for_strangers: false, while_subscribed: false, in_transactions: false, run }
    }

    /// Whether it takes so many strings.
    pub fn check_arity(&self, strings: usize) -> Result<(), Refusal> {
        let least = self.arity.unsigned_abs() as usize;
        let fits = if self.arity < 0 { strings >= least } else { strings == least };
        fits.then_some(()).ok_or_else(|| wrong_number(self.name))
    }
}

/// The command of this name, in whatever case.
pub fn find(name: &[u8]) -> Option<&'static Own> {
    let name = name.to_ascii_uppercase();
    let at = COMMANDS.binary_search_by(|command| command.name.as_bytes().cmp(&name)).ok()?;
    Some(&COMMANDS[at])
}

fn wrong_number(name: &str) -> Refusal {
    format!("ERR wrong number of arguments for '{}' command", name.to_ascii_lowercase()).into()
}

/// A subcommand that is not there.
fn unknown_subcommand(arguments: Arguments<'_>) -> Refusal {
    let command = arguments[0].to_ascii_uppercase();
    let subcommand = &arguments[1][..arguments[1].len().min(128)];
    format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. This service may lack it; see what differs \
         from {}",
        subcommand.escape_ascii(),
        format_args!("Redis's {}", command.escape_ascii()),
    )
    .into()
}

/// The words of an argument: a subcommand or option, in capitals.
fn capitals(argument: &[u8]) -> Vec<u8> {
    argument.to_ascii_uppercase()
}

/// A decimal number that a client sent.
fn number(argument: &[u8]) -> Result<i64, Refusal> {
    let number = std::str::from_utf8(argument).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| "ERR value is not an integer or out of range".into())
}

/// The reply that a store wrote, as a value.
pub fn value(reply: &[u8]) -> Option<Value> {
    let limits = Limits { message_bytes: usize::MAX / 4, string_bytes: usize::MAX / 4, ..Limits::default() };
    let mut replies = Replies::new(limits);
    replies.receive(reply);
    replies.poll().ok().flatten()
}

/// The numbers in a reply that is an array of them.
pub fn integers(reply: &[u8]) -> Option<Vec<u64>> {
    let value = value(reply)?;
    value.as_elements()?.iter().map(|value| u64::try_from(value.as_integer()?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S4: the table is sorted, so that every command is found by its name; none is in the data's table too but scripts.
    #[test]
    fn every_command_is_found_by_its_name() {
        for command in COMMANDS {
            let found = find(command.name.to_ascii_lowercase().as_bytes());
            assert_eq!(found.map(|found| found.name), Some(command.name));
            let is_script = command.name.starts_with("EVAL");
            assert!(is_script || kv::find(command.name.as_bytes()).is_none(), "{}", command.name);
        }
        assert!(find(b"GET").is_none() && find(b"").is_none());
    }
}

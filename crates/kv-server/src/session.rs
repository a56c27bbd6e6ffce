//! What one connection has chosen and begun, and where each of its commands goes.
//!
//! Only its own task uses it. What others may see of it is in [`Client`].

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kv::{Body, Step, StepError, Watched};
use resp::{ReplyWriter, Version};
use tokio::sync::oneshot;

use crate::auth::DEFAULT;
use crate::channels::{Kind, Subscriber};
use crate::clients::Client;
use crate::command::{self, connection::Greeting};
use crate::pipeline::lost;
use crate::server::Shared;

/// All strings of a request, its name first.
pub type Arguments<'a> = &'a [&'a [u8]];

/// Why a command was refused: the text of the error reply.
pub type Refusal = Cow<'static, str>;

/// What is to happen for a command.
pub enum Next {
    /// The reply is written.
    Answered,
    /// The reply is the store's.
    Step(Step),
    /// The reply needs something that takes time, and later requests depend on it.
    Wait(Wait),
}

/// What takes time.
pub enum Wait {
    /// AUTH or HELLO with AUTH.
    Authenticate(Greeting),
    /// WATCH.
    Watch(Vec<Vec<u8>>),
    /// INFO with these sections.
    Info(Vec<String>),
}

/// One connection's state.
pub struct Session {
    /// What all connections have in common.
    pub shared: Arc<Shared>,
    /// What others see of this one.
    pub client: Arc<Client>,
    /// As which user; `None` before AUTH.
    pub user: Option<Arc<str>>,
    /// By SELECT.
    pub database: usize,
    /// By HELLO.
    pub protocol: Version,
    /// Between MULTI and EXEC.
    pub transaction: Option<Transaction>,
    /// By WATCH.
    pub watched: Vec<Watched>,
    /// By SUBSCRIBE and PSUBSCRIBE.
    pub subscriber: Subscriber,
    /// The connection is to be closed after the replies so far.
    pub closing: bool,
    /// AUTH failed so often.
    pub wrong_passwords: u32,
}

/// Commands between MULTI and EXEC.
#[derive(Default)]
pub struct Transaction {
    commands: Vec<Vec<Vec<u8>>>,
    bytes: usize,
    /// One was refused, so that EXEC is.
    spoiled: bool,
}

/// AUTH may fail so often on one connection.
const WRONG_PASSWORDS: u32 = 8;

/// Whether a request is a line of HTTP. A web page can make a browser send one here, and commands in its body must not be
/// carried out.
fn is_of_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"Host:")
}

impl Session {
    /// A connection that has said nothing yet.
    pub fn new(shared: Arc<Shared>, client: Arc<Client>) -> Session {
        let subscriber = shared.channels.subscriber(&client, shared.settings.limits.output_bytes);
        let mut session = Session {
            shared,
            client,
            user: None,
            database: 0,
            protocol: Version::Resp2,
            transaction: None,
            watched: Vec::new(),
            subscriber,
            closing: false,
            wrong_passwords: 0,
        };
        session.reset();
        session
    }

    /// Back to how it began.
    pub fn reset(&mut self) {
        let user = (!self.shared.users.required()).then(|| DEFAULT.into());
        self.set_user(user);
        self.database = 0;
        self.protocol = Version::Resp2;
        self.transaction = None;
        self.watched.clear();
        let limit = self.shared.settings.limits.output_bytes;
        self.subscriber = self.shared.channels.subscriber(&self.client, limit);
        self.publish_state();
    }

    /// From now on it acts as `user`.
    pub fn set_user(&mut self, user: Option<Arc<str>>) {
        self.client.about().user.clone_from(&user);
        self.user = user;
    }

    /// Lets others see what it has chosen.
    pub fn publish_state(&self) {
        let mut about = self.client.about();
        about.database = self.database;
        about.protocol = self.protocol;
        about.subscriptions =
            (self.subscriber.names(Kind::Channel).len(), self.subscriber.names(Kind::Pattern).len());
        let queued = self.transaction.as_ref().map_or(-1, |transaction| transaction.commands.len() as i64);
        self.client.queued.store(queued, Ordering::Relaxed);
        self.client.watched.store(self.watched.len(), Ordering::Relaxed);
    }

    /// Decides about one request; an error's text is its reply.
    pub fn handle(&mut self, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Next {
        self.client.touch();
        match self.dispatch(arguments, reply) {
            Ok(next) => next,
            Err(refusal) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.spoiled = true;
                }
                reply.error(&refusal);
                Next::Answered
            }
        }
    }

    fn dispatch(&mut self, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Result<Next, Refusal> {
        if is_of_http(arguments[0]) {
            self.closing = true;
            return Err("ERR this port speaks the Redis protocol, not HTTP; the connection ends".into());
        }
        let own = command::find(arguments[0]);
        if self.user.is_none() && !own.is_some_and(|own| own.for_strangers) {
            return Err("NOAUTH Authentication required.".into());
        }
        self.note_command(arguments);
        let while_subscribed = own.is_some_and(|own| own.while_subscribed);
        if self.protocol == Version::Resp2 && self.subscriber.count() > 0 && !while_subscribed {
            let name = arguments[0].to_ascii_lowercase();
            return Err(format!(
                "ERR Can't execute '{}': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                name.escape_ascii()
            )
            .into());
        }
        match own {
            Some(own) => {
                own.check_arity(arguments.len()).map_err(|refusal| self.abort_by(own.name, refusal))?;
                if self.transaction.is_some() && !own.in_transactions {
                    return Err(format!(
                        "ERR '{}' cannot be used between MULTI and EXEC: transactions hold commands on the data",
                        own.name
                    )
                    .into());
                }
                (own.run)(self, arguments, reply)
            }
            None => {
                let command = kv::find(arguments[0]).ok_or_else(|| command::absent::refusal(arguments))?;
                command.check_arity(arguments.len()).map_err(|error| error.to_string())?;
                self.data_command(self.words_of(arguments), reply)
            }
        }
    }

    /// The strings to be kept. COPY may name the database to copy to, which the store does not know by its number.
    fn words_of(&self, arguments: Arguments<'_>) -> Vec<Vec<u8>> {
        let mut words = owned(arguments);
        if words[0].eq_ignore_ascii_case(b"COPY") {
            let own = self.database.to_string();
            let names_own =
                |pair: &[Vec<u8>]| pair[0].eq_ignore_ascii_case(b"DB") && pair[1] == own.as_bytes();
            if let Some(at) = words.get(3..).and_then(|options| options.windows(2).position(names_own)) {
                words.drain(3 + at..5 + at);
            }
        }
        words
    }

    /// A command on the data: a step of its own, or the next of the transaction.
    pub fn data_command(&mut self, words: Vec<Vec<u8>>, reply: &mut ReplyWriter) -> Result<Next, Refusal> {
        let limits = self.shared.settings.limits;
        let Some(transaction) = &mut self.transaction else {
            return Ok(Next::Step(self.step(Body::Command(words))));
        };
        transaction.bytes += words.iter().map(|word| word.len() + 32).sum::<usize>();
        if transaction.bytes > limits.request_bytes
            || transaction.commands.len() == limits.transaction_commands
        {
            transaction.commands = Vec::new();
            return Err(format!(
                "ERR transaction exceeds {} commands or {} bytes; send smaller ones",
                limits.transaction_commands, limits.request_bytes
            )
            .into());
        }
        transaction.commands.push(words);
        reply.simple("QUEUED");
        self.publish_state();
        Ok(Next::Answered)
    }

    /// The refusal of a command that has the wrong number of arguments. EXEC ends a transaction all the same.
    fn abort_by(&mut self, name: &str, refusal: Refusal) -> Refusal {
        if name != "EXEC" {
            return refusal;
        }
        self.transaction = None;
        self.watched.clear();
        self.publish_state();
        let why = refusal.trim_start_matches("ERR ");
        format!("EXECABORT Transaction discarded because of: {why}").into()
    }

    /// What EXEC does.
    pub fn exec(&mut self) -> Result<Next, Refusal> {
        let Some(transaction) = self.transaction.take() else {
            return Err("ERR EXEC without MULTI".into());
        };
        let watched = std::mem::take(&mut self.watched);
        self.publish_state();
        if transaction.spoiled {
            return Err("EXECABORT Transaction discarded because of previous errors.".into());
        }
        let step = self.step(Body::Transaction(transaction.commands));
        Ok(Next::Step(Step { watched, ..step }))
    }

    /// Waits for what takes time, and writes the reply.
    pub async fn wait(&mut self, wait: Wait, reply: &mut ReplyWriter) {
        let outcome = match wait {
            Wait::Authenticate(greeting) => self.authenticate(greeting, reply).await,
            Wait::Watch(keys) => self.watch(keys, reply).await,
            Wait::Info(sections) => command::server::info_reply(self, &sections, reply).await,
        };
        if let Err(refusal) = outcome {
            reply.error(&refusal);
        }
    }

    async fn authenticate(&mut self, greeting: Greeting, reply: &mut ReplyWriter) -> Result<(), Refusal> {
        if let Some((user, password)) = greeting.credentials.clone() {
            let found = self.shared.users.verify(&user, password).await;
            let Some(user) = found else {
                return Err(self.wrong_password());
            };
            self.set_user(Some(user));
        }
        command::connection::greet(self, &greeting, reply)
    }

    /// Counts a wrong password or user, of which a connection may send a few.
    pub fn wrong_password(&mut self) -> Refusal {
        self.wrong_passwords += 1;
        self.closing |= self.wrong_passwords >= WRONG_PASSWORDS;
        crate::statistics::Statistics::count(&self.shared.statistics.wrong_passwords);
        "WRONGPASS invalid username-password pair or user is disabled.".into()
    }

    async fn watch(&mut self, keys: Vec<Vec<u8>>, reply: &mut ReplyWriter) -> Result<(), Refusal> {
        let mut words = vec![b"QUORATE.MARK".to_vec()];
        words.extend(keys.iter().cloned());
        let answer = self.ask(self.step(Body::Command(words))).await;
        let answer = answer.map_err(|error| format!("TRYAGAIN {error}"))?;
        let marks = command::integers(&answer).filter(|marks| marks.len() == keys.len());
        let marks = marks
            .ok_or_else(|| String::from_utf8_lossy(&answer).trim_start_matches('-').trim_end().to_owned())?;
        let watched = keys.into_iter().zip(marks).map(|(key, mark)| Watched { key, mark });
        self.watched.extend(watched);
        self.publish_state();
        reply.ok();
        Ok(())
    }

    /// A step in the present database and protocol.
    pub fn step(&self, body: Body) -> Step {
        Step { database: self.database, body, watched: Vec::new(), protocol: self.protocol }
    }

    /// Carries a step out whose reply is not the client's.
    pub async fn ask(&self, step: Step) -> Result<Vec<u8>, StepError> {
        let writes = step.writes();
        let (done, outcome) = oneshot::channel();
        self.shared.store.submit(step, Box::new(move |reply| drop(done.send(reply))));
        outcome.await.unwrap_or_else(|_| Err(lost(writes)))
    }

    fn note_command(&self, arguments: Arguments<'_>) {
        let name = &arguments[0][..arguments[0].len().min(32)];
        let mut about = self.client.about();
        about.command.clear();
        about.command.extend(name.escape_ascii().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
}

/// The strings of a request, to be kept.
pub fn owned(arguments: Arguments<'_>) -> Vec<Vec<u8>> {
    arguments.iter().map(|argument| argument.to_vec()).collect()
}

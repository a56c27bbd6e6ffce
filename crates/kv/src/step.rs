//! What a client asks to happen at one point, and who makes it happen.
//!
//! The front end makes steps of what clients send; a [`Store`] carries each out as a whole or not at all and answers
//! with the bytes that the client gets. Neither knows the other: a store may be one process's memory or a cell of
//! servers.

use resp::Version;

use crate::status::Status;

/// One command, or the commands between MULTI and EXEC: one atomic step, the reads in it included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which of the store's databases it is about, as SELECT counts them.
    pub database: usize,
    /// What is to be done.
    pub body: Body,
    /// Keys that must be as they were, or nothing is done and the reply is null.
    pub watched: Vec<Watched>,
    /// In which version of the protocol the reply is written.
    pub protocol: Version,
}

/// The commands of a step. Each is all its strings, its name first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// One command; the reply is its own.
    Command(Vec<Vec<u8>>),
    /// Those between MULTI and EXEC; the reply is an array of theirs.
    Transaction(Vec<Vec<Vec<u8>>>),
}

impl Step {
    /// Whether it may change something. A command that does not exist changes nothing.
    pub fn writes(&self) -> bool {
        self.body.commands().iter().any(|words| {
            let command = words.first().and_then(|name| crate::command::find(name));
            command.is_some_and(|command| command.writes)
        })
    }
}

impl Body {
    /// Its commands, in order.
    pub fn commands(&self) -> &[Vec<Vec<u8>>] {
        match self {
            Body::Command(words) => std::slice::from_ref(words),
            Body::Transaction(commands) => commands,
        }
    }
}

/// A key that a client watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The key.
    pub key: Vec<u8>,
    /// What `QUORATE.MARK` answered for it when WATCH was.
    pub mark: u64,
}

/// Why a step has no reply of its own. The front end writes it as an error, with the first word named here.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepError {
    /// `-TRYAGAIN`: nothing was done, and nothing will be; the text says why, and what to wait for.
    #[error("{0}")]
    Unavailable(String),
    /// `-UNDECIDED`: a write may have happened or may still happen; the text says what broke off.
    #[error("{0}")]
    Undecided(String),
    /// `-ERR`: the store refuses it, and nothing was done: it is too large, or the database is full.
    #[error("{0}")]
    Refused(String),
}

/// Who waits for the outcome of a step. It is called once, on a thread of the store, and must not block.
pub type Done = Box<dyn FnOnce(Result<Vec<u8>, StepError>) + Send>;

/// Something that carries steps out.
///
/// Steps are strictly serializable: each happens at one point between [`Store::submit`] and its [`Done`], reads
/// included. Those of one client that wait at the same time have no order among themselves unless the client waits.
pub trait Store: Send + Sync {
    /// Carries `step` out and gives `done` the bytes of its reply. It does not wait for the outcome.
    fn submit(&self, step: Step, done: Done);

    /// How many databases there are: SELECT takes numbers below it.
    fn databases(&self) -> usize;

    /// What this store is at present; that of a single process unless it says otherwise. It does not block.
    fn status(&self) -> Status {
        Status::default()
    }
}

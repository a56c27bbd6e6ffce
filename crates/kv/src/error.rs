//! Why a command was not carried out.

use std::borrow::Cow;

/// The records could not be read or written. The transaction is lost, and with it every command in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The engine failed, or found the image damaged.
    #[error("the database cannot be used: {0}")]
    Engine(Box<dyn std::error::Error + Send + Sync>),
    /// A record does not have the form that this version writes.
    #[error("the record of key {key} is damaged: {what}")]
    Damaged {
        /// The key, printable.
        key: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A reading transaction was asked to write: a command is marked wrongly, a fault of this program.
    #[error("a command that only reads tried to write; this is a bug in quorate")]
    ReadOnly,
}

impl StorageError {
    /// The engine's `error`.
    pub fn engine(error: impl std::error::Error + Send + Sync + 'static) -> StorageError {
        StorageError::Engine(Box::new(error))
    }
}

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The client gets this text; nothing has changed.
    #[error("{0}")]
    Refused(Cow<'static, str>),
    /// The transaction cannot go on.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl CommandError {
    pub(crate) const SYNTAX: CommandError = refused("ERR syntax error");
    pub(crate) const NOT_AN_INTEGER: CommandError = refused("ERR value is not an integer or out of range");
    pub(crate) const NOT_A_FLOAT: CommandError = refused("ERR value is not a valid float");
    pub(crate) const NO_SUCH_KEY: CommandError = refused("ERR no such key");
    pub(crate) const OVERFLOW: CommandError = refused("ERR increment or decrement would overflow");
    pub(crate) const WRONG_TYPE: CommandError =
        refused("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub(crate) const TOO_LONG: CommandError =
        refused("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
}

/// An error with a text that does not change.
pub(crate) const fn refused(text: &'static str) -> CommandError {
    CommandError::Refused(Cow::Borrowed(text))
}

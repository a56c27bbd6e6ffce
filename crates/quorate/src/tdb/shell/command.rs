//! The words of the shell: what each command is called, what it takes, what it does.

/// A command of the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Create,
    Open,
    TransactionStart,
    TransactionCommit,
    TransactionCancel,
    Erase,
    Dump,
    Keys,
    HexKeys,
    Info,
    Insert,
    Store,
    StoreHex,
    Append,
    Move,
    Show,
    Delete,
    List,
    Free,
    FreelistSize,
    Check,
    Repack,
    First,
    Next,
    Help,
    Quit,
}

/// Every name a verb answers to, and how many arguments it takes.
const VERBS: &[(&str, Verb, usize)] = &[
    ("create", Verb::Create, 1),
    ("open", Verb::Open, 1),
    ("transaction_start", Verb::TransactionStart, 0),
    ("transaction_commit", Verb::TransactionCommit, 0),
    ("transaction_cancel", Verb::TransactionCancel, 0),
    ("erase", Verb::Erase, 0),
    ("dump", Verb::Dump, 0),
    ("keys", Verb::Keys, 0),
    ("hexkeys", Verb::HexKeys, 0),
    ("info", Verb::Info, 0),
    ("insert", Verb::Insert, 2),
    ("store", Verb::Store, 2),
    ("storehex", Verb::StoreHex, 2),
    ("append", Verb::Append, 2),
    ("move", Verb::Move, 2),
    ("show", Verb::Show, 1),
    ("delete", Verb::Delete, 1),
    ("list", Verb::List, 0),
    ("free", Verb::Free, 0),
    ("freelist_size", Verb::FreelistSize, 0),
    ("check", Verb::Check, 0),
    ("repack", Verb::Repack, 0),
    ("1", Verb::First, 0),
    ("first", Verb::First, 0),
    ("n", Verb::Next, 0),
    ("next", Verb::Next, 0),
    ("?", Verb::Help, 0),
    ("help", Verb::Help, 0),
    ("q", Verb::Quit, 0),
    ("quit", Verb::Quit, 0),
];

/// What the shell can do.
pub const HELP: &str = "Commands:
  create FILE          make a database and open it
  open FILE            open a database
  transaction_start | transaction_commit | transaction_cancel
  erase                delete every record
  dump                 print every record
  keys | hexkeys       print every key
  info                 print figures
  insert KEY VALUE     store, if the key is not there
  store KEY VALUE      store
  storehex KEY VALUE   store; key and value in hexadecimal
  append KEY VALUE     add to the end of a value
  move KEY FILE        move a record to another database
  show KEY             print a record
  delete KEY           delete a record
  list                 print chains and the free list
  free                 print the free list
  freelist_size        print how many records the free list has
  check                check that the database is sound
  repack               make the free space one piece
  first | next         print the first record, the next one (an empty line: the next one)
  quit                 end

In keys and values a backslash and two hexadecimal digits denote one byte; quotes preserve spaces.";

/// The verb that `word` names and its number of arguments, or what is wrong with it.
pub fn find(word: &str) -> Result<(Verb, usize), String> {
    let exact = VERBS.iter().find(|(name, _, _)| *name == word);
    exact.map(|(_, verb, count)| (*verb, *count)).ok_or_else(|| {
        let near =
            VERBS.iter().map(|(name, _, _)| *name).find(|name| word.len() > 1 && name.starts_with(word));
        match near {
            Some(name) => format!("no command is named `{word}`; did you mean `{name}`?"),
            None => format!("no command is named `{word}`; `help` lists them"),
        }
    })
}

/// Splits a line into words; quotes keep spaces.
pub fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            letter if letter.is_whitespace() && !quoted => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T7: keys and values can be given with spaces, and as bytes.
    #[test]
    fn words_are_split_at_spaces_outside_quotes() {
        assert_eq!(split(r#"store "a key" v\00"#), Ok(vec!["store".into(), "a key".into(), r"v\00".into()]));
        assert_eq!(split(r#"show """#), Ok(vec!["show".into(), String::new()]));
        assert!(split(r#"show "a"#).is_err());
    }

    /// T7: a word that is nearly right is answered with the right one.
    #[test]
    fn an_unknown_command_is_answered_with_a_near_one() {
        assert_eq!(find("check"), Ok((Verb::Check, 0)));
        assert!(find("transaction_st").unwrap_err().contains("transaction_start"));
        assert!(find("frobnicate").unwrap_err().contains("help"));
    }
}

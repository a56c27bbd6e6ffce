//! What histories name: values, registers and clients.
//!
//! Owns that two of them are the same exactly if they were written as the same, in whichever form: numbers by their digits, `1`
//! and `1.0` being two; a number is no text, a text is no keyword. JSON's are among EDN's, so EDN is the language of words
//! ([`Display`](fmt::Display)); [`Datum::for_edn`] and [`Datum::for_json`] say what stands for a datum in a file of others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use serde_json::Value as Json;

use crate::numbers::{canonical, for_readers};

/// A value, the name of a register, or that of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Datum {
    /// `nil` or `null`: no value, no name.
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// A number; [`Datum::number`] makes it from its spelling.
    Number(String),
    /// A text.
    Text(String),
    /// What only EDN has, as EDN spells it: a keyword, a symbol, a character, a ratio.
    Atom(String),
    /// A vector, list or array.
    Seq(Vec<Datum>),
    /// A set.
    Set(BTreeSet<Datum>),
    /// A map or object.
    Map(BTreeMap<Datum, Datum>),
    /// A value with a tag.
    Tagged(String, Box<Datum>),
}

impl From<u64> for Datum {
    fn from(number: u64) -> Datum {
        Datum::Number(number.to_string())
    }
}

impl From<&str> for Datum {
    fn from(text: &str) -> Datum {
        Datum::Text(text.to_owned())
    }
}

impl From<Json> for Datum {
    fn from(json: Json) -> Datum {
        match json {
            Json::Null => Datum::Nil,
            Json::Bool(bool) => Datum::Bool(bool),
            Json::Number(number) => Datum::number(&number.to_string()),
            Json::String(text) => Datum::Text(text),
            Json::Array(parts) => Datum::Seq(parts.into_iter().map(Datum::from).collect()),
            Json::Object(fields) => {
                let field = |(name, value)| (Datum::Text(name), Datum::from(value));
                Datum::Map(fields.into_iter().map(field).collect())
            }
        }
    }
}

impl Datum {
    /// The number that is spelled so in JSON or EDN.
    pub fn number(text: &str) -> Datum {
        Datum::Number(canonical(text))
    }

    /// What stands for it in EDN: numbers that other readers would round or refuse get the letter that says so.
    pub fn for_edn(&self) -> Datum {
        let all = |parts: &Vec<Datum>| parts.iter().map(Datum::for_edn).collect();
        match self {
            Datum::Number(text) => Datum::Number(for_readers(text)),
            Datum::Seq(parts) => Datum::Seq(all(parts)),
            Datum::Set(parts) => Datum::Set(parts.iter().map(Datum::for_edn).collect()),
            Datum::Map(fields) => {
                Datum::Map(fields.iter().map(|(key, value)| (key.for_edn(), value.for_edn())).collect())
            }
            Datum::Tagged(tag, inside) => Datum::Tagged(tag.clone(), Box::new(inside.for_edn())),
            other => other.clone(),
        }
    }

    /// What stands for it in JSON: what only EDN has becomes the text of its spelling.
    pub fn for_json(&self) -> Json {
        match self {
            Datum::Nil => Json::Null,
            Datum::Bool(bool) => Json::Bool(*bool),
            Datum::Number(text) => {
                let number = text.strip_suffix('M').unwrap_or(text).parse();
                number.map_or_else(|_| Json::String(text.clone()), Json::Number)
            }
            Datum::Text(text) | Datum::Atom(text) => Json::String(text.clone()),
            Datum::Seq(parts) => Json::Array(parts.iter().map(Datum::for_json).collect()),
            Datum::Map(fields) => {
                let field = |(name, value): (&Datum, &Datum)| match name {
                    Datum::Text(name) => Some((name.clone(), value.for_json())),
                    _ => None,
                };
                let object: Option<serde_json::Map<String, Json>> = fields.iter().map(field).collect();
                object.map_or_else(|| Json::String(self.to_string()), Json::Object)
            }
            Datum::Set(_) | Datum::Tagged(..) => Json::String(self.to_string()),
        }
    }

    /// It as the name of something, for people: a text that is nothing else without its quotes is without them; nil is empty.
    pub fn name(&self) -> String {
        match self {
            Datum::Nil => String::new(),
            Datum::Text(text) if is_bare(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// Whether a text is taken for nothing else where it stands without quotes.
fn is_bare(text: &str) -> bool {
    text.starts_with(char::is_alphabetic)
        && !matches!(text, "nil" | "true" | "false")
        && !text.contains(|letter: char| letter.is_control() || "\"\\".contains(letter))
}

impl fmt::Display for Datum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Nil => out.write_str("nil"),
            Datum::Bool(bool) => write!(out, "{bool}"),
            Datum::Number(text) | Datum::Atom(text) => out.write_str(text),
            Datum::Text(text) => write_text(out, text),
            Datum::Seq(parts) => write_all(out, "[", parts, "]"),
            Datum::Set(parts) => write_all(out, "#{", parts, "}"),
            Datum::Map(fields) => {
                write_all(out, "{", fields.iter().flat_map(|(key, value)| [key, value]), "}")
            }
            Datum::Tagged(tag, inside) => write!(out, "#{tag} {inside}"),
        }
    }
}

fn write_all<'a>(
    out: &mut fmt::Formatter<'_>,
    open: &str,
    parts: impl IntoIterator<Item = &'a Datum>,
    close: &str,
) -> fmt::Result {
    out.write_str(open)?;
    for (nth, part) in parts.into_iter().enumerate() {
        if nth > 0 {
            out.write_char(' ')?;
        }
        write!(out, "{part}")?;
    }
    out.write_str(close)
}

/// A text in quotes, with the escapes that EDN and JSON share; all control characters are among them.
fn write_text(out: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' | '\\' => write!(out, "\\{letter}")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            _ if letter.is_control() => write!(out, "\\u{:04x}", letter as u32)?,
            _ => out.write_char(letter)?,
        }
    }
    out.write_char('"')
}

//! Events from EDN.

use std::collections::{BTreeMap, BTreeSet};

use clojure_reader::edn::{self, Edn};
use clojure_reader::error::{Code, Error};

use crate::datum::Datum;
use crate::jepsen::{Event, Kind};
use crate::tokens::{self, Symbol};
use crate::{ReadError, line_at};

/// How deep brackets may nest: the reader recurses.
const DEEPEST: usize = 64;

/// All events of `text`: maps, one after the other or in a vector or list.
pub fn events(text: &str) -> Result<Vec<Event>, ReadError> {
    refuse_deep_nesting(text)?;
    let text = &tokens::readable(text);
    let mut events = Vec::new();
    let mut place = (0, 1);
    let mut rest = text.as_str();
    // What closes the vector or list that events are read from, and the line where it begins.
    let mut open: Option<(char, u32)> = None;
    loop {
        rest = &rest[blanks(rest)..];
        let line = line_at(text, &mut place, text.len() - rest.len());
        match (rest.chars().next(), open) {
            (None, None) => return Ok(events),
            (None, Some((close, from))) => return Err(ReadError::unclosed(line, close, from)),
            (Some('['), None) => open = Some((']', line)),
            (Some('('), None) => open = Some((')', line)),
            (Some(found), Some((close, _))) if found == close => open = None,
            // Those of one vector are read apart, so that each has its line.
            _ => {
                let (value, after) = edn::read(rest).map_err(|error| in_words(&error, line))?;
                events.extend(event(&value, line)?);
                rest = after;
                continue;
            }
        }
        rest = &rest[1..];
    }
}

/// The one value in `text`.
pub fn value(text: &str) -> Result<Datum, String> {
    refuse_deep_nesting(text).map_err(|error| error.to_string())?;
    let readable = tokens::readable(text);
    let (value, after) = edn::read(&readable).map_err(|error| in_words(&error, 1).to_string())?;
    match blanks(after) == after.len() {
        true => datum(&value).map_err(str::to_owned),
        false => Err("more than one value".into()),
    }
}

/// What was wrong with a value that begins in `line`, for people.
fn in_words(error: &Error, line: u32) -> ReadError {
    let what = match &error.code {
        Code::UnexpectedEOF => {
            let what = "expected the rest of what begins here, found the end: the file is cut off, or a map has a key \
                        without a value";
            return ReadError::new(line, what);
        }
        Code::UnmatchedDelimiter(found) => {
            format!("found {found}, which closes nothing; part of the file may be missing")
        }
        Code::InvalidNumber | Code::InvalidRadix(_) => {
            "this is no number of EDN; what is not a number is written as a text, in quotes".into()
        }
        Code::InvalidEscape => {
            "unknown escape in a text; EDN has \\n, \\t, \\r, \\b, \\f, \\\" and \\u0041, and a backslash is written as two".into()
        },
        Code::InvalidChar => "unknown character; EDN writes \\a, \\newline, \\u0041".into(),
        Code::InvalidKeyword => "a keyword needs a name, as in :read".into(),
        Code::InvalidTag => "a tag needs a name, as in #inst".into(),
        Code::HashMapDuplicateKey => "a map has the same key twice".into(),
        Code::SetDuplicateKey => "a set has the same value twice".into(),
        _ => "this is no EDN".into(),
    };
    let below = error.line.map_or(0, |line| line.saturating_sub(1) as u32);
    ReadError::new(line + below, what)
}

/// The length of what separates values: blanks, commas, comments.
fn blanks(text: &str) -> usize {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == ',');
        match rest.strip_prefix(';') {
            Some(comment) => rest = comment.split_once('\n').map_or("", |(_, after)| after),
            None => return text.len() - rest.len(),
        }
    }
}

fn refuse_deep_nesting(text: &str) -> Result<(), ReadError> {
    let (mut depth, mut tags, mut line) = (0usize, 0usize, 1);
    let (mut quoted, mut comment) = (false, false);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => {
                line += 1;
                comment = false;
            }
            _ if comment => {}
            b'\\' => drop(bytes.next()),
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b';' => comment = true,
            // A tag nests what comes after it; so do tags one after the other.
            b'#' => tags += 1,
            b'[' | b'(' | b'{' => (depth, tags) = (depth + 1, 0),
            b']' | b')' | b'}' => (depth, tags) = (depth.saturating_sub(1), 0),
            _ => {}
        }
        if depth + tags > DEEPEST {
            return Err(ReadError::new(line, format!("values nest deeper than {DEEPEST} levels")));
        }
    }
    Ok(())
}

fn event(value: &Edn<'_>, line: u32) -> Result<Option<Event>, ReadError> {
    let fields = match value {
        Edn::Map(fields) => fields,
        // #jepsen.history.Op{...}
        Edn::Tagged(_, inside) => match inside.as_ref() {
            Edn::Map(fields) => fields,
            _ => return Err(ReadError::new(line, "expected a map")),
        },
        _ => {
            return Err(ReadError::new(line, "expected a map such as {:type :invoke, :process 0, :f :read}"));
        }
    };
    let unfit = |what: &str| ReadError::new(line, what);
    let field =
        |name: &str| fields.iter().find(|(key, _)| keyword(key) == Some(name)).map(|(_, value)| value);
    let kind = match field("type").and_then(keyword) {
        Some("invoke") => Kind::Invoke,
        Some("ok") => Kind::Ok,
        Some("fail") => Kind::Fail,
        Some("info") => Kind::Info,
        _ => return Err(ReadError::new(line, "expected a :type of :invoke, :ok, :fail or :info")),
    };
    let process = match field("process") {
        Some(Edn::Key(name)) if name == "nemesis" => return Ok(None),
        Some(process @ (Edn::Key(_) | Edn::Int(_))) => datum(process).map_err(unfit)?,
        _ => return Err(ReadError::new(line, "expected a :process")),
    };
    let function = field("f").and_then(keyword).ok_or_else(|| ReadError::new(line, "expected an :f"))?;
    let value = field("value").map_or(Ok(Datum::Nil), datum).map_err(unfit)?;
    Ok(Some(Event { line, kind, process, function: function.to_owned(), value }))
}

fn keyword<'a>(value: &'a Edn<'_>) -> Option<&'a str> {
    match value {
        Edn::Key(name) => Some(name.trim_start_matches(':')),
        _ => None,
    }
}

/// A value in this crate's terms, or what is wrong with it.
fn datum(value: &Edn<'_>) -> Result<Datum, &'static str> {
    let all = |parts: &Vec<Edn<'_>>| parts.iter().map(datum).collect::<Result<Vec<Datum>, _>>();
    Ok(match value {
        Edn::Nil => Datum::Nil,
        Edn::Bool(bool) => Datum::Bool(*bool),
        Edn::Int(number) => Datum::number(&number.to_string()),
        Edn::Str(text) => Datum::Text(text.to_string()),
        Edn::Symbol(name) => match tokens::unmarked(name) {
            Symbol::Number(number) => Datum::number(number),
            Symbol::Name(name) => atom(name.to_owned())?,
        },
        Edn::Key(name) => atom(format!(":{name}"))?,
        Edn::Char(letter) => Datum::Atom(tokens::spelled_character(*letter)),
        Edn::Rational((numerator, denominator)) => ratio(*numerator, *denominator),
        Edn::Vector(parts) | Edn::List(parts) => Datum::Seq(all(parts)?),
        Edn::Set(parts) => {
            let set: BTreeSet<Datum> = parts.iter().map(datum).collect::<Result<_, _>>()?;
            if set.len() < parts.len() {
                return Err("a set has the same value twice");
            }
            Datum::Set(set)
        }
        Edn::Map(fields) => {
            let field = |(key, value)| Ok((datum(key)?, datum(value)?));
            let map: BTreeMap<Datum, Datum> = fields.iter().map(field).collect::<Result<_, _>>()?;
            if map.len() < fields.len() {
                return Err("a map has the same key twice");
            }
            Datum::Map(map)
        }
        // Jepsen's own tags (#jepsen.history.MapEntry[...]) say how it keeps a value, not which it is.
        Edn::Tagged(tag, inside) if tag.starts_with("jepsen.") || tag.ends_with("MapEntry") => datum(inside)?,
        Edn::Tagged(tag, inside) => Datum::Tagged(tag.to_string(), Box::new(datum(inside)?)),
        other => Datum::Atom(other.to_string()),
    })
}

fn atom(name: String) -> Result<Datum, &'static str> {
    match name.contains(char::is_control) {
        true => Err("a keyword or symbol with a control character; a text stands in quotes"),
        false => Ok(Datum::Atom(name)),
    }
}

/// A ratio, in lowest terms; the denominator is positive.
fn ratio(numerator: i64, denominator: i64) -> Datum {
    let (mut divisor, mut rest) = (numerator.unsigned_abs(), denominator.unsigned_abs());
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    let divisor = i128::from(divisor.max(1));
    let (numerator, denominator) = (i128::from(numerator) / divisor, i128::from(denominator) / divisor);
    match denominator {
        1 => Datum::number(&numerator.to_string()),
        _ => Datum::Atom(format!("{numerator}/{denominator}")),
    }
}

//! What commands do, as a map of keys to strings and hashes with times.

use std::collections::BTreeMap;

use resp::Value;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    Text(Vec<u8>),
    Fields(BTreeMap<String, Vec<u8>>),
}

/// Keys, what they hold, and when they end.
#[derive(Clone, Debug, Default)]
pub struct Model(pub BTreeMap<String, (Held, Option<u64>)>);

fn integer(number: usize) -> Value {
    Value::Integer(number as i64)
}

fn bytes(text: &[u8]) -> Value {
    Value::Bytes(text.to_vec())
}

fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

/// Of an error only its kind is compared.
fn wrong_type() -> Value {
    Value::Error(b"WRONGTYPE".to_vec())
}

fn refused() -> Value {
    Value::Error(b"ERR".to_vec())
}

impl Model {
    /// What a command answers at `now`.
    pub fn apply(&mut self, words: &[String], now: u64) -> Value {
        self.0.retain(|_, (_, expires)| expires.is_none_or(|at| at >= now));
        let argument = |nth: usize| words.get(nth).map_or("", String::as_str);
        let (name, key) = (argument(0), argument(1).to_owned());
        match name {
            "del" => integer(words[1..].iter().filter(|key| self.0.remove(*key).is_some()).count()),
            "exists" => integer(words[1..].iter().filter(|key| self.0.contains_key(*key)).count()),
            "dbsize" => integer(self.0.len()),
            "type" => Value::Simple(match self.0.get(&key) {
                None => b"none".to_vec(),
                Some((Held::Text(_), _)) => b"string".to_vec(),
                Some((Held::Fields(_), _)) => b"hash".to_vec(),
            }),
            "mset" => {
                for pair in words[1..].chunks(2) {
                    self.0.insert(pair[0].clone(), (Held::Text(pair[1].clone().into_bytes()), None));
                }
                ok()
            }
            "rename" => match self.0.remove(&key) {
                None => refused(),
                Some(entry) => {
                    self.0.insert(argument(2).to_owned(), entry);
                    ok()
                }
            },
            "pexpire" => match self.0.get_mut(&key) {
                None => integer(0),
                Some((_, expires)) => {
                    *expires = Some(now + argument(2).parse::<u64>().unwrap());
                    integer(1)
                }
            },
            "persist" => {
                integer(self.0.get_mut(&key).is_some_and(|(_, expires)| expires.take().is_some()).into())
            }
            "pttl" => Value::Integer(match self.0.get(&key) {
                None => -2,
                Some((_, None)) => -1,
                Some((_, Some(at))) => (at - now) as i64,
            }),
            _ if name.starts_with('h') => self.apply_to_hash(words),
            _ => self.apply_to_text(words, now),
        }
    }

    fn apply_to_text(&mut self, words: &[String], now: u64) -> Value {
        let (name, key, argument) =
            (words[0].as_str(), words[1].clone(), words.get(2).cloned().unwrap_or_default());
        let old = match self.0.get(&key) {
            Some((Held::Fields(_), _)) if name != "set" => return wrong_type(),
            Some((Held::Text(text), expires)) => Some((text.clone(), *expires)),
            _ => None,
        };
        let is_there = self.0.contains_key(&key);
        let (old_text, old_expires) =
            old.clone().map_or((None, None), |(text, expires)| (Some(text), expires));
        let text = old_text.clone().unwrap_or_default();
        let mut put = |text: Vec<u8>, expires| self.0.insert(key.clone(), (Held::Text(text), expires));
        match name {
            "get" => old_text.map_or(Value::Null, Value::Bytes),
            "strlen" => integer(text.len()),
            "set" => {
                let options: Vec<&str> = words[3..].iter().map(String::as_str).collect();
                let expires = match options[..] {
                    ["px", millis, ..] => Some(now + millis.parse::<u64>().unwrap()),
                    ["keepttl", ..] if is_there => self.0[&key].1,
                    _ => None,
                };
                let is_refused =
                    (options.contains(&"nx") && is_there) || (options.contains(&"xx") && !is_there);
                if is_refused {
                    return Value::Null;
                }
                self.0.insert(key, (Held::Text(argument.into_bytes()), expires));
                ok()
            }
            "append" => {
                let text = [text, argument.into_bytes()].concat();
                let length = text.len();
                put(text, old_expires);
                integer(length)
            }
            "setrange" => {
                let (at, value) = (argument.parse::<usize>().unwrap(), words[3].as_bytes());
                let mut text = text;
                text.resize(text.len().max(at + value.len()), 0);
                text[at..at + value.len()].copy_from_slice(value);
                let length = text.len();
                put(text, old_expires);
                integer(length)
            }
            "getdel" => {
                self.0.remove(&key);
                old_text.map_or(Value::Null, Value::Bytes)
            }
            "getset" => {
                put(argument.into_bytes(), None);
                old_text.map_or(Value::Null, Value::Bytes)
            }
            "incrby" => {
                let number = if old_text.is_some() { whole_number(&text) } else { Some(0) };
                let Some(number) = number else { return refused() };
                let number = number + argument.parse::<i64>().unwrap();
                put(number.to_string().into_bytes(), old_expires);
                Value::Integer(number)
            }
            other => panic!("the model does not know {other}"),
        }
    }

    fn apply_to_hash(&mut self, words: &[String]) -> Value {
        let (name, key, field) =
            (words[0].as_str(), words[1].clone(), words.get(2).cloned().unwrap_or_default());
        let (mut fields, expires) = match self.0.get(&key) {
            Some((Held::Text(_), _)) => return wrong_type(),
            Some((Held::Fields(fields), expires)) => (fields.clone(), *expires),
            None => (BTreeMap::new(), None),
        };
        let answer = match name {
            "hget" => return fields.get(&field).map_or(Value::Null, |value| bytes(value)),
            "hlen" => return integer(fields.len()),
            "hexists" => return integer(fields.contains_key(&field).into()),
            "hset" => integer(fields.insert(field, words[3].clone().into_bytes()).is_none().into()),
            "hsetnx" if fields.contains_key(&field) => return integer(0),
            "hsetnx" => {
                fields.insert(field, words[3].clone().into_bytes());
                integer(1)
            }
            "hdel" => integer(fields.remove(&field).is_some().into()),
            "hincrby" => {
                let number = fields.get(&field).map_or(Some(0), |value| whole_number(value));
                let Some(number) = number else { return refused() };
                let number = number + words[3].parse::<i64>().unwrap();
                fields.insert(field, number.to_string().into_bytes());
                Value::Integer(number)
            }
            other => panic!("the model does not know {other}"),
        };
        match fields.is_empty() {
            true => drop(self.0.remove(&key)),
            false => drop(self.0.insert(key, (Held::Fields(fields), expires))),
        }
        answer
    }
}

/// A number as Redis writes one, without sign or zeros too many.
fn whole_number(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

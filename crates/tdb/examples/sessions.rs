//! A store of sessions: each has a name and the second at which it ends; sessions that have ended are removed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tdb::{Database, Error, OpenOptions, StoreMode};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn begin(database: &Database, id: &str, user: &str, lasts: Duration) -> Result<(), Error> {
    let ends = now() + lasts.as_secs();
    Ok(database.store(id, format!("{ends} {user}"), StoreMode::Insert)?)
}

fn user_of(database: &Database, id: &str) -> Result<Option<String>, Error> {
    let session = database.fetch(id)?.map(|value| String::from_utf8_lossy(&value).into_owned());
    let alive = |session: String| {
        let (ends, user) = session.split_once(' ')?;
        (ends.parse::<u64>().ok()? > now()).then(|| user.to_owned())
    };
    Ok(session.and_then(alive))
}

fn remove_ended(database: &Database) -> Result<u32, Error> {
    let mut removed = 0;
    for record in database.records() {
        let (key, value) = record?;
        let ends =
            String::from_utf8_lossy(&value).split(' ').next().and_then(|ends| ends.parse::<u64>().ok());
        if ends.is_none_or(|ends| ends <= now()) {
            database.delete(&key)?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn main() -> Result<(), Error> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "sessions.tdb".to_owned());
    let database = OpenOptions::new().create(true).truncate(true).open(path)?;
    begin(&database, "4711", "alice", Duration::from_secs(3600))?;
    begin(&database, "4712", "bob", Duration::ZERO)?;
    println!("4711: {:?}, 4712: {:?}", user_of(&database, "4711")?, user_of(&database, "4712")?);
    println!("removed: {}", remove_ended(&database)?);
    Ok(())
}

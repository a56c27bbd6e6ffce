//! A counter that processes share: `counter FILE` adds 1 and prints the number. Start as many at once as you like.

use tdb::{Error, LockKind, OpenOptions, StoreMode, Wait};

fn main() -> Result<(), Error> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "counter.tdb".to_owned());
    let database = OpenOptions::new().create(true).open(path)?;
    // Nobody else reads or writes the counter until the guard goes.
    let _lock = database.chain_lock("counter", LockKind::Write, Wait::Yes)?;
    let text = database.fetch("counter")?.unwrap_or_default();
    let number = String::from_utf8_lossy(&text).parse::<u64>().unwrap_or(0) + 1;
    database.store("counter", number.to_string(), StoreMode::Replace)?;
    println!("{number}");
    Ok(())
}

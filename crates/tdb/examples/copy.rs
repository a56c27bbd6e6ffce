//! A copy of a database at one moment, while others use it: `copy FROM TO`.

use std::ops::ControlFlow;

use tdb::{Database, Error, StoreMode};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: copy FROM TO");
        return Ok(());
    };
    let mut source = Database::open(from)?;
    let target = Database::create_new(to)?;
    // Writers wait until it ends; readers go on.
    let moment = source.transaction()?;
    let mut stored = Ok(());
    let count = moment.traverse_read(|key, value| {
        stored = target.store(key, value, StoreMode::Insert);
        if stored.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    moment.cancel()?;
    stored?;
    println!("{count} records");
    Ok(())
}

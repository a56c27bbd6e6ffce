//! T16: a database in memory outlives the refusal of more memory. In a process of its own, whose memory it limits.

use tdb::{ErrorCode, OpenOptions, StoreMode};

/// T16: the store that needs the memory fails, and everything stored before is there.
#[test]
fn a_refused_growth_leaves_the_records_in_place() {
    let database = OpenOptions::new().internal(true).open("in memory").expect("a small database");
    database.store(b"first", b"precious", StoreMode::Replace).expect("there is memory for this");
    let limit = libc::rlimit { rlim_cur: 300 << 20, rlim_max: 300 << 20 };
    // SAFETY: a limit for this process, which runs this test alone.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);

    let value = vec![1; 1 << 20];
    let refused = (0..400_u32).find_map(|nth| {
        database.store(nth.to_le_bytes(), &value, StoreMode::Replace).err().map(|error| (nth, error))
    });

    let (stored, error) = refused.expect("400 MiB do not fit into 300");
    assert_eq!(tdb::Coded::code(&error), ErrorCode::Io, "{error}");
    assert!(stored > 0, "nothing fitted");
    assert_eq!(database.fetch(b"first").unwrap().as_deref(), Some(&b"precious"[..]));
    assert!((0..stored).all(|nth| database.fetch(nth.to_le_bytes()).unwrap().is_some()));
    database.check(|_, _| true).expect("a sound database");
    database.store(b"small", b"fits", StoreMode::Replace).expect("there is room for this");
}

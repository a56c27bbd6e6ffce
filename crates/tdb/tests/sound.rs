//! T16: what programs without `unsafe` may do with values, handles and guards.

use tdb::{OpenOptions, StoreMode};

/// T16: a value that is being looked at stays as it is, whoever stores, through whatever handle.
#[test]
fn a_shown_value_does_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let database = OpenOptions::new().create(true).open(folder.path().join("a.tdb")).unwrap();
    let other = database.another().unwrap();
    database.store(b"k", b"AAAA", StoreMode::Replace).unwrap();

    let shown = database.parse_record(b"k", |value| {
        other.store(b"k", b"BBBB", StoreMode::Replace).unwrap();
        let seen = value.to_vec();
        database.store(b"k", b"CCCC", StoreMode::Replace).unwrap();
        let inner = database.parse_record(b"k", <[u8]>::to_vec).unwrap().unwrap();
        (seen, value.to_vec(), inner)
    });

    assert_eq!(shown.unwrap().unwrap(), (b"AAAA".to_vec(), b"AAAA".to_vec(), b"CCCC".to_vec()));
}

/// T16: the file may grow, and its mapping move, while a value is looked at.
#[test]
fn a_shown_value_survives_the_growth_of_the_file() {
    for internal in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tdb");
        let database = OpenOptions::new().create(true).internal(internal).open(path).unwrap();
        database.store(b"k", &[7; 5000], StoreMode::Replace).unwrap();
        let same = database.parse_record(b"k", |value| {
            for nth in 0..200_u32 {
                database.store(&nth.to_le_bytes(), &vec![1; 100_000], StoreMode::Replace).unwrap();
            }
            value == [7; 5000]
        });
        assert_eq!(same.unwrap(), Some(true));
    }
}

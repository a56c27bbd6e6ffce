//! A disk with room for the log and none for what it would bring into the database.

use std::sync::Arc;

use ubik::database::{ApplyError, Database};
use ubik::phys::PhysicalStore;
use ubik::phys::memory::MemoryStore;
use ubik_proto::log::Change;
use ubik_proto::version::Version;

/// U50: a commit that would not fit into the database is refused before it is logged, whatever part of a page it is: nothing is
/// changed, the server need not end, and the same commit is made when there is room. (Its log was safe and the process ended; it
/// could not start again either.)
#[test]
fn a_commit_that_does_not_fit_is_not_logged() {
    let store = MemoryStore::new();
    store.set_room(Some(8192));
    let database = Database::open(Arc::new(store.clone()), 8).unwrap();
    let write = |position, text: &[u8]| [Change::Write { position, bytes: text.to_vec() }];
    database.apply(&write(0, b"old"), Version::new(3, 2)).unwrap();
    let logged = store.read_log().unwrap();
    for position in [8190, 8192, 1 << 20] {
        let refused = database.apply(&write(position, b"more"), Version::new(3, 3));
        assert!(matches!(refused, Err(ApplyError::NotLogged(_))), "{position}: {refused:?}");
        assert_eq!(store.read_log().unwrap(), logged, "{position}");
    }
    assert!(!database.is_broken());
    database.apply(&write(4, b"small"), Version::new(3, 3)).expect("what fits is committed");
    store.set_room(None);
    database.apply(&write(8190, b"more"), Version::new(3, 4)).expect("there is room");
    let again = Database::open(Arc::new(store), 8).unwrap();
    assert_eq!(again.version(), Version::new(3, 4));
}

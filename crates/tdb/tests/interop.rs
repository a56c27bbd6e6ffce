//! Files and live databases shared with libtdb's own programs.
#![allow(clippy::unwrap_used)]

mod common;

use std::ops::ControlFlow;
use std::process::Command;

use tdb::{ByteOrder, Database, HashFunction, OpenOptions, StoreMode};

/// T1: libtdb reads, checks and changes a file of ours.
#[test]
fn libtdb_works_on_a_file_that_we_made() {
    let Some(python) = common::python() else {
        return testbed::skip("interop", "no python3-tdb");
    };
    let folder = common::folder();
    for (name, order, hash) in [
        ("native", ByteOrder::NATIVE, HashFunction::Old),
        ("foreign", ByteOrder::FOREIGN, HashFunction::Old),
        ("jenkins", ByteOrder::NATIVE, HashFunction::Jenkins),
        ("both", ByteOrder::FOREIGN, HashFunction::Jenkins),
    ] {
        let path = folder.path().join(name);
        let database =
            OpenOptions::new().create(true).hash_size(17).byte_order(order).hash(hash).open(&path).unwrap();
        for number in 0..500 {
            let value = vec![b'v'; number % 90];
            database.store(format!("key{number}").as_bytes(), &value, StoreMode::Insert).unwrap();
        }
        for number in (0..500).step_by(3) {
            database.delete(format!("key{number}").as_bytes()).unwrap();
        }
        assert_eq!(common::must_be_sound(&database), 333, "{name}");
        let printed = common::run_python(
            &python,
            &path,
            "db = tdb.open(path)\n\
             assert db.get(b'key0') is None\n\
             for i in range(500):\n\
             \x20 if i % 3: assert db.get(b'key%d' % i) == b'v' * (i % 90), i\n\
             db.store(b'key0', b'theirs')\n\
             for i in range(1, 500, 3): db.delete(b'key%d' % i)\n\
             print(len(list(db)))",
        );
        assert_eq!(printed.trim(), "167", "{name}");
        assert_eq!(database.fetch(b"key0").unwrap().as_deref(), Some(&b"theirs"[..]), "{name}");
        assert_eq!(database.fetch(b"key1").unwrap(), None, "{name}");
        assert_eq!(common::must_be_sound(&database), 167, "{name}");
    }
}

/// T1: we read, check and change a file of libtdb's.
#[test]
fn we_work_on_a_file_that_libtdb_made() {
    let Some(python) = common::python() else {
        return testbed::skip("interop", "no python3-tdb");
    };
    let folder = common::folder();
    for flags in ["0", "tdb.CONVERT", "tdb.INCOMPATIBLE_HASH", "tdb.CONVERT|tdb.INCOMPATIBLE_HASH"] {
        let path = folder.path().join(flags);
        let script = format!(
            "db = tdb.Tdb(path, 7, {flags}, os.O_RDWR | os.O_CREAT)\n\
             for i in range(300): db.store(b'k%d' % i, b'x' * (i * 7 % 200))\n\
             for i in range(0, 300, 5): db.delete(b'k%d' % i)"
        );
        common::run_python(&python, &path, &script);
        let database = Database::open(&path).unwrap();
        assert_eq!(database.check(|_, _| true).unwrap().used, 240, "{flags}");
        for number in 0..300 {
            let expected = (number % 5 != 0).then(|| vec![b'x'; number * 7 % 200]);
            assert_eq!(database.fetch(format!("k{number}").as_bytes()).unwrap(), expected, "{flags}");
        }
        let mut seen = 0;
        let counted = database.traverse(|key, _| {
            seen += 1;
            if seen % 2 == 0 {
                database.append(key, b"more").unwrap();
            } else {
                database.delete(key).unwrap();
            }
            ControlFlow::Continue(())
        });
        assert_eq!(counted.unwrap(), 240, "{flags}");
        assert_eq!(common::must_be_sound(&database), 120, "{flags}");
    }
}

/// T7: the dump of a file is byte for byte tdbdump's, and tdbrestore reads it.
#[test]
fn a_dump_is_the_one_of_tdbdump() {
    if !common::has("tdbdump") || !common::has("tdbrestore") {
        return testbed::skip("dump", "no tdb-tools");
    }
    let folder = common::folder();
    let path = folder.path().join("dump.tdb");
    let database = OpenOptions::new().create(true).open(&path).unwrap();
    let every_byte: Vec<u8> = (0..=255).collect();
    database.store(b"all", &every_byte, StoreMode::Replace).unwrap();
    database.store(b"", b"", StoreMode::Replace).unwrap();
    for number in 0..200u32 {
        database.store(number.to_le_bytes(), &every_byte[..number as usize], StoreMode::Replace).unwrap();
    }
    let mut ours = Vec::new();
    database
        .traverse_read(|key, value| {
            tdb::dump::write_record(&mut ours, key, value).unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
    let theirs = Command::new("tdbdump").arg(&path).output().unwrap().stdout;
    assert_eq!(String::from_utf8(ours.clone()).unwrap(), String::from_utf8(theirs).unwrap());
    let pairs: Result<Vec<_>, _> = tdb::dump::Reader::new(&ours[..]).collect();
    assert_eq!(pairs.unwrap().len(), 202);
}

/// T5: the figures are those of libtdb.
#[test]
fn a_summary_is_the_one_of_tdbtool() {
    let Some(python) = common::python() else {
        return testbed::skip("summary", "no python3-tdb");
    };
    if !common::has("tdbtool") {
        return testbed::skip("summary", "no tdb-tools");
    }
    let folder = common::folder();
    let path = folder.path().join("summary.tdb");
    common::run_python(
        &python,
        &path,
        "db = tdb.Tdb(path, 0, 0, os.O_RDWR | os.O_CREAT)\n\
         for i in range(1000): db.store(b'key%d' % i, b'q' * (i % 97))\n\
         for i in range(0, 1000, 3): db.delete(b'key%d' % i)",
    );
    let theirs = Command::new("tdbtool").arg(&path).arg("info").output().unwrap().stdout;
    let ours = Database::open(&path).unwrap().summary().unwrap().to_string();
    assert_eq!(ours.trim_end(), String::from_utf8(theirs).unwrap().trim_end());
}

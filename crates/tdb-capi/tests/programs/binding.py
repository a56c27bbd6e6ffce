"""Uses every method of Python's tdb module and prints what it answers; both libraries must print the same.

binding.py FOLDER
"""
import os
import sys

import tdb

folder = sys.argv[1]


def show(what, call):
    try:
        print(what, "=", call())
    except Exception as error:  # the binding's own exceptions, and RuntimeError with libtdb's code and text
        print(what, "raises", type(error).__name__, error.args)


def records(name, flags):
    path = os.path.join(folder, name) if name else ""
    db = tdb.Tdb(path, 7, flags, os.O_RDWR | os.O_CREAT)
    print("---", name, flags)
    show("hash_size", lambda: db.hash_size)
    show("max_dead", lambda: setattr(db, "max_dead", 3))
    show("flags", lambda: db.flags)
    if name:
        show("filename", lambda: os.path.basename(db.filename))
        show("repr", lambda: repr(db).replace(folder, ""))
    show("get absent", lambda: db.get(b"absent"))
    show("index absent", lambda: db[b"absent"])
    show("delete absent", lambda: db.delete(b"absent"))
    show("store", lambda: db.store(b"key", b"value"))
    show("store insert", lambda: db.store(b"key", b"value", tdb.INSERT))
    show("store modify", lambda: db.store(b"key", b"other", tdb.MODIFY))
    show("modify absent", lambda: db.store(b"absent", b"other", tdb.MODIFY))
    show("append", lambda: db.append(b"key", b" and more" * 20))
    show("get", lambda: db.get(b"key"))
    show("storev", lambda: db.storev(b"parts", [b"one", b"", b"two"], tdb.INSERT))
    show("storev again", lambda: db.storev(b"parts", [b"one"], tdb.INSERT))
    show("parts", lambda: db[b"parts"])
    for n in range(50):
        db[b"key %d" % n] = b"value" * n
    show("contains", lambda: (b"key 7" in db, b"key 70" in db))
    show("keys", lambda: sorted(db.keys()))
    show("iteration", lambda: sorted(db) == sorted(db.keys()))
    show("first", lambda: db.firstkey() in db)
    show("next of absent", lambda: db.nextkey(b"absent"))
    del db[b"key 7"]
    show("del again", lambda: db.__delitem__(b"key 7"))
    show("set to none", lambda: db.__setitem__(b"key 8", None))
    show("text", lambda: db.text.get("key 9"))
    show("text store", lambda: (db.text.store("ä", "ö"), db.text["ä"]))
    show("repack", db.repack)
    show("count", lambda: len(list(db)))
    show("freelist_size", lambda: db.freelist_size >= 0)
    show("map_size", lambda: db.map_size > 0)
    # How often a repack counts is the library's business; and libtdb counts wrongly in files of the other byte order.
    before = db.seqnum
    show("enable_seqnum", db.enable_seqnum)
    show("store", lambda: db.store(b"key", b"counted"))
    show("increment", db.increment_seqnum_nonblock)
    show("seqnum grew", lambda: db.seqnum > before)
    show("add_flags", lambda: (db.add_flags(tdb.NOSYNC), db.flags))
    show("remove_flags", lambda: (db.remove_flags(tdb.NOSYNC), db.flags))
    for lock, unlock in [("lock_all", "unlock_all"), ("read_lock_all", "read_unlock_all")]:
        show(lock, getattr(db, lock))
        show(unlock, getattr(db, unlock))
    show("transaction", lambda: (db.transaction_start(), db.store(b"in", b"1"), db.transaction_cancel(), db.get(b"in")))
    show("commit", lambda: (db.transaction_start(), db.store(b"in", b"2"), db.transaction_prepare_commit(),
                            db.transaction_commit(), db.get(b"in")))
    show("reopen", db.reopen)
    show("clear", lambda: (db.clear(), len(list(db))))
    show("close", db.close)
    show("after close", lambda: db.get(b"in"))


for arguments in [("plain.tdb", tdb.DEFAULT), ("", tdb.INTERNAL), ("jenkins.tdb", tdb.INCOMPATIBLE_HASH),
                  ("nommap.tdb", tdb.NOMMAP | tdb.SEQNUM), ("foreign.tdb", tdb.CONVERT),
                  ("volatile.tdb", tdb.VOLATILE | tdb.NOLOCK), ("first.tdb", tdb.CLEAR_IF_FIRST)]:
    records(*arguments)
show("open absent", lambda: tdb.open(os.path.join(folder, "absent"), flags=os.O_RDWR))
show("open read-only", lambda: tdb.open(os.path.join(folder, "plain.tdb"), flags=os.O_RDONLY).store(b"a", b"b"))

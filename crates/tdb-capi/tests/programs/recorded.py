"""Some operations on a new database, for the trace that they leave."""
import os
import sys

import tdb

db = tdb.Tdb(os.path.join(sys.argv[1], "db.tdb"), hash_size=7, flags=os.O_CREAT | os.O_RDWR)
db.store(b"a", b"1")
db.append(b"a", b"2")
assert db.get(b"a") == b"12"
assert db.get(b"b") is None
assert b"a" in db
db.transaction_start()
db.store(b"b", b"3")
db.transaction_commit()
db.delete(b"a")
db.lock_all()
db.unlock_all()
assert list(db) == [b"b"]
db.close()

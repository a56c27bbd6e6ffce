"""An LDB directory in a TDB file: create, add, modify, search, rename, delete, transactions; prints what it finds.

directory.py FILE
"""
import sys

import ldb

url = "tdb://" + sys.argv[1]


def show(what, result):
    print(what, sorted((str(m.dn), sorted((k, sorted(map(bytes, m[k]))) for k in m if k != "dn")) for m in result))


db = ldb.Ldb(url)
db.add({"dn": "@INDEXLIST", "@IDXATTR": ["cn", "mail"]})
db.add({"dn": "dc=example", "dc": "example"})
for n in range(200):
    db.add({"dn": "cn=user%d,dc=example" % n, "cn": "user%d" % n, "mail": ["u%d@example" % n, "x%d@example" % (n % 7)],
            "description": "text " * (1 + n % 40)})
show("one", db.search(base="cn=user7,dc=example", scope=ldb.SCOPE_BASE))
show("by mail", db.search(base="dc=example", expression="(mail=x3@example)", attrs=["cn"]))
change = ldb.Message(ldb.Dn(db, "cn=user7,dc=example"))
change["mail"] = ldb.MessageElement("new@example", ldb.FLAG_MOD_REPLACE, "mail")
db.modify(change)
db.rename("cn=user8,dc=example", "cn=renamed,dc=example")
db.delete("cn=user9,dc=example")
show("modified", db.search(base="dc=example", expression="(|(mail=new@example)(cn=renamed)(cn=user9))", attrs=["mail"]))
db.transaction_start()
for n in range(50):
    db.add({"dn": "cn=lost%d,dc=example" % n, "cn": "lost"})
db.transaction_cancel()
print("cancelled", len(db.search(base="dc=example", expression="(cn=lost)")))
db.transaction_start()
for n in range(50):
    db.add({"dn": "cn=kept%d,dc=example" % n, "cn": "kept"})
db.transaction_prepare_commit()
db.transaction_commit()
print("committed", len(db.search(base="dc=example", expression="(cn=kept)")))
try:
    db.add({"dn": "dc=example", "dc": "example"})
except ldb.LdbError as error:
    print("twice", error.args[0])
del db
db = ldb.Ldb(url, flags=ldb.FLG_DONT_CREATE_DB)
print("reopened", len(db.search(base="dc=example", scope=ldb.SCOPE_SUBTREE)))
db2 = ldb.Ldb(url, flags=ldb.FLG_RDONLY)
print("read-only", len(db2.search(base="dc=example", scope=ldb.SCOPE_SUBTREE)))

#!/bin/sh
# Uses tdbtool, tdbdump, tdbrestore and tdbbackup on files in the folder $1 and shows what they say, figures about space
# left out: where records stand is the library's choice.
cd "$1" || exit 1

tdbtool > tool.out 2>&1 <<'END'
create tool.tdb
insert first one
insert second two
insert binary \00\01\ff
store second twice
show second
show absent
delete first
delete first
keys
transaction_start
insert third three
transaction_commit
transaction_start
insert fourth four
transaction_cancel
show third
show fourth
next
first
next
next
next
hexkeys
dump
check
repack
list
free
info
erase
keys
insert last thing
close
open tool.tdb
show last
quit
END
echo "tdbtool: $?"
# Figures of places, sizes and times differ.
grep -v -e 'Size of file' -e 'Smallest/average' -e 'Percentage' -e '^hash=' -e 'rec: ' -e 'freelist' -e 'total' \
    -e 'Number of' -e 'ops/sec' -e 'entries=' -e '^chain ' -e '^  hash' -e 'offset=' -e 'Error walking' -e 'Total' \
    -e 'length=' -e 'left=' -e 'hash=' -e 'chain ' -e 'logical size' tool.out

i=0
while [ $i -lt 300 ]; do
    printf 'insert key%d value-%d-%d\n' $i $i $((i * i))
    i=$((i + 1))
done > inserts
{ echo "create many.tdb"; cat inserts; echo quit; } | tdbtool > /dev/null 2>&1
tdbdump many.tdb > dump; echo "tdbdump: $?"
sort dump
tdbdump -k key7 many.tdb; echo "tdbdump -k: $?"
tdbrestore restored.tdb < dump; echo "tdbrestore: $?"
tdbdump restored.tdb | sort | cmp - "$(sort dump > sorted; echo sorted)"; echo "same: $?"
tdbbackup many.tdb; echo "tdbbackup: $?"
tdbdump many.tdb.bak | sort | cmp - sorted; echo "same: $?"
tdbbackup -n 17 -s .small many.tdb; echo "tdbbackup -n: $?"
tdbbackup -v many.tdb; echo "verify: $?"
cp many.tdb damaged.tdb
printf 'garbage all over' | dd of=damaged.tdb bs=1 seek=200 conv=notrunc 2> /dev/null
tdbbackup -v damaged.tdb > verify.out 2>&1; echo "verify damaged: $?"
tdbdump -e damaged.tdb > emergency 2> /dev/null; echo "emergency: $?"
[ "$(grep -c key emergency)" -gt 200 ]; echo "rescued: $?"
tdbdump absent.tdb > /dev/null 2>&1; echo "absent: $?"

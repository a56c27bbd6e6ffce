/* One process of a torture of a shared TDB file; linked with -ltdb, so the loader decides whose library it runs.
 *
 *   torture keep FILE FLAGS HASH             opens the file and holds it open until stdin ends
 *   torture work FILE FLAGS HASH ID SEED MS KIND PROGRESS
 *   torture verify FILE FLAGS HASH           checks the file, prints every shared counter
 *
 * KIND "mixed" uses every operation but lockall; "lockall" uses that too, and no traversal: in libtdb a traversal (which
 * holds the lock of the record it stands on) and a lockall wait for each other. For the same reason "mixed" has no
 * transactions on a file with mutexes. Neither may be killed, because a store outside a transaction is not atomic.
 * KIND "kill" changes the file only inside transactions and otherwise holds locks, so that it may be killed anywhere.
 *
 * What is checked. Private records belong to one worker, which knows what they must hold. Shared counters are raised
 * under a chain lock, an allrecord lock or in a transaction; their sum is what all workers say they added. In "kill"
 * runs the worker writes its committed version into PROGRESS after each commit; after a kill the file must have that
 * version or the next one, and every private record must be the one that this version says. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#include <tdb.h>

#define PRIVATE 40
#define COUNTERS 8
#define TOUCHED 3

static struct tdb_context *db;
static unsigned id;
static int with_lockall, with_transactions;
static uint64_t state;
static volatile uint64_t *progress; /* [0] committed version, [1] operations, [2] longest wait in us, [3..] counter sums */

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

static void complain(struct tdb_context *t, enum tdb_debug_level level, const char *format, ...)
{
	va_list list;
	(void)t;
	if (level > TDB_DEBUG_WARNING)
		return;
	fprintf(stderr, "[%u log %d] ", id, level);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
}

static void fail(const char *what, uint64_t a, uint64_t b)
{
	fprintf(stderr, "[%u] FAILED %s (%llu, %llu): error %s, errno %d\n", id, what, (unsigned long long)a,
		(unsigned long long)b, tdb_errorstr(db), errno);
	_exit(1);
}

static TDB_DATA text(const char *s)
{
	TDB_DATA d = {(unsigned char *)s, strlen(s)};
	return d;
}

static TDB_DATA private_key(unsigned n)
{
	static char buffer[32];
	snprintf(buffer, sizeof buffer, "private-%u-%u", id, n);
	return text(buffer);
}

static TDB_DATA counter_key(unsigned n)
{
	static char buffer[32];
	snprintf(buffer, sizeof buffer, "counter-%u", n);
	return text(buffer);
}

/* The record that version `version` writes: version, owner, then a pattern whose length depends on both. */
static TDB_DATA pattern(uint64_t version, unsigned n)
{
	static unsigned char buffer[1024];
	size_t length = 16 + (version * 2654435761u + n * 40503u) % 400, i;
	uint64_t head[2] = {version, id * 1000 + n};
	memcpy(buffer, head, 16);
	for (i = 16; i < length; i++)
		buffer[i] = (unsigned char)(version + n + i);
	return (TDB_DATA){buffer, length};
}

static void check_private(unsigned n, uint64_t version)
{
	TDB_DATA got = tdb_fetch(db, private_key(n)), want = pattern(version, n);
	if (version == 0) {
		if (got.dptr)
			fail("a private record is there that nobody stored", n, got.dsize);
		return;
	}
	if (!got.dptr)
		fail("a private record is gone", n, version);
	if (got.dsize != want.dsize || memcmp(got.dptr, want.dptr, got.dsize))
		fail("a private record has other content", n, version);
	free(got.dptr);
}

static void lock_everything(int reading)
{
	if (reading ? tdb_lockall_read(db) : tdb_lockall(db))
		fail("lockall", 0, 0);
}

/* --- shared counters ------------------------------------------------------------------------------------------ */

static void raise_counter_locked(unsigned n)
{
	unsigned char room[64] = {0};
	uint64_t value = 0;
	TDB_DATA got = tdb_fetch(db, counter_key(n));
	if (got.dptr) {
		if (got.dsize < 8)
			fail("a counter is too short", n, got.dsize);
		memcpy(&value, got.dptr, 8);
		free(got.dptr);
	}
	value++;
	memcpy(room, &value, 8);
	if (tdb_store(db, counter_key(n), (TDB_DATA){room, 8 + next_random() % 56}, 0))
		fail("storing a counter", n, value);
}

static void raise_counter(unsigned n)
{
	switch (next_random() % 8 + !with_lockall) {
	case 0:
		lock_everything(0);
		raise_counter_locked(n);
		if (tdb_unlockall(db))
			fail("unlockall", 0, 0);
		break;
	case 1:
		if (!with_transactions)
			return;
		if (tdb_transaction_start(db))
			fail("transaction_start", 0, 0);
		raise_counter_locked(n);
		if (tdb_transaction_commit(db))
			fail("transaction_commit", 0, 0);
		break;
	default:
		if (tdb_chainlock(db, counter_key(n)))
			fail("chainlock", 0, 0);
		raise_counter_locked(n);
		if (tdb_chainunlock(db, counter_key(n)))
			fail("chainunlock", 0, 0);
	}
	progress[3 + n]++;
}

/* --- the mixed load ------------------------------------------------------------------------------------------- */

static uint64_t known[PRIVATE];

static int look(struct tdb_context *t, TDB_DATA key, TDB_DATA value, void *seen)
{
	uint64_t head[2];
	(void)t;
	if (key.dsize > 8 && !memcmp(key.dptr, "private-", 8)) {
		if (value.dsize < 16)
			fail("a traversed record is too short", value.dsize, 0);
		memcpy(head, value.dptr, 16);
		for (size_t i = 16; i < value.dsize; i++)
			if (value.dptr[i] != (unsigned char)(head[0] + head[1] % 1000 + i))
				fail("a traversed record is torn", i, head[0]);
		*(unsigned *)seen += head[1] / 1000 == id;
	}
	return 0;
}

/* As look, and deletes some of its own: allowed inside a traversal. */
static int prune(struct tdb_context *t, TDB_DATA key, TDB_DATA value, void *seen)
{
	uint64_t head[2];
	look(t, key, value, seen);
	if (key.dsize > 8 && !memcmp(key.dptr, "private-", 8)) {
		memcpy(head, value.dptr, 16);
		if (head[1] / 1000 == id && next_random() % 4 == 0) {
			if (tdb_delete(t, key))
				fail("deleting inside a traversal", head[1], 0);
			known[head[1] % 1000] = 0;
		}
	}
	return 0;
}

static void traverse(void)
{
	unsigned seen = 0, there = 0;
	switch (next_random() % 3) {
	case 0:
		if (tdb_traverse_read(db, look, &seen) < 0)
			fail("traverse_read", 0, 0);
		break;
	case 1: {
		TDB_DATA key = tdb_firstkey(db), after;
		while (key.dptr) {
			after = tdb_nextkey(db, key);
			free(key.dptr);
			key = after;
		}
		return;
	}
	default:
		for (unsigned n = 0; n < PRIVATE; n++)
			there += known[n] != 0;
		if (tdb_traverse(db, prune, &seen) < 0)
			fail("traverse", 0, 0);
		if (seen != there)
			fail("a traverse missed records or saw them twice", seen, there);
		return;
	}
	for (unsigned n = 0; n < PRIVATE; n++)
		there += known[n] != 0;
	if (seen != there)
		fail("a traverse_read missed records or saw them twice", seen, there);
}

static void store_private(unsigned n, uint64_t version)
{
	TDB_DATA value = pattern(version, n);
	if (value.dsize > 20 && next_random() % 4 == 0) {
		/* In two steps, under the chain's lock so that a traverser never sees the first half torn. */
		TDB_DATA parts[2] = {{value.dptr, 16}, {value.dptr + 16, value.dsize - 16}};
		if (tdb_storev(db, private_key(n), parts, 2, 0))
			fail("storev", n, version);
	} else if (value.dsize > 24 && next_random() % 4 == 0) {
		TDB_DATA head = {value.dptr, 20}, tail = {value.dptr + 20, value.dsize - 20};
		if (tdb_store(db, private_key(n), head, 0) || tdb_append(db, private_key(n), tail))
			fail("store and append", n, version);
	} else if (tdb_store(db, private_key(n), value, 0)) {
		fail("store", n, version);
	}
	known[n] = version;
}

static void transaction(uint64_t version)
{
	uint64_t before[PRIVATE];
	unsigned count = 1 + next_random() % 6;
	int commit = next_random() % 3 != 0;
	memcpy(before, known, sizeof before);
	if (tdb_transaction_start(db))
		fail("transaction_start", 0, 0);
	while (count--) {
		unsigned n = next_random() % PRIVATE;
		if (known[n] && next_random() % 3 == 0) {
			if (tdb_delete(db, private_key(n)))
				fail("deleting in a transaction", n, 0);
			known[n] = 0;
		} else {
			store_private(n, version);
		}
	}
	for (unsigned n = 0; n < PRIVATE; n += 7)
		check_private(n, known[n]);
	if (commit && next_random() % 2 && tdb_transaction_prepare_commit(db))
		fail("prepare_commit", 0, 0);
	if (commit ? tdb_transaction_commit(db) : tdb_transaction_cancel(db))
		fail("ending a transaction", commit, 0);
	if (!commit)
		memcpy(known, before, sizeof known);
}

static void mixed(uint64_t version)
{
	unsigned n = next_random() % PRIVATE;
	switch (next_random() % 100) {
	case 0:
		if (!with_lockall)
			traverse();
		break;
	case 1 ... 3:
		if (with_transactions)
			transaction(version);
		break;
	case 4 ... 15:
		raise_counter(next_random() % COUNTERS);
		break;
	case 16 ... 30:
		if (known[n] ? tdb_delete(db, private_key(n)) : !tdb_delete(db, private_key(n)))
			fail("delete", n, known[n]);
		known[n] = 0;
		break;
	case 31 ... 60:
		store_private(n, version);
		break;
	case 61 ... 64:
		if (tdb_chainlock_read(db, private_key(n)))
			fail("chainlock_read", n, 0);
		check_private(n, known[n]);
		if (tdb_chainunlock_read(db, private_key(n)))
			fail("chainunlock_read", n, 0);
		break;
	case 65:
		if (!with_lockall)
			break;
		lock_everything(1);
		check_private(n, known[n]);
		if (tdb_unlockall_read(db))
			fail("unlockall_read", n, 0);
		break;
	default:
		if (!tdb_exists(db, private_key(n)) != !known[n])
			fail("exists", n, known[n]);
		check_private(n, known[n]);
	}
}

/* --- the load that may be killed ------------------------------------------------------------------------------ */

static unsigned touched_by(uint64_t version, unsigned turn)
{
	return (unsigned)((version * (2 * turn + 1) + turn) % PRIVATE);
}

static uint64_t last_touch(unsigned n, uint64_t version)
{
	for (; version > 0; version--)
		for (unsigned turn = 0; turn < TOUCHED; turn++)
			if (touched_by(version, turn) == n)
				return version;
	return 0;
}

static TDB_DATA version_key(void)
{
	static char buffer[32];
	snprintf(buffer, sizeof buffer, "version-%u", id);
	return text(buffer);
}

static uint64_t stored_version(void)
{
	uint64_t version = 0;
	TDB_DATA got = tdb_fetch(db, version_key());
	if (got.dptr) {
		if (got.dsize != 8)
			fail("the version record has another length", got.dsize, 0);
		memcpy(&version, got.dptr, 8);
		free(got.dptr);
	}
	return version;
}

static void resume(void)
{
	uint64_t version = stored_version();
	if (version != progress[0] && version != progress[0] + 1)
		fail("a committed transaction is lost, or one is there that was never finished", version, progress[0]);
	for (unsigned n = 0; n < PRIVATE; n++)
		check_private(n, last_touch(n, version));
	progress[0] = version;
}

static void commit_next_version(void)
{
	uint64_t version = progress[0] + 1;
	if (tdb_transaction_start(db))
		fail("transaction_start", version, 0);
	for (unsigned turn = 0; turn < TOUCHED; turn++) {
		unsigned n = touched_by(version, turn);
		if (turn == 1)
			tdb_delete(db, private_key(n));
		if (tdb_store(db, private_key(n), pattern(version, n), 0))
			fail("store in a transaction", version, n);
	}
	if (tdb_store(db, version_key(), (TDB_DATA){(unsigned char *)&version, 8}, 0))
		fail("store the version", version, 0);
	if (next_random() % 10 == 0) {
		if (tdb_transaction_cancel(db))
			fail("transaction_cancel", version, 0);
		return;
	}
	if (tdb_transaction_commit(db))
		fail("transaction_commit", version, 0);
	progress[0] = version;
}

static void killable(void)
{
	unsigned n = next_random() % PRIVATE;
	switch (next_random() % 10) {
	case 0:
		if (tdb_chainlock(db, private_key(n)))
			fail("chainlock", n, 0);
		usleep(next_random() % 300);
		if (tdb_chainunlock(db, private_key(n)))
			fail("chainunlock", n, 0);
		break;
	case 1:
		lock_everything(0);
		usleep(next_random() % 300);
		if (tdb_unlockall(db))
			fail("unlockall", n, 0);
		break;
	case 2:
		lock_everything(1);
		if (tdb_unlockall_read(db))
			fail("unlockall_read", n, 0);
		break;
	case 3:
		if (tdb_chainlock_read(db, private_key(n)))
			fail("chainlock_read", n, 0);
		check_private(n, last_touch(n, progress[0]));
		if (tdb_chainunlock_read(db, private_key(n)))
			fail("chainunlock_read", n, 0);
		break;
	case 4 ... 6:
		check_private(n, last_touch(n, progress[0]));
		break;
	default:
		commit_next_version();
	}
}

/* --- */

static void work(uint64_t seed, uint64_t milliseconds, const char *kind)
{
	int kill_kind = !strcmp(kind, "kill");
	uint64_t end = now_us() + milliseconds * 1000, begun, took;
	state = seed * 2654435761u + id * 40503u + 88172645463325252ull;
	for (int i = 0; i < 10; i++)
		next_random();
	with_lockall = !strcmp(kind, "lockall");
	with_transactions = with_lockall || !(tdb_get_flags(db) & TDB_MUTEX_LOCKING);
	if (kill_kind)
		resume();
	for (uint64_t turn = 1; (begun = now_us()) < end; turn++) {
		if (kill_kind)
			killable();
		else
			mixed(turn);
		took = now_us() - begun;
		progress[1]++;
		if (took > progress[2])
			progress[2] = took;
	}
	for (unsigned n = 0; n < PRIVATE; n++)
		check_private(n, kill_kind ? last_touch(n, progress[0]) : known[n]);
}

static void verify(void)
{
	if (tdb_check(db, NULL, NULL))
		fail("tdb_check", 0, 0);
	for (unsigned n = 0; n < COUNTERS; n++) {
		uint64_t value = 0;
		TDB_DATA got = tdb_fetch(db, counter_key(n));
		if (got.dptr)
			memcpy(&value, got.dptr, 8);
		printf("%llu\n", (unsigned long long)value);
	}
}

int main(int count, char **argument)
{
	struct tdb_logging_context log = {complain, NULL};
	if (count < 5)
		return 2;
	if (count > 5)
		id = (unsigned)atoi(argument[5]);
	db = tdb_open_ex(argument[2], atoi(argument[4]), (int)strtol(argument[3], NULL, 0), O_RDWR | O_CREAT, 0600, &log,
			 NULL);
	if (!db) {
		perror("tdb_open_ex");
		return 3;
	}
	if (!strcmp(argument[1], "keep")) {
		char byte;
		puts("open");
		fflush(stdout);
		while (read(0, &byte, 1) > 0)
			;
	} else if (!strcmp(argument[1], "verify")) {
		verify();
	} else {
		int file = open(argument[9], O_RDWR | O_CREAT, 0600);
		if (file < 0 || ftruncate(file, 4096))
			return 4;
		progress = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		work((uint64_t)atoll(argument[6]), (uint64_t)atoll(argument[7]), argument[8]);
		printf("%llu operations, longest wait %llu us\n", (unsigned long long)progress[1],
		       (unsigned long long)progress[2]);
	}
	return tdb_close(db) ? 5 : 0;
}

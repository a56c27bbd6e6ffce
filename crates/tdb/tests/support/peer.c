/*
 * The other side of the interoperation tests: a process of libtdb. The test compiles it with the system's compiler.
 *
 *   peer create FILE CHAINS FLAGS          a new file
 *   peer torture FILE ID OPS SEED FLAGS    random operations; prints what must be in the file afterwards
 *   peer commit FILE ID FLAGS              commits of all balances, one after the other, until killed
 *   peer dying FILE NTH FLAGS              one commit; dies at its NTH write, truncation or sync
 *   peer check FILE FLAGS                  libtdb's check
 *   peer dump FILE FLAGS                   every record in hexadecimal
 *
 * FLAGS are libtdb's. What the lines of `torture` mean is told in worker.rs, which does the same with our engine.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#include <tdb.h>

enum { LOGS = 512, COUNTERS = 64, OWN = 200, MOST_BYTES = 9000, BALANCES = 24, BALANCE_BYTES = 700 };

static struct tdb_context *tdb;
static const char *file;
static int flags;
static uint32_t id;
static uint64_t state;
static uint64_t done, refused;
static uint32_t appended[LOGS];
static uint64_t counted[COUNTERS];
static uint64_t pairs;
/* Own records: version 0 means that there is none. */
static uint32_t version[OWN], length[OWN];
static unsigned char buffer[MOST_BYTES];

static void fail(const char *what, ...)
{
	va_list arguments;
	va_start(arguments, what);
	printf("fail libtdb worker %u: ", id);
	vprintf(what, arguments);
	printf(" (libtdb: %s, system: %s)\n", tdb ? tdb_errorstr(tdb) : "none", strerror(errno));
	va_end(arguments);
	exit(1);
}

static void open_it(void)
{
	tdb = tdb_open(file, 0, flags, O_RDWR, 0600);
	if (!tdb)
		fail("open of %s", file);
}

static uint32_t below(uint32_t limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)((state >> 32) % limit);
}

/*
 * libtdb's locks are the kernel's classic ones, which refuse a wait that looks like a deadlock (a traverse that stands
 * on a record, and a lock of everything that waits for it). The call has then done nothing and is made again; each
 * such refusal is counted. Whether it really did nothing is what the comparison at the end shows.
 */
static bool lock_refused(void)
{
	static const struct timespec nap = {0, 200000};
	if (tdb_error(tdb) != TDB_ERR_LOCK || errno != EDEADLK)
		return false;
	if (++refused > 1000000)
		fail("refused too often");
	nanosleep(&nap, NULL);
	return true;
}

#define UNLESS_REFUSED(call, ...)              \
	while ((call) != 0)                    \
		if (!lock_refused())           \
			fail(__VA_ARGS__)

/* Dying in the middle of a commit: libtdb's system calls go through these. */
static long calls_left = -1;

static void one_call(void)
{
	if (calls_left > 0 && --calls_left == 0)
		kill(getpid(), SIGKILL);
}

#define THROUGH(type, name, parameters, arguments)                                 \
	type name parameters                                                       \
	{                                                                          \
		static type(*real) parameters;                                     \
		if (!real)                                                         \
			*(void **)&real = dlsym(RTLD_NEXT, #name);                 \
		one_call();                                                        \
		return real arguments;                                             \
	}

THROUGH(ssize_t, pwrite, (int fd, const void *bytes, size_t len, off_t at), (fd, bytes, len, at))
THROUGH(ssize_t, pwrite64, (int fd, const void *bytes, size_t len, off64_t at), (fd, bytes, len, at))
THROUGH(int, ftruncate, (int fd, off_t len), (fd, len))
THROUGH(int, ftruncate64, (int fd, off64_t len), (fd, len))
THROUGH(int, posix_fallocate, (int fd, off_t at, off_t len), (fd, at, len))
THROUGH(int, posix_fallocate64, (int fd, off64_t at, off64_t len), (fd, at, len))
THROUGH(int, fsync, (int fd), (fd))
THROUGH(int, fdatasync, (int fd), (fd))

static TDB_DATA key_of(char *place, const char *kind, uint32_t a, uint32_t b)
{
	TDB_DATA key;
	key.dsize = (size_t)sprintf(place, "%s/%u/%u", kind, a, b);
	key.dptr = (unsigned char *)place;
	return key;
}

static unsigned char byte_of(uint32_t who, uint32_t key, uint32_t version_, uint32_t at)
{
	return (unsigned char)(who * 131 + key * 31 + version_ * 17 + at * 7 + (at >> 8));
}

static TDB_DATA own_value(uint32_t key)
{
	TDB_DATA value = {buffer, length[key]};
	for (uint32_t at = 0; at < length[key]; at++)
		buffer[at] = byte_of(id, key, version[key], at);
	return value;
}

static bool own_is(uint32_t key, TDB_DATA value)
{
	if (value.dsize != length[key])
		return false;
	for (uint32_t at = 0; at < length[key]; at++)
		if (value.dptr[at] != byte_of(id, key, version[key], at))
			return false;
	return true;
}

static void change_own(void)
{
	static uint32_t versions;
	char place[64];
	uint32_t key = below(OWN);
	TDB_DATA name = key_of(place, "own", id, key);
	if (version[key] && below(3) == 0) {
		UNLESS_REFUSED(tdb_delete(tdb, name), "delete of own record %u", key);
		version[key] = 0;
		return;
	}
	int mode = version[key] ? TDB_MODIFY : TDB_INSERT;
	if (below(2))
		mode = TDB_REPLACE;
	version[key] = ++versions;
	length[key] = below(20) == 0 ? below(MOST_BYTES) : below(300);
	UNLESS_REFUSED(tdb_store(tdb, name, own_value(key), mode), "store of own record %u", key);
}

static TDB_DATA fetched(TDB_DATA key)
{
	TDB_DATA value = tdb_fetch(tdb, key);
	while (!value.dptr && tdb_error(tdb) != TDB_ERR_NOEXIST) {
		if (!lock_refused())
			fail("fetch of %.*s", (int)key.dsize, key.dptr);
		value = tdb_fetch(tdb, key);
	}
	return value;
}

static void fetch_own(void)
{
	char place[64];
	uint32_t key = below(OWN);
	TDB_DATA value = fetched(key_of(place, "own", id, key));
	if ((value.dptr != NULL) != (version[key] != 0))
		fail("own record %u: there %d, expected %d", key, value.dptr != NULL, version[key] != 0);
	if (value.dptr && !own_is(key, value))
		fail("own record %u has another value, %zu bytes", key, value.dsize);
	free(value.dptr);
}

static void append_token(void)
{
	char place[64];
	uint32_t log = below(LOGS);
	uint32_t token[2] = {id, appended[log]};
	TDB_DATA more = {(unsigned char *)token, sizeof token};
	UNLESS_REFUSED(tdb_append(tdb, key_of(place, "log", 0, log), more), "append to log %u", log);
	appended[log]++;
}

static void add_to(uint32_t counter, uint64_t by)
{
	char place[64];
	uint64_t value = 0;
	TDB_DATA name = key_of(place, "count", 0, counter);
	TDB_DATA old = fetched(name);
	if (old.dptr) {
		if (old.dsize != sizeof value)
			fail("counter %u has %zu bytes", counter, old.dsize);
		memcpy(&value, old.dptr, sizeof value);
		free(old.dptr);
	}
	value += by;
	TDB_DATA new = {(unsigned char *)&value, sizeof value};
	UNLESS_REFUSED(tdb_store(tdb, name, new, TDB_REPLACE), "store of counter %u", counter);
	counted[counter] += by;
}

static void count_locked(void)
{
	char place[64];
	uint32_t counter = below(COUNTERS);
	TDB_DATA name = key_of(place, "count", 0, counter);
	UNLESS_REFUSED(tdb_chainlock(tdb, name), "chain lock");
	add_to(counter, 1 + below(5));
	if (tdb_chainunlock(tdb, name) != 0)
		fail("chain unlock");
}

static void count_all_locked(void)
{
	/* A traverse that is asked to wait for us while we wait for it gets one of us an error. */
	if (tdb_lockall(tdb) != 0) {
		refused++;
		return;
	}
	for (int i = 0; i < 3; i++)
		add_to(below(COUNTERS), 1);
	if (tdb_unlockall(tdb) != 0)
		fail("unlock of all");
}

static uint64_t pair(const char *which, uint64_t add)
{
	uint64_t value = 0;
	TDB_DATA name = {(unsigned char *)which, strlen(which)};
	TDB_DATA old = fetched(name);
	if (old.dptr && old.dsize == sizeof value)
		memcpy(&value, old.dptr, sizeof value);
	free(old.dptr);
	value += add;
	TDB_DATA new = {(unsigned char *)&value, sizeof value};
	if (add && tdb_store(tdb, name, new, TDB_REPLACE) != 0)
		fail("store of %s", which);
	return value;
}

static void pairs_agree(void)
{
	if (tdb_lockall_read(tdb) != 0) {
		refused++;
		return;
	}
	uint64_t left = pair("pair/left", 0), right = pair("pair/right", 0);
	if (left != right)
		fail("half a transaction is visible: %lu and %lu", (unsigned long)left, (unsigned long)right);
	if (tdb_unlockall_read(tdb) != 0)
		fail("unlock of all for reading");
}

static void transaction(void)
{
	uint32_t was_appended[LOGS], was_version[OWN], was_length[OWN];
	uint64_t was_counted[COUNTERS];
	memcpy(was_appended, appended, sizeof appended);
	memcpy(was_version, version, sizeof version);
	memcpy(was_length, length, sizeof length);
	memcpy(was_counted, counted, sizeof counted);
	UNLESS_REFUSED(tdb_transaction_start(tdb), "start of a transaction");
	/* Not both: what a prepared transaction made the file grow by, and a recovery area that it replaced, is lost
	   when libtdb cancels it, and libtdb's check, which takes all behind that for lost, then refuses the file. */
	bool inner = below(4) == 0, cancel = below(4) == 0, prepare = !cancel && below(4) == 0;
	if (inner && tdb_transaction_start(tdb) != 0)
		fail("start of an inner transaction");
	for (uint32_t steps = 1 + below(6); steps > 0; steps--, done++) {
		switch (below(4)) {
		case 0: add_to(below(COUNTERS), 1); break;
		case 1: append_token(); break;
		case 2: fetch_own(); break;
		default: change_own(); break;
		}
	}
	pair("pair/left", 1);
	pair("pair/right", 1);
	if (inner && tdb_transaction_commit(tdb) != 0)
		fail("commit of an inner transaction");
	/* A commit that is refused a lock has cancelled the transaction. */
	bool gone = prepare && tdb_transaction_prepare_commit(tdb) != 0;
	if (!gone && !cancel) {
		if (tdb_transaction_commit(tdb) == 0) {
			pairs++;
			return;
		}
		gone = true;
	}
	if (gone && !lock_refused())
		fail("commit");
	if (!gone && tdb_transaction_cancel(tdb) != 0)
		fail("cancel");
	memcpy(appended, was_appended, sizeof appended);
	memcpy(version, was_version, sizeof version);
	memcpy(length, was_length, sizeof length);
	memcpy(counted, was_counted, sizeof counted);
}

struct seen {
	uint32_t times[OWN];
	bool deleting;
};

static int see(struct tdb_context *in, TDB_DATA name, TDB_DATA value, void *private_data)
{
	struct seen *seen = private_data;
	char text[64] = "";
	unsigned who, key;
	if (name.dsize >= sizeof text)
		fail("a key of %zu bytes", name.dsize);
	memcpy(text, name.dptr, name.dsize);
	if (sscanf(text, "own/%u/%u", &who, &key) != 2 || who != id)
		return 0;
	if (key >= OWN || !version[key] || !own_is(key, value))
		fail("a traverse shows own record %u with %zu bytes, expected version %u with %u", key, value.dsize,
		     key < OWN ? version[key] : 0, key < OWN ? length[key] : 0);
	seen->times[key]++;
	if (seen->deleting && below(8) == 0) {
		if (tdb_delete(in, name) == 0)
			version[key] = 0;
		else
			refused++;
	}
	return 0;
}

static void traverse(bool deleting)
{
	struct seen seen = {.deleting = deleting};
	uint32_t expected[OWN];
	memcpy(expected, version, sizeof version);
	int shown = deleting ? tdb_traverse(tdb, see, &seen) : tdb_traverse_read(tdb, see, &seen);
	if (shown < 0 && tdb_error(tdb) == TDB_ERR_LOCK) {
		/*
		 * libtdb stands on a record while it asks for the next chain; who locks everything waits for it. Refused, it
		 * forgets that it still stands there; closing the file lets go.
		 */
		refused++;
		tdb_close(tdb);
		open_it();
		return;
	}
	if (shown < 0)
		fail("traverse");
	for (uint32_t key = 0; key < OWN; key++)
		if (seen.times[key] != (expected[key] != 0))
			fail("a traverse shows own record %u %u times", key, seen.times[key]);
}

static void torture(uint64_t operations)
{
	while (done < operations) {
		uint32_t what = below(1000);
		if (what < 300) change_own();
		else if (what < 500) fetch_own();
		else if (what < 700) append_token();
		else if (what < 920) count_locked();
		else if (what < 940) pairs_agree();
		else if (what < 950) count_all_locked();
		else if (what < 995) transaction();
		else if (what < 998) traverse(false);
		else traverse(true);
		done++;
	}
	printf("worker %u\n", id);
	for (uint32_t log = 0; log < LOGS; log++)
		if (appended[log])
			printf("append %u %u\n", log, appended[log]);
	for (uint32_t counter = 0; counter < COUNTERS; counter++)
		if (counted[counter])
			printf("count %u %lu\n", counter, (unsigned long)counted[counter]);
	for (uint32_t key = 0; key < OWN; key++)
		if (version[key])
			printf("own %u %u %u\n", key, version[key], length[key]);
	printf("pairs %lu\nrefused %lu\nops %lu\n", (unsigned long)pairs, (unsigned long)refused, (unsigned long)done);
}

/* All balances hold the same number, whatever happens; the number is one more after each commit. */
static void commit_one(uint64_t *number)
{
	char place[64];
	UNLESS_REFUSED(tdb_transaction_start(tdb), "start of a transaction");
	for (uint32_t balance = 0; balance < BALANCES; balance++) {
		uint64_t value = 0;
		TDB_DATA name = key_of(place, "balance", 0, balance);
		TDB_DATA old = fetched(name);
		if (old.dptr)
			memcpy(&value, old.dptr, sizeof value);
		free(old.dptr);
		if (balance > 0 && value != *number)
			fail("balance %u is %lu, the first is %lu", balance, (unsigned long)value, (unsigned long)*number);
		*number = value;
		value++;
		memset(buffer, (int)value, BALANCE_BYTES);
		memcpy(buffer, &value, sizeof value);
		TDB_DATA new = {buffer, BALANCE_BYTES + (value * 37 + balance * 11) % 400};
		if (tdb_store(tdb, name, new, TDB_REPLACE) != 0)
			fail("store of balance %u", balance);
	}
	if (tdb_transaction_commit(tdb) != 0)
		fail("commit");
	*number += 1;
}

static void commit_until_killed(void)
{
	uint64_t number = 0;
	for (;;) {
		commit_one(&number);
		printf("committed %lu\n", (unsigned long)number);
		fflush(stdout);
	}
}

static int dump_one(struct tdb_context *in, TDB_DATA key, TDB_DATA value, void *unused)
{
	(void)in, (void)unused;
	for (size_t at = 0; at < key.dsize; at++)
		printf("%02x", key.dptr[at]);
	printf(" ");
	for (size_t at = 0; at < value.dsize; at++)
		printf("%02x", value.dptr[at]);
	printf("\n");
	return 0;
}

int main(int count, char **arguments)
{
	if (count < 4)
		return 2;
	const char *what = arguments[1];
	file = arguments[2];
	flags = atoi(arguments[count - 1]);
	if (!strcmp(what, "create")) {
		tdb = tdb_open(file, atoi(arguments[3]), flags, O_RDWR | O_CREAT | O_EXCL, 0600);
		if (!tdb)
			fail("creation of %s", file);
	} else if (!strcmp(what, "torture") && count == 7) {
		id = (uint32_t)atoi(arguments[3]);
		state = strtoull(arguments[5], NULL, 10) * 2654435769u + 1 + id;
		for (int i = 0; i < 8; i++)
			below(2);
		open_it();
		torture(strtoull(arguments[4], NULL, 10));
	} else if (!strcmp(what, "commit") && count == 5) {
		open_it();
		commit_until_killed();
	} else if (!strcmp(what, "dying") && count == 5) {
		uint64_t number = 0;
		open_it();
		calls_left = atol(arguments[3]);
		commit_one(&number);
		printf("committed %lu\n", (unsigned long)number);
	} else if (!strcmp(what, "check")) {
		open_it();
		if (tdb_check(tdb, NULL, NULL) != 0)
			fail("check");
	} else if (!strcmp(what, "dump")) {
		open_it();
		if (tdb_traverse_read(tdb, dump_one, NULL) < 0)
			fail("traverse");
	} else {
		return 2;
	}
	return tdb_close(tdb) == 0 ? 0 : 1;
}

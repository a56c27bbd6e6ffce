/* Calls every function of libtdb and prints what each one answers: return value, tdb_error, errno after a failure, and the
 * level of each log message. Linked with -ltdb; run once with each library, both must print the same.
 *
 *   exercise FOLDER */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#include <tdb.h>

/* Exported by the library, declared in no header. */
int tdb_lock_nonblock(struct tdb_context *tdb, int list, int ltype);
int tdb_unlock(struct tdb_context *tdb, int list, int ltype);
int tdb_transaction_write_lock_mark(struct tdb_context *tdb);
int tdb_transaction_write_lock_unmark(struct tdb_context *tdb);

static char folder[200];
static struct tdb_context *t;
static int logged[4];

static void count_log(struct tdb_context *db, enum tdb_debug_level level, const char *format, ...)
{
	char line[1000];
	va_list list;
	(void)db;
	va_start(list, format);
	vsnprintf(line, sizeof line, format, list);
	va_end(list);
	logged[level & 3]++;
	if (getenv("SHOW_LOG"))
		printf("    [%d] %s", level, line);
}

static struct tdb_logging_context counting = {count_log, &logged};

static const char *file(const char *name)
{
	static char path[300];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static TDB_DATA d(const char *s)
{
	TDB_DATA r = {(unsigned char *)s, strlen(s)};
	return r;
}

/* Whether it logs that the caller's own locks are in the way is the library's taste, too. */
static int quiet;

/* After a success tdb_error still names some earlier failure; which one is not part of the interface, so it is not shown. */
/* Errors of level FATAL and ERROR are counted together: which of the two a message has is the library's taste. */
static void told(void)
{
	if (logged[0] + logged[1] && !quiet)
		printf("  (logged)");
	memset(logged, 0, sizeof logged);
	putchar('\n');
}

#define R(call)                                                                                                        \
	do {                                                                                                           \
		errno = 0;                                                                                             \
		long r_ = (long)(call);                                                                                \
		int e_ = errno;                                                                                        \
		printf("%s = %ld", #call, r_);                                                                         \
		if (r_ < 0 && t)                                                                                       \
			printf(", error %d", (int)tdb_error(t));                                                       \
		if (r_ < 0 && e_)                                                                                      \
			printf(", errno %d", e_);                                                                      \
		told();                                                                                                \
	} while (0)

/* As R, where libtdb returns a failure without setting tdb_error. */
#define Q(call)                                                                                                        \
	do {                                                                                                           \
		printf("%s = %ld", #call, (long)(call));                                                               \
		told();                                                                                                \
	} while (0)

static void print_value(const char *what, TDB_DATA v)
{
	printf("%s = ", what);
	if (!v.dptr)
		printf("NULL, %zu, error %d", v.dsize, (int)tdb_error(t));
	else
		printf("\"%.*s\" (%zu)", (int)v.dsize, (char *)v.dptr, v.dsize);
	told();
	free(v.dptr);
}

#define V(call) print_value(#call, call)

static struct tdb_context *open_as(const char *name, int hash, int flags, int open_flags, tdb_hash_func hash_function)
{
	errno = 0;
	struct tdb_context *db = tdb_open_ex(file(name), hash, flags, open_flags, 0640, &counting, hash_function);
	printf("open %s %#x %#o: %s", name, flags, open_flags, db ? "open" : strerror(errno));
	told();
	return db;
}

/* Opens for the answer alone. */
static void try_open(const char *name, int hash, int flags, int open_flags, tdb_hash_func hash_function)
{
	struct tdb_context *db = open_as(name, hash, flags, open_flags, hash_function);
	if (db)
		printf("  flags %#x, hash size %d, close %d\n", tdb_get_flags(db), tdb_hash_size(db), tdb_close(db));
}

static int parse(TDB_DATA key, TDB_DATA data, void *result)
{
	printf("  parser: %.*s -> %.*s\n", (int)key.dsize, (char *)key.dptr, (int)data.dsize, (char *)data.dptr);
	return *(int *)result;
}

static unsigned long sum;

static int add(struct tdb_context *db, TDB_DATA key, TDB_DATA value, void *stop_after)
{
	(void)db;
	for (size_t i = 0; i < key.dsize; i++)
		sum += key.dptr[i] * (i + 1);
	for (size_t i = 0; i < value.dsize; i++)
		sum += value.dptr[i] * (i + 3);
	return stop_after && --*(int *)stop_after == 0;
}

static int delete_it(struct tdb_context *db, TDB_DATA key, TDB_DATA value, void *private)
{
	(void)value;
	(void)private;
	return tdb_delete(db, key);
}

static int store_it(struct tdb_context *db, TDB_DATA key, TDB_DATA value, void *private)
{
	(void)value;
	(void)private;
	return tdb_store(db, key, d("stored while traversed, and longer"), TDB_REPLACE);
}

static int refused_store(struct tdb_context *db, TDB_DATA key, TDB_DATA value, void *private)
{
	(void)value;
	*(int *)private = tdb_store(db, key, d("x"), TDB_REPLACE);
	printf("  store inside traverse_read = %d, error %d", *(int *)private, (int)tdb_error(db));
	told();
	return 1;
}

static int accept_all(TDB_DATA key, TDB_DATA data, void *count)
{
	(void)key;
	(void)data;
	++*(int *)count;
	return 0;
}

static int refuse_all(TDB_DATA key, TDB_DATA data, void *count)
{
	(void)key;
	(void)data;
	++*(int *)count;
	return -1;
}

static void rescued(TDB_DATA key, TDB_DATA data, void *count)
{
	(void)key;
	(void)data;
	++*(int *)count;
}

static unsigned own_hash(TDB_DATA *key)
{
	unsigned h = 5381;
	for (size_t i = 0; i < key->dsize; i++)
		h = h * 33 + key->dptr[i];
	return h;
}

static unsigned zero_hash(TDB_DATA *key)
{
	(void)key;
	return 0;
}

static void heading(const char *what) { printf("--- %s\n", what); }

static void close_it(void)
{
	int r = tdb_close(t);
	t = NULL;
	printf("close = %d", r);
	told();
}

static void opening(void)
{
	heading("opening");
	try_open("absent.tdb", 0, 0, O_RDWR, NULL);
	try_open("no/such/folder.tdb", 0, 0, O_RDWR | O_CREAT, NULL);
	try_open(".", 0, 0, O_RDWR, NULL);
	int fd = open(file("text"), O_RDWR | O_CREAT, 0600);
	for (int i = 0; i < 100; i++)
		if (write(fd, "this is no database\n", 20) != 20)
			exit(9);
	close(fd);
	try_open("text", 0, 0, O_RDWR, NULL);
	try_open("text", 0, 0, O_RDONLY, NULL);
	try_open("text", 0, 0, O_RDWR | O_CREAT, NULL);
	fd = open(file("empty"), O_RDWR | O_CREAT, 0600);
	close(fd);
	try_open("empty", 0, 0, O_RDWR, NULL);
	try_open("empty", 0, 0, O_RDONLY, NULL);
	t = open_as("new.tdb", 7, 0, O_RDWR | O_CREAT | O_EXCL, NULL);
	R(tdb_hash_size(t));
	R(tdb_get_flags(t));
	R(tdb_store(t, d("a"), d("1"), 0));
	close_it();
	try_open("new.tdb", 7, 0, O_RDWR | O_CREAT | O_EXCL, NULL);
	try_open("new.tdb", 0, 0, O_WRONLY, NULL);
	try_open("new.tdb", 0, TDB_ALLOW_NESTING | TDB_DISALLOW_NESTING, O_RDWR, NULL);
	try_open("new.tdb", 0, TDB_MUTEX_LOCKING | TDB_INTERNAL | TDB_CLEAR_IF_FIRST, O_RDWR, NULL);
	try_open("new.tdb", 0, TDB_MUTEX_LOCKING | TDB_NOMMAP | TDB_CLEAR_IF_FIRST, O_RDWR, NULL);
	try_open("new.tdb", 0, TDB_MUTEX_LOCKING, O_RDWR, NULL);
	try_open("new.tdb", 0, TDB_MUTEX_LOCKING | TDB_CLEAR_IF_FIRST, O_RDONLY, NULL);
	try_open("new.tdb", 0, 0, O_RDWR, own_hash);
	t = open_as("new.tdb", 99, 0, O_RDWR, NULL);
	R(tdb_hash_size(t));
	V(tdb_fetch(t, d("a")));
	close_it();
	try_open("new.tdb", 99, TDB_INCOMPATIBLE_HASH, O_RDWR, NULL);
	try_open("new.tdb", 99, 0, O_RDWR, tdb_jenkins_hash);
	t = open_as("new.tdb", 3, 0, O_RDWR | O_TRUNC, NULL);
	if (t) {
		R(tdb_hash_size(t));
		V(tdb_fetch(t, d("a")));
		close_it();
	}
	t = open_as("own.tdb", 3, 0, O_RDWR | O_CREAT, own_hash);
	R(tdb_store(t, d("a"), d("1"), 0));
	close_it();
	try_open("own.tdb", 3, 0, O_RDWR, NULL);
	try_open("own.tdb", 3, 0, O_RDWR, zero_hash);
	t = open_as("own.tdb", 3, 0, O_RDWR, own_hash);
	V(tdb_fetch(t, d("a")));
	close_it();
	t = open_as("zero.tdb", 3, 0, O_RDWR | O_CREAT, zero_hash);
	R(tdb_store(t, d("a"), d("1"), 0));
	R(tdb_store(t, d("b"), d("2"), 0));
	V(tdb_fetch(t, d("a")));
	close_it();
	t = open_as("jenkins.tdb", 3, TDB_INCOMPATIBLE_HASH, O_RDWR | O_CREAT, NULL);
	R(tdb_get_flags(t));
	R(tdb_store(t, d("a"), d("1"), 0));
	close_it();
	t = open_as("jenkins.tdb", 3, 0, O_RDWR, NULL);
	R(tdb_get_flags(t));
	V(tdb_fetch(t, d("a")));
	close_it();
	t = open_as("jenkins.tdb", 3, 0, O_RDONLY, tdb_jenkins_hash);
	V(tdb_fetch(t, d("a")));
	close_it();
	t = open_as("big.tdb", 3, TDB_CONVERT, O_RDWR | O_CREAT, NULL);
	R(tdb_get_flags(t) & (TDB_CONVERT | TDB_BIGENDIAN));
	R(tdb_store(t, d("a"), d("1"), 0));
	close_it();
	t = open_as("big.tdb", 3, 0, O_RDWR, NULL);
	R(tdb_get_flags(t) & (TDB_CONVERT | TDB_BIGENDIAN));
	V(tdb_fetch(t, d("a")));
	close_it();
	TDB_DATA key = d("jenkins");
	printf("jenkins hash %u\n", tdb_jenkins_hash(&key));
	R(tdb_runtime_check_for_robust_mutexes());
}

static void records(const char *name, int flags)
{
	char key[20], value[40];
	TDB_DATA parts[3] = {d("one"), {NULL, 0}, d("three")};
	int zero = 0, seven = 7, count;
	heading("records");
	t = open_as(name, 5, flags, O_RDWR | O_CREAT, NULL);
	printf("name %s\n", flags & TDB_INTERNAL ? "" : strrchr(tdb_name(t), '/'));
	printf("fd %d\n", tdb_fd(t) >= 0);
	R(tdb_get_flags(t));
	R(tdb_log_fn(t) == count_log);
	R(tdb_get_logging_private(t) == &logged);
	V(tdb_fetch(t, d("absent")));
	R(tdb_exists(t, d("absent")));
	R(tdb_delete(t, d("absent")));
	R(tdb_parse_record(t, d("absent"), parse, &zero));
	R(tdb_store(t, d("key"), d("value"), TDB_MODIFY));
	R(tdb_store(t, d("key"), d("value"), TDB_INSERT));
	R(tdb_store(t, d("key"), d("value"), TDB_INSERT));
	V(tdb_fetch(t, d("key")));
	R(tdb_store(t, d("key"), d("other"), TDB_MODIFY));
	R(tdb_store(t, d("key"), d("a longer one, that needs more room than there was"), TDB_REPLACE));
	V(tdb_fetch(t, d("key")));
	R(tdb_append(t, d("key"), d(", and more")));
	V(tdb_fetch(t, d("key")));
	R(tdb_append(t, d("fresh"), d("appended")));
	V(tdb_fetch(t, d("fresh")));
	R(tdb_append(t, d("fresh"), tdb_null));
	V(tdb_fetch(t, d("fresh")));
	R(tdb_parse_record(t, d("fresh"), parse, &zero));
	R(tdb_parse_record(t, d("fresh"), parse, &seven));
	R(tdb_exists(t, d("fresh")));
	R(tdb_storev(t, d("parts"), parts, 3, TDB_INSERT));
	R(tdb_storev(t, d("parts"), parts, 3, TDB_INSERT));
	V(tdb_fetch(t, d("parts")));
	R(tdb_storev(t, d("parts"), parts, 0, TDB_REPLACE));
	V(tdb_fetch(t, d("parts")));
	R(tdb_store(t, d("empty"), tdb_null, 0));
	R(tdb_exists(t, d("empty")));
	V(tdb_fetch(t, d("empty")));
	R(tdb_store(t, tdb_null, d("of the empty key"), 0));
	V(tdb_fetch(t, tdb_null));
	R(tdb_delete(t, tdb_null));
	R(tdb_store(t, d("key"), d("x"), 99));
	for (int i = 0; i < 200; i++) {
		snprintf(key, sizeof key, "key %d", i);
		snprintf(value, sizeof value, "value number %d", i * i);
		if (tdb_store(t, d(key), d(value), 0))
			printf("storing %s failed\n", key);
	}
	sum = 0;
	R(tdb_traverse(t, add, NULL));
	R(tdb_traverse_read(t, add, NULL));
	R(tdb_traverse(t, NULL, NULL));
	printf("sum %lu\n", sum);
	count = 5;
	R(tdb_traverse(t, add, &count));
	count = 5;
	R(tdb_traverse_read(t, add, &count));
	R(tdb_traverse_read(t, refused_store, &count));
	count = 0;
	for (unsigned chain = 0; chain < 5; chain++)
		count += tdb_traverse_chain(t, chain, add, NULL);
	printf("all chains together: %d, sum %lu\n", count, sum);
	R(tdb_traverse_chain(t, 5, add, NULL));
	R(tdb_traverse_key_chain(t, d("key 1"), add, NULL) > 0);
	TDB_DATA at = tdb_firstkey(t);
	for (count = 0; at.dptr; count++) {
		TDB_DATA next = tdb_nextkey(t, at);
		free(at.dptr);
		at = next;
	}
	printf("walked over %d keys, then error %d\n", count, (int)tdb_error(t));
	V(tdb_nextkey(t, d("absent")));
	count = 0;
	/* libtdb 1.4.8 takes every database in memory for corrupt. */
	if (!(flags & TDB_INTERNAL)) {
		R(tdb_check(t, accept_all, &count));
		printf("checked %d\n", count);
		Q(tdb_check(t, refuse_all, &count));
		R(tdb_check(t, NULL, NULL));
	}
	count = 0;
	R(tdb_rescue(t, rescued, &count));
	printf("rescued %d\n", count);
	R(tdb_freelist_size(t) >= 0);
	R(tdb_validate_freelist(t, &count));
	R(tdb_map_size(t) > 0);
	char *summary = tdb_summary(t);
	printf("summary %d\n", summary != NULL);
	free(summary);
	R(tdb_repack(t));
	R(tdb_traverse(t, NULL, NULL));
	R(tdb_traverse(t, store_it, NULL) > 200);
	V(tdb_fetch(t, d("key 1")));
	R(tdb_traverse(t, delete_it, NULL));
	R(tdb_traverse(t, NULL, NULL));
	R(tdb_store(t, d("again"), d("1"), 0));
	R(tdb_wipe_all(t));
	V(tdb_fetch(t, d("again")));
	V(tdb_firstkey(t));
	if (!(flags & TDB_INTERNAL))
		R(tdb_check(t, NULL, NULL));
	close_it();
}

static void locks(void)
{
	volatile sig_atomic_t signalled = 0;
	heading("locks");
	quiet = 1;
	t = open_as("locks.tdb", 5, 0, O_RDWR | O_CREAT, NULL);
	Q(tdb_chainunlock(t, d("a")));
	Q(tdb_chainunlock_read(t, d("a")));
	R(tdb_unlockall(t));
	R(tdb_unlockall_read(t));
	R(tdb_chainlock(t, d("a")));
	R(tdb_chainlock(t, d("a")));
	R(tdb_store(t, d("a"), d("1"), 0));
	R(tdb_chainlock_read(t, d("a")));
	Q(tdb_chainunlock_read(t, d("a")));
	Q(tdb_chainunlock(t, d("a")));
	R(tdb_lockall(t));
	R(tdb_lockall_read(t));
	Q(tdb_chainunlock(t, d("a")));
	R(tdb_chainlock_nonblock(t, d("a")));
	Q(tdb_chainunlock(t, d("a")));
	R(tdb_chainlock_read_nonblock(t, d("a")));
	Q(tdb_chainunlock_read(t, d("a")));
	R(tdb_lockall(t));
	R(tdb_lockall(t));
	R(tdb_lockall_nonblock(t));
	R(tdb_lockall_read(t));
	R(tdb_unlockall_read(t));
	R(tdb_chainlock(t, d("a")));
	Q(tdb_chainunlock(t, d("a")));
	R(tdb_store(t, d("a"), d("2"), 0));
	R(tdb_unlockall(t));
	R(tdb_unlockall(t));
	R(tdb_unlockall(t));
	R(tdb_unlockall(t));
	R(tdb_lockall_read(t));
	R(tdb_store(t, d("a"), d("3"), 0));
	V(tdb_fetch(t, d("a")));
	R(tdb_lockall(t));
	R(tdb_unlockall_read(t));
	R(tdb_lockall_read_nonblock(t));
	R(tdb_unlockall_read(t));
	R(tdb_lockall_mark(t));
	R(tdb_store(t, d("a"), d("4"), 0));
	R(tdb_lockall_unmark(t));
	R(tdb_lockall_unmark(t));
	R(tdb_chainlock_mark(t, d("a")));
	R(tdb_store(t, d("a"), d("5"), 0));
	Q(tdb_chainlock_unmark(t, d("a")));
	Q(tdb_chainlock_unmark(t, d("a")));
	R(tdb_lock_nonblock(t, 2, F_WRLCK));
	Q(tdb_unlock(t, 2, F_WRLCK));
	Q(tdb_unlock(t, 2, F_WRLCK));
	R(tdb_lock_nonblock(t, 77, F_WRLCK));
	R(tdb_transaction_write_lock_mark(t));
	R(tdb_transaction_write_lock_unmark(t));
	tdb_setalarm_sigptr(t, &signalled);
	R(tdb_chainlock(t, d("a")));
	Q(tdb_chainunlock(t, d("a")));
	close_it();
}

/* Another process holds a lock: what the non-blocking calls say. */
static void locks_of_others(int flags)
{
	int ready[2], done[2];
	char byte;
	heading("locks of another process");
	if (pipe(ready) || pipe(done))
		exit(9);
	t = open_as("others.tdb", 5, flags, O_RDWR | O_CREAT, NULL);
	R(tdb_store(t, d("a"), d("1"), 0));
	fflush(stdout);
	for (int kind = 0; kind < 4; kind++) {
		pid_t child = fork();
		if (!child) {
			int bad = tdb_reopen(t);
			bad |= kind == 0   ? tdb_chainlock(t, d("a"))
			       : kind == 1 ? tdb_lockall(t)
			       : kind == 2 ? tdb_lockall_read(t)
					   : tdb_transaction_start(t);
			if (write(ready[1], bad ? "!" : ".", 1) != 1 || read(done[0], &byte, 1) != 1)
				_exit(1);
			_exit(0);
		}
		if (read(ready[0], &byte, 1) != 1)
			exit(9);
		printf("the other holds lock %d %c\n", kind, byte);
		R(tdb_chainlock_nonblock(t, d("a")));
		R(tdb_chainlock_read_nonblock(t, d("a")));
		if (kind >= 2)
			R(tdb_chainunlock_read(t, d("a")));
		R(tdb_lockall_nonblock(t));
		R(tdb_lockall_read_nonblock(t));
		if (kind >= 2 && !(flags & TDB_MUTEX_LOCKING))
			R(tdb_unlockall_read(t));
		/* Not waiting means not for the transaction lock; for the records libtdb waits all the same. */
		if (kind == 3 || (kind == 2 && !(flags & TDB_MUTEX_LOCKING)))
			R(tdb_transaction_start_nonblock(t));
		if (kind == 2 && !(flags & TDB_MUTEX_LOCKING))
			R(tdb_transaction_cancel(t));
		if (write(done[1], ".", 1) != 1)
			exit(9);
		waitpid(child, NULL, 0);
		R(tdb_chainlock_nonblock(t, d("a")));
		R(tdb_chainunlock(t, d("a")));
	}
	close_it();
}

static void transactions(int flags)
{
	heading("transactions");
	t = open_as("transactions.tdb", 5, flags, O_RDWR | O_CREAT, NULL);
	R(tdb_get_flags(t));
	R(tdb_transaction_active(t));
	Q(tdb_transaction_cancel(t));
	Q(tdb_transaction_commit(t));
	Q(tdb_transaction_prepare_commit(t));
	R(tdb_transaction_start(t));
	R(tdb_transaction_active(t));
	R(tdb_store(t, d("a"), d("1"), 0));
	V(tdb_fetch(t, d("a")));
	R(tdb_lockall(t));
	R(tdb_chainlock(t, d("a")));
	R(tdb_chainunlock(t, d("a")));
	Q(tdb_transaction_cancel(t));
	R(tdb_transaction_active(t));
	V(tdb_fetch(t, d("a")));
	R(tdb_transaction_start_nonblock(t));
	R(tdb_store(t, d("a"), d("2"), 0));
	R(tdb_transaction_start(t));
	R(tdb_store(t, d("b"), d("2"), 0));
	Q(tdb_transaction_commit(t));
	Q(tdb_transaction_commit(t));
	V(tdb_fetch(t, d("a")));
	Q(tdb_transaction_commit(t));
	R(tdb_transaction_start(t));
	R(tdb_transaction_start(t));
	R(tdb_store(t, d("a"), d("3"), 0));
	Q(tdb_transaction_cancel(t));
	Q(tdb_transaction_commit(t));
	V(tdb_fetch(t, d("a")));
	R(tdb_transaction_start(t));
	R(tdb_store(t, d("a"), d("4"), 0));
	R(tdb_transaction_prepare_commit(t));
	R(tdb_transaction_prepare_commit(t));
	R(tdb_transaction_active(t));
	R(tdb_store(t, d("a"), d("5"), 0));
	Q(tdb_transaction_commit(t));
	R(tdb_transaction_active(t));
	if (tdb_transaction_active(t))
		Q(tdb_transaction_cancel(t));
	V(tdb_fetch(t, d("a")));
	R(tdb_transaction_start(t));
	R(tdb_store(t, d("a"), d("6"), 0));
	R(tdb_transaction_prepare_commit(t));
	Q(tdb_transaction_cancel(t));
	V(tdb_fetch(t, d("a")));
	R(tdb_transaction_start(t));
	R(tdb_traverse(t, delete_it, NULL) >= 0);
	R(tdb_wipe_all(t));
	R(tdb_store(t, d("c"), d("7"), 0));
	R(tdb_check(t, NULL, NULL));
	Q(tdb_transaction_commit(t));
	R(tdb_traverse(t, NULL, NULL));
	R(tdb_chainlock(t, d("a")));
	R(tdb_transaction_start(t));
	R(tdb_chainunlock(t, d("a")));
	R(tdb_lockall(t));
	R(tdb_transaction_start(t));
	R(tdb_unlockall(t));
	R(tdb_transaction_start(t));
	R(tdb_store(t, d("never committed"), d("8"), 0));
	close_it();
	t = open_as("transactions.tdb", 5, flags, O_RDWR, NULL);
	R(tdb_exists(t, d("never committed")));
	R(tdb_check(t, NULL, NULL));
	R(tdb_transaction_start(t));
	R(tdb_repack(t));
	Q(tdb_transaction_commit(t));
	R(tdb_traverse(t, NULL, NULL));
	close_it();
}

static void read_only(void)
{
	heading("read only");
	t = open_as("transactions.tdb", 0, 0, O_RDONLY, NULL);
	R(tdb_get_flags(t));
	R(tdb_store(t, d("a"), d("1"), 0));
	R(tdb_append(t, d("a"), d("1")));
	R(tdb_delete(t, d("c")));
	V(tdb_fetch(t, d("c")));
	R(tdb_transaction_start(t));
	R(tdb_wipe_all(t));
	R(tdb_repack(t));
	R(tdb_chainlock(t, d("a")));
	R(tdb_chainlock_read(t, d("a")));
	R(tdb_chainunlock_read(t, d("a")));
	R(tdb_lockall(t));
	R(tdb_lockall_read(t));
	R(tdb_unlockall_read(t));
	R(tdb_traverse(t, NULL, NULL));
	R(tdb_traverse_read(t, NULL, NULL));
	R(tdb_traverse(t, delete_it, NULL));
	R(tdb_check(t, NULL, NULL));
	close_it();
}

static void settings(void)
{
	heading("flags and settings");
	t = open_as("settings.tdb", 5, TDB_SEQNUM, O_RDWR | O_CREAT, NULL);
	R(tdb_get_seqnum(t));
	R(tdb_store(t, d("a"), d("1"), 0));
	R(tdb_store(t, d("a"), d("1"), 0));
	R(tdb_get_seqnum(t));
	R(tdb_append(t, d("a"), d("2")));
	R(tdb_delete(t, d("a")));
	R(tdb_get_seqnum(t));
	tdb_increment_seqnum_nonblock(t);
	R(tdb_get_seqnum(t));
	R(tdb_wipe_all(t));
	R(tdb_get_seqnum(t));
	R(tdb_transaction_start(t));
	R(tdb_store(t, d("a"), d("1"), 0));
	R(tdb_get_seqnum(t));
	R(tdb_transaction_commit(t));
	R(tdb_get_seqnum(t));
	close_it();
	t = open_as("settings.tdb", 5, 0, O_RDWR, NULL);
	R(tdb_get_seqnum(t));
	R(tdb_store(t, d("b"), d("1"), 0));
	R(tdb_get_seqnum(t));
	tdb_enable_seqnum(t);
	R(tdb_get_flags(t));
	R(tdb_store(t, d("b"), d("2"), 0));
	R(tdb_get_seqnum(t));
	tdb_add_flags(t, TDB_NOSYNC | TDB_ALLOW_NESTING);
	R(tdb_get_flags(t));
	tdb_add_flags(t, TDB_ALLOW_NESTING | TDB_DISALLOW_NESTING);
	R(tdb_get_flags(t));
	tdb_add_flags(t, TDB_DISALLOW_NESTING);
	R(tdb_get_flags(t));
	tdb_remove_flags(t, TDB_DISALLOW_NESTING);
	R(tdb_get_flags(t));
	tdb_remove_flags(t, TDB_ALLOW_NESTING);
	R(tdb_get_flags(t));
	tdb_add_flags(t, TDB_NOLOCK);
	R(tdb_get_flags(t));
	tdb_remove_flags(t, TDB_NOLOCK | TDB_NOSYNC | TDB_SEQNUM);
	R(tdb_get_flags(t));
	tdb_add_flags(t, TDB_VOLATILE);
	R(tdb_get_flags(t));
	tdb_set_max_dead(t, 3);
	for (int i = 0; i < 10; i++) {
		tdb_store(t, d("dead"), d("body"), 0);
		tdb_delete(t, d("dead"));
	}
	tdb_store(t, d("dead"), d("alive"), 0);
	V(tdb_fetch(t, d("dead")));
	R(tdb_check(t, NULL, NULL));
	tdb_set_logging_function(t, &counting);
	R(tdb_log_fn(t) == count_log);
	close_it();
}

static void forks(void)
{
	int status;
	heading("fork and reopen");
	t = open_as("fork.tdb", 5, TDB_CLEAR_IF_FIRST, O_RDWR | O_CREAT, NULL);
	R(tdb_store(t, d("a"), d("parent"), 0));
	R(tdb_reopen(t));
	V(tdb_fetch(t, d("a")));
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		R(tdb_reopen_all(0));
		V(tdb_fetch(t, d("a")));
		R(tdb_store(t, d("b"), d("child"), 0));
		close_it();
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, &status, 0);
	printf("child: %d\n", status);
	V(tdb_fetch(t, d("b")));
	R(tdb_reopen_all(1));
	V(tdb_fetch(t, d("b")));
	R(tdb_chainlock(t, d("a")));
	/* Refused, and the database is closed: it may not be touched any more. */
	int refused = tdb_reopen(t);
	t = NULL;
	printf("reopen with a lock held = %d", refused);
	told();
	t = open_as("fork.tdb", 5, TDB_CLEAR_IF_FIRST, O_RDWR | O_CREAT, NULL);
	V(tdb_fetch(t, d("b")));
	close_it();
}

static void mutexes(void)
{
	int flags = TDB_MUTEX_LOCKING | TDB_CLEAR_IF_FIRST | TDB_INCOMPATIBLE_HASH;
	heading("mutexes");
	t = open_as("mutex.tdb", 5, flags, O_RDWR | O_CREAT, NULL);
	R(tdb_get_flags(t));
	R(tdb_store(t, d("a"), d("1"), 0));
	R(tdb_chainlock(t, d("a")));
	R(tdb_chainlock_nonblock(t, d("a")));
	R(tdb_chainunlock(t, d("a")));
	R(tdb_chainunlock(t, d("a")));
	R(tdb_lockall(t));
	R(tdb_store(t, d("b"), d("2"), 0));
	R(tdb_unlockall(t));
	R(tdb_transaction_start(t));
	R(tdb_store(t, d("c"), d("3"), 0));
	R(tdb_transaction_commit(t));
	R(tdb_check(t, NULL, NULL));
	R(tdb_traverse(t, NULL, NULL));
	R(tdb_wipe_all(t));
	R(tdb_repack(t));
	R(tdb_check(t, NULL, NULL));
	R(tdb_store(t, d("d"), d("4"), 0));
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		R(tdb_reopen(t));
		V(tdb_fetch(t, d("d")));
		close_it();
		t = open_as("mutex.tdb", 5, 0, O_RDWR, NULL);
		if (t)
			R(tdb_get_flags(t));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	R(tdb_reopen(t));
	V(tdb_fetch(t, d("d")));
	close_it();
	try_open("mutex.tdb", 5, 0, O_RDWR, NULL);
	try_open("mutex.tdb", 5, TDB_NOLOCK, O_RDWR, NULL);
	try_open("mutex.tdb", 5, 0, O_RDONLY, NULL);
	t = open_as("mutex.tdb", 5, flags, O_RDWR, NULL);
	V(tdb_fetch(t, d("d")));
	close_it();
}

static void texts(void)
{
	heading("error texts");
	t = open_as("texts.tdb", 5, 0, O_RDWR | O_CREAT, NULL);
	printf("%s\n", tdb_errorstr(t));
	tdb_delete(t, d("absent"));
	printf("%s\n", tdb_errorstr(t));
	tdb_store(t, d("a"), d("1"), 0);
	tdb_store(t, d("a"), d("1"), TDB_INSERT);
	printf("%s\n", tdb_errorstr(t));
	close_it();
}

int main(int count, char **argument)
{
	if (count < 2)
		return 2;
	snprintf(folder, sizeof folder, "%s", argument[1]);
	setvbuf(stdout, NULL, _IOLBF, 4096);
	opening();
	records("records.tdb", 0);
	records("", TDB_INTERNAL);
	records("nommap.tdb", TDB_NOMMAP);
	records("nolock.tdb", TDB_NOLOCK | TDB_VOLATILE);
	records("jenkins2.tdb", TDB_INCOMPATIBLE_HASH | TDB_SEQNUM);
	records("foreign.tdb", TDB_CONVERT);
	locks();
	locks_of_others(0);
	transactions(0);
	transactions(TDB_NOSYNC | TDB_DISALLOW_NESTING | TDB_NOMMAP);
	read_only();
	settings();
	forks();
	mutexes();
	locks_of_others(TDB_MUTEX_LOCKING | TDB_CLEAR_IF_FIRST);
	texts();
	puts("done");
	return 0;
}

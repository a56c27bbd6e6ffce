/* Uses the database inside each kind of callback, and prints what each call answers. Linked with -ltdb; run once with
 * each library, both must print the same.
 *
 *   callbacks FOLDER [stay] */
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#include <tdb.h>

static struct tdb_context *t;
static int operation;
static int depth;
static char path[300];
static bool stay;

static TDB_DATA d(const char *s)
{
	TDB_DATA r = {(unsigned char *)s, strlen(s)};
	return r;
}

static void told(const char *name, int result)
{
	printf(" %s %d", name, result);
	if (result < 0)
		printf(" (error %d)", (int)tdb_error(t));
}

static int nothing(TDB_DATA key, TDB_DATA value, void *private)
{
	return 0;
}

static int visit_nothing(struct tdb_context *db, TDB_DATA key, TDB_DATA value, void *private)
{
	return 0;
}

static int parse_again(TDB_DATA key, TDB_DATA value, void *private);

/* Each operation ends with the locks it began with. */
static void operate(TDB_DATA key)
{
	static char large[100000];
	TDB_DATA big = {(unsigned char *)large, sizeof large};
	int r;

	switch (operation) {
	case 0:
		told("chainlock", r = tdb_chainlock(t, key));
		if (r == 0)
			told("unlock", tdb_chainunlock(t, key));
		break;
	case 1:
		told("chainlock", r = tdb_chainlock(t, key));
		told("store", tdb_store(t, key, d("a new value"), TDB_REPLACE));
		if (r == 0)
			told("unlock", tdb_chainunlock(t, key));
		break;
	case 2:
		told("store", tdb_store(t, key, d("new"), TDB_REPLACE));
		break;
	case 3:
		told("store another", tdb_store(t, d("another"), d("new"), TDB_REPLACE));
		break;
	case 4:
		told("delete", tdb_delete(t, key));
		break;
	case 5:
		told("delete another", tdb_delete(t, d("third")));
		break;
	case 6:
		told("append", tdb_append(t, key, d("more")));
		break;
	case 7:
		told("store much", tdb_store(t, d("much"), big, TDB_REPLACE));
		told("append much", tdb_append(t, key, big));
		break;
	case 8:
		told("chainlock_read", r = tdb_chainlock_read(t, key));
		if (r == 0)
			told("unlock", tdb_chainunlock_read(t, key));
		break;
	case 9:
		told("chainlock_nonblock", r = tdb_chainlock_nonblock(t, key));
		if (r == 0)
			told("unlock", tdb_chainunlock(t, key));
		break;
	case 10:
		told("lockall", r = tdb_lockall(t));
		if (r == 0)
			told("unlockall", tdb_unlockall(t));
		break;
	case 11:
		told("lockall_read", r = tdb_lockall_read(t));
		if (r == 0)
			told("unlockall_read", tdb_unlockall_read(t));
		break;
	case 12:
		told("transaction", r = tdb_transaction_start(t));
		if (r == 0)
			told("cancel", tdb_transaction_cancel(t));
		break;
	case 13:
		told("exists", tdb_exists(t, key));
		told("parse", tdb_parse_record(t, key, nothing, NULL));
		break;
	case 14:
		told("traverse_read", tdb_traverse_read(t, visit_nothing, NULL));
		break;
	case 15:
		told("traverse", tdb_traverse(t, visit_nothing, NULL));
		break;
	case 16:
		told("wipe", tdb_wipe_all(t));
		break;
	case 17:
		told("parse and store inside", tdb_parse_record(t, d("third"), parse_again, NULL));
		break;
	case 18:
		told("chain", tdb_traverse_key_chain(t, key, visit_nothing, NULL));
		break;
	case 19:
		told("chainlock another", r = tdb_chainlock(t, d("third")));
		if (r == 0)
			told("unlock", tdb_chainunlock(t, d("third")));
		break;
	}
}

static int parse_again(TDB_DATA key, TDB_DATA value, void *private)
{
	told("inner store", tdb_store(t, key, d("inner"), TDB_REPLACE));
	return 0;
}

static int parser(TDB_DATA key, TDB_DATA value, void *private)
{
	char before[6];
	memcpy(before, value.dptr, sizeof before);
	operate(key);
	/* The bytes stay as they were until the parser returns, whatever became of the record; libtdb's move with the file. */
	if (stay && memcmp(before, value.dptr, sizeof before) != 0)
		printf(" CHANGED");
	printf(" had %.6s", before);
	return 0;
}

static int visitor(struct tdb_context *db, TDB_DATA key, TDB_DATA value, void *private)
{
	if (depth++ == 0)
		operate(d("first"));
	return 0;
}

static int checker(TDB_DATA key, TDB_DATA value, void *private)
{
	if (depth++ == 0)
		operate(d("first"));
	return 0;
}

static void logger(struct tdb_context *db, enum tdb_debug_level level, const char *format, ...)
{
	if (t && depth++ == 0)
		operate(d("first"));
}

static const char *kinds[] = {"parser",	 "traverse", "traverse_read", "traverse_chain", "check",
			      "locked parser", "parser in transaction", "log"};

static void run(int flags, unsigned kind)
{
	struct tdb_logging_context log = {logger, NULL};

	t = NULL;
	unlink(path);
	t = tdb_open_ex(path, 1009, flags, O_RDWR | O_CREAT, 0600, &log, NULL);
	if (!t) {
		printf("cannot be opened\n");
		exit(1);
	}
	depth = 100; /* the log stays quiet */
	tdb_store(t, d("first"), d("value of the first"), 0);
	tdb_store(t, d("second"), d("value of the second"), 0);
	tdb_store(t, d("third"), d("value of the third"), 0);
	printf("flags %d %s:", flags, kinds[kind]);
	if (kind == 0 || kind == 4)
		depth = 0;
	switch (kind) {
	case 0:
		told("=", tdb_parse_record(t, d("first"), parser, NULL));
		break;
	case 1:
		depth = 0;
		told("=", tdb_traverse(t, visitor, NULL) < 0 ? -1 : 0);
		break;
	case 2:
		depth = 0;
		told("=", tdb_traverse_read(t, visitor, NULL) < 0 ? -1 : 0);
		break;
	case 3:
		depth = 0;
		told("=", tdb_traverse_key_chain(t, d("first"), visitor, NULL) < 0 ? -1 : 0);
		break;
	case 4:
		told("=", tdb_check(t, checker, NULL));
		break;
	case 5:
		tdb_chainlock(t, d("first"));
		told("=", tdb_parse_record(t, d("first"), parser, NULL));
		told("unlock", tdb_chainunlock(t, d("first")));
		break;
	case 6:
		told("start", tdb_transaction_start(t));
		told("=", tdb_parse_record(t, d("first"), parser, NULL));
		told("commit", tdb_transaction_commit(t));
		break;
	case 7:
		depth = 0;
		/* Refused with a message: no such flag combination. */
		tdb_add_flags(t, TDB_ALLOW_NESTING | TDB_DISALLOW_NESTING);
		break;
	}
	depth = 100;
	printf(";");
	for (int i = 0; i < 4; i++) {
		static const char *keys[] = {"first", "third", "another", "much"};
		TDB_DATA v = tdb_fetch(t, d(keys[i]));
		printf(" %s=%.*s/%zu", keys[i], v.dsize > 20 ? 20 : (int)v.dsize, v.dptr ? (char *)v.dptr : "", v.dsize);
		free(v.dptr);
	}
	if (!(flags & TDB_INTERNAL))
		told(" check", tdb_check(t, NULL, NULL));
	putchar('\n');
	tdb_close(t);
}

int main(int argc, char **argv)
{
	static const int all_flags[] = {TDB_DEFAULT, TDB_CLEAR_IF_FIRST | TDB_MUTEX_LOCKING | TDB_INCOMPATIBLE_HASH,
					TDB_NOLOCK,  TDB_INTERNAL,
					TDB_NOMMAP,  TDB_SEQNUM};

	snprintf(path, sizeof path, "%s/callbacks.tdb", argv[1]);
	stay = argc > 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned f = 0; f < sizeof all_flags / sizeof *all_flags; f++)
		for (unsigned kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
			for (operation = 0; operation < 20; operation++) {
				if (all_flags[f] == TDB_INTERNAL && kind == 6)
					continue; /* no transactions in memory */
				printf("%d ", operation);
				run(all_flags[f], kind);
			}
	puts("done");
	return 0;
}

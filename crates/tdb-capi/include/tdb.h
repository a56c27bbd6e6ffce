/* The C interface of libtdb.so.1: a small database in one file that many processes write at once.
 *
 * Names, types and numbers are libtdb's, so that programs compile and link against either library. What a function does
 * in detail, and where this library differs from Samba's, is in docs/c-library.md.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef TDB_H
#define TDB_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How tdb_store treats a key that is there, or is not. */
#define TDB_REPLACE 1 /* stores in either case */
#define TDB_INSERT 2  /* fails if the key is there */
#define TDB_MODIFY 3  /* fails if the key is not there */

/* How a database is opened. */
#define TDB_DEFAULT 0
#define TDB_CLEAR_IF_FIRST 1       /* whoever is the first to open it empties it */
#define TDB_INTERNAL 2             /* in memory, without a file */
#define TDB_NOLOCK 4               /* nobody else has it open */
#define TDB_NOMMAP 8               /* read and write instead of mapping the file */
#define TDB_CONVERT 16             /* make a file of the other byte order; shown by tdb_get_flags for such a file */
#define TDB_BIGENDIAN 32           /* shown by tdb_get_flags */
#define TDB_NOSYNC 64              /* transactions need not survive a crash of the machine */
#define TDB_SEQNUM 128             /* count changes */
#define TDB_VOLATILE 256           /* records come and go often */
#define TDB_ALLOW_NESTING 512      /* transactions nest: the default */
#define TDB_DISALLOW_NESTING 1024  /* they do not */
#define TDB_INCOMPATIBLE_HASH 2048 /* the better hash function, for new files */
#define TDB_MUTEX_LOCKING 4096     /* lock chains by mutexes in the file */

enum TDB_ERROR {
	TDB_SUCCESS = 0,
	TDB_ERR_CORRUPT = 1,
	TDB_ERR_IO = 2,
	TDB_ERR_LOCK = 3,
	TDB_ERR_OOM = 4,
	TDB_ERR_EXISTS = 5,
	TDB_ERR_NOLOCK = 6,
	TDB_ERR_LOCK_TIMEOUT = 7,
	TDB_ERR_NOEXIST = 8,
	TDB_ERR_EINVAL = 9,
	TDB_ERR_RDONLY = 10,
	TDB_ERR_NESTING = 11
};

enum tdb_debug_level { TDB_DEBUG_FATAL = 0, TDB_DEBUG_ERROR = 1, TDB_DEBUG_WARNING = 2, TDB_DEBUG_TRACE = 3 };

/* Bytes somewhere: a key or a value. */
typedef struct TDB_DATA {
	unsigned char *dptr;
	size_t dsize;
} TDB_DATA;

/* No bytes at all; dptr is NULL. */
extern TDB_DATA tdb_null;

struct tdb_context;
typedef struct tdb_context TDB_CONTEXT;

#ifdef __GNUC__
#define TDB_PRINTF __attribute__((format(printf, 3, 4)))
#else
#define TDB_PRINTF
#endif

/* Not 0 ends the traverse. */
typedef int (*tdb_traverse_func)(struct tdb_context *, TDB_DATA key, TDB_DATA value, void *private_data);
typedef void (*tdb_log_func)(struct tdb_context *, enum tdb_debug_level, const char *format, ...) TDB_PRINTF;
typedef unsigned int (*tdb_hash_func)(TDB_DATA *key);

struct tdb_logging_context {
	tdb_log_func log_fn;
	void *log_private;
};

/* Opening and closing. NULL after a failure, with errno. hash_size 0 stands for the usual 131. */
struct tdb_context *tdb_open(const char *name, int hash_size, int tdb_flags, int open_flags, mode_t mode);
struct tdb_context *tdb_open_ex(const char *name, int hash_size, int tdb_flags, int open_flags, mode_t mode,
				const struct tdb_logging_context *log_ctx, tdb_hash_func hash_fn);
int tdb_close(struct tdb_context *tdb);
/* In a child after fork. A failure closes the database. */
int tdb_reopen(struct tdb_context *tdb);
int tdb_reopen_all(int parent_longlived);

/* Messages. */
void tdb_set_logging_function(struct tdb_context *tdb, const struct tdb_logging_context *log_ctx);
void tdb_logging_function(struct tdb_context *tdb, tdb_log_func log_fn);
tdb_log_func tdb_log_fn(struct tdb_context *tdb);
void *tdb_get_logging_private(struct tdb_context *tdb);

/* The last failure. */
enum TDB_ERROR tdb_error(struct tdb_context *tdb);
const char *tdb_errorstr(struct tdb_context *tdb);

/* Records. What tdb_fetch returns is freed by the caller; a parser's value is good during its call only. Functions that
 * return int answer 0, or -1 after a failure, unless said otherwise. */
TDB_DATA tdb_fetch(struct tdb_context *tdb, TDB_DATA key);
int tdb_parse_record(struct tdb_context *tdb, TDB_DATA key,
		     int (*parser)(TDB_DATA key, TDB_DATA value, void *private_data), void *private_data);
int tdb_exists(struct tdb_context *tdb, TDB_DATA key); /* 1 or 0 */
int tdb_store(struct tdb_context *tdb, TDB_DATA key, TDB_DATA value, int how);
int tdb_storev(struct tdb_context *tdb, TDB_DATA key, const TDB_DATA *parts, int part_count, int how);
int tdb_append(struct tdb_context *tdb, TDB_DATA key, TDB_DATA more);
int tdb_delete(struct tdb_context *tdb, TDB_DATA key);
int tdb_wipe_all(struct tdb_context *tdb);
int tdb_repack(struct tdb_context *tdb);

/* Many records: how many were shown, or -1. Keys of a walk are freed by the caller. */
int tdb_traverse(struct tdb_context *tdb, tdb_traverse_func show, void *private_data);
int tdb_traverse_read(struct tdb_context *tdb, tdb_traverse_func show, void *private_data);
int tdb_traverse_chain(struct tdb_context *tdb, unsigned chain, tdb_traverse_func show, void *private_data);
int tdb_traverse_key_chain(struct tdb_context *tdb, TDB_DATA key, tdb_traverse_func show, void *private_data);
TDB_DATA tdb_firstkey(struct tdb_context *tdb);
TDB_DATA tdb_nextkey(struct tdb_context *tdb, TDB_DATA key);

/* Locks. "mark" counts a lock as held that another process holds on our behalf. */
int tdb_chainlock(struct tdb_context *tdb, TDB_DATA key);
int tdb_chainlock_nonblock(struct tdb_context *tdb, TDB_DATA key);
int tdb_chainunlock(struct tdb_context *tdb, TDB_DATA key);
int tdb_chainlock_read(struct tdb_context *tdb, TDB_DATA key);
int tdb_chainlock_read_nonblock(struct tdb_context *tdb, TDB_DATA key);
int tdb_chainunlock_read(struct tdb_context *tdb, TDB_DATA key);
int tdb_chainlock_mark(struct tdb_context *tdb, TDB_DATA key);
int tdb_chainlock_unmark(struct tdb_context *tdb, TDB_DATA key);
int tdb_lockall(struct tdb_context *tdb);
int tdb_lockall_nonblock(struct tdb_context *tdb);
int tdb_unlockall(struct tdb_context *tdb);
int tdb_lockall_read(struct tdb_context *tdb);
int tdb_lockall_read_nonblock(struct tdb_context *tdb);
int tdb_unlockall_read(struct tdb_context *tdb);
int tdb_lockall_mark(struct tdb_context *tdb);
int tdb_lockall_unmark(struct tdb_context *tdb);
/* While *flag is not 0, a signal ends the wait for a lock. */
void tdb_setalarm_sigptr(struct tdb_context *tdb, volatile sig_atomic_t *flag);
bool tdb_runtime_check_for_robust_mutexes(void);

/* Transactions. */
int tdb_transaction_start(struct tdb_context *tdb);
int tdb_transaction_start_nonblock(struct tdb_context *tdb);
int tdb_transaction_prepare_commit(struct tdb_context *tdb);
int tdb_transaction_commit(struct tdb_context *tdb);
int tdb_transaction_cancel(struct tdb_context *tdb);
bool tdb_transaction_active(struct tdb_context *tdb);

/* What a database is, and how it is set. */
const char *tdb_name(struct tdb_context *tdb);
int tdb_fd(struct tdb_context *tdb);
int tdb_hash_size(struct tdb_context *tdb);
size_t tdb_map_size(struct tdb_context *tdb);
int tdb_get_flags(struct tdb_context *tdb);
void tdb_add_flags(struct tdb_context *tdb, unsigned flags);
void tdb_remove_flags(struct tdb_context *tdb, unsigned flags);
void tdb_set_max_dead(struct tdb_context *tdb, int max_dead);
int tdb_get_seqnum(struct tdb_context *tdb);
void tdb_enable_seqnum(struct tdb_context *tdb);
void tdb_increment_seqnum_nonblock(struct tdb_context *tdb);
/* For tdb_open_ex. */
unsigned int tdb_jenkins_hash(TDB_DATA *key);

/* Looking at a whole file. A callback that answers other than 0 makes the check fail. */
int tdb_check(struct tdb_context *tdb, int (*accept)(TDB_DATA key, TDB_DATA value, void *private_data),
	      void *private_data);
int tdb_rescue(struct tdb_context *tdb, void (*show)(TDB_DATA key, TDB_DATA value, void *private_data),
	       void *private_data);
char *tdb_summary(struct tdb_context *tdb); /* the caller frees it */
int tdb_freelist_size(struct tdb_context *tdb);
int tdb_validate_freelist(struct tdb_context *tdb, int *record_count);
int tdb_printfreelist(struct tdb_context *tdb);
void tdb_dump_all(struct tdb_context *tdb);

#ifdef __cplusplus
}
#endif

#endif

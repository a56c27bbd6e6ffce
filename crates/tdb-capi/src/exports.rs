//! The names that the loader finds, each with the version that `libtdb.map` gives it.
//!
//! rustc passes the linker a version script of its own, in which every `#[no_mangle]` name has no version, and the first
//! script that names a symbol wins. So the exported names are made here, in assembly, where rustc does not see
//! them, and each jumps to its function. A name in `libtdb.map` that is missing here fails the link.

use std::arch::global_asm;

use crate::{locks, logging, open, records, settings, transaction, traverse, whole};

#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    () => {
        "jmp {function}"
    };
}

#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    () => {
        "b {function}"
    };
}

macro_rules! export {
    ($($module:ident: $($name:ident)+;)+) => { $($(
        global_asm!(
            concat!(".globl ", stringify!($name)),
            concat!(".type ", stringify!($name), ",@function"),
            concat!(stringify!($name), ":"),
            jump!(),
            concat!(".size ", stringify!($name), ", . - ", stringify!($name)),
            function = sym $module::$name,
        );
    )+)+ };
}

export! {
    open: tdb_open tdb_open_ex tdb_close tdb_reopen tdb_reopen_all;
    records: tdb_fetch tdb_parse_record tdb_exists tdb_delete tdb_store tdb_storev tdb_append tdb_wipe_all;
    traverse: tdb_traverse tdb_traverse_read tdb_traverse_chain tdb_traverse_key_chain tdb_firstkey tdb_nextkey;
    locks: tdb_chainlock tdb_chainlock_nonblock tdb_chainunlock tdb_chainlock_read tdb_chainlock_read_nonblock
        tdb_chainunlock_read tdb_chainlock_mark tdb_chainlock_unmark tdb_lockall tdb_lockall_nonblock tdb_unlockall
        tdb_lockall_read tdb_lockall_read_nonblock tdb_unlockall_read tdb_lockall_mark tdb_lockall_unmark
        tdb_transaction_write_lock_mark tdb_transaction_write_lock_unmark tdb_lock_nonblock tdb_unlock
        tdb_setalarm_sigptr;
    transaction: tdb_transaction_start tdb_transaction_start_nonblock tdb_transaction_prepare_commit
        tdb_transaction_commit tdb_transaction_cancel tdb_transaction_active;
    settings: tdb_error tdb_errorstr tdb_name tdb_fd tdb_hash_size tdb_map_size tdb_get_flags tdb_add_flags
        tdb_remove_flags tdb_set_max_dead tdb_get_seqnum tdb_enable_seqnum tdb_increment_seqnum_nonblock
        tdb_jenkins_hash tdb_runtime_check_for_robust_mutexes;
    logging: tdb_set_logging_function tdb_logging_function tdb_log_fn tdb_get_logging_private;
    whole: tdb_check tdb_rescue tdb_repack tdb_summary tdb_dump_all tdb_printfreelist tdb_validate_freelist
        tdb_freelist_size;
}

// `tdb_null`: 16 zero bytes that programs compare with and pass on. Writable, as in libtdb: a program may hold a copy of
// it (a copy relocation), and then this one is not looked at.
global_asm!(
    ".pushsection .bss.tdb_null,\"aw\",@nobits",
    ".p2align 3",
    ".globl tdb_null",
    ".type tdb_null,@object",
    "tdb_null:",
    ".zero 16",
    ".size tdb_null, 16",
    ".popsection",
);

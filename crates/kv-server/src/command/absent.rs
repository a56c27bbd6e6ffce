//! Commands of Redis that the service does not have, so that an error can say so rather than that nobody knows them.

use crate::session::{Arguments, Refusal};

/// What is missing, and the commands that need it.
const ABSENT: &[(&str, &str)] = &[
    ("bitmaps", "BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS GETBIT SETBIT"),
    ("Redis Cluster: any server takes any command", "ASKING CLUSTER READONLY READWRITE"),
    ("serialized values", "DUMP RESTORE RESTORE-ASKING MIGRATE"),
    ("moving keys between databases", "MOVE SWAPDB"),
    ("sorting", "SORT SORT_RO"),
    (
        "geographic indexes",
        "GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH \
         GEOSEARCHSTORE",
    ),
    (
        "these operations on hashes yet",
        "HEXPIRE HEXPIREAT HEXPIRETIME HGETDEL HGETEX HPERSIST HPEXPIRE HPEXPIREAT HPEXPIRETIME HPTTL \
         HSETEX HTTL",
    ),
    ("HyperLogLog", "PFADD PFCOUNT PFDEBUG PFMERGE PFSELFTEST"),
    (
        "lists",
        "LINDEX LINSERT LLEN LMOVE LMPOP LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM RPOP RPOPLPUSH RPUSH RPUSHX",
    ),
    ("blocking operations", "BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN WAITAOF"),
    ("sharded channels; use PUBLISH and SUBSCRIBE", "SPUBLISH SSUBSCRIBE SUNSUBSCRIBE"),
    ("functions; use EVAL", "FCALL FCALL_RO FUNCTION"),
    ("modules", "MODULE"),
    ("a monitor of all commands", "MONITOR"),
    (
        "Redis's replication and persistence: every write is on disk at a quorum when it is answered",
        "BGREWRITEAOF BGSAVE FAILOVER LASTSAVE PSYNC REPLCONF REPLICAOF SAVE SLAVEOF SYNC",
    ),
    ("SHUTDOWN for clients; stop the server with SIGTERM", "SHUTDOWN"),
    ("LOLWUT", "LOLWUT"),
    ("the longest common subsequence", "LCS"),
    (
        "sets",
        "SADD SCARD SDIFF SDIFFSTORE SINTER SINTERCARD SINTERSTORE SISMEMBER SMEMBERS SMISMEMBER SMOVE SPOP SRANDMEMBER \
         SREM SSCAN SUNION SUNIONSTORE",
    ),
    (
        "sorted sets",
        "ZADD ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ZINTER ZINTERCARD ZINTERSTORE ZLEXCOUNT ZMPOP ZMSCORE ZPOPMAX \
         ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK \
         ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION ZUNIONSTORE",
    ),
    (
        "streams",
        "XACK XACKDEL XADD XAUTOCLAIM XCLAIM XDEL XDELEX XGROUP XINFO XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE \
         XSETID XTRIM",
    ),
];

/// Why a command that was not found is refused. The beginning is what clients look for.
pub fn refusal(arguments: Arguments<'_>) -> Refusal {
    let name = &arguments[0][..arguments[0].len().min(128)];
    let shown = name.escape_ascii();
    let capitals = name.to_ascii_uppercase();
    let absent = |(_, names): &&(&str, &str)| names.split(' ').any(|name| name.as_bytes() == capitals);
    match ABSENT.iter().find(absent) {
        Some((what, _)) => format!("ERR unknown command '{shown}': this service does not have {what}").into(),
        None if capitals.contains(&b'.') => {
            format!("ERR unknown command '{shown}': this service does not have modules").into()
        }
        None => format!("ERR unknown command '{shown}'").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S4: what the service lacks is refused by name and kind; nothing that it has is on the list.
    #[test]
    fn absent_commands_are_named_and_present_ones_are_not_on_the_list() {
        let refused = |name: &[u8]| refusal(&[name]).into_owned();
        assert_eq!(refused(b"lpush"), "ERR unknown command 'lpush': this service does not have lists");
        assert!(refused(b"XADD").contains("streams") && refused(b"JSON.GET").contains("modules"));
        assert_eq!(refused(b"nonsense\r\n"), "ERR unknown command 'nonsense\\r\\n'");
        for name in ABSENT.iter().flat_map(|(_, names)| names.split(' ')) {
            let present =
                kv::find(name.as_bytes()).is_some() || super::super::find(name.as_bytes()).is_some();
            assert!(!present && !name.is_empty(), "{name:?} is both absent and present");
        }
    }
}

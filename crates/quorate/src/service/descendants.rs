//! The processes that a command has started, and those that they have: all of them hold what it holds.
//!
//! Whoever loses its parent becomes a child of this process ([`adopt`]), so that none gets away, whatever group or session it is in.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

/// Between two looks at them.
const TICK: Duration = Duration::from_millis(20);

/// Makes orphans of later children this process's own.
///
/// # Errors
/// The kernel's.
pub fn adopt() -> std::io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Sends a signal to all of them.
pub fn signal(signal: Signal) {
    for pid in running() {
        // One that has just ended needs no signal.
        let _ = kill_process(pid, signal);
    }
}

/// Sends a signal to one of them.
pub fn signal_one(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let _ = pid.map(|pid| kill_process(pid, signal));
}

/// Waits until none runs any more, or for so long.
pub fn end_within(patience: Duration) -> bool {
    let end = Instant::now() + patience;
    while !running().is_empty() {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(TICK);
    }
    true
}

/// Kills all of them: again and again, since they may start others meanwhile.
pub fn kill() {
    while !running().is_empty() {
        signal(Signal::KILL);
        std::thread::sleep(TICK);
    }
}

/// Lets those go that have ended and became this process's own; `command` is waited for elsewhere.
pub fn reap(command: u32) {
    let own = getpid().as_raw_nonzero().get();
    for (pid, has_ended) in children().remove(&own).unwrap_or_default() {
        if has_ended && pid.unsigned_abs() != command {
            let _ = Pid::from_raw(pid).map(|pid| waitpid(Some(pid), WaitOptions::NOHANG));
        }
    }
}

/// Those that have not ended.
fn running() -> Vec<Pid> {
    let mut children = children();
    let mut found = Vec::new();
    let mut parents = vec![getpid().as_raw_nonzero().get()];
    while let Some(parent) = parents.pop() {
        for (pid, has_ended) in children.remove(&parent).unwrap_or_default() {
            parents.push(pid);
            found.extend(Pid::from_raw(pid).filter(|_| !has_ended));
        }
    }
    found
}

/// The processes of this machine by their parents; of each, whether it has ended and is only waited for.
fn children() -> HashMap<i32, Vec<(i32, bool)>> {
    let mut children: HashMap<i32, Vec<(i32, bool)>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some((has_ended, parent)) = state_and_parent(&stat) {
            children.entry(parent).or_default().push((pid, has_ended));
        }
    }
    children
}

/// From the line in `/proc/PID/stat` (proc(5)).
fn state_and_parent(stat: &str) -> Option<(bool, i32)> {
    // The name before it may have blanks and parentheses.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    Some((matches!(state, "Z" | "X"), fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::state_and_parent;

    #[test]
    fn a_name_with_parentheses_hides_nothing() {
        assert_eq!(state_and_parent("7 (a) Z 1 (b)) S 42 7 7 0 -1"), Some((false, 42)));
        assert_eq!(state_and_parent("7 (sh) Z 3 7 7 0 -1"), Some((true, 3)));
        assert_eq!(state_and_parent(""), None);
    }
}

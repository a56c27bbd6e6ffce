//! Whether what clients saw can have happened in one order that keeps the times.
//!
//! Registers go to the search of `history`. Objects that number their own writes need no search: the numbers are the order,
//! and it only has to agree with the times and with what was found.

use history::linearizability::{Answer, Check, check};

use crate::clients::{Balances, ELEMENT, Held, Placed, Seen};

/// What is wrong with a history; nothing if it can have happened.
pub fn contradictions(seen: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    check(&seen.registers, &Check::default(), |key, answer| {
        if !matches!(answer, Answer::Witness(_)) {
            wrong.push(format!("register {key}: {answer:?}"));
        }
    });
    for (nth, counter) in seen.counters.iter().enumerate() {
        wrong.extend(order(counter).map(|what| format!("counter {nth}: {what}")));
    }
    for nth in 0..seen.lists.len() {
        let list = order(&seen.lists[nth]).or_else(|| contents(&seen.contents[nth], &seen.appended[nth]));
        wrong.extend(list.map(|what| format!("list {nth}: {what}")));
    }
    wrong.extend(order(&seen.transfers).map(|what| format!("transfers: {what}")));
    wrong.extend(balances(&seen.balances).map(|what| format!("accounts: {what}")));
    wrong.extend(locks(&seen.held));
    wrong.extend(fences(seen));
    wrong
}

/// The order by number agrees with the times, no two writes have a number, and there are as many unknown ones as numbers that
/// nobody was told.
fn order(operations: &[Placed]) -> Option<String> {
    let mut known: Vec<(u64, &Placed)> = operations
        .iter()
        // A read comes after the write that it shows, and before the next.
        .filter_map(|operation| Some((2 * operation.at? + u64::from(!operation.writes), operation)))
        .collect();
    known.sort_by_key(|(place, _)| *place);
    let mut earliest = u64::MAX;
    for group in known.chunk_by(|one, other| one.0 == other.0).rev() {
        if group.len() > 1 && group[0].1.writes {
            return Some(format!("two writes have one place: {group:?}"));
        }
        if let Some((_, late)) = group.iter().find(|(_, operation)| operation.span.invoked > earliest) {
            return Some(format!(
                "{late:?} was called after one that shows more had returned, at {earliest}"
            ));
        }
        earliest = group.iter().map(|(_, operation)| operation.span.returned).fold(earliest, u64::min);
    }
    let last = known.last().map_or(0, |(place, _)| place / 2);
    let told =
        operations.iter().filter(|operation| operation.writes && operation.at.is_some()).count() as u64;
    let unknown =
        operations.iter().filter(|operation| operation.writes && operation.at.is_none()).count() as u64;
    (last > told + unknown || last < told)
        .then(|| format!("there are {last} writes, {told} were acknowledged and {unknown} are unknown"))
}

/// Every read of a list is a beginning of the longest; what was acknowledged is in it once, what was refused is not.
fn contents(reads: &[Vec<u8>], appended: &[(u64, Option<bool>)]) -> Option<String> {
    let longest = reads.iter().max_by_key(|read| read.len())?;
    if let Some(read) = reads.iter().find(|read| !longest.starts_with(read)) {
        return Some(format!("{} is not how {} begins", read.escape_ascii(), longest.escape_ascii()));
    }
    let elements: Vec<u64> = longest
        .chunks(ELEMENT)
        .map(|text| std::str::from_utf8(&text[..ELEMENT - 1]).unwrap().parse().unwrap())
        .collect();
    appended.iter().find_map(|(element, outcome)| {
        let count = elements.iter().filter(|found| *found == element).count();
        let is_right = match outcome {
            Some(true) => count == 1,
            Some(false) => count == 0,
            None => count <= 1,
        };
        (!is_right).then(|| format!("{element} is there {count} times; its outcome: {outcome:?}"))
    })
}

/// Nothing is made or lost, and what transfers left and reads found at one place agrees.
fn balances(seen: &[Balances]) -> Option<String> {
    let mut known = std::collections::BTreeMap::new();
    for Balances { at, of } in seen {
        let is_whole = of.len() == crate::clients::ACCOUNTS;
        let sum: i64 = of.iter().map(|(_, balance)| balance).sum();
        if is_whole && sum != 0 {
            return Some(format!("after transfer {at} the accounts hold {sum}: {of:?}"));
        }
        for &(account, balance) in of {
            let told = *known.entry((at, account)).or_insert(balance);
            if told != balance {
                return Some(format!("after transfer {at} account {account} holds {told} and {balance}"));
            }
        }
    }
    None
}

/// Nobody is given a lock that another can still hold: not before its time is over, unless its holder gives it back.
fn locks(held: &[Held]) -> Vec<String> {
    let mut sorted: Vec<&Held> = held.iter().collect();
    sorted.sort_by_key(|one| (one.lock, one.revision));
    let early = sorted.array_windows().filter(|[one, next]| {
        let over = one.span.invoked + one.lasts_micros;
        let free = one.released.map_or(over, |released| released.min(over));
        one.lock == next.lock && (next.revision == one.revision || next.span.returned < free)
    });
    early.map(|[one, next]| format!("{next:?} was given what {one:?} held")).collect()
}

/// How late a lock that ended by itself was given to the next, at most: microseconds after its time was over for certain.
pub fn latest_expiry(held: &[Held]) -> u64 {
    let mut sorted: Vec<&Held> = held.iter().collect();
    sorted.sort_by_key(|one| (one.lock, one.revision));
    let late = sorted.array_windows().filter(|[one, next]| one.lock == next.lock && one.released.is_none());
    late.map(|[one, next]| next.span.returned.saturating_sub(one.span.returned + one.lasts_micros))
        .max()
        .unwrap_or(0)
}

/// A guarded write is let through or not as its token says: tokens that were let through only grow, in the order of times, and
/// one is refused only because a greater one was let through.
fn fences(seen: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    for (lock, token, _, span) in seen.guarded.iter().filter(|(_, _, is_let_through, _)| *is_let_through) {
        let later = seen.guarded.iter().find(|(other, other_token, other_through, other_span)| {
            other == lock && *other_through && other_token > token && other_span.returned < span.invoked
        });
        wrong.extend(
            later.map(|later| format!("token {token} of lock {lock} was let through after {later:?}")),
        );
    }
    wrong
}

//! What `quorate status` prints for people: a verdict, a table of the servers, and what only the asked server knows.

use std::io::{Result, Write};

use super::{Other, Report, host, recovery, skew_of};

/// The columns: server, role, reachable, vote, database, clock.
type Row = [String; 6];

/// Prints all of it.
///
/// # Errors
/// The output's.
pub(super) fn print(out: &mut impl Write, report: &Report) -> Result<()> {
    writeln!(out, "{}", verdict(report))?;
    let headings = ["server", "role", "reached", "vote", "database", "clock"].map(str::to_owned);
    let mut rows = vec![headings, asked(report)];
    rows.extend(report.others.iter().map(|other| another(report, other)));
    print_rows(out, &rows)?;
    print_details(out, report)
}

/// OK, or DEGRADED with every reason.
fn verdict(report: &Report) -> String {
    let site = &report.answer.site;
    if !report.complaints.is_empty() {
        return format!("DEGRADED: {}", report.complaints.join("; "));
    }
    let sync_site =
        if site.is_sync_site { report.peer.ip().to_string() } else { host(site.sync_host).to_string() };
    format!("OK: {sync_site} is sync site of {} servers", site.servers)
}

/// The row of the server that was asked.
fn asked(report: &Report) -> Row {
    let site = &report.answer.site;
    let role = match site.sync_host {
        _ if site.is_sync_site => "sync site".to_owned(),
        _ if site.is_clone => "clone".to_owned(),
        _ if !report.answer.stands => "only votes".to_owned(),
        0 => "knows no sync site".to_owned(),
        _ => "follower".to_owned(),
    };
    let vote = if site.last_yes_time == 0 || site.last_yes_host == u32::MAX {
        "none since its start".to_owned()
    } else {
        format!("for {} {}", host(site.last_yes_host), ago(site.now, site.last_yes_time))
    };
    let clock = "(compared with this)".to_owned();
    [report.peer.ip().to_string(), role, "yes".to_owned(), vote, site.local_version.to_string(), clock]
}

/// The row of another server: what the asked one knows of it, and what it says itself.
fn another(report: &Report, other: &Other) -> Row {
    let (now, debug) = (report.answer.site.now, &other.debug);
    let reached = match (debug.up, &other.own) {
        (false, _) => "DOWN".to_owned(),
        (true, Some(_)) => "yes".to_owned(),
        (true, None) => "not by this command".to_owned(),
    };
    let vote = match (debug.last_beacon_sent, debug.last_vote) {
        _ if debug.is_clone => "-".to_owned(),
        (0, _) => "not asked".to_owned(),
        (at, true) => format!("yes {}", ago(now, at)),
        (at, false) => format!("NO {}", ago(now, at)),
    };
    let clock = skew_of(report, other)
        .map_or_else(|| "unknown".to_owned(), |(skew, uncertain)| format!("{skew:+.1} s (±{uncertain:.1})"));
    [host(debug.address).to_string(), role(other), reached, vote, database(report, other), clock]
}

fn role(other: &Other) -> String {
    let own = other.own.as_ref();
    match own.map(|own| own.site.sync_host) {
        _ if own.is_some_and(|own| own.site.is_sync_site) => "sync site".to_owned(),
        _ if other.debug.is_clone => "clone".to_owned(),
        _ if own.is_some_and(|own| !own.stands) => "only votes".to_owned(),
        Some(0) => "knows no sync site".to_owned(),
        Some(_) => "follower".to_owned(),
        None => "unknown".to_owned(),
    }
}

/// By its own word if it was heard, else as the sync site has it.
fn database(report: &Report, other: &Other) -> String {
    let of_sync_site = report.answer.site.is_sync_site;
    let version = match &other.own {
        Some(own) => own.site.local_version.to_string(),
        None if of_sync_site => other.debug.remote_version.to_string(),
        None => "unknown".to_owned(),
    };
    match (of_sync_site, other.debug.current) {
        (false, _) => version,
        (true, true) => format!("{version}, in step"),
        (true, false) => format!("{version}, OUT OF STEP"),
    }
}

fn print_rows(out: &mut impl Write, rows: &[Row]) -> Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// What the asked server alone knows.
fn print_details(out: &mut impl Write, report: &Report) -> Result<()> {
    let site = &report.answer.site;
    let addresses: Vec<String> = site.addresses.iter().map(|&address| host(address).to_string()).collect();
    writeln!(out, "{}: addresses {}", report.peer, addresses.join(", "))?;
    if site.is_sync_site {
        let left = site.sync_site_until.saturating_sub(site.now);
        writeln!(out, "  is sync site for {left} s more unless votes renew it")?;
        writeln!(out, "  recovery: {} (0x{:x})", recovery(site.recovery_state), site.recovery_state)?;
    } else if site.sync_host != 0 {
        let heard = ago(site.now, site.sync_time);
        writeln!(
            out,
            "  heard of sync site {} {heard}; its database is version {}",
            host(site.sync_host),
            site.sync_version
        )?;
    }
    if !report.answer.stands {
        writeln!(
            out,
            "  only votes: it never stands for sync site, since it does not serve this database's clients (--stand)"
        )?;
    }
    writeln!(out, "  the lowest address heard of is {}", host(site.lowest_host))?;
    let writing = if site.active_write || site.write_transaction { "a" } else { "no" };
    let (write_locks, read_locks) = (yes(site.any_write_locks), yes(site.any_read_locks));
    writeln!(
        out,
        "  {writing} write transaction runs; write locks: {write_locks}, read locks: {read_locks}"
    )?;
    let (skew, uncertain) = (report.answer.skew, report.answer.uncertain);
    writeln!(out, "  its clock is {skew:+.1} s (±{uncertain:.1}) from this machine's")
}

fn ago(now: i32, at: i32) -> String {
    match at {
        0 => "never".to_owned(),
        at => format!("{} s ago", now.saturating_sub(at)),
    }
}

fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

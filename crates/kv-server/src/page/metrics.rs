//! What Prometheus reads, in its text form.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

use crate::command::server::resident_bytes;
use crate::server::Shared;
use crate::statistics::Counts;

/// All metrics.
pub fn text(shared: &Shared) -> String {
    let statistics = &shared.statistics;
    let status = shared.store.status();
    let is_sync_site = status.sync_site() == Some(status.server.as_str());
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let mut out = String::new();
    let mut one = |name: &str, kind: &str, help: &str, value: &dyn Display| {
        let _ = write!(
            out,
            "# HELP quorate_{name} {help}\n# TYPE quorate_{name} {kind}\nquorate_{name} {value}\n"
        );
    };
    one("up", "gauge", "1 while the server runs.", &1);
    one(
        "ready",
        "gauge",
        "1 if reads and writes can be expected to be answered.",
        &u8::from(status.is_serving()),
    );
    one("sync_site", "gauge", "1 on the server that is sync site.", &u8::from(is_sync_site));
    one("servers", "gauge", "Servers of the cell.", &status.servers.len().max(1));
    let up = status.servers.iter().filter(|server| server.is_up).count().max(1);
    one("servers_up", "gauge", "Servers of the cell that answer.", &up);
    one("clients", "gauge", "Connected clients.", &shared.clients.len());
    one("clients_limit", "gauge", "The most clients (limits.clients).", &shared.settings.limits.clients);
    one("connections_total", "counter", "Connections taken.", &load(&statistics.connections));
    one(
        "connections_rejected_total",
        "counter",
        "Connections over limits.clients.",
        &load(&statistics.rejected),
    );
    one(
        "connections_cut_off_total",
        "counter",
        "Connections over another limit.",
        &load(&statistics.cut_off),
    );
    one("wrong_passwords_total", "counter", "AUTH that failed.", &load(&statistics.wrong_passwords));
    one("commands_total", "counter", "Commands answered.", &load(&statistics.commands));
    one("error_replies_total", "counter", "Error replies.", &load(&statistics.errors));
    one("received_bytes_total", "counter", "Bytes from clients.", &load(&statistics.received));
    one("sent_bytes_total", "counter", "Bytes to clients.", &load(&statistics.sent));
    one(
        "held_bytes",
        "gauge",
        "Requests and replies held for clients (limits.total-bytes).",
        &statistics.held.load(Ordering::Relaxed),
    );
    one("resident_bytes", "gauge", "Memory of the process.", &resident_bytes());
    one("uptime_seconds", "gauge", "Since the start.", &statistics.started.elapsed().as_secs());
    histogram(&mut out, &[("read", &statistics.reads.counts()), ("write", &statistics.writes.counts())]);
    out
}

fn histogram(out: &mut String, kinds: &[(&str, &Counts)]) {
    let name = "quorate_command_seconds";
    let _ = write!(out, "# HELP {name} From a command's arrival to its reply.\n# TYPE {name} histogram\n");
    for (kind, counts) in kinds {
        for (bound, count) in counts.cumulative() {
            let _ = writeln!(out, "{name}_bucket{{kind=\"{kind}\",le=\"{bound:.6}\"}} {count}");
        }
        let count = counts.count();
        let _ = writeln!(out, "{name}_bucket{{kind=\"{kind}\",le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum{{kind=\"{kind}\"}} {}", counts.total_micros as f64 / 1e6);
        let _ = writeln!(out, "{name}_count{{kind=\"{kind}\"}} {count}");
    }
}

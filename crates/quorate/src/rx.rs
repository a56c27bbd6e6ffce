//! `quorate rx`: asks any Rx server what it is and does, and measures calls and transfers.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tdb_replay::words::counted;

use clap::{Args, Subcommand, ValueEnum};
use rx::measure::{self, Direction};
use rx::question::{AskError, Asker};
use rx::rxkad::Level;
use rx::security::{NullSecurity, SecurityClass};
use rx::{CallFailure, Connection, Port, PortConfig, Timeouts};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::input::{for_programs, show};

/// Subcommands of `quorate rx`.
#[derive(Subcommand)]
pub enum Command {
    /// Ask whether an Rx server answers, and how quickly.
    #[command(after_help = "Example:\n  quorate rx ping db1.example.org:7002")]
    Ping(Ping),
    /// Print the version that an Rx server says it is.
    #[command(after_help = "Example:\n  quorate rx version db1.example.org:7002")]
    Version(Peer),
    /// Print what an Rx server is doing: threads, packets, connections, peers (as rxdebug does).
    #[command(after_help = "Example:\n  quorate rx debug db1.example.org:7002 --connections --peers")]
    Debug(Debug),
    /// Be the other end of measurements, for anybody who asks, until interrupted.
    #[command(after_help = "Example:\n  quorate rx serve 0.0.0.0:7009")]
    Serve(Serve),
    /// Time small calls: rate and latency percentiles (as rxperf does).
    ///
    /// Without a peer, both sides run in this process over loopback.
    #[command(after_help = "Example:\n  quorate rx call-timing 192.0.2.7:7009 --connections 8")]
    CallTiming(CallTiming),
    /// Time a bulk transfer: throughput and processor time per byte.
    ///
    /// Without a peer, both sides run in this process over loopback.
    #[command(
        after_help = "Example:\n  quorate rx transfer 192.0.2.7:7009 --bytes 1000000000 --direction receive"
    )]
    Transfer(Transfer),
}

/// A server to ask.
#[derive(Args)]
pub struct Peer {
    /// Address and port, e.g. db1.example.org:7002 or `[::1]:7002`
    #[arg(value_name = "HOST:PORT")]
    peer: String,
    /// Timeout in seconds
    #[arg(long, default_value_t = 5)]
    timeout_secs: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `rx ping`.
#[derive(Args)]
pub struct Ping {
    #[command(flatten)]
    peer: Peer,
    /// Number of pings
    #[arg(long, default_value_t = 3)]
    count: u32,
}

/// `rx debug`.
#[derive(Args)]
pub struct Debug {
    #[command(flatten)]
    peer: Peer,
    /// Also its connections with calls in progress
    #[arg(long)]
    connections: bool,
    /// Also all other connections
    #[arg(long)]
    all: bool,
    /// Also its peers
    #[arg(long)]
    peers: bool,
    /// Largest number of connections and peers to show
    #[arg(long, default_value_t = 1000)]
    most: u32,
}

/// `rx serve`.
#[derive(Args)]
pub struct Serve {
    /// Address and port to answer on
    #[arg(value_name = "ADDRESS:PORT")]
    address: SocketAddr,
    /// Also answer authenticated calls, with the keys of this KeyFileExt
    #[arg(long)]
    keys: Option<PathBuf>,
}

/// What both measurements need.
#[derive(Args)]
pub struct Measurement {
    /// A `quorate rx serve`
    #[arg(value_name = "HOST:PORT")]
    peer: Option<String>,
    /// How many connections at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Authenticate with the keys of this KeyFileExt
    #[arg(long)]
    keys: Option<PathBuf>,
    /// How much of each packet to protect, with --keys
    #[arg(long, value_enum, default_value_t = LevelName::Crypt)]
    level: LevelName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `rx call-timing`.
#[derive(Args)]
pub struct CallTiming {
    #[command(flatten)]
    measurement: Measurement,
    /// Calls on each connection
    #[arg(long, default_value_t = 10_000)]
    calls: usize,
    /// Bytes sent and returned by each call, at most 1048576
    #[arg(long, default_value_t = 32)]
    size: usize,
}

/// `rx transfer`.
#[derive(Args)]
pub struct Transfer {
    #[command(flatten)]
    measurement: Measurement,
    /// Bytes on each connection
    #[arg(long, default_value_t = 1_000_000_000)]
    bytes: u64,
    /// Direction of the transfer
    #[arg(long, value_enum, default_value_t = DirectionName::Send)]
    direction: DirectionName,
}

#[derive(Clone, Copy, ValueEnum)]
enum LevelName {
    /// Checksums of headers only
    Clear,
    /// Also the first bytes of packets
    Auth,
    /// Everything
    Crypt,
}

#[derive(Clone, Copy, ValueEnum)]
enum DirectionName {
    /// To the peer
    Send,
    /// From the peer
    Receive,
}

/// Runs a subcommand.
pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Ping(arguments) => for_programs(arguments.peer.json, ping(&arguments)),
        Command::Version(arguments) => for_programs(arguments.json, version(&arguments)),
        Command::Debug(arguments) => for_programs(arguments.peer.json, debug(&arguments)),
        Command::Serve(arguments) => serve(&arguments),
        Command::CallTiming(arguments) => for_programs(arguments.measurement.json, call_timing(&arguments)),
        Command::Transfer(arguments) => for_programs(arguments.measurement.json, transfer(&arguments)),
    }
}

fn resolve(name: &str) -> Result<SocketAddr, Failure> {
    let wrong = |why: &str| {
        Failure::input(format!("{name}: {why}; give an address and a port, as in 192.0.2.7:7002"))
    };
    let mut found = name.to_socket_addrs().map_err(|error| wrong(&error.to_string()))?;
    found.next().ok_or_else(|| wrong("no such address"))
}

fn asker(peer: &Peer) -> Result<Asker, Failure> {
    Asker::new(resolve(&peer.peer)?, Duration::from_secs(peer.timeout_secs.max(1))).map_err(ask_failure)
}

fn ask_failure(error: AskError) -> Failure {
    match error {
        AskError::Silence { .. } => Failure::no(error),
        AskError::Socket { .. } | AskError::Malformed { .. } => Failure::system(error),
    }
}

fn call_failure(code: CallFailure) -> Failure {
    Failure::no(format!("the call failed: {code}"))
}

fn say(text: impl std::fmt::Display) -> Result<(), Failure> {
    show(&format!("{text}\n"))
}

fn ping(arguments: &Ping) -> Result<(), Failure> {
    let mut asker = asker(&arguments.peer)?;
    for _ in 0..arguments.count {
        let (version, took) = asker.version().map_err(ask_failure)?;
        let us = took.as_secs_f64() * 1e6;
        match arguments.peer.json {
            true => say(json!({"peer": arguments.peer.peer, "version": version, "round_trip_us": us}))?,
            false => say(format_args!("{} answered in {us:.0} us: {version}", arguments.peer.peer))?,
        }
    }
    Ok(())
}

fn version(arguments: &Peer) -> Result<(), Failure> {
    let (version, _) = asker(arguments)?.version().map_err(ask_failure)?;
    match arguments.json {
        true => say(json!({"peer": arguments.peer, "version": version})),
        false => say(version),
    }
}

fn debug(arguments: &Debug) -> Result<(), Failure> {
    let mut asker = asker(&arguments.peer)?;
    let basic = asker.basic().map_err(ask_failure)?;
    let counters = asker.counters().map_err(ask_failure)?;
    let wants_connections = arguments.connections || arguments.all;
    let connections = match wants_connections {
        true => asker.connections(arguments.all, arguments.most).map_err(ask_failure)?,
        false => Vec::new(),
    };
    let peers = if arguments.peers { asker.peers(arguments.most).map_err(ask_failure)? } else { Vec::new() };
    if arguments.peer.json {
        let connections: Vec<Value> = connections.iter().map(connection_json).collect();
        let peers: Vec<Value> = peers.iter().map(peer_json).collect();
        return say(json!({
            "peer": arguments.peer.peer,
            "calls_executed": basic.calls_executed,
            "calls_waiting_for_a_thread": basic.waiting_calls,
            "idle_threads": basic.idle_threads,
            "free_packets": basic.free_packets,
            "counters": counters_json(&counters),
            "connections": connections,
            "peers": peers,
        }));
    }
    say(format_args!(
        "{} calls executed, {} waiting for a thread, {} threads idle",
        basic.calls_executed, basic.waiting_calls, basic.idle_threads
    ))?;
    say(format_args!(
        "data packets: {} sent, {} sent again, {} received, {} duplicates",
        counters.data_packets_sent,
        counters.data_packets_resent,
        counters.data_packets_read,
        counters.duplicates_read
    ))?;
    say(format_args!(
        "connections: {} from clients, {} to servers; {} peers; {} calls; {} datagrams that were not Rx",
        counters.server_connections,
        counters.client_connections,
        counters.peers,
        counters.calls,
        counters.bogus_packets
    ))?;
    for connection in &connections {
        say(connection_line(connection))?;
    }
    for peer in &peers {
        say(peer_line(peer))?;
    }
    Ok(())
}

fn counters_json(counters: &rx::question::Counters) -> Value {
    json!({
        "data_packets_sent": counters.data_packets_sent,
        "data_packets_sent_again": counters.data_packets_resent,
        "data_packets_received": counters.data_packets_read,
        "duplicates_received": counters.duplicates_read,
        "acks_received": counters.ack_packets_read,
        "pings_sent": counters.pings_sent,
        "spurious_packets_received": counters.spurious_read,
        "bogus_datagrams_received": counters.bogus_packets,
        "server_connections": counters.server_connections,
        "client_connections": counters.client_connections,
        "peers": counters.peers,
        "calls": counters.calls,
        "round_trip_samples": counters.round_trip_samples,
        "round_trip_total_us": counters.round_trips_us[0],
        "round_trip_least_us": counters.round_trips_us[1],
        "round_trip_most_us": counters.round_trips_us[2],
    })
}

fn state_name(state: u8) -> &'static str {
    ["none", "precall", "active", "dally", "hold", "reset"]
        .get(usize::from(state))
        .copied()
        .unwrap_or("unknown")
}

fn connection_json(connection: &rx::question::ConnectionReport) -> Value {
    let calls: Vec<Value> = connection
        .channels
        .iter()
        .map(|channel| json!({"number": channel.call_number, "state": state_name(channel.state)}))
        .collect();
    json!({
        "peer": connection.peer.to_string(),
        "id": format!("{:x}/{:x}", connection.epoch, connection.cid),
        "opened_by": if connection.is_server { "peer" } else { "server" },
        "security_index": connection.security_index,
        "level": connection.security.level,
        "error": connection.error,
        "serial": connection.serial,
        "packet_size": connection.mtu,
        "calls": calls,
    })
}

fn connection_line(connection: &rx::question::ConnectionReport) -> String {
    let calls: Vec<String> = connection
        .channels
        .iter()
        .filter(|channel| channel.state != 0)
        .map(|channel| format!("#{} {}", channel.call_number, state_name(channel.state)))
        .collect();
    format!(
        "connection {:x}/{:x} {} {}, security {}, calls: {}",
        connection.epoch,
        connection.cid,
        if connection.is_server { "from" } else { "to" },
        connection.peer,
        connection.security_index,
        if calls.is_empty() { "none".to_owned() } else { calls.join(", ") }
    )
}

fn peer_json(peer: &rx::question::PeerReport) -> Value {
    json!({
        "address": peer.address.to_string(),
        "connections": peer.connections,
        "round_trip_ms": peer.round_trip_ms[0],
        "deviation_ms": peer.round_trip_ms[1],
        "packets_sent": peer.packets[0],
        "packets_sent_again": peer.packets[1],
        "bytes_sent": peer.bytes[0],
        "bytes_received": peer.bytes[1],
        "packet_size": peer.mtu,
        "congestion_window": peer.congestion_window,
    })
}

fn peer_line(peer: &rx::question::PeerReport) -> String {
    format!(
        "peer {}: {} connections, round trip {} ms, {} packets sent, {} again, {} bytes sent, {} received",
        peer.address,
        peer.connections,
        peer.round_trip_ms[0],
        peer.packets[0],
        peer.packets[1],
        peer.bytes[0],
        peer.bytes[1]
    )
}

fn read_keys(path: &std::path::Path) -> Result<rx::rxkad::keys::KeyFile, Failure> {
    rx::keys::read(path).map_err(|error| match error {
        rx::keys::KeyError::Read { .. } => Failure::system(error),
        _ => Failure::input(error),
    })
}

fn open_server(address: SocketAddr, keys: Option<&PathBuf>) -> Result<Port, Failure> {
    let port = Port::open(address, PortConfig::default()).map_err(Failure::system)?;
    let mut security: Vec<Arc<dyn SecurityClass>> = vec![Arc::new(NullSecurity)];
    if let Some(path) = keys {
        security.push(Arc::new(rx::keys::server(read_keys(path)?, Level::Clear)));
    }
    port.serve(measure::measurement::SERVICE, security, measure::service());
    Ok(port)
}

fn serve(arguments: &Serve) -> Result<(), Failure> {
    let port = open_server(arguments.address, arguments.keys.as_ref())?;
    let address = port.local_addr().map_err(Failure::system)?;
    say(format_args!("answering measurements on {address}"))?;
    loop {
        std::thread::park();
    }
}

/// The ports and connections of a measurement; a server of our own if no peer was named.
struct Setup {
    connections: Vec<Connection>,
    _client: Port,
    _server: Option<Port>,
}

fn set_up(arguments: &Measurement) -> Result<Setup, Failure> {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let (peer, server) = match &arguments.peer {
        Some(peer) => (resolve(peer)?, None),
        None => {
            let server = open_server(loopback, arguments.keys.as_ref())?;
            (server.local_addr().map_err(Failure::system)?, Some(server))
        }
    };
    let local =
        if peer.is_ipv6() { SocketAddr::from(([0u16; 8], 0)) } else { SocketAddr::from(([0, 0, 0, 0], 0)) };
    let client = Port::open(local, PortConfig::default()).map_err(Failure::system)?;
    let level = match arguments.level {
        LevelName::Clear => Level::Clear,
        LevelName::Auth => Level::Auth,
        LevelName::Crypt => Level::Crypt,
    };
    let security: Box<dyn SecurityClass> = match &arguments.keys {
        None => Box::new(NullSecurity),
        Some(path) => Box::new(rx::keys::client(&read_keys(path)?, level).map_err(Failure::input)?),
    };
    let connect = |_| client.connect(peer, measure::measurement::SERVICE, &*security, Timeouts::default());
    let connections = (0..arguments.connections).map(connect).collect();
    Ok(Setup { connections, _client: client, _server: server })
}

fn call_timing(arguments: &CallTiming) -> Result<(), Failure> {
    if arguments.calls == 0 || arguments.size > 1 << 20 {
        return Err(Failure::input("--calls must be at least 1 and --size at most 1048576"));
    }
    let setup = set_up(&arguments.measurement)?;
    let timing =
        measure::time_calls(&setup.connections, arguments.calls, arguments.size).map_err(call_failure)?;
    let us = |percent| timing.percentile(percent).as_secs_f64() * 1e6;
    let processor_us = timing.processor.as_secs_f64() * 1e6 / timing.calls.len() as f64;
    if arguments.measurement.json {
        return say(json!({
            "connections": setup.connections.len(),
            "calls": timing.calls.len(),
            "size": arguments.size,
            "elapsed_s": timing.elapsed.as_secs_f64(),
            "calls_per_second": timing.rate(),
            "latency_us": {"p50": us(50.0), "p90": us(90.0), "p99": us(99.0), "p99.9": us(99.9), "max": us(100.0)},
            "processor_us_per_call": processor_us,
            "both_sides_in_this_process": arguments.measurement.peer.is_none(),
        }));
    }
    say(format_args!(
        "{} of {} on {} in {:.2} s: {:.0} calls/s",
        counted(timing.calls.len(), "call"),
        counted(arguments.size, "byte"),
        counted(setup.connections.len(), "connection"),
        timing.elapsed.as_secs_f64(),
        timing.rate()
    ))?;
    say(format_args!(
        "latency in us: p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0}; processor {processor_us:.1} us a call",
        us(50.0),
        us(90.0),
        us(99.0),
        us(99.9),
        us(100.0)
    ))
}

fn transfer(arguments: &Transfer) -> Result<(), Failure> {
    let setup = set_up(&arguments.measurement)?;
    let direction = match arguments.direction {
        DirectionName::Send => Direction::Send,
        DirectionName::Receive => Direction::Receive,
    };
    let transfer =
        measure::time_transfer(&setup.connections, arguments.bytes, direction).map_err(call_failure)?;
    let gbit = transfer.bits_per_second() / 1e9;
    let processor_ns = transfer.processor.as_secs_f64() * 1e9 / (transfer.bytes as f64).max(1.0);
    if arguments.measurement.json {
        return say(json!({
            "connections": setup.connections.len(),
            "bytes": transfer.bytes,
            "elapsed_s": transfer.elapsed.as_secs_f64(),
            "gbit_per_second": gbit,
            "processor_ns_per_byte": processor_ns,
            "both_sides_in_this_process": arguments.measurement.peer.is_none(),
        }));
    }
    say(format_args!(
        "{} bytes on {} in {:.2} s: {gbit:.2} Gbit/s, processor {processor_ns:.2} ns a byte",
        transfer.bytes,
        counted(setup.connections.len(), "connection"),
        transfer.elapsed.as_secs_f64()
    ))
}

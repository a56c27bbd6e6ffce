//! The questions of `rxdebug` and their answers: fixed structures, big-endian unless they are single bytes.
//!
//! Answers hold IPv4 addresses only; an IPv6 peer is shown as 0.0.0.0.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::packet::{HEADER_LEN, Header, PacketType, flags};

/// Questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// [`Basic`] figures.
    Basic,
    /// The `n`th connection with an active call.
    BusyConnection(u32),
    /// The `n`th connection.
    Connection(u32),
    /// [`Counters`].
    Counters,
    /// The `n`th peer.
    Peer(u32),
}

/// The answer's version letter: all fields up to the packet count are there.
const VERSION: u8 = b'S';
/// What an answer says instead of a connection id or a host when there are no more.
const END: u32 = 0xffff_ffff;
/// The type that answers a question we do not know.
const BAD_TYPE: i32 = -8;

impl Question {
    /// The question in a debug packet's body; an unknown type is the error, to be echoed by [`bad_question`].
    pub fn decode(body: &[u8]) -> Result<Question, i32> {
        let (Some(kind), Some(index)) = (word(body, 0), word(body, 4)) else {
            return Err(0);
        };
        match kind {
            1 => Ok(Question::Basic),
            2 => Ok(Question::BusyConnection(index)),
            3 => Ok(Question::Connection(index)),
            4 => Ok(Question::Counters),
            5 => Ok(Question::Peer(index)),
            _ => Err(kind as i32),
        }
    }

    /// The body of the packet that asks it.
    pub fn encode(self) -> [u8; 8] {
        let (kind, index): (u32, u32) = match self {
            Question::Basic => (1, 0),
            Question::BusyConnection(index) => (2, index),
            Question::Connection(index) => (3, index),
            Question::Counters => (4, 0),
            Question::Peer(index) => (5, index),
        };
        let mut body = [0; 8];
        body[..4].copy_from_slice(&kind.to_be_bytes());
        body[4..].copy_from_slice(&index.to_be_bytes());
        body
    }
}

/// The datagram that asks `question`; `number` comes back in the answer.
pub fn question_datagram(question: Question, number: u32) -> Vec<u8> {
    request(PacketType::Debug, number, &question.encode())
}

/// The datagram that asks for the version string; `number` comes back in the answer.
pub fn version_datagram(number: u32) -> Vec<u8> {
    request(PacketType::Version, number, &[0; 65])
}

fn request(packet_type: PacketType, number: u32, body: &[u8]) -> Vec<u8> {
    let header = Header {
        epoch: 0,
        cid: 0,
        call_number: number,
        seq: 0,
        serial: 0,
        packet_type: packet_type as u8,
        flags: flags::CLIENT_INITIATED | flags::LAST_PACKET,
        user_status: 0,
        security_index: 0,
        checksum: 0,
        service_id: 0,
    };
    [&header.encode()[..], body].concat()
}

/// The answer to a question of a type we do not know.
pub fn bad_question(kind: i32) -> Vec<u8> {
    [BAD_TYPE.to_be_bytes(), kind.to_be_bytes()].concat()
}

/// Basic figures of an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Basic {
    /// Packet buffers free. We allocate when needed: what the connection limit leaves.
    pub free_packets: u32,
    /// Packets taken back from calls.
    pub packet_reclaims: u32,
    /// Calls made and served.
    pub calls_executed: u32,
    /// Whether somebody waits for packets.
    pub waiting_for_packets: u8,
    /// Open file descriptors, as far as counted.
    pub used_fds: u8,
    /// Calls that wait for a thread now.
    pub waiting_calls: u32,
    /// Threads that wait for a call.
    pub idle_threads: u32,
    /// Calls that had to wait for a thread.
    pub waited_calls: u32,
    /// Packet buffers in all.
    pub packets: u32,
}

/// Length of an encoded [`Basic`].
const BASIC_LEN: usize = 56;

impl Basic {
    /// As in an answer.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BASIC_LEN);
        for value in [self.free_packets, self.packet_reclaims, self.calls_executed] {
            out.extend_from_slice(&value.to_be_bytes());
        }
        out.extend_from_slice(&[self.waiting_for_packets, self.used_fds, VERSION, 0]);
        for value in [self.waiting_calls, self.idle_threads, self.waited_calls, self.packets] {
            out.extend_from_slice(&value.to_be_bytes());
        }
        out.resize(BASIC_LEN, 0);
        out
    }

    /// From an answer; `None` if it is too short.
    pub fn decode(body: &[u8]) -> Option<Basic> {
        Some(Basic {
            free_packets: word(body, 0)?,
            packet_reclaims: word(body, 4)?,
            calls_executed: word(body, 8)?,
            waiting_for_packets: *body.get(12)?,
            used_fds: *body.get(13)?,
            waiting_calls: word(body, 16)?,
            idle_threads: word(body, 20)?,
            waited_calls: word(body, 24).unwrap_or(0),
            packets: word(body, 28).unwrap_or(0),
        })
    }
}

/// One channel of a connection, as `rxdebug` shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelReport {
    /// Number of the latest call.
    pub call_number: u32,
    /// 0 none, 1 precall, 2 active, 3 dally, 4 hold, 5 reset.
    pub state: u8,
    /// 1 sending, 2 receiving, 3 error, 4 end of stream.
    pub mode: u8,
    /// 1 reader waits, 4 sender waits for the window, 16 waits for a thread, 32 all received.
    pub flags: u8,
    /// 1 packets to read, 2 packets to send.
    pub other: u8,
}

/// A connection, as `rxdebug` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionReport {
    /// The peer.
    pub peer: SocketAddr,
    /// Connection id.
    pub cid: u32,
    /// Epoch of the side that opened it.
    pub epoch: u32,
    /// Serial of the last packet sent.
    pub serial: u32,
    /// Its error, or 0.
    pub error: i32,
    /// 4 packet checksums in use, 8 the window is known.
    pub flags: u8,
    /// 0 we opened it, 1 the peer did.
    pub is_server: bool,
    /// Index of the security class.
    pub security_index: u8,
    /// Its channels.
    pub channels: [ChannelReport; 4],
    /// What the security class says.
    pub security: crate::security::SecurityStatistics,
    /// Packets and bytes: received, sent, received, sent.
    pub traffic: [u32; 4],
    /// Packet size in use.
    pub mtu: u32,
}

/// Length of an encoded [`ConnectionReport`].
const CONNECTION_LEN: usize = 176;

impl ConnectionReport {
    /// As in an answer.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CONNECTION_LEN);
        out.extend_from_slice(&v4(self.peer.ip()).octets());
        put(&mut out, &[self.cid, self.serial]);
        put(&mut out, &self.channels.map(|channel| channel.call_number));
        put(&mut out, &[self.error as u32]);
        out.extend_from_slice(&self.peer.port().to_be_bytes());
        out.extend_from_slice(&[self.flags, u8::from(self.is_server), self.security_index, 0, 0, 0]);
        out.extend(self.channels.iter().map(|channel| channel.state));
        out.extend(self.channels.iter().map(|channel| channel.mode));
        out.extend(self.channels.iter().map(|channel| channel.flags));
        out.extend(self.channels.iter().map(|channel| channel.other));
        out.extend_from_slice(&[self.security.kind, self.security.level]);
        out.extend_from_slice(&[0; 10]);
        put(&mut out, &[self.security.flags, self.security.expires]);
        put(&mut out, &self.traffic);
        out.extend_from_slice(&[0; 8 + 32]);
        put(&mut out, &[self.epoch, self.mtu]);
        out.resize(CONNECTION_LEN, 0);
        out
    }

    /// From an answer; `None` if it is too short or says that there are no more.
    pub fn decode(body: &[u8]) -> Option<ConnectionReport> {
        let cid = word(body, 4).filter(|cid| *cid != END)?;
        let host = Ipv4Addr::from(word(body, 0)?);
        let port = u16::from_be_bytes([*body.get(32)?, *body.get(33)?]);
        let mut channels = [ChannelReport::default(); 4];
        for (at, channel) in channels.iter_mut().enumerate() {
            *channel = ChannelReport {
                call_number: word(body, 12 + 4 * at)?,
                state: *body.get(40 + at)?,
                mode: *body.get(44 + at)?,
                flags: *body.get(48 + at)?,
                other: *body.get(52 + at)?,
            };
        }
        Some(ConnectionReport {
            peer: (host, port).into(),
            cid,
            epoch: word(body, 132).unwrap_or(0),
            serial: word(body, 8)?,
            error: word(body, 28)? as i32,
            flags: *body.get(34)?,
            is_server: *body.get(35)? == 1,
            security_index: *body.get(36)?,
            channels,
            security: crate::security::SecurityStatistics {
                kind: *body.get(56)?,
                level: *body.get(57)?,
                flags: word(body, 68)?,
                expires: word(body, 72)?,
            },
            traffic: [word(body, 76)?, word(body, 80)?, word(body, 84)?, word(body, 88)?],
            mtu: word(body, 136).unwrap_or(0),
        })
    }

    /// The answer that says there are no more.
    pub fn end() -> Vec<u8> {
        let mut out = vec![0; CONNECTION_LEN];
        out[4..8].copy_from_slice(&END.to_be_bytes());
        out
    }
}

/// A peer, as `rxdebug` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerReport {
    /// Its address.
    pub address: SocketAddr,
    /// Connections with it.
    pub connections: u16,
    /// Smoothed round trip and its mean deviation, in milliseconds.
    pub round_trip_ms: [u32; 2],
    /// Packets sent, and how many of them again.
    pub packets: [u32; 2],
    /// Packet size in use.
    pub mtu: u16,
    /// Congestion window, in packets.
    pub congestion_window: u16,
    /// Bytes sent and received.
    pub bytes: [u64; 2],
    /// Time until a packet is sent again, in microseconds.
    pub timeout_us: u64,
}

/// Length of an encoded [`PeerReport`].
const PEER_LEN: usize = 132;

impl PeerReport {
    /// As in an answer.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PEER_LEN);
        out.extend_from_slice(&v4(self.address.ip()).octets());
        put_short(&mut out, &[self.address.port(), self.mtu]);
        put(&mut out, &[0]);
        put_short(&mut out, &[self.connections, 0]);
        put(&mut out, &[0, 0]);
        // Rx keeps eighths and quarters of a millisecond.
        put(&mut out, &[self.round_trip_ms[0] << 3, self.round_trip_ms[1] << 2]);
        put(&mut out, &[(self.timeout_us / 1_000_000) as u32, (self.timeout_us % 1_000_000) as u32]);
        put(&mut out, &[self.packets[0], self.packets[1], 0, 0, 0]);
        put_short(&mut out, &[self.mtu, self.mtu, 1, 1, self.mtu, self.congestion_window, 1, 0]);
        for bytes in self.bytes {
            out.extend_from_slice(&bytes.to_be_bytes());
        }
        out.resize(PEER_LEN, 0);
        out
    }

    /// From an answer; `None` if it is too short or says that there are no more.
    pub fn decode(body: &[u8]) -> Option<PeerReport> {
        let host = word(body, 0).filter(|host| *host != END)?;
        let short = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
        let long = |at: usize| Some((u64::from(word(body, at)?) << 32) | u64::from(word(body, at + 4)?));
        Some(PeerReport {
            address: (Ipv4Addr::from(host), short(4)?).into(),
            connections: short(12)?,
            round_trip_ms: [word(body, 24)? >> 3, word(body, 28)? >> 2],
            packets: [word(body, 40)?, word(body, 44)?],
            mtu: short(68)?,
            congestion_window: short(70)?,
            bytes: [long(76)?, long(84)?],
            timeout_us: u64::from(word(body, 32)?) * 1_000_000 + u64::from(word(body, 36)?),
        })
    }

    /// The answer that says there are no more.
    pub fn end() -> Vec<u8> {
        let mut out = vec![0; PEER_LEN];
        out[..4].copy_from_slice(&END.to_be_bytes());
        out
    }
}

/// Packet types that are counted, 1 to 13, and 0.
pub const COUNTED_TYPES: usize = 13;

/// What an endpoint counts. Names as `rxdebug -rxstats` shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that were no packets of Rx.
    pub bogus_packets: u32,
    /// The IPv4 address that sent the last of them.
    pub bogus_host: u32,
    /// Packets received, by type less one (version packets, type 13, at 12).
    pub packets_read: [u32; COUNTED_TYPES],
    /// Data packets that were new.
    pub data_packets_read: u32,
    /// Acks.
    pub ack_packets_read: u32,
    /// Data packets that had come before.
    pub duplicates_read: u32,
    /// Packets that fitted no call.
    pub spurious_read: u32,
    /// Packets sent, by type less one.
    pub packets_sent: [u32; COUNTED_TYPES],
    /// Pings.
    pub pings_sent: u32,
    /// Data packets sent for the first time.
    pub data_packets_sent: u32,
    /// Data packets sent again.
    pub data_packets_resent: u32,
    /// Round trips: total, least, most, in microseconds.
    pub round_trips_us: [u64; 3],
    /// How many were measured.
    pub round_trip_samples: u32,
    /// Connections that peers opened, that are there.
    pub server_connections: u32,
    /// Connections that we opened, that are there.
    pub client_connections: u32,
    /// Peers known.
    pub peers: u32,
    /// Calls that are there.
    pub calls: u32,
    /// Calls ever made or served.
    pub calls_executed: u32,
    /// Packets that the security class refused.
    pub refused_packets: u32,
    /// Packets of new connections dropped because too many unproven ones were there.
    pub overload_drops: u32,
}

/// Length of the encoded counters.
const COUNTERS_LEN: usize = 4 * 71;

impl Counters {
    /// A packet of this type came.
    pub fn count_read(&mut self, packet_type: u8) {
        if let Some(count) = self.packets_read.get_mut(usize::from(packet_type.wrapping_sub(1))) {
            *count = count.wrapping_add(1);
        }
    }

    /// A packet of this type goes out.
    pub fn count_sent(&mut self, packet_type: u8) {
        if let Some(count) = self.packets_sent.get_mut(usize::from(packet_type.wrapping_sub(1))) {
            *count = count.wrapping_add(1);
        }
    }

    /// A round trip was measured.
    pub fn count_round_trip(&mut self, us: u64) {
        let [total, least, most] = &mut self.round_trips_us;
        *total += us;
        *least = if self.round_trip_samples == 0 { us } else { (*least).min(us) };
        *most = (*most).max(us);
        self.round_trip_samples = self.round_trip_samples.wrapping_add(1);
    }

    /// As in an answer.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(COUNTERS_LEN);
        put(&mut out, &[0, 0, 0, 0, 0, self.bogus_packets, self.bogus_host, 0, 0, 0, 0]);
        put(&mut out, &self.packets_read);
        put(
            &mut out,
            &[self.data_packets_read, self.ack_packets_read, self.duplicates_read, self.spurious_read],
        );
        put(&mut out, &self.packets_sent);
        put(&mut out, &[self.packets_sent[1], self.pings_sent, self.packets_sent[3], self.packets_sent[2]]);
        put(&mut out, &[self.data_packets_sent, self.data_packets_resent, 0, 0]);
        for us in self.round_trips_us {
            put(&mut out, &[(us / 1_000_000) as u32, (us % 1_000_000) as u32]);
        }
        put(
            &mut out,
            &[self.round_trip_samples, self.server_connections, self.client_connections, self.peers],
        );
        put(&mut out, &[self.calls]);
        out.resize(COUNTERS_LEN, 0);
        out
    }

    /// From an answer; `None` if it is too short.
    pub fn decode(body: &[u8]) -> Option<Counters> {
        let at = |index: usize| word(body, 4 * index);
        let array = |from: usize| -> Option<[u32; COUNTED_TYPES]> {
            let mut out = [0; COUNTED_TYPES];
            for (index, count) in out.iter_mut().enumerate() {
                *count = at(from + index)?;
            }
            Some(out)
        };
        let us = |index: usize| Some(u64::from(at(index)?) * 1_000_000 + u64::from(at(index + 1)?));
        Some(Counters {
            bogus_packets: at(5)?,
            bogus_host: at(6)?,
            packets_read: array(11)?,
            data_packets_read: at(24)?,
            ack_packets_read: at(25)?,
            duplicates_read: at(26)?,
            spurious_read: at(27)?,
            packets_sent: array(28)?,
            pings_sent: at(42)?,
            data_packets_sent: at(45)?,
            data_packets_resent: at(46)?,
            round_trips_us: [us(49)?, us(51)?, us(53)?],
            round_trip_samples: at(55)?,
            server_connections: at(56)?,
            client_connections: at(57)?,
            peers: at(58)?,
            calls: at(59)?,
            ..Counters::default()
        })
    }
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
    }
}

fn put(out: &mut Vec<u8>, words: &[u32]) {
    for word in words {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

fn put_short(out: &mut Vec<u8>, shorts: &[u16]) {
    for short in shorts {
        out.extend_from_slice(&short.to_be_bytes());
    }
}

fn word(body: &[u8], at: usize) -> Option<u32> {
    body.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The number and body of a debug or version answer, if `datagram` is one.
pub fn answer(datagram: &[u8]) -> Option<(PacketType, u32, &[u8])> {
    let header = Header::decode(datagram)?;
    let packet_type = PacketType::from_wire(header.packet_type)?;
    let is_answer =
        !header.client_initiated() && matches!(packet_type, PacketType::Debug | PacketType::Version);
    is_answer.then(|| (packet_type, header.call_number, &datagram[HEADER_LEN..]))
}

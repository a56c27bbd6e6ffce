//! The bytes of an Rx packet: header, acknowledgement, abort, and the parts of a jumbogram.
//!
//! Owns the wire layout (`docs/rx-wire.md`); nothing else in the crate knows offsets. What comes out of
//! [`parse`] is well formed but nothing more: who sent it and whether it belongs to a call is for the endpoint.

use std::fmt;

use crate::codes::AbortCode;

/// Length of the header that begins every packet, in bytes.
pub const HEADER_LEN: usize = 28;

/// Bytes of payload in each part of a jumbogram but the last.
pub const JUMBO_PAYLOAD: usize = 1412;

/// Length of the short header between the parts of a jumbogram: flags, spare byte, checksum.
const JUMBO_HEADER_LEN: usize = 4;

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Bytes of a call.
    Data = 1,
    /// What the receiver of data has, wants and can take.
    Ack = 2,
    /// The channel's previous call still runs.
    Busy = 3,
    /// The call, or with call number 0 the connection, has failed.
    Abort = 4,
    /// Everything sent so far has arrived (old peers).
    AckAll = 5,
    /// The server asks who the client is.
    Challenge = 6,
    /// The client's answer to a challenge.
    Response = 7,
    /// A question of `rxdebug`, or its answer.
    Debug = 8,
    /// Unused types 9 to 12, ignored.
    Parameters = 9,
    /// The question for the version string, or its answer.
    Version = 13,
}

impl PacketType {
    /// The type with this number on the wire.
    pub fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => PacketType::Data,
            2 => PacketType::Ack,
            3 => PacketType::Busy,
            4 => PacketType::Abort,
            5 => PacketType::AckAll,
            6 => PacketType::Challenge,
            7 => PacketType::Response,
            8 => PacketType::Debug,
            9..=12 => PacketType::Parameters,
            13 => PacketType::Version,
            _ => return None,
        })
    }
}

/// The flag bits of the header.
pub mod flags {
    /// Set on every packet of the side that opened the connection.
    pub const CLIENT_INITIATED: u8 = 0x01;
    /// The receiver is to answer with an acknowledgement at once.
    pub const REQUEST_ACK: u8 = 0x02;
    /// The last packet of this direction of the call.
    pub const LAST_PACKET: u8 = 0x04;
    /// More packets follow at once.
    pub const MORE_PACKETS: u8 = 0x08;
    /// In an ack: the receiver acks every other packet, so slow start may run.
    pub const SLOW_START_OK: u8 = 0x20;
    /// In data: another packet follows in the same datagram.
    pub const JUMBO: u8 = 0x20;
}

/// The 28 bytes that begin every packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// When the client that opened the connection started; random in today's peers, the top bit set.
    pub epoch: u32,
    /// Connection id; the low two bits are the channel.
    pub cid: u32,
    /// Number of the call on its channel from 1; 0 speaks of the connection.
    pub call_number: u32,
    /// Number of a data packet within its direction of the call, from 1; 0 in other packets.
    pub seq: u32,
    /// Number of this packet on its connection, from 1; a retransmission has a new one.
    pub serial: u32,
    /// Type as on the wire; see [`PacketType::from_wire`].
    pub packet_type: u8,
    /// See [`flags`].
    pub flags: u8,
    /// Free for the application.
    pub user_status: u8,
    /// Which security class the connection uses.
    pub security_index: u8,
    /// Checksum of the security class; 0 when it has none.
    pub checksum: u16,
    /// Which service the call is for.
    pub service_id: u16,
}

impl Header {
    /// The four channels of a connection are the low two bits of its id.
    pub const CHANNEL_MASK: u32 = 3;

    /// The channel, 0 to 3.
    pub fn channel(&self) -> usize {
        (self.cid & Self::CHANNEL_MASK) as usize
    }

    /// The connection id without the channel.
    pub fn connection_id(&self) -> u32 {
        self.cid & !Self::CHANNEL_MASK
    }

    /// Whether the side that opened the connection sent this.
    pub fn client_initiated(&self) -> bool {
        self.flags & flags::CLIENT_INITIATED != 0
    }

    /// Whether `flag` is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The header that begins `datagram`; `None` if it is too short.
    pub fn decode(datagram: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER_LEN] = datagram.first_chunk()?;
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some(Header {
            epoch: word(0),
            cid: word(4),
            call_number: word(8),
            seq: word(12),
            serial: word(16),
            packet_type: bytes[20],
            flags: bytes[21],
            user_status: bytes[22],
            security_index: bytes[23],
            checksum: u16::from_be_bytes([bytes[24], bytes[25]]),
            service_id: u16::from_be_bytes([bytes[26], bytes[27]]),
        })
    }

    /// The header as on the wire.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..4].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.cid.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.call_number.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.seq.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.serial.to_be_bytes());
        bytes[20] = self.packet_type;
        bytes[21] = self.flags;
        bytes[22] = self.user_status;
        bytes[23] = self.security_index;
        bytes[24..26].copy_from_slice(&self.checksum.to_be_bytes());
        bytes[26..28].copy_from_slice(&self.service_id.to_be_bytes());
        bytes
    }
}

/// Why an acknowledgement was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AckReason {
    /// A packet asked for it.
    Requested = 1,
    /// A packet came twice.
    Duplicate = 2,
    /// A packet came before its turn.
    OutOfSequence = 3,
    /// A packet lay beyond the window.
    ExceedsWindow = 4,
    /// There was no room for a packet.
    NoSpace = 5,
    /// Is anybody there?
    Ping = 6,
    /// Yes.
    PingResponse = 7,
    /// Nothing better to do for a while; tells nothing of the round-trip time.
    Delay = 8,
    /// Every second packet.
    Idle = 9,
}

impl AckReason {
    /// The reason with this number on the wire.
    pub fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => AckReason::Requested,
            2 => AckReason::Duplicate,
            3 => AckReason::OutOfSequence,
            4 => AckReason::ExceedsWindow,
            5 => AckReason::NoSpace,
            6 => AckReason::Ping,
            7 => AckReason::PingResponse,
            8 => AckReason::Delay,
            9 => AckReason::Idle,
            _ => return None,
        })
    }
}

/// The four words after an acknowledgement: what its sender can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AckTrailer {
    /// Largest packet to send to this peer, header included, in bytes.
    pub max_mtu: u32,
    /// Packet size that suits the peer's interface, header included, in bytes.
    pub interface_mtu: u32,
    /// How many packets beyond `first_packet` the peer takes.
    pub receive_window: u32,
    /// How many packets may share a datagram (1: no jumbograms); old peers leave it out.
    pub max_datagram_packets: Option<u32>,
}

/// The body of an acknowledgement.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ack {
    /// Unused by today's peers; 0.
    pub buffer_space: u16,
    /// Unused by today's peers; 0.
    pub max_skew: u16,
    /// Everything below has been handed to the reader and may be forgotten.
    pub first_packet: u32,
    /// The highest sequence number received so far (or the previous one, for older peers).
    pub previous_packet: u32,
    /// Serial of the packet that caused this; 0 if none did.
    pub serial: u32,
    /// See [`AckReason::from_wire`].
    pub reason: u8,
    /// One byte a packet from `first_packet` on, at most 255: 1 received, 0 missing.
    pub acks: Vec<u8>,
    /// Absent from very old peers.
    pub trailer: Option<AckTrailer>,
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let acks: String = self.acks.iter().map(|ack| if ack & 1 == 1 { '*' } else { '-' }).collect();
        write!(
            f,
            "Ack {{ first {}, previous {}, serial {}, reason {}, {acks}, {:?} }}",
            self.first_packet, self.previous_packet, self.serial, self.reason, self.trailer
        )
    }
}

/// Length of the fixed part of an acknowledgement, in bytes.
const ACK_FIXED_LEN: usize = 18;
/// Bytes between the acks and the trailer.
const ACK_PADDING: usize = 3;
/// Length of an acknowledgement with its whole trailer, but for the acks, in bytes.
pub(crate) const ACK_LEN: usize = ACK_FIXED_LEN + ACK_PADDING + 16;

impl Ack {
    /// The acknowledgement in `body`; `None` if it is shorter than it says.
    pub fn decode(body: &[u8]) -> Option<Ack> {
        let fixed: &[u8; ACK_FIXED_LEN] = body.first_chunk()?;
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let ack_count = fixed[17] as usize;
        let acks = body.get(ACK_FIXED_LEN..ACK_FIXED_LEN + ack_count)?.to_vec();
        let trailer = body.get(ACK_FIXED_LEN + ack_count + ACK_PADDING..).and_then(decode_trailer);
        Some(Ack {
            buffer_space: u16::from_be_bytes([fixed[0], fixed[1]]),
            max_skew: u16::from_be_bytes([fixed[2], fixed[3]]),
            first_packet: word(4),
            previous_packet: word(8),
            serial: word(12),
            reason: fixed[16],
            acks,
            trailer,
        })
    }

    /// Appends the acknowledgement to `out`. At most 255 acks are written.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let ack_count = u8::try_from(self.acks.len()).unwrap_or(u8::MAX);
        out.extend_from_slice(&self.buffer_space.to_be_bytes());
        out.extend_from_slice(&self.max_skew.to_be_bytes());
        out.extend_from_slice(&self.first_packet.to_be_bytes());
        out.extend_from_slice(&self.previous_packet.to_be_bytes());
        out.extend_from_slice(&self.serial.to_be_bytes());
        out.push(self.reason);
        out.push(ack_count);
        out.extend_from_slice(&self.acks[..ack_count as usize]);
        out.extend_from_slice(&[0; ACK_PADDING]);
        let Some(trailer) = &self.trailer else { return };
        out.extend_from_slice(&trailer.max_mtu.to_be_bytes());
        out.extend_from_slice(&trailer.interface_mtu.to_be_bytes());
        out.extend_from_slice(&trailer.receive_window.to_be_bytes());
        if let Some(count) = trailer.max_datagram_packets {
            out.extend_from_slice(&count.to_be_bytes());
        }
    }
}

fn decode_trailer(rest: &[u8]) -> Option<AckTrailer> {
    let mut words = rest.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    Some(AckTrailer {
        max_mtu: words.next()?,
        interface_mtu: words.next()?,
        receive_window: words.next()?,
        max_datagram_packets: words.next(),
    })
}

/// What a packet carries besides its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// Bytes of a call, still sealed by the security class.
    Data(&'a [u8]),
    /// An acknowledgement.
    Ack(Ack),
    /// Nothing.
    Busy,
    /// Why it failed.
    Abort(AbortCode),
    /// Nothing.
    AckAll,
    /// A challenge, understood by the security class.
    Challenge(&'a [u8]),
    /// A response, understood by the security class.
    Response(&'a [u8]),
    /// A debug question or answer, see [`crate::debug`].
    Debug(&'a [u8]),
    /// A version string, padded with zeroes, or nothing in a question.
    Version(&'a [u8]),
    /// A type that is ignored, with its bytes.
    Ignored(&'a [u8]),
}

/// One packet of a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its header; in the later parts of a jumbogram, the header it would have had alone.
    pub header: Header,
    /// What follows the header.
    pub body: Body<'a>,
}

/// Why a datagram is not a packet of Rx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedPacket {
    /// Shorter than a header.
    #[error("{0} bytes are too few for an Rx header of 28")]
    ShortHeader(usize),
    /// A type that no version of Rx uses.
    #[error("packet type {0} is unknown")]
    UnknownType(u8),
    /// The body is shorter than its type demands.
    #[error("the body of a packet of type {0} is too short")]
    ShortBody(u8),
    /// A jumbogram ends within a part.
    #[error("a jumbogram ends within part {0}")]
    TornJumbogram(usize),
}

/// The packets of one datagram: one, or the parts of a jumbogram, in order.
///
/// A malformed part ends the iteration with an error; the parts before it stand.
pub fn parse(datagram: &[u8]) -> Packets<'_> {
    Packets { rest: datagram, next: Next::Header, parts: 0 }
}

/// Iterator of [`parse`].
#[derive(Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
    next: Next,
    parts: usize,
}

#[derive(Debug)]
enum Next {
    Header,
    Part(Header),
    Nothing,
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, MalformedPacket>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Nothing => return None,
            Next::Part(header) => header,
            Next::Header => match Header::decode(self.rest) {
                None => return Some(Err(MalformedPacket::ShortHeader(self.rest.len()))),
                Some(header) => {
                    self.rest = &self.rest[HEADER_LEN..];
                    header
                }
            },
        };
        self.parts += 1;
        let is_jumbo = header.packet_type == PacketType::Data as u8 && header.has(flags::JUMBO);
        let body = if is_jumbo { self.split_part(&header) } else { Ok(std::mem::take(&mut self.rest)) };
        Some(body.and_then(|body| Ok(Packet { header, body: decode_body(&header, body)? })))
    }
}

impl<'a> Packets<'a> {
    /// Takes one part off a jumbogram and prepares the header of the next.
    fn split_part(&mut self, header: &Header) -> Result<&'a [u8], MalformedPacket> {
        let torn = MalformedPacket::TornJumbogram(self.parts);
        let (part, rest) = self.rest.split_at_checked(JUMBO_PAYLOAD).ok_or(torn)?;
        let (short, rest) = rest.split_at_checked(JUMBO_HEADER_LEN).ok_or(torn)?;
        self.rest = rest;
        self.next = Next::Part(Header {
            flags: short[0],
            checksum: u16::from_be_bytes([short[2], short[3]]),
            seq: header.seq.wrapping_add(1),
            serial: header.serial.wrapping_add(1),
            ..*header
        });
        Ok(part)
    }
}

fn decode_body<'a>(header: &Header, body: &'a [u8]) -> Result<Body<'a>, MalformedPacket> {
    let packet_type =
        PacketType::from_wire(header.packet_type).ok_or(MalformedPacket::UnknownType(header.packet_type))?;
    let short = MalformedPacket::ShortBody(header.packet_type);
    Ok(match packet_type {
        PacketType::Data => Body::Data(body),
        PacketType::Ack => Body::Ack(Ack::decode(body).ok_or(short)?),
        PacketType::Busy => Body::Busy,
        PacketType::Abort => {
            let code = body.first_chunk().ok_or(short)?;
            Body::Abort(AbortCode(i32::from_be_bytes(*code)))
        }
        PacketType::AckAll => Body::AckAll,
        PacketType::Challenge => Body::Challenge(body),
        PacketType::Response => Body::Response(body),
        PacketType::Debug => Body::Debug(body),
        PacketType::Version => Body::Version(body),
        PacketType::Parameters => Body::Ignored(body),
    })
}

impl Packet<'_> {
    /// The packet as a datagram of its own.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.header.encode().to_vec();
        match &self.body {
            Body::Data(bytes)
            | Body::Challenge(bytes)
            | Body::Response(bytes)
            | Body::Debug(bytes)
            | Body::Version(bytes)
            | Body::Ignored(bytes) => out.extend_from_slice(bytes),
            Body::Ack(ack) => ack.encode(&mut out),
            Body::Abort(code) => out.extend_from_slice(&code.0.to_be_bytes()),
            Body::Busy | Body::AckAll => {}
        }
        out
    }
}

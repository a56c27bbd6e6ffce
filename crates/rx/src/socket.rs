//! A UDP socket that sends and receives many datagrams in one system call.
//!
//! Owns the socket options. Fragmentation stays allowed: a packet in flight cannot be cut anew when a path shrinks, so
//! the network must be able to. IPv4 peers of an IPv6 socket are shown as IPv4.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use quinn_udp::{RecvMeta, UdpSocketState};

/// Asked of the system for each direction; it may give less. A full window of every call of a busy server fits.
const BUFFER_BYTES: usize = 4 << 20;
/// Receiving looks up this often whether the port has been closed.
const RECEIVE_TIMEOUT: Duration = Duration::from_millis(500);
/// Largest batch that the kernel hands over.
pub(crate) const RECEIVE_BYTES: usize = 64 * 1024;

/// See the module.
pub(crate) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    is_v6: bool,
    /// Bound to all addresses: answers must name the one they are from.
    is_wildcard: bool,
}

/// Where a batch of datagrams came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    pub from: SocketAddr,
    pub local: Option<IpAddr>,
    pub length: usize,
    /// Length of each datagram but the last.
    pub stride: usize,
}

impl Socket {
    /// Binds to `address`.
    pub fn bind(address: SocketAddr) -> io::Result<Socket> {
        let socket = UdpSocket::bind(address)?;
        let state = UdpSocketState::new((&socket).into())?;
        // Best effort: the system has its own limits.
        let _ = state.set_send_buffer_size((&socket).into(), BUFFER_BYTES);
        let _ = state.set_recv_buffer_size((&socket).into(), BUFFER_BYTES);
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(RECEIVE_TIMEOUT))?;
        allow_fragments(&socket, address.is_ipv6())?;
        Ok(Socket { socket, state, is_v6: address.is_ipv6(), is_wildcard: address.ip().is_unspecified() })
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits for datagrams; `None` if none came for a while.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Batch>> {
        let mut meta = [RecvMeta::default()];
        match self.state.recv((&self.socket).into(), &mut [IoSliceMut::new(buffer)], &mut meta) {
            Ok(0) => Ok(None),
            Ok(_) => {
                let RecvMeta { addr, len, stride, dst_ip, .. } = meta[0];
                let from = SocketAddr::new(addr.ip().to_canonical(), addr.port());
                let local = dst_ip.filter(|_| self.is_wildcard).map(|ip| ip.to_canonical());
                Ok(Some(Batch { from, local, length: len, stride: stride.max(1) }))
            }
            // What an earlier datagram ran into (a port that is closed) is told here; the dead time deals with it.
            Err(error) if is_passing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends datagrams; what cannot be sent is lost, as on the network.
    pub fn send(&self, transmit: &rx_proto::Transmit) {
        let several = transmit.bytes.len() > transmit.segment;
        let sent = self.send_batch(transmit, &transmit.bytes, several.then_some(transmit.segment));
        if sent.is_err() && several {
            // The interface or the path does not take batches of this size.
            for datagram in transmit.bytes.chunks(transmit.segment) {
                let _ = self.send_batch(transmit, datagram, None);
            }
        }
    }

    fn send_batch(
        &self,
        transmit: &rx_proto::Transmit,
        bytes: &[u8],
        segment: Option<usize>,
    ) -> io::Result<()> {
        // At most this many segments at once, whole ones but for the last.
        let most = segment.map_or(bytes.len(), |segment| segment * self.state.max_gso_segments());
        for contents in bytes.chunks(most.max(1)) {
            let batch = quinn_udp::Transmit {
                destination: self.to_wire(transmit.to),
                ecn: None,
                contents,
                segment_size: segment.filter(|segment| contents.len() > *segment),
                src_ip: transmit
                    .from
                    .filter(|_| self.is_wildcard)
                    .map(|ip| self.to_wire((ip, 0).into()).ip()),
            };
            self.state.try_send((&self.socket).into(), &batch)?;
        }
        Ok(())
    }

    fn to_wire(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) if self.is_v6 => (IpAddr::V6(v4.ip().to_ipv6_mapped()), v4.port()).into(),
            other => other,
        }
    }

    /// Sends an empty datagram to ourselves, so that a receive in progress returns.
    pub fn wake(&self) {
        let Ok(mut address) = self.local_addr() else {
            return;
        };
        if address.ip().is_unspecified() {
            let loopback = if self.is_v6 { Ipv6Addr::LOCALHOST.into() } else { [127, 0, 0, 1].into() };
            address.set_ip(loopback);
        }
        let _ = self.socket.send_to(&[], address);
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable, TimedOut, WouldBlock,
    };
    matches!(
        error.kind(),
        WouldBlock | TimedOut | Interrupted | ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}

/// Lets the kernel and the network cut datagrams that a path does not carry.
#[allow(unsafe_code, reason = "the standard library has no such option")]
fn allow_fragments(socket: &UdpSocket, is_v6: bool) -> io::Result<()> {
    let options = [
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT),
    ];
    for (level, name, value) in options.into_iter().take(if is_v6 { 2 } else { 1 }) {
        let value: libc::c_int = value;
        // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the pointer and length are those of
        // a `c_int` that lives until the call returns.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result != 0 && level == libc::IPPROTO_IP && !is_v6 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

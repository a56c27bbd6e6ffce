//! Questions for the version and the debug figures of any Rx port, as `rxdebug` asks them: single datagrams, asked
//! again when no answer comes.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rx_proto::debug::{self, Question};
pub use rx_proto::debug::{Basic, ConnectionReport, Counters, PeerReport};
use rx_proto::packet::PacketType;

/// A question is asked this often before we give up.
const TRIES: u32 = 4;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The socket.
    #[error("cannot ask {peer}: {source}")]
    Socket {
        /// Whom.
        peer: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing came.
    #[error("no answer from {peer} within {waited:?}; is an Rx server running there?")]
    Silence {
        /// Whom.
        peer: SocketAddr,
        /// How long.
        waited: Duration,
    },
    /// Something else came.
    #[error("the answer of {peer} is malformed")]
    Malformed {
        /// Whom.
        peer: SocketAddr,
    },
}

/// Asks one peer.
#[derive(Debug)]
pub struct Asker {
    socket: UdpSocket,
    peer: SocketAddr,
    patience: Duration,
    number: u32,
}

impl Asker {
    /// For the port `peer`; gives up on a question after `patience`.
    ///
    /// # Errors
    /// No socket could be had.
    pub fn new(peer: SocketAddr, patience: Duration) -> Result<Asker, AskError> {
        let any: SocketAddr = if peer.is_ipv6() { ([0u16; 8], 0).into() } else { ([0, 0, 0, 0], 0).into() };
        let socket = UdpSocket::bind(any).and_then(|socket| {
            socket.connect(peer)?;
            Ok(socket)
        });
        let socket = socket.map_err(|source| AskError::Socket { peer, source })?;
        Ok(Asker { socket, peer, patience, number: 0 })
    }

    /// The version string, and how long the answer took.
    ///
    /// # Errors
    /// No answer.
    pub fn version(&mut self) -> Result<(String, Duration), AskError> {
        let (body, took) = self.ask(PacketType::Version, debug::version_datagram)?;
        let text = body.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok((String::from_utf8_lossy(text).trim().to_owned(), took))
    }

    /// Basic figures.
    ///
    /// # Errors
    /// No answer, or a malformed one.
    pub fn basic(&mut self) -> Result<Basic, AskError> {
        let body = self.debug(Question::Basic)?;
        Basic::decode(&body).ok_or(AskError::Malformed { peer: self.peer })
    }

    /// What the port has counted.
    ///
    /// # Errors
    /// No answer, or a malformed one.
    pub fn counters(&mut self) -> Result<Counters, AskError> {
        let body = self.debug(Question::Counters)?;
        Counters::decode(&body).ok_or(AskError::Malformed { peer: self.peer })
    }

    /// Its connections, at most `most`.
    ///
    /// # Errors
    /// No answer.
    pub fn connections(&mut self, all: bool, most: u32) -> Result<Vec<ConnectionReport>, AskError> {
        let mut found = Vec::new();
        for index in 0..most {
            let question = if all { Question::Connection(index) } else { Question::BusyConnection(index) };
            match ConnectionReport::decode(&self.debug(question)?) {
                Some(connection) => found.push(connection),
                None => break,
            }
        }
        Ok(found)
    }

    /// Its peers, at most `most`.
    ///
    /// # Errors
    /// No answer.
    pub fn peers(&mut self, most: u32) -> Result<Vec<PeerReport>, AskError> {
        let mut found = Vec::new();
        for index in 0..most {
            match PeerReport::decode(&self.debug(Question::Peer(index))?) {
                Some(peer) => found.push(peer),
                None => break,
            }
        }
        Ok(found)
    }

    fn debug(&mut self, question: Question) -> Result<Vec<u8>, AskError> {
        Ok(self.ask(PacketType::Debug, |number| debug::question_datagram(question, number))?.0)
    }

    fn ask(
        &mut self,
        wanted: PacketType,
        datagram: impl Fn(u32) -> Vec<u8>,
    ) -> Result<(Vec<u8>, Duration), AskError> {
        let peer = self.peer;
        let failed = |source| AskError::Socket { peer, source };
        let mut buffer = [0; 2048];
        for _ in 0..TRIES {
            self.number += 1;
            let asked = Instant::now();
            let until = asked + self.patience / TRIES;
            self.socket.send(&datagram(self.number)).map_err(failed)?;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                self.socket.set_read_timeout(Some(left)).map_err(failed)?;
                match self.socket.recv(&mut buffer) {
                    Ok(length) => match debug::answer(&buffer[..length]) {
                        Some((kind, number, body)) if kind == wanted && number == self.number => {
                            return Ok((body.to_vec(), asked.elapsed()));
                        }
                        _ => {}
                    },
                    Err(error)
                        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                    // Nobody there yet, perhaps: the next try comes in its time.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        std::thread::sleep(until.saturating_duration_since(Instant::now()));
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        Err(AskError::Silence { peer, waited: self.patience })
    }
}

//! A network of one wire, whose faults come from a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use rx_proto::{Time, Transmit};

/// What the wire does to datagrams. Probabilities are in permille.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    pub loss: u32,
    pub duplication: u32,
    /// A damaged datagram fails the checksum of UDP: it is lost.
    pub corruption: u32,
    pub delay_us: u64,
    /// Up to this much more, by which datagrams overtake each other.
    pub jitter_us: u64,
    /// Longer datagrams travel as fragments, of which each may be lost.
    pub mtu: usize,
    /// The MTU changes to this and back every so often.
    pub other_mtu: usize,
}

/// A datagram that arrives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    pub to: SocketAddr,
    pub from: SocketAddr,
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
pub struct Network {
    pub faults: Faults,
    random: Rng,
    on_the_way: BinaryHeap<Reverse<(Time, u64, Delivery)>>,
    sent: u64,
    pub carried: u64,
}

const MTU_PERIOD: Duration = Duration::from_secs(3);
/// Bytes of IPv4 and UDP headers.
const HEADERS: usize = 28;

impl Network {
    pub fn new(faults: Faults, random: Rng) -> Self {
        Network { faults, random, on_the_way: BinaryHeap::new(), sent: 0, carried: 0 }
    }

    pub fn send(&mut self, now: Time, from: SocketAddr, transmit: &Transmit) {
        for bytes in transmit.bytes.chunks(transmit.segment) {
            self.send_one(now, from, transmit.to, bytes);
        }
    }

    fn send_one(&mut self, now: Time, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let copies = 1 + usize::from(self.happens(self.faults.duplication));
        for _ in 0..copies {
            let fragments = (bytes.len() + HEADERS).div_ceil(self.mtu(now));
            let lost = (0..fragments).any(|_| self.happens(self.faults.loss + self.faults.corruption));
            if lost {
                continue;
            }
            let delay = self.faults.delay_us + self.random.u64(0..=self.faults.jitter_us);
            let arrival = now + Duration::from_micros(delay);
            self.sent += 1;
            let delivery = Delivery { to, from, bytes: bytes.to_vec() };
            self.on_the_way.push(Reverse((arrival, self.sent, delivery)));
        }
    }

    fn mtu(&self, now: Time) -> usize {
        let odd = (now.since_origin().as_secs() / MTU_PERIOD.as_secs()) % 2 == 1;
        if odd { self.faults.other_mtu } else { self.faults.mtu }
    }

    fn happens(&mut self, permille: u32) -> bool {
        self.random.u32(0..1000) < permille
    }

    pub fn next_arrival(&self) -> Option<Time> {
        self.on_the_way.peek().map(|Reverse((at, _, _))| *at)
    }

    pub fn arrive(&mut self, now: Time) -> Option<Delivery> {
        if self.next_arrival()? > now {
            return None;
        }
        self.carried += 1;
        self.on_the_way.pop().map(|Reverse((_, _, delivery))| delivery)
    }
}

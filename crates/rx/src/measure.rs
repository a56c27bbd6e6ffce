//! A service to measure with, and the measurements: how long calls take, how fast bytes flow, what a byte costs.
//!
//! The service answers anybody and does nothing but that; serve it where it is wanted only.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rx_proto::admission::{Admission, Everybody, Gate};
use rx_proto::rpc::{self, CallStream, Dial, ServedCall};
use rx_proto::xdr::Opaque;
use rx_proto::{AbortCode, CallFailure, Caller, procedures};

use crate::client::Connection;

/// Largest echo, in bytes.
const MAX_ECHO: u32 = 1 << 20;
/// Bytes written or read at a time in transfers.
const CHUNK: usize = 256 * 1024;

procedures! {
    /// What is measured.
    pub service measurement = 900 {
        /// The same bytes back.
        1 fn echo(bytes: Opaque<{ super::MAX_ECHO }>) -> Opaque<{ super::MAX_ECHO }>;
        /// Takes so many bytes and replies with their number.
        2 stream fn take(length: u64);
        /// Gives so many bytes.
        3 stream fn give(length: u64);
    }
}

/// The service.
#[derive(Debug, Clone, Copy, Default)]
pub struct MeasurementServer;

impl measurement::Server for MeasurementServer {
    fn echo(&self, _caller: &Caller, bytes: Opaque<MAX_ECHO>) -> Result<Opaque<MAX_ECHO>, AbortCode> {
        Ok(bytes)
    }

    fn take(&self, call: &mut dyn ServedCall, length: u64) -> Result<(), AbortCode> {
        let taken = read_bytes(call, length)?;
        Ok(rpc::write_value(call, &taken)?)
    }

    fn give(&self, call: &mut dyn ServedCall, length: u64) -> Result<(), AbortCode> {
        Ok(write_bytes(call, length)?)
    }
}

/// The service, for [`crate::Port::serve`].
pub fn service() -> Arc<dyn crate::service::Service> {
    Arc::new(MeasurementServer)
}

impl crate::service::Service for MeasurementServer {
    fn answer(&self, call: &mut dyn ServedCall) -> Result<(), AbortCode> {
        measurement::dispatch(self, call)
    }

    /// Transfers need the whole window, and a program that is measured serves nobody else.
    fn admit(&self, caller: &Caller, first: &[u8]) -> Result<Admission, AbortCode> {
        Everybody.admit(caller, first)
    }
}

fn write_bytes(call: &mut (impl CallStream + ?Sized), length: u64) -> Result<(), CallFailure> {
    let chunk = vec![0x5a; CHUNK];
    let mut left = length;
    while left > 0 {
        let count = left.min(CHUNK as u64);
        call.write(&chunk[..count as usize])?;
        left -= count;
    }
    Ok(())
}

/// Reads `length` bytes; fewer only if the peer ends early.
fn read_bytes(call: &mut (impl CallStream + ?Sized), length: u64) -> Result<u64, CallFailure> {
    let mut buffer = vec![0; CHUNK];
    let mut left = length;
    while left > 0 {
        let most = left.min(CHUNK as u64) as usize;
        match call.read(&mut buffer[..most])? {
            0 => break,
            count => left -= count as u64,
        }
    }
    Ok(length - left)
}

/// How long calls took.
#[derive(Debug, Clone)]
pub struct CallTiming {
    /// Each call's time, sorted.
    pub calls: Vec<Duration>,
    /// From the first call to the last.
    pub elapsed: Duration,
    /// Processor time of this process in between.
    pub processor: Duration,
}

impl CallTiming {
    /// The time that `percent` of the calls did not exceed.
    pub fn percentile(&self, percent: f64) -> Duration {
        let at = (self.calls.len() as f64 * percent / 100.0).ceil() as usize;
        self.calls
            .get(at.saturating_sub(1).min(self.calls.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }

    /// Calls a second.
    pub fn rate(&self) -> f64 {
        self.calls.len() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Makes `calls` echo calls of `size` bytes on each connection, one after the other, all connections at once.
///
/// # Errors
/// A call failed so.
pub fn time_calls(connections: &[Connection], calls: usize, size: usize) -> Result<CallTiming, CallFailure> {
    let bytes = Opaque::new(vec![0x5a; size]).ok_or(CallFailure::NotSent(AbortCode::CLIENT_MARSHAL))?;
    let request = measurement::request::echo(bytes);
    let (started, processor) = (Instant::now(), processor_time());
    let run = |connection: &Connection| -> Result<Vec<Duration>, CallFailure> {
        (0..calls)
            .map(|_| {
                let called = Instant::now();
                request.call(connection)?;
                Ok(called.elapsed())
            })
            .collect()
    };
    let mut all = in_parallel(connections, run)?.concat();
    let elapsed = started.elapsed();
    all.sort_unstable();
    Ok(CallTiming { calls: all, elapsed, processor: processor_time().saturating_sub(processor) })
}

/// Which way bytes flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    Send,
    /// From the server.
    Receive,
}

/// How fast bytes flowed.
#[derive(Debug, Clone, Copy)]
pub struct Transfer {
    /// How many, in all.
    pub bytes: u64,
    /// In what time.
    pub elapsed: Duration,
    /// Processor time of this process in between.
    pub processor: Duration,
}

impl Transfer {
    /// Bits a second.
    pub fn bits_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Moves `bytes` on each connection, all at once, in one call each.
///
/// # Errors
/// A call failed so.
pub fn time_transfer(
    connections: &[Connection],
    bytes: u64,
    direction: Direction,
) -> Result<Transfer, CallFailure> {
    let (started, processor) = (Instant::now(), processor_time());
    let moved = in_parallel(connections, |connection| move_bytes(connection, bytes, direction))?;
    let elapsed = started.elapsed();
    let processor = processor_time().saturating_sub(processor);
    Ok(Transfer { bytes: moved.iter().sum(), elapsed, processor })
}

fn move_bytes(connection: &Connection, bytes: u64, direction: Direction) -> Result<u64, CallFailure> {
    let moved = match direction {
        Direction::Send => {
            let mut call = measurement::request::take(bytes).open(connection)?;
            write_bytes(&mut call, bytes)?;
            let taken: u64 = rpc::read_value(&mut call, AbortCode::CLIENT_UNMARSHAL)?;
            call.read(&mut [0])?;
            connection.complete(call)?;
            taken
        }
        Direction::Receive => {
            let mut call = measurement::request::give(bytes).open(connection)?;
            let taken = read_bytes(&mut call, bytes)?;
            call.read(&mut [0])?;
            connection.complete(call)?;
            taken
        }
    };
    if moved == bytes { Ok(moved) } else { Err(CallFailure::Unanswered(AbortCode::END_OF_STREAM)) }
}

fn in_parallel<T: Send>(
    connections: &[Connection],
    run: impl Fn(&Connection) -> Result<T, CallFailure> + Sync,
) -> Result<Vec<T>, CallFailure> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = connections.iter().map(|connection| scope.spawn(|| run(connection))).collect();
        threads.into_iter().map(|thread| thread.join().expect("measuring does not panic")).collect()
    })
}

/// Processor time of this process so far, in user and system, from `/proc/self/stat`; zero if that is not there.
pub fn processor_time() -> Duration {
    read_processor_time().unwrap_or_default()
}

fn read_processor_time() -> io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // After the name in parentheses: fields 14 and 15 of the whole, in ticks of 10 ms.
    let fields = text.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

//! One client's bytes: requests in, replies out, within the limits.
//!
//! A task a connection. It reads no more while its pipeline is full or its output waits, so that a client that does not
//! read its replies stops being read; one that does not read for [`Limits::output_timeout`](crate::Limits) is cut off.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use resp::{ReplyWriter, Requests, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until};

use crate::channels::Message;
use crate::clients::Admitted;
use crate::pipeline::Pipeline;
use crate::server::Shared;
use crate::session::{Next, Session};
use crate::statistics::Statistics;

/// Why a connection ended, for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The client closed it, or sent QUIT.
    #[error("closed by the client")]
    Closed,
    /// The network or TLS failed.
    #[error("broke off: {0}")]
    Broken(String),
    /// CLIENT KILL, a user that is gone, or messages that were not read.
    #[error("ended by CLIENT KILL, a change of users, or messages that it did not read")]
    Killed,
    /// The server stops.
    #[error("closed because the server stops")]
    Stopping,
    /// What it sent is not the protocol.
    #[error("broke the protocol: {0}")]
    Protocol(String),
    /// It exceeded a bound, and is told so.
    #[error("cut off: {0}")]
    CutOff(String),
    /// It does not read.
    #[error("cut off: {0}")]
    Deaf(String),
}

/// Bytes read at once, at first: most connections are idle, and there may be ten thousand.
const READ: usize = 1 << 10;
/// Bytes read at once by a connection that sends much.
const MOST_READ: usize = 64 << 10;
/// Replies that wait to be sent while requests are still carried out; above it the client has to read first.
const SENDING: usize = 256 << 10;
/// What an idle connection keeps of its output buffer.
const KEPT: usize = 64 << 10;
/// A far time, for what has no limit.
const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Serves one client until it goes or has to.
pub async fn serve<S: AsyncRead + AsyncWrite>(stream: S, admitted: &Admitted, shared: &Arc<Shared>) -> End {
    let (reading, writing) = tokio::io::split(stream);
    let session = Session::new(Arc::clone(shared), Arc::clone(&admitted.client));
    let mut connection = Connection::new(session, writing);
    let end = connection.run(reading).await;
    connection.release();
    if matches!(end, End::CutOff(_) | End::Deaf(_)) {
        Statistics::count(&shared.statistics.cut_off);
    }
    end
}

struct Connection<S> {
    session: Session,
    pipeline: Pipeline,
    writing: WriteHalf<S>,
    output: Vec<u8>,
    /// Bytes of `output` that are sent.
    sent: usize,
    /// There was something to send when last looked at.
    sending: bool,
    /// When something was sent, or there began to be something to send.
    progress: Instant,
    last_request: Instant,
    connected: Instant,
    /// Bytes of this connection in the common count.
    counted: usize,
}

impl<S: AsyncRead + AsyncWrite> Connection<S> {
    fn new(session: Session, writing: WriteHalf<S>) -> Connection<S> {
        let statistics = Arc::clone(&session.shared.statistics);
        let pipeline = Pipeline::new(statistics, session.client.peer.to_string());
        let now = Instant::now();
        Connection {
            session,
            pipeline,
            writing,
            output: Vec::new(),
            sent: 0,
            sending: false,
            progress: now,
            last_request: now,
            connected: now,
            counted: 0,
        }
    }

    async fn run(&mut self, mut reading: ReadHalf<S>) -> End {
        let limits = self.session.shared.settings.limits;
        let mut requests = Requests::new(self.request_limits());
        let mut stopping = self.session.shared.stopping.subscribe();
        let client = Arc::clone(&self.session.client);
        let mut buffer = vec![0; READ];
        loop {
            if let Err(end) = self.carry_out(&mut requests).await {
                return self.last_words(end).await;
            }
            if let Err(end) = self.account(requests.held()) {
                return self.last_words(end).await;
            }
            let unsent = self.output.len() - self.sent;
            if !std::mem::replace(&mut self.sending, unsent > 0) {
                self.progress = Instant::now();
            }
            let is_closing = self.session.closing || *stopping.borrow();
            if is_closing && unsent == 0 && self.pipeline.is_empty() {
                return if self.session.closing { End::Closed } else { End::Stopping };
            }
            let may_read = !is_closing && unsent < SENDING && self.pipeline.len() < limits.pipeline;
            let deadline = self.deadline(unsent > 0);
            tokio::select! {
                () = client.killing.notified() => return End::Killed,
                // Replies wait where they are while the client has others to read.
                () = self.pipeline.ready(), if unsent < SENDING => {
                    self.pipeline.take(&mut self.output, self.sent + SENDING);
                }
                written = self.writing.write(&self.output[self.sent..]), if unsent > 0 => {
                    if let Err(end) = self.wrote(written) {
                        return end;
                    }
                }
                read = reading.read(&mut buffer), if may_read => match read {
                    Ok(0) => return self.last_words(End::Closed).await,
                    Ok(bytes) => {
                        self.session.shared.statistics.received.fetch_add(bytes as u64, Ordering::Relaxed);
                        self.last_request = Instant::now();
                        requests.receive(&buffer[..bytes]);
                        if bytes == buffer.len() && bytes < MOST_READ {
                            buffer.resize(4 * bytes, 0);
                        }
                    }
                    Err(error) => return End::Broken(error.to_string()),
                },
                Some(message) = self.session.subscriber.next() => self.deliver(&message),
                _ = stopping.changed(), if !is_closing => {}
                () = sleep_until(deadline) => if let Some(end) = self.overdue() {
                    return self.last_words(end).await;
                },
            }
        }
    }

    /// Carries out requests that have arrived, as many as may be under way.
    async fn carry_out(&mut self, requests: &mut Requests) -> Result<(), End> {
        let limits = self.session.shared.settings.limits;
        let mut stopping = false;
        while !stopping
            && !self.session.closing
            && self.pipeline.len() < limits.pipeline
            && self.output.len() - self.sent < SENDING
        {
            let request = match requests.poll() {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(error) => return Err(End::Protocol(error.to_string())),
            };
            let arguments: Vec<&[u8]> = request.iter().collect();
            let known = self.session.user.is_some();
            self.request(&arguments).await;
            if self.session.user.is_some() != known {
                requests.set_limits(self.request_limits());
            }
            stopping = *self.session.shared.stopping.borrow();
        }
        Ok(())
    }

    async fn request(&mut self, arguments: &[&[u8]]) {
        let mut reply = ReplyWriter::new(self.session.protocol);
        match self.session.handle(arguments, &mut reply) {
            Next::Answered => self.pipeline.answer(reply.take(), &mut self.output),
            Next::Step(step) => {
                if self.pipeline.must_drain(step.writes()) {
                    self.pipeline.drain(&mut self.output).await;
                }
                self.pipeline.submit(&*self.session.shared.store, step);
            }
            Next::Wait(wait) => {
                self.pipeline.drain(&mut self.output).await;
                self.session.wait(wait, &mut reply).await;
                self.pipeline.answer(reply.take(), &mut self.output);
            }
        }
    }

    fn deliver(&mut self, message: &Message) {
        let mut push = ReplyWriter::new(self.session.protocol);
        match &message.pattern {
            None => {
                push.push(3);
                push.string(b"message");
            }
            Some(pattern) => {
                push.push(4);
                push.string(b"pmessage");
                push.string(pattern);
            }
        }
        push.string(&message.channel);
        push.string(&message.payload);
        self.output.extend_from_slice(push.bytes());
    }

    fn wrote(&mut self, written: io::Result<usize>) -> Result<(), End> {
        let bytes = written.map_err(|error| End::Broken(error.to_string()))?;
        if bytes == 0 {
            return Err(End::Broken("it takes no more bytes".to_owned()));
        }
        self.session.shared.statistics.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.progress = Instant::now();
        self.sent += bytes;
        if self.sent == self.output.len() {
            self.output.clear();
            self.output.shrink_to(KEPT);
            self.sent = 0;
        }
        Ok(())
    }

    /// Says why, if the client still listens; then it is over.
    async fn last_words(&mut self, end: End) -> End {
        if matches!(end, End::Deaf(_)) {
            return end;
        }
        self.session.subscriber.clear();
        self.pipeline.drain(&mut self.output).await;
        if let End::Protocol(why) | End::CutOff(why) = &end {
            let mut reply = ReplyWriter::new(Version::Resp2);
            reply.error(&format!("ERR {why}"));
            self.output.extend_from_slice(reply.bytes());
        }
        let _ = tokio::time::timeout(LAST_WORDS, async {
            self.writing.write_all(&self.output[self.sent..]).await?;
            self.writing.shutdown().await
        })
        .await;
        end
    }

    fn request_limits(&self) -> resp::Limits {
        match self.session.user {
            Some(_) => self.session.shared.settings.limits.request(),
            None => resp::Limits::STRANGER,
        }
    }

    /// Counts what this connection holds; an error if that is too much.
    fn account(&mut self, of_requests: usize) -> Result<(), End> {
        let limits = &self.session.shared.settings.limits;
        let unsent = self.output.len() - self.sent;
        let held = of_requests + unsent;
        let statistics = &self.session.shared.statistics;
        let total = statistics.held.fetch_add(held.wrapping_sub(self.counted), Ordering::Relaxed);
        let total = total.wrapping_add(held.wrapping_sub(self.counted));
        self.counted = held;
        self.session.client.held.store(held, Ordering::Relaxed);
        if unsent > limits.output_bytes {
            return Err(End::Deaf(format!(
                "replies that are not read exceed {} bytes (limits.output-bytes)",
                limits.output_bytes
            )));
        }
        if total > limits.total_bytes && held > KEPT {
            return Err(End::CutOff(format!(
                "requests and replies of all clients exceed {} bytes (limits.total-bytes)",
                limits.total_bytes
            )));
        }
        Ok(())
    }

    fn release(&mut self) {
        self.session.shared.statistics.held.fetch_sub(self.counted, Ordering::Relaxed);
        self.counted = 0;
    }

    /// When something that this connection may not do for long has lasted too long.
    fn deadline(&self, sending: bool) -> Instant {
        let limits = &self.session.shared.settings.limits;
        if sending {
            return self.progress + limits.output_timeout;
        }
        if self.session.user.is_none() {
            return self.connected + limits.authentication_timeout;
        }
        let is_waiting = !self.pipeline.is_empty() || self.session.subscriber.count() > 0;
        match limits.idle_timeout {
            Some(limit) if !is_waiting => self.last_request + limit,
            _ => self.connected + NEVER,
        }
    }

    fn overdue(&mut self) -> Option<End> {
        let limits = &self.session.shared.settings.limits;
        if self.output.len() > self.sent {
            let late = self.progress.elapsed() >= limits.output_timeout;
            let seconds = limits.output_timeout.as_secs();
            return late
                .then(|| End::Deaf(format!("read no reply for {seconds} s (limits.output-timeout-secs)")));
        }
        if self.session.user.is_none() && self.connected.elapsed() >= limits.authentication_timeout {
            return Some(End::CutOff("did not authenticate in time".to_owned()));
        }
        let limit = limits.idle_timeout?;
        (self.last_request.elapsed() >= limit)
            .then(|| End::CutOff(format!("silent for {} s (limits.idle-timeout-secs)", limit.as_secs())))
    }
}

/// How long a connection that ends may take to read why.
const LAST_WORDS: Duration = Duration::from_secs(2);

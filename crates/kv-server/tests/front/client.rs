//! A front end for one test, and a client that speaks to it byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kv::Memory;
use kv_server::{Level, Server, Settings};
use resp::{Limits, Replies, Value, write_request};

/// A front end over a store in memory, on a free port.
pub struct Front {
    server: Option<Server>,
    pub address: SocketAddr,
    pub log: Arc<Mutex<Vec<String>>>,
}

impl Front {
    pub fn start() -> Front {
        Front::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Front {
        let mut settings = settings();
        change(&mut settings);
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let said = move |level: Level, line: &str| lines.lock().unwrap().push(format!("{level}: {line}"));
        let store = Arc::new(Memory::new(2).unwrap());
        let server = Server::start(settings, store, Arc::new(said)).unwrap();
        let address = server.addresses()[0];
        Front { server: Some(server), address, log }
    }

    pub fn connect(&self) -> Wire {
        Wire::to(self.address)
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub fn stop(&mut self) {
        self.server.take().unwrap().stop(PATIENCE);
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop(Duration::ZERO);
        }
    }
}

pub fn settings() -> Settings {
    Settings { listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))], threads: Some(2), ..Settings::default() }
}

/// A client.
pub struct Wire {
    pub stream: TcpStream,
    replies: Replies,
}

/// Longer than anything takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

impl Wire {
    pub fn to(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire { stream, replies: Replies::new(Limits::default()) }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a command and waits for its reply.
    pub fn words(&mut self, words: &[&[u8]]) -> Value {
        let mut bytes = Vec::new();
        write_request(&mut bytes, words.iter().copied());
        self.send(&bytes);
        self.next().expect("a reply, not the end")
    }

    /// Sends a command written with blanks between its words.
    pub fn ask(&mut self, command: &str) -> Value {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        self.words(&words)
    }

    /// The next reply; `None` at the end of the connection.
    pub fn next(&mut self) -> Option<Value> {
        let mut buffer = [0; 65536];
        loop {
            if let Some(value) = self.replies.poll().unwrap() {
                return Some(value);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(bytes) => self.replies.receive(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The text of an error reply.
    pub fn refused(&mut self, command: &str) -> String {
        error(self.ask(command))
    }
}

pub fn error(value: Value) -> String {
    match value {
        Value::Error(text) => String::from_utf8(text).unwrap(),
        other => panic!("no error: {other:?}"),
    }
}

pub fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

pub fn text(value: &str) -> Value {
    Value::Bytes(value.as_bytes().to_vec())
}

/// A text of any kind, as a string.
pub fn shown(value: &Value) -> String {
    String::from_utf8_lossy(value.as_bytes().expect("a text")).into_owned()
}

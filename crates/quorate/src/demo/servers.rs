//! The three servers: real processes of this program, with configuration files, logs and data in one directory.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::failure::Failure;

/// The servers' names.
pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three servers, which are killed when dropped.
pub struct Servers {
    folder: PathBuf,
    /// Where clients connect.
    pub clients: [SocketAddr; 3],
    /// Where the pages are.
    pub pages: [SocketAddr; 3],
    processes: [Option<Child>; 3],
}

impl Servers {
    /// Writes the configuration files into `folder`; nothing runs yet.
    ///
    /// # Errors
    /// The directory cannot be written, or no free ports are found.
    pub fn configure(folder: &Path) -> Result<Servers, Failure> {
        let [a, b, c, pages @ ..] = free_ports()?;
        let clients = [a, b, c];
        let (addresses, port) = free_addresses()?;
        let listed: Vec<String> =
            NAMES.iter().zip(addresses).map(|(name, ip)| format!("{name} = \"{ip}:{port}\"")).collect();
        for (nth, name) in NAMES.iter().enumerate() {
            let data = folder.join(name);
            fs::create_dir_all(&data).map_err(|error| failed(&data, &error))?;
            let text = format!(
                "data = {data:?}\n\n[clients]\nlisten = [\"{}\"]\n\n[page]\nlisten = [\"{}\"]\n\n[cell]\nserver = \"{name}\"\n\
                 servers = {{ {} }}\n",
                clients[nth],
                pages[nth],
                listed.join(", "),
            );
            let file = folder.join(format!("{name}.toml"));
            fs::write(&file, text).map_err(|error| failed(&file, &error))?;
        }
        Ok(Servers { folder: folder.to_owned(), clients, pages, processes: [None, None, None] })
    }

    /// Starts server `nth`; its log goes on in `NAME.log`.
    ///
    /// # Errors
    /// The process or its log cannot be made.
    pub fn start(&mut self, nth: usize) -> Result<(), Failure> {
        let name = NAMES[nth];
        let path = self.folder.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&path);
        let log = log.map_err(|error| failed(&path, &error))?;
        let program = std::env::current_exe().map_err(Failure::system)?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(self.folder.join(format!("{name}.toml")));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.processes[nth] = Some(command.spawn().map_err(Failure::system)?);
        Ok(())
    }

    /// Ends server `nth` with SIGKILL, as a machine that loses its power would.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self, nth: usize) -> Result<(), Failure> {
        let Some(mut process) = self.processes[nth].take() else { return Ok(()) };
        process.kill().and_then(|()| process.wait()).map(drop).map_err(Failure::system)
    }

    /// The server that has ended by itself, if one has.
    pub fn ended(&mut self) -> Option<(usize, String)> {
        let mut running = self.processes.iter_mut().enumerate();
        running.find_map(|(nth, process)| {
            let status = process.as_mut()?.try_wait().ok()??;
            Some((nth, status.to_string()))
        })
    }

    /// Ends the servers and removes their data; configuration and logs stay.
    ///
    /// # Errors
    /// A directory cannot be removed.
    pub fn remove(mut self) -> Result<(), Failure> {
        for (nth, name) in NAMES.iter().enumerate() {
            self.kill(nth)?;
            let data = self.folder.join(name);
            fs::remove_dir_all(&data).map_err(|error| failed(&data, &error))?;
        }
        Ok(())
    }

    /// Leaves the servers running; their process ids.
    pub fn leave(mut self) -> Vec<u32> {
        self.processes.iter_mut().filter_map(Option::take).map(|process| process.id()).collect()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for nth in 0..NAMES.len() {
            // Whatever is wrong with a process, the others are ended too.
            let _ = self.kill(nth);
        }
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::system(format!("{}: {error}", path.display()))
}

/// Where ports for the demo are looked for: below those that Linux gives to whoever asks for any, so that none is given away between now
/// and the start of the server that is to have it.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Ports of 127.0.0.1 that nobody has now, all different.
fn free_ports() -> Result<[SocketAddr; 6], Failure> {
    let mut listeners = Vec::new();
    for _ in 0..1000 {
        // Held until all are found, so that none comes twice.
        listeners.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(PORTS))));
        let found: Result<Vec<_>, _> = listeners.iter().map(TcpListener::local_addr).collect();
        if let Ok(addresses) = <[SocketAddr; 6]>::try_from(found.map_err(Failure::system)?) {
            return Ok(addresses);
        }
    }
    Err(Failure::system("no six TCP ports of 127.0.0.1 are free"))
}

/// Servers of a cell have an address each: three of the loopback network's, and a port that is free on all of them.
fn free_addresses() -> Result<([Ipv4Addr; 3], u16), Failure> {
    let block = std::process::id() % (1 << 16);
    let address =
        |nth: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 192, 0, 0)) + (block << 2) + nth + 1);
    let addresses = [address(0), address(1), address(2)];
    for _ in 0..100 {
        let first = UdpSocket::bind((addresses[0], 0)).map_err(Failure::system)?;
        let port = first.local_addr().map_err(Failure::system)?.port();
        if addresses[1..].iter().all(|ip| UdpSocket::bind((*ip, port)).is_ok()) {
            return Ok((addresses, port));
        }
    }
    Err(Failure::system("no UDP port is free on three loopback addresses"))
}

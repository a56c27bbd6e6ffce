//! `quorate status` of the service: whether it is well, as one of its servers sees it, and each of its servers.

use std::io::{self, Write};

use resp::Value;
use serde_json::json;

use super::client::Connection;
use crate::Outcome;
use crate::failure::Failure;

/// What `QUORATE.STATUS` answers.
struct Status {
    server: String,
    standing: String,
    sync_site: Option<String>,
    servers: Vec<Server>,
}

struct Server {
    name: String,
    is_up: bool,
    is_sync_site: bool,
    version: Option<String>,
}

/// Asks one server, prints what it says, and judges: the answer is no if something is not as it should be.
pub fn run(connection: &Connection, as_json: bool) -> Outcome {
    let answer = connection.open()?.ask(&[b"QUORATE.STATUS"])?;
    let status = Status::read(&answer).ok_or_else(|| Failure::system("the server is not quorate's"))?;
    let complaints = status.complaints();
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{:#}", status.to_json(&complaints))?;
    } else {
        status.print(&mut out, &complaints)?;
    }
    if complaints.is_empty() { Ok(()) } else { Err(Failure::no("")) }
}

impl Status {
    fn read(answer: &Value) -> Option<Status> {
        let text = |name: &str| text(field(answer, name)?);
        let servers = field(answer, "servers")?.as_elements()?.iter().map(Server::read);
        Some(Status {
            server: text("server")?,
            standing: text("standing")?,
            sync_site: text("sync-site"),
            servers: servers.collect::<Option<_>>()?,
        })
    }

    fn complaints(&self) -> Vec<String> {
        let none =
            self.sync_site.is_none().then(|| "no sync site is known: nothing can be written".to_owned());
        let down = self.servers.iter().filter(|server| !server.is_up);
        none.into_iter().chain(down.map(|server| format!("{} is down", server.name))).collect()
    }

    fn print(&self, out: &mut impl Write, complaints: &[String]) -> io::Result<()> {
        match (complaints, &self.sync_site) {
            ([], Some(site)) if self.servers.len() > 1 => {
                writeln!(
                    out,
                    "OK: {site} is sync site, {} of {} servers are up",
                    self.servers.len(),
                    self.servers.len()
                )?;
            }
            ([], _) => writeln!(out, "OK: {} is {}", self.server, self.standing)?,
            _ => writeln!(out, "DEGRADED: {}", complaints.join("; "))?,
        }
        let width =
            self.servers.iter().map(|server| server.name.len()).max().unwrap_or(0).max("server".len());
        writeln!(out, "{:width$}  state      version", "server")?;
        for server in &self.servers {
            let version = server.version.as_deref().unwrap_or("unknown");
            writeln!(out, "{:width$}  {:9}  {version}", server.name, server.state())?;
        }
        Ok(())
    }

    fn to_json(&self, complaints: &[String]) -> serde_json::Value {
        let servers: Vec<serde_json::Value> = self
            .servers
            .iter()
            .map(|server| {
                json!({"name": server.name, "up": server.is_up, "sync-site": server.is_sync_site, "version": server.version})
            })
            .collect();
        json!({
            "state": if complaints.is_empty() { "OK" } else { "DEGRADED" },
            "complaints": complaints,
            "server": self.server,
            "standing": self.standing,
            "sync-site": self.sync_site,
            "servers": servers,
        })
    }
}

impl Server {
    fn read(answer: &Value) -> Option<Server> {
        let is = |name: &str| Some(field(answer, name)?.as_integer()? == 1);
        Some(Server {
            name: text(field(answer, "name")?)?,
            is_up: is("up")?,
            is_sync_site: is("sync-site")?,
            version: text(field(answer, "version")?),
        })
    }

    fn state(&self) -> &'static str {
        match (self.is_up, self.is_sync_site) {
            (false, _) => "down",
            (true, true) => "sync site",
            (true, false) => "up",
        }
    }
}

/// A value by its name, in a map as the protocol's version 2 has it.
fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    let pairs = map.as_elements()?.chunks_exact(2);
    pairs.into_iter().find(|pair| pair[0].as_bytes() == Some(name.as_bytes())).map(|pair| &pair[1])
}

fn text(value: &Value) -> Option<String> {
    Some(String::from_utf8_lossy(value.as_bytes()?).into_owned())
}

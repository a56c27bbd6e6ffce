//! The files in which an OpenAFS server finds its cell: `ThisCell` and `CellServDB`, read as OpenAFS reads them.
//!
//! `ThisCell` holds the cell's name. In `CellServDB` a line `>name #words` begins a cell, and each line after it is one
//! server: its address, or `[address]` for a clone, which does not vote. Every server of a cell must have the same list,
//! or two quorums are possible; nothing here can see that.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use thiserror::Error;
use ubik_proto::cell::{Dialect, Server, ServerKind};

/// Why the cell's files are of no use.
#[derive(Debug, Error)]
pub enum CellFileError {
    /// One cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// `ThisCell` has no name in it.
    #[error("{0} holds no cell name; write the cell's name into it, on one line")]
    NoName(PathBuf),
    /// A line that is neither a cell nor a server.
    #[error("{path}:{line}: {text:?} is not a server; expected an IPv4 address, or [address] for a clone")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// The cell is not in the list.
    #[error("{path} has no cell {name:?} (the name in ThisCell); add a line `>{name}` and its servers")]
    NoCell {
        /// Which file.
        path: PathBuf,
        /// The cell.
        name: String,
    },
    /// The cell has no servers.
    #[error("{path}: cell {name:?} has no servers; list each under the line `>{name}`")]
    NoServers {
        /// Which file.
        path: PathBuf,
        /// The cell.
        name: String,
    },
}

/// A cell as the files have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellFile {
    /// Its name.
    pub name: String,
    /// Its servers, in the order of the file.
    pub servers: Vec<Server>,
}

/// Reads `ThisCell` and `CellServDB` in `directory`. Every server is taken to be OpenAFS's until the caller knows better.
///
/// # Errors
/// As [`CellFileError`] says; each names the file, the line and the remedy.
pub fn read(directory: &Path) -> Result<CellFile, CellFileError> {
    let name_path = directory.join("ThisCell");
    let name = read_text(&name_path)?.split_whitespace().next().map(str::to_owned);
    let name = name.ok_or(CellFileError::NoName(name_path))?;
    let path = directory.join("CellServDB");
    let servers = parse(&path, &read_text(&path)?, &name)?;
    Ok(CellFile { name, servers })
}

fn read_text(path: &Path) -> Result<String, CellFileError> {
    let bytes = fs::read(path).map_err(|source| CellFileError::Read { path: path.to_owned(), source })?;
    // Comments may be in any encoding.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The servers of cell `name`; other cells' lines are not looked at.
fn parse(path: &Path, text: &str, name: &str) -> Result<Vec<Server>, CellFileError> {
    let mut found = None;
    let mut wanted = false;
    for (index, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default().trim();
        if let Some(header) = content.strip_prefix('>') {
            wanted = header.split_whitespace().next().is_some_and(|cell| cell.eq_ignore_ascii_case(name));
            if wanted {
                found.get_or_insert_with(Vec::new);
            }
        } else if let (true, false, Some(servers)) = (wanted, content.is_empty(), &mut found) {
            let bad = || CellFileError::Line {
                path: path.to_owned(),
                line: index + 1,
                text: line.trim().to_owned(),
            };
            servers.push(parse_server(content).ok_or_else(bad)?);
        }
    }
    let (path, name) = (path.to_owned(), name.to_owned());
    match found {
        None => Err(CellFileError::NoCell { path, name }),
        Some(servers) if servers.is_empty() => Err(CellFileError::NoServers { path, name }),
        Some(servers) => Ok(servers),
    }
}

fn parse_server(content: &str) -> Option<Server> {
    let bracketed = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address: Ipv4Addr = bracketed.unwrap_or(content).trim().parse().ok()?;
    let kind = if bracketed.is_some() { ServerKind::Clone } else { ServerKind::Voter };
    Some(Server { address: address.into(), kind, dialect: Dialect::OpenAfs })
}

/// Those of the addresses that belong to this machine: a socket can be bound to them.
pub fn local_addresses(servers: &[Server]) -> Vec<Ipv4Addr> {
    let addresses = servers.iter().map(|server| Ipv4Addr::from(server.address));
    addresses.filter(|&ip| UdpSocket::bind(SocketAddr::new(IpAddr::V4(ip), 0)).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = ">other.example  #Another cell\nno address at all\n\n>test.cell\t#Ours\n10.0.0.2 \t#two\n\
                        [10.0.0.3]  #clone\n10.0.0.1#one\n>third\n10.0.0.9\n";

    fn directory(cell: &str, list: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ThisCell"), cell).unwrap();
        fs::write(directory.path().join("CellServDB"), list).unwrap();
        directory
    }

    /// U43: the lists of OpenAFS, comments, clones and other cells included.
    #[test]
    fn a_cell_is_read_as_openafs_reads_it() {
        let cell = read(directory("test.cell\n", LIST).path()).unwrap();
        let found: Vec<(u32, ServerKind)> =
            cell.servers.iter().map(|server| (server.address & 0xff, server.kind)).collect();
        assert_eq!(found, [(2, ServerKind::Voter), (3, ServerKind::Clone), (1, ServerKind::Voter)]);
    }

    #[test]
    fn each_bad_file_is_refused_with_its_place() {
        let message = |cell: &str, list: &str| read(directory(cell, list).path()).unwrap_err().to_string();
        assert!(
            message(" \n", LIST).ends_with("holds no cell name; write the cell's name into it, on one line")
        );
        assert!(message("x", LIST).contains("has no cell \"x\""));
        assert!(
            message("other.example", LIST).contains("CellServDB:2: \"no address at all\" is not a server")
        );
        assert!(message("x", ">x\n").contains("has no servers"));
        let missing = read(Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read /nonexistent/ThisCell"), "{missing}");
    }
}

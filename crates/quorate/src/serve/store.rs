//! What a server keeps its keys in: a server of a cell, which may be a cell of one.

use std::sync::Arc;

use kv_cell::{Cell, Settings};
use kv_server::Level;

use super::config::Config;
use super::log::ServiceLog;
use crate::failure::Failure;

/// Starts this server's part of the cell that `config` describes.
pub fn open(config: &Config, log: &Arc<ServiceLog>) -> Result<Arc<Cell>, Failure> {
    std::fs::create_dir_all(&config.data)
        .map_err(|error| Failure::system(format!("data directory {}: {error}", config.data.display())))?;
    kv_cell::open(&settings(config, log)).map_err(|error| Failure::system(error.to_string()))
}

/// What makes a cell of it.
pub fn settings(config: &Config, log: &Arc<ServiceLog>) -> Settings {
    let said = Arc::clone(log);
    let alone = Settings::alone(&config.data);
    let cell = config.cell.clone();
    Settings {
        databases: config.databases,
        server: cell.as_ref().map_or(alone.server.clone(), |cell| cell.server.clone()),
        key_file: cell.as_ref().and_then(|cell| cell.key_file.clone()),
        servers: cell.map_or(alone.servers.clone(), |cell| cell.servers),
        quota: config.quota_bytes,
        log: Arc::new(move |line| said.say(Level::Info, line)),
        ..alone
    }
}

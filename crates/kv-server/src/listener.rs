//! Connections taken from one address, each served by a task of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use resp::{ReplyWriter, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::clients::Admitted;
use crate::connection::{self, End};
use crate::log::Level;
use crate::server::Shared;
use crate::statistics::Statistics;

/// Takes connections until the server stops; then waits until each has ended.
pub async fn serve(listener: TcpListener, with_tls: bool, shared: Arc<Shared>) {
    let mut stopping = shared.stopping.subscribe();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Some(admitted) = admit(&stream, peer, &shared).await {
                        connections.spawn(converse(stream, admitted, with_tls, Arc::clone(&shared)));
                    } else {
                        refuse(stream).await;
                    }
                }
                Err(error) => out_of_means(&error, &shared).await,
            },
            // Ended tasks are taken away as they end.
            Some(_) = connections.join_next() => {}
            _ = stopping.changed() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn admit(stream: &TcpStream, peer: SocketAddr, shared: &Arc<Shared>) -> Option<Admitted> {
    let local = stream.local_addr().unwrap_or(peer);
    let admitted = shared.clients.admit(peer, local, shared.settings.limits.clients);
    let counter = match admitted {
        Some(_) => &shared.statistics.connections,
        None => &shared.statistics.rejected,
    };
    Statistics::count(counter);
    admitted
}

/// One more than may be.
async fn refuse(mut stream: TcpStream) {
    let mut reply = ReplyWriter::new(Version::Resp2);
    reply.error("ERR max number of clients reached (limits.clients)");
    // It fits into the socket's buffer; a client that does not take it is not waited for.
    let _ = tokio::time::timeout(Duration::from_millis(100), stream.write_all(reply.bytes())).await;
}

/// No file descriptors, for example: others may end meanwhile, so the wait is short and the log is told.
async fn out_of_means(error: &io::Error, shared: &Shared) {
    (shared.log)(Level::Warning, &format!("cannot take a connection: {error}; trying again"));
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn converse(stream: TcpStream, admitted: Admitted, with_tls: bool, shared: Arc<Shared>) {
    // Replies are small and waited for.
    let _ = stream.set_nodelay(true);
    let end = match (&shared.tls, with_tls) {
        (Some(tls), true) => {
            let limit = shared.settings.limits.authentication_timeout;
            match tokio::time::timeout(limit, tls.acceptor().accept(stream)).await {
                Ok(Ok(stream)) => connection::serve(stream, &admitted, &shared).await,
                Ok(Err(error)) => End::Broken(format!("TLS: {error}")),
                Err(_) => End::CutOff("no TLS handshake in time".to_owned()),
            }
        }
        _ => connection::serve(stream, &admitted, &shared).await,
    };
    let level = match end {
        End::CutOff(_) | End::Deaf(_) | End::Protocol(_) => Level::Info,
        _ => Level::Debug,
    };
    let client = &admitted.client;
    (shared.log)(level, &format!("client {} at {}: {end}", client.id, client.peer));
}

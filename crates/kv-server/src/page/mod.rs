//! What people and monitoring look at: `/` the page, `/data.json` what it draws, `/metrics`, `/healthz`, `/readyz`.
//!
//! It only shows: nothing can be changed here, no key or value is shown but the beginnings of slow commands. The page
//! loads nothing from elsewhere.
//!
//! * `samples`: rates and latencies of the last minutes; `metrics`: what Prometheus reads

mod metrics;
pub mod samples;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::server::Shared;

/// Connections at the same time; a further one waits.
const CONNECTIONS: usize = 64;
/// How long a connection may take to send its request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may last.
const LONGEST: Duration = Duration::from_secs(600);

/// Answers until the server stops.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut stopping = shared.stopping.subscribe();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        converse(stream, shared).await;
                        drop(place);
                    });
                }
                // No file descriptors, for example.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            _ = stopping.changed() => return,
        }
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let mut stopping = shared.stopping.subscribe();
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&request, &shared)) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A browser that broke off needs no answer.
        _ = tokio::time::timeout(LONGEST, connection) => {}
        _ = stopping.changed() => {}
    }
}

fn answer(request: &Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/" => reply(StatusCode::OK, "text/html; charset=utf-8", PAGE.to_owned()),
        "/data.json" => reply(StatusCode::OK, "application/json", state(shared).to_string()),
        "/metrics" => reply(StatusCode::OK, "text/plain; version=0.0.4", metrics::text(shared)),
        "/healthz" => reply(StatusCode::OK, "text/plain", "ok\n".to_owned()),
        "/readyz" => ready(shared),
        _ => reply(
            StatusCode::NOT_FOUND,
            "text/plain",
            "there are /, /metrics, /healthz and /readyz\n".to_owned(),
        ),
    }
}

const PAGE: &str = include_str!("page.html");

/// The page carries its style and its script, and may load nothing but its data.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

fn reply(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind)
        .header(CACHE_CONTROL, "no-store")
        .header(CONTENT_SECURITY_POLICY, POLICY)
        .header("X-Content-Type-Options", "nosniff")
        .body(Full::new(Bytes::from(body)))
        .expect("status and headers are constants")
}

/// Whether clients should be sent here.
fn ready(shared: &Shared) -> Response<Full<Bytes>> {
    let status = shared.store.status();
    let is_ready = status.is_serving() && !*shared.stopping.borrow();
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    reply(code, "text/plain", format!("{}\n", status.standing))
}

/// What the page draws.
fn state(shared: &Shared) -> Value {
    let status = shared.store.status();
    let statistics = &shared.statistics;
    let servers = status.servers.iter().map(|server| {
        json!({"name": server.name, "up": server.is_up, "syncSite": server.is_sync_site, "version": server.version})
    });
    let events = status.events.iter().map(|event| json!({"at": event.at_ms, "what": event.what}));
    let slow = statistics.slowest(20).into_iter().map(|slow| {
        let words = slow.arguments.iter().map(|word| word.escape_ascii().to_string());
        json!({"at": slow.at_secs, "ms": slow.took.as_millis() as u64, "command": words.collect::<Vec<_>>().join(" ")})
    });
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "server": status.server,
        "standing": status.standing.to_string(),
        "syncSite": status.sync_site(),
        "serving": status.is_serving(),
        "servers": servers.collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
        "slow": slow.collect::<Vec<_>>(),
        "clients": shared.clients.len(),
        "uptimeSecs": statistics.started.elapsed().as_secs(),
        "commands": statistics.commands.load(Ordering::Relaxed),
        "errors": statistics.errors.load(Ordering::Relaxed),
        "samples": shared.samples.all(),
    })
}

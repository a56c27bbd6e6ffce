//! The page, the metrics and the health checks, over HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::client::{Front, PATIENCE};

fn front() -> Front {
    Front::with(|settings| settings.page = vec![SocketAddr::from(([127, 0, 0, 1], 0))])
}

fn get(front: &Front, path: &str) -> String {
    request(front, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

fn request(front: &Front, request: &str) -> String {
    let mut stream = TcpStream::connect(front.server().page_addresses()[0]).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// S10: the page loads nothing from elsewhere; its data tell of servers, rates and slow commands.
#[test]
fn the_page_stands_by_itself() {
    let front = front();
    let mut client = front.connect();
    client.ask("SET a 1");
    client.ask("GET a");
    let page = get(&front, "/");
    assert!(
        page.starts_with("HTTP/1.1 200")
            && page.contains("prefers-color-scheme")
            && page.contains("viewport")
    );
    assert!(page.contains("content-security-policy: default-src 'none'"));
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let data = get(&front, "/data.json");
    let data: serde_json::Value = serde_json::from_str(data.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(data["standing"], "the only server");
    assert!(data["clients"] == 1 && data["serving"] == true && data["commands"].as_u64() >= Some(2));
}

/// S10: Prometheus gets counters and histograms in its form; probes get a status.
#[test]
fn monitoring_gets_what_it_reads() {
    let front = front();
    let mut client = front.connect();
    (0..5).for_each(|_| drop(client.ask("INCR a")));
    client.refused("NONSENSE");
    let metrics = get(&front, "/metrics");
    for line in [
        "quorate_commands_total 6",
        "quorate_error_replies_total 1",
        "quorate_clients 1",
        "quorate_ready 1",
        "quorate_command_seconds_count{kind=\"write\"} 5",
        "quorate_command_seconds_bucket{kind=\"write\",le=\"+Inf\"} 5",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    let body = metrics.split("\r\n\r\n").nth(1).unwrap();
    let is_sample = |line: &str| line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok());
    assert!(body.lines().all(|line| line.starts_with("# ") || is_sample(line)), "{body}");
    assert!(get(&front, "/healthz").ends_with("ok\n") && get(&front, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(&front, "/nothing").starts_with("HTTP/1.1 404"));
    assert!(
        request(&front, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 405")
    );
    assert!(request(&front, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
}

/// S10: every metric that the dashboard for Grafana draws is one that Prometheus reads.
#[test]
fn the_dashboard_draws_what_is_there() {
    let front = front();
    let metrics = get(&front, "/metrics");
    let path = testbed::repository().join("packaging/grafana.json");
    let dashboard: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut drawn = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let (_, after) = expression.split_once("quorate_").unwrap();
            let name =
                after.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_')).next().unwrap();
            assert!(metrics.contains(&format!("\nquorate_{name}")), "{expression}");
            drawn += 1;
        }
    }
    assert!(drawn > 15, "{drawn}");
}

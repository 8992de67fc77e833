//! What Prometheus reads, judged by its own tool.

use crate::cluster::{Cluster, mini_spec, wait_for};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

fn scrape(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(!head.contains("chunked"), "this reader wants the page in one piece: {head}");
    body.to_owned()
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics_of_a_run() {
    if Command::new("promtool").arg("--version").output().is_err() {
        eprintln!("SKIPPED: promtool is not installed (package prometheus)");
        return;
    }
    let mut cluster = Cluster::new();
    cluster.start_coordinator_with(&["--metrics", "127.0.0.1:0"]);
    let log = cluster.folder.path().join("coordinator.log");
    let port: u16 = wait_for("it says where the metrics are", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.split("metrics at http://127.0.0.1:").nth(1)?.split('/').next()?.parse().ok()
    });
    cluster.start_agent("a", 2);
    let spec = mini_spec(cluster.folder.path(), &["stage.domain.steps=400"]);
    let domain = &spec.stages[1].name;
    cluster.submit(&spec).unwrap();
    cluster.wait_until("mini", "steps", |r| r.published_steps(domain) >= 20);
    let during = scrape(port);
    cluster.wait_finished("mini");
    for page in [during, scrape(port)] {
        assert!(page.contains("mini"), "{page}");
        let mut tool = Command::new("promtool");
        tool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut tool = tool.spawn().unwrap();
        tool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let said = tool.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && words.is_empty(), "{words}\n{page}");
    }
}

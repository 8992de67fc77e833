//! Somebody else takes the port of a coordinator that died, as any user of the machine can: agents and people call it, and give nothing away.

use crate::cluster::{Cluster, wait_for};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Listens, answers some with the beginning of unencrypted HTTP/2 and some with nothing, and keeps all that it is told.
struct Squatter(Arc<Mutex<Vec<Vec<u8>>>>);

impl Squatter {
    fn at(address: &str) -> Self {
        let listener = wait_for("the port is free", || TcpListener::bind(address).ok());
        let heard = Arc::new(Mutex::new(vec![]));
        let all = heard.clone();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let all = all.clone();
                std::thread::spawn(move || listen(stream, number % 2 == 0, &all));
            }
        });
        Self(heard)
    }

    fn callers(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn heard(&self) -> Vec<u8> {
        self.0.lock().unwrap().concat()
    }
}

fn listen(mut stream: TcpStream, answers: bool, all: &Mutex<Vec<Vec<u8>>>) {
    if answers {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let _gone = stream.write_all(&settings);
    }
    let number = {
        let mut all = all.lock().unwrap();
        all.push(vec![]);
        all.len() - 1
    };
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        all.lock().unwrap()[number].extend(&bytes[..read]);
    }
}

#[test]
fn who_takes_a_dead_coordinators_port_gets_no_token_and_people_are_told() {
    let mut cluster = Cluster::new();
    cluster.start_coordinator();
    cluster.start_agent("a", 1);
    let idle = |cluster: &Cluster| cluster.osler(&["node", "list"]).contains("idle").then_some(());
    wait_for("the agent is known", || idle(&cluster));
    let address = cluster.address();
    cluster.kill_coordinator();
    let squatter = Squatter::at(&address);
    wait_for("the agent has called both kinds of squatters", || (squatter.callers() >= 4).then_some(()));
    for _ in 0..2 {
        let told = cluster.try_osler(&["ps"]);
        let words = String::from_utf8_lossy(&told.stderr).into_owned();
        assert_eq!(told.status.code(), Some(1), "{words}");
        assert!(words.contains("could not prove that it is the coordinator") && words.contains(&address), "{words}");
    }
    let heard = squatter.heard();
    let token = fs::read(cluster.folder.path().join("token")).unwrap();
    let holds = |needle: &[u8]| heard.windows(needle.len()).any(|window| window == needle);
    assert!(heard.len() > 500 && !holds(&token) && !holds(b"Bearer"), "the token was given away");

    cluster.start_coordinator();
    wait_for("the agent has found the coordinator on another port", || idle(&cluster));
}

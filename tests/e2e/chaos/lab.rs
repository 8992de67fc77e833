//! Three hosts as network namespaces on one bridge, with the cluster's daemons on them and a store that they share.
//!
//! Host 1 and 2 have a coordinator each (whoever comes first leads, the other stands by), all three an agent with one slot: a gang of
//! two ranks and a hot spare. Everything off loopback is TLS. A daemon that ends is started again, as an init system would.

use crate::cluster::{Cluster, binary, descendants, signal};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub const HOSTS: u8 = 3;
const COORDINATORS: u8 = 2;
const PORT: u16 = 7070;

pub struct Lab {
    /// Reads the store; none of its own daemons run.
    pub cluster: Cluster,
    prefix: String,
    coordinators: Vec<Option<Child>>,
    agents: Vec<Option<Child>>,
}

/// Runs a command to its end; tells what it said if it failed.
fn tool(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

pub fn address(host: u8) -> String {
    format!("10.77.0.{host}")
}

impl Lab {
    /// `Err` says what this machine lacks.
    pub fn new() -> Result<Self, String> {
        let prefix = format!("osler{}", std::process::id());
        let none = || (0..HOSTS).map(|_| None).collect::<Vec<_>>();
        let lab = Self { cluster: Cluster::new(), prefix, coordinators: none(), agents: none() };
        let hub = lab.namespace(0);
        tool("ip", &["netns", "add", &hub])?;
        let ip = |netns: &str, arguments: &str| {
            let words: Vec<&str> = arguments.split(' ').collect();
            tool("ip", &[&["-n", netns], &words[..]].concat())
        };
        ip(&hub, "link add br0 type bridge")?;
        ip(&hub, "link set br0 up")?;
        for host in 1..=HOSTS {
            let netns = lab.namespace(host);
            tool("ip", &["netns", "add", &netns])?;
            ip(&netns, "link set lo up")?;
            ip(&hub, &format!("link add v{host} type veth peer name eth0 netns {netns}"))?;
            ip(&hub, &format!("link set v{host} master br0 up"))?;
            ip(&netns, &format!("addr add {}/24 dev eth0", address(host)))?;
            ip(&netns, "link set eth0 up")?;
        }
        let store = lab.cluster.store();
        fs::create_dir_all(&store).map_err(|e| e.to_string())?;
        tool("mount", &["-t", "tmpfs", "-o", "size=700m", "tmpfs", &store.to_string_lossy()])?;
        let hosts: Vec<String> = (1..=COORDINATORS).map(address).collect();
        let certificates = lab.certificates().to_string_lossy().into_owned();
        let mut arguments = vec!["cluster", "init", &certificates, "--host"];
        arguments.extend(hosts.iter().map(String::as_str));
        tool(&binary("osler").to_string_lossy(), &arguments)?;
        Ok(lab)
    }

    /// 0: the bridge's.
    fn namespace(&self, host: u8) -> String {
        format!("{}h{host}", self.prefix)
    }

    fn certificates(&self) -> PathBuf {
        self.cluster.folder.path().join("certificates")
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.cluster.folder.path().join(name)
    }

    /// A command that runs on a host.
    pub fn on(&self, host: u8, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace(host))).arg(binary(program));
        command
    }

    /// `osler`, as an administrator on a host.
    pub fn osler(&self, host: u8) -> Command {
        let mut command = self.on(host, "osler");
        command.env("OSLER_TLS", self.certificates().join("admin")).env("OSLER_STORE", self.cluster.store());
        command
    }

    fn daemon(&self, mut command: Command, role: &str, log: &str) -> Child {
        let log = File::options().create(true).append(true).open(self.log(log)).unwrap();
        command.arg("--tls").arg(self.certificates().join(role)).arg("--store").arg(self.cluster.store());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn start_coordinator(&self, host: u8) -> Child {
        let mut command = self.on(host, "osler-coordinator");
        command.arg("--standby").args(["--listen", &format!("{}:{PORT}", address(host))]);
        command.arg("--endpoint-file").arg(self.log(&format!("endpoint-{host}.json")));
        command.arg("--token-file").arg(self.log("owner-token"));
        self.daemon(command, "coordinator", &format!("coordinator-{host}.log"))
    }

    fn start_agent(&self, host: u8) -> Child {
        let mut command = self.on(host, "osler-worker");
        let scratch = self.log(&format!("scratch-{host}"));
        command.args(["--slots", "1", "--name", &format!("h{host}"), "--gang-address", &address(host)]).arg("--scratch").arg(scratch);
        command.arg("--state").arg(self.log(&format!("state-{host}"))).arg("--may-read").arg(self.cluster.folder.path());
        self.daemon(command, "agent", &format!("agent-{host}.log"))
    }

    /// Starts what is not running.
    pub fn tend(&mut self) {
        for host in 1..=HOSTS {
            let at = usize::from(host - 1);
            let ended = |child: &mut Option<Child>| child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some());
            if host <= COORDINATORS && ended(&mut self.coordinators[at]) {
                self.coordinators[at] = Some(self.start_coordinator(host));
            }
            if ended(&mut self.agents[at]) {
                self.agents[at] = Some(self.start_agent(host));
            }
        }
    }

    /// The host whose coordinator wrote its endpoint last, and another one's.
    pub fn leading(&self) -> (u8, u8) {
        let written = |host: &u8| fs::metadata(self.log(&format!("endpoint-{host}.json"))).and_then(|m| m.modified()).ok();
        let leads = (1..=COORDINATORS).max_by_key(written).unwrap_or(1);
        (leads, COORDINATORS + 1 - leads)
    }

    pub fn coordinator(&self, host: u8) -> Option<Pid> {
        Self::pid(&self.coordinators[usize::from(host - 1)])
    }

    pub fn agent(&self, host: u8) -> Option<Pid> {
        Self::pid(&self.agents[usize::from(host - 1)])
    }

    fn pid(child: &Option<Child>) -> Option<Pid> {
        child.as_ref().map(|child| Pid::from_raw(child.id() as i32))
    }

    /// Job processes of a host.
    pub fn jobs(&self, host: u8) -> Vec<Pid> {
        self.agent(host).map_or(vec![], |agent| descendants(agent.as_raw() as u32).into_iter().filter(|pid| *pid != agent).collect())
    }

    /// Nothing comes to a host and nothing leaves it.
    pub fn cut(&self, host: u8, cut: bool) {
        let state = if cut { "down" } else { "up" };
        tool("ip", &["-n", &self.namespace(0), "link", "set", &format!("v{host}"), state]).unwrap();
    }

    /// What `from` sends to `to` is dropped; the other way it arrives.
    pub fn deafen(&self, from: u8, to: u8, cut: bool) {
        let verb = if cut { "add" } else { "del" };
        tool("ip", &["-n", &self.namespace(from), "route", verb, "blackhole", &format!("{}/32", address(to))]).unwrap();
    }

    /// Takes the store's last byte, or gives all of them back.
    pub fn fill_disk(&self, full: bool) {
        let ballast = self.cluster.store().join("ballast");
        if full {
            let mut file = File::create(&ballast).unwrap();
            let zeros = vec![0; 1 << 20];
            while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
        } else {
            fs::remove_file(&ballast).unwrap();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in self.coordinators.iter_mut().chain(&mut self.agents).flatten() {
            // Stopped ones too, with all that they started.
            for pid in descendants(child.id()) {
                signal(pid, Signal::SIGKILL);
            }
            let _reaped = child.wait();
        }
        if std::thread::panicking() {
            for log in ["coordinator-1.log", "coordinator-2.log", "agent-1.log", "agent-2.log", "agent-3.log"] {
                let text = fs::read_to_string(self.log(log)).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(25).collect();
                eprintln!("--- last lines of {log} ---\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
        let _not_mounted = tool("umount", &["-l", &self.cluster.store().to_string_lossy()]);
        for host in 0..=HOSTS {
            let _never_made = tool("ip", &["netns", "del", &self.namespace(host)]);
        }
    }
}

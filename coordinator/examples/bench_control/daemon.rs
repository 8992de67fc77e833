//! The coordinator's process, and what the kernel says of it.

use anyhow::{Context, Result};
use osler_proto::v1::control_client::ControlClient;
use osler_runtime::auth::Token;
use osler_runtime::connect::{Authorized, connect};
use osler_runtime::tls::ClientTls;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

pub type Client = Authorized;

pub struct Daemon {
    child: Child,
    address: String,
    token: Token,
    tls: ClientTls,
}

impl Daemon {
    pub async fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let token_file = folder.join("token");
        let mut command = Command::new(binary);
        command.arg("--store").arg(folder.join("store")).arg("--token-file").arg(&token_file);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {}", binary.display()))?;
        let out = child.stdout.take().context("no standard output")?;
        let line = BufReader::new(out).lines().next_line().await?.context("the coordinator ended at once")?;
        let address = line.strip_prefix("listening on ").context("not the line of a coordinator")?.to_owned();
        Ok(Self { child, address, token: Token::load(&token_file)?, tls: ClientTls::own(&token_file, &token_file) })
    }

    /// A connection of its own.
    pub async fn dial(&self) -> Result<Client> {
        Ok(connect(&self.address, &self.token, &self.tls).await?)
    }

    pub async fn control(&self) -> Result<ControlClient<Client>> {
        Ok(ControlClient::new(self.dial().await?))
    }

    /// Bytes in memory now.
    pub fn rss(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }

    /// Time on cores since its start, of all its threads.
    pub fn used(&self) -> Result<Used> {
        let mut time = Duration::ZERO;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid()?))? {
            let stat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            time += Duration::from_nanos(stat.split_whitespace().next().context("no schedstat")?.parse()?);
        }
        Ok(Used { time, share: 0.0 })
    }

    fn pid(&self) -> Result<u32> {
        self.child.id().context("the coordinator has ended")
    }
}

pub struct Used {
    time: Duration,
    pub share: f64,
}

impl Used {
    pub fn since(self, before: &Self, wall: Duration) -> Self {
        let time = self.time.saturating_sub(before.time);
        Self { time, share: time.as_secs_f64() / wall.as_secs_f64() }
    }
}

//! How the ranks of a generation find each other: rank 0 hosts the store and says where, the coordinator tells the others.

use anyhow::Context as _;
use osler_core::process::Report;
use osler_torch_dist::{GroupOptions, ProcessGroup, Store};
use osler_worker::harness::{Job, report};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// From a rank's start until all have met. Covers a coordinator that restarts in between.
const MEET: Duration = Duration::from_secs(120);
/// A wait for other ranks inside a step. A rank that dies ends the gang much sooner: its agent sees it at once.
pub const STEP: Duration = Duration::from_secs(600);

/// Joins this assignment's gang. None when it has one rank. The generation fences: ranks of another one cannot meet this group.
pub fn join(job: &mut Job) -> anyhow::Result<Option<ProcessGroup>> {
    let (rank, world) = (job.assignment.rank as usize, job.assignment.world_size as usize);
    if world == 1 {
        return Ok(None);
    }
    let store = if rank == 0 {
        let store = Store::host(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, world, MEET)?;
        report(&Report::Rendezvous { address: format!("{}:{}", Ipv4Addr::LOCALHOST, store.port()) });
        store
    } else {
        let address = job.rendezvous(MEET)?;
        let (host, port) = address.rsplit_once(':').with_context(|| format!("rendezvous {address:?} is not HOST:PORT"))?;
        Store::connect(host, port.parse().with_context(|| format!("rendezvous {address:?} has no port"))?, world, MEET)?
    };
    let options = GroupOptions::new(rank, world, job.assignment.generation.0, MEET);
    Ok(Some(ProcessGroup::gloo(&store, options)?))
}

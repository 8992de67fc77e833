//! How the ranks of a generation find each other: rank 0 hosts the store and says where, the coordinator tells the others.

use anyhow::Context as _;
use osler_core::process::{GANG_ADDRESS_VARIABLE, GPU_VARIABLE, Report};
use osler_core::spec::DeviceKind;
use osler_engine::Device;
use osler_torch_dist::{GroupOptions, ProcessGroup, Store, cuda_device};
use osler_worker::harness::{Failure, Job, report, user};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// From a rank's start until all have met. Covers a coordinator that restarts in between.
const MEET: Duration = Duration::from_secs(120);
/// A wait for other ranks inside a step. A rank that dies ends the gang much sooner: its agent sees it at once.
pub const STEP: Duration = Duration::from_secs(600);

/// What this rank computes on: the CPU, or the GPU that its agent gave it.
///
/// # Errors
/// The user's: the run file asks for a GPU that this build or this machine does not have.
pub fn device(job: &Job) -> Result<Device, Failure> {
    if job.assignment.spec.resources.device == DeviceKind::Cpu {
        return Ok(Device::Cpu);
    }
    let number = std::env::var(GPU_VARIABLE).with_context(|| format!("the agent did not set {GPU_VARIABLE}"))?;
    let number = number.parse().with_context(|| format!("{GPU_VARIABLE}={number} is not a number"))?;
    let advice = "resources.device = \"cuda\" needs one GPU for each of a worker's ranks: give the worker as many --slots as it has GPUs";
    cuda_device(number).context(advice).map_err(user)
}

/// Where this rank listens for the others: what its agent was told, else this machine only.
fn address() -> anyhow::Result<IpAddr> {
    match std::env::var(GANG_ADDRESS_VARIABLE) {
        Ok(text) => text.parse().with_context(|| format!("{GANG_ADDRESS_VARIABLE}={text} is no IP address")),
        Err(_) => Ok(Ipv4Addr::LOCALHOST.into()),
    }
}

/// Joins this assignment's gang. None when it has one rank. The generation fences: ranks of another one cannot meet this group.
pub fn join(job: &mut Job, device: Device) -> anyhow::Result<Option<ProcessGroup>> {
    let (rank, world) = (job.assignment.rank as usize, job.assignment.world_size as usize);
    if world == 1 {
        return Ok(None);
    }
    let here = address()?;
    let store = if rank == 0 {
        let store = Store::host(here, 0, world, MEET)?;
        report(&Report::Rendezvous { address: SocketAddr::new(here, store.port()).to_string() });
        store
    } else {
        let address = job.rendezvous(MEET)?;
        let place: SocketAddr = address.parse().with_context(|| format!("rendezvous {address:?} is not IP:PORT"))?;
        Store::connect(&place.ip().to_string(), place.port(), world, MEET)?
    };
    let generation = job.assignment.generation.0;
    let options = GroupOptions { meet: MEET, interface_address: here, ..GroupOptions::new(rank, world, generation, STEP) };
    Ok(Some(match device {
        Device::Cuda(index) => ProcessGroup::nccl(&store, options, index)?,
        _ => ProcessGroup::gloo(&store, options)?,
    }))
}

//! How the ranks of a generation find each other: rank 0 hosts the store and says where, the coordinator tells the others.

use anyhow::Context as _;
use osler_core::process::{GPU_VARIABLE, Report};
use osler_core::spec::DeviceKind;
use osler_engine::Device;
use osler_torch_dist::{GroupOptions, ProcessGroup, Store, cuda_device};
use osler_worker::harness::{Failure, Job, report, user};
use std::net::{IpAddr, Ipv4Addr};
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

/// Joins this assignment's gang. None when it has one rank. The generation fences: ranks of another one cannot meet this group.
pub fn join(job: &mut Job, device: Device) -> anyhow::Result<Option<ProcessGroup>> {
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
    let options = GroupOptions { meet: MEET, ..GroupOptions::new(rank, world, job.assignment.generation.0, STEP) };
    Ok(Some(match device {
        Device::Cuda(index) => ProcessGroup::nccl(&store, options, index)?,
        _ => ProcessGroup::gloo(&store, options)?,
    }))
}

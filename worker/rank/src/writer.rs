//! Checkpoints behind training: one thread that digests a slice, makes it durable and reports its part, while the loop goes on.
//!
//! What must stay true: a part is reported only when its object is durable, and parts in the order of their steps. At most one slice is
//! on its way, because its memory is what the next one is copied into: who comes too early waits. A write that failed is told to the
//! loop at its next step, and ends the attempt.

use anyhow::{Context as _, anyhow};
use osler_core::accounting::Usage;
use osler_core::checkpoint::{Part, PhaseSeconds, StepRecord};
use osler_core::job::FaultClass;
use osler_core::process::Report;
use osler_engine::checkpoint::{Slice, SliceRoom};
use osler_runtime::store::BlockingStore;
use osler_worker::harness::{Failure, report, with_room};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Instant;

/// A slice with everything that its part says.
pub struct Order {
    pub slice: Slice,
    /// Its name in the store.
    pub path: String,
    pub rank: u32,
    pub world_size: u32,
    pub step: u64,
    pub ledger: Vec<StepRecord>,
    pub seconds: PhaseSeconds,
    pub usage: Usage,
    /// The loop has nothing else to do until it is written: the time counts as the checkpoint's.
    pub awaited: bool,
}

pub struct Writer {
    orders: Sender<Order>,
    written: Receiver<Result<SliceRoom, Failure>>,
    /// None: on its way with a slice, or being prepared.
    room: Option<SliceRoom>,
}

impl Writer {
    /// `values`: how many a slice of this rank has. `scratch`: for the file, before the store takes it.
    pub fn start(store: BlockingStore, scratch: PathBuf, values: usize) -> anyhow::Result<Self> {
        let (orders, incoming) = channel();
        let (sender, written) = channel();
        let work = move || {
            let mut sent = sender.send(Ok(SliceRoom::prepared(values)));
            while let (Ok(()), Ok(order)) = (sent, incoming.recv()) {
                sent = sender.send(write(&store, &scratch, order));
            }
        };
        std::thread::Builder::new().name("checkpoint".into()).spawn(work).context("start the checkpoint writer")?;
        Ok(Self { orders, written, room: None })
    }

    /// Memory for the next slice, once the one before is durable and reported.
    pub fn room(&mut self) -> Result<SliceRoom, Failure> {
        match self.room.take() {
            Some(room) => Ok(room),
            None => self.written.recv().unwrap_or_else(|_| Err(gone())),
        }
    }

    /// Hands over a slice that is in the memory that [`Self::room`] gave.
    pub fn write(&mut self, order: Order) -> Result<(), Failure> {
        self.orders.send(order).map_err(|_| gone())
    }

    /// Whether a write has failed; does not wait.
    pub fn check(&mut self) -> Result<(), Failure> {
        match self.written.try_recv() {
            Ok(Ok(room)) => self.room = Some(room),
            Ok(Err(failed)) => return Err(failed),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(gone()),
        }
        Ok(())
    }

    /// Returns when everything handed over is durable and reported.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.room().map(drop)
    }
}

fn gone() -> Failure {
    Failure { class: FaultClass::Internal, error: anyhow!("the checkpoint writer ended early: see this rank's log") }
}

fn write(store: &BlockingStore, scratch: &std::path::Path, order: Order) -> Result<SliceRoom, Failure> {
    let started = Instant::now();
    let Order { slice, path, rank, world_size, step, ledger, mut seconds, usage, awaited } = order;
    let file = scratch.join("part.safetensors");
    let written = with_room(|| slice.write(&file))?;
    let object = store.put_digested(&file, &path, written.bytes, written.digest)?;
    let took = started.elapsed().as_secs_f64();
    if awaited {
        seconds.checkpoint += took;
    }
    tracing::debug!(step, seconds = took, bytes = object.bytes, "part is durable");
    report(&Report::Part(Part { rank, world_size, step, object, ledger, seconds, usage }));
    Ok(slice.into_room())
}

//! The door: gRPC requests become events, answers become replies, refusals become status codes that say what to do.

mod admin;

use crate::access::{Access, Caller, Gate, told};
use crate::cluster::{Doubt, Refused, RemoveRequest, RewindRequest, StopRequest, WaiveRequest};
use crate::owner::{Handle, HandleError, Watcher};
use crate::view::RunView;
use futures::stream::{Stream, StreamExt};
use osler_core::identity::{Sources, Submission};
use osler_core::ids::{Millis, RunName, StageName, TeamName, WorkerName};
use osler_core::spec::RunSpec;
use osler_core::stop::StopKind;
use osler_core::sync::Observed;
use osler_proto::v1::control_server::{Control, ControlServer};
use osler_proto::v1::work_server::{Work, WorkServer};
use osler_proto::{InvalidMessage, MAX_CONTROL_BYTES, MAX_MESSAGE_BYTES, MAX_SYNC_BYTES, document, v1, waivers};
use osler_runtime::listen::{self, Speech, incoming};
use osler_runtime::tls::ServerTls;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::metadata::MetadataValue;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Streams, and calls on their way, of one connection: an agent has one of them, a person a few.
const STREAMS: u32 = 128;
const CALLS: usize = 64;
/// Streams that a client opens and resets before they were looked at, or whose mistakes reset them: an agent resets one call at a time.
const RESETS: usize = 20;
/// Of all headers of a request; ours are a few hundred bytes.
const MAX_HEADERS: u32 = 16 << 10;
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Then a connection is begun anew with the certificates of then; streams on it go on until they end.
const CONNECTION_AGE: Duration = Duration::from_secs(3600);

/// What the door needs.
pub struct Door {
    pub handle: Handle,
    pub access: Arc<Access>,
    pub tls: Arc<ServerTls>,
    pub limits: listen::Limits,
}

/// Serves both services until `shutdown` resolves. No call passes the gate without a token that may make it.
pub async fn serve(listener: TcpListener, door: Door, shutdown: impl Future<Output = ()>) -> Result<(), tonic::transport::Error> {
    let Door { handle, access, tls, limits } = door;
    let desk = Desk { handle, access: access.clone() };
    let control =
        ControlServer::new(desk.clone()).max_decoding_message_size(MAX_CONTROL_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES);
    let work = WorkServer::new(desk).max_decoding_message_size(MAX_SYNC_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES);
    let server = Server::builder()
        .max_concurrent_streams(STREAMS)
        .concurrency_limit_per_connection(CALLS)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_max_pending_accept_reset_streams(Some(RESETS))
        .http2_max_local_error_reset_streams(Some(RESETS))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE / 2))
        .max_connection_age(CONNECTION_AGE)
        .layer(Gate(access.clone()))
        .add_service(control)
        .add_service(work)
        .serve_with_incoming_shutdown(incoming(listener, tls, limits, Speech::Http2), shutdown);
    tokio::select! {
        ended = server => ended,
        () = access.keep_log() => Ok(()), // never: it lasts as long as the server
    }
}

#[derive(Clone)]
struct Desk {
    handle: Handle,
    access: Arc<Access>,
}

fn status(error: HandleError) -> Status {
    let message = error.to_string();
    match error {
        HandleError::Ended => Status::unavailable(message),
        HandleError::StoreWaits(_) => Status::resource_exhausted(message),
        HandleError::Busy { .. } => {
            let mut status = Status::resource_exhausted(message);
            // As gRPC's clients know it that try again by themselves.
            let ms = MetadataValue::from(u64::try_from(HandleError::RETRY_AFTER.as_millis()).unwrap_or(u64::MAX));
            status.metadata_mut().insert("grpc-retry-pushback-ms", ms);
            status
        }
        HandleError::Refused(refused) => match refused {
            Refused::AlreadyExists { .. } => Status::already_exists(message),
            Refused::NoSuchRun(_)
            | Refused::NoSuchCheckpoint { .. }
            | Refused::NotNamed { .. }
            | Refused::NoSuchWorker(_)
            | Refused::NoSuchTeam(_)
            | Refused::NoSuchGate { .. } => Status::not_found(message),
            Refused::Unreadable { .. } | Refused::InvalidSpec(_) | Refused::UnfitRanks { .. } => Status::invalid_argument(message),
            Refused::Overtaken { .. } => Status::aborted(message),
            // As if the run file could not be used: there is something to do before the same call can succeed.
            Refused::StillLive { .. } | Refused::StillRead { .. } => Status::invalid_argument(message),
            Refused::Succeeded { .. } | Refused::BeingRemoved(_) | Refused::AtRest { .. } => Status::unavailable(message),
            Refused::TooManyWorkers(_) => Status::resource_exhausted(message),
            Refused::StillEnding { .. } | Refused::NotRewound { .. } | Refused::Superseded { .. } | Refused::ShutGate { .. } => {
                Status::failed_precondition(message)
            }
        },
    }
}

fn invalid(error: InvalidMessage) -> Status {
    Status::invalid_argument(error.to_string())
}

fn run_name(name: String) -> Result<RunName, Status> {
    RunName::new(name).map_err(|e| Status::invalid_argument(format!("field run: {e}")))
}

fn stage_name(name: String) -> Result<StageName, Status> {
    StageName::new(name).map_err(|e| Status::invalid_argument(format!("field stage: {e}")))
}

fn worker_name(name: String) -> Result<WorkerName, Status> {
    WorkerName::new(name).map_err(|e| Status::invalid_argument(format!("field worker: {e}")))
}

#[tonic::async_trait]
impl Control for Desk {
    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitReply>, Status> {
        let spec: RunSpec = document("spec_json", &request.get_ref().spec_json).map_err(invalid)?;
        let sources = &request.get_ref().sources_json;
        let sources: Sources = if sources.is_empty() { Sources::new() } else { document("sources_json", sources).map_err(invalid)? };
        let (run, submission) = (spec.name.to_string(), Submission { spec, sources });
        told(&request, |_| format!("run={run} spec=sha256:{}", submission.identity())).await?;
        let (created, state) = self.handle.submit(submission).await.map_err(status)?;
        Ok(Response::new(v1::SubmitReply { run, created, state: state.to_string() }))
    }

    async fn list_runs(&self, _: Request<v1::ListRunsRequest>) -> Result<Response<v1::ListRunsReply>, Status> {
        let found = self.handle.runs().await.map_err(status)?;
        Ok(Response::new(v1::ListRunsReply { alarm: self.handle.alarm().unwrap_or_default(), ..found }))
    }

    async fn get_run(&self, request: Request<v1::GetRunRequest>) -> Result<Response<v1::GetRunReply>, Status> {
        let mut watcher = self.handle.watch(run_name(request.into_inner().run)?).await.map_err(status)?;
        let view = watcher.next().await.ok_or_else(|| status(HandleError::Ended))?;
        let alarm = self.handle.alarm().unwrap_or_default();
        Ok(Response::new(v1::GetRunReply { alarm, ..view.reply.clone() }))
    }

    type WatchRunStream = Pin<Box<dyn Stream<Item = Result<v1::GetRunReply, Status>> + Send>>;

    async fn watch_run(&self, request: Request<v1::GetRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let caller = caller(&request)?;
        let watcher = self.handle.watch(run_name(request.into_inner().run)?).await.map_err(status)?;
        let views = Views { handle: self.handle.clone(), watcher, last: None, alarm: None, over: false };
        Ok(Response::new(views.until(self.access.revoked(&caller)).boxed()))
    }

    async fn stop_run(&self, request: Request<v1::StopRunRequest>) -> Result<Response<v1::StopRunReply>, Status> {
        told(&request, |r| format!("run={:?} from={:?} interrupted={}", r.run, r.from, r.interrupted)).await?;
        let by = by(&request, &request.get_ref().from)?;
        let v1::StopRunRequest { run, interrupted, .. } = request.into_inner();
        let kind = if interrupted { StopKind::Interrupted } else { StopKind::ByHand };
        let state = self.handle.stop(StopRequest { run: run_name(run)?, kind, by }).await.map_err(status)?;
        Ok(Response::new(v1::StopRunReply { state: state.to_string() }))
    }

    async fn remove_run(&self, request: Request<v1::RemoveRunRequest>) -> Result<Response<v1::RemoveRunReply>, Status> {
        told(&request, |r| format!("run={:?} from={:?}", r.run, r.from)).await?;
        let by = by(&request, &request.get_ref().from)?;
        let run = run_name(request.into_inner().run)?;
        self.handle.remove(RemoveRequest { run, by }).await.map_err(status)?;
        Ok(Response::new(v1::RemoveRunReply {}))
    }

    async fn doubt_object(&self, request: Request<v1::DoubtObjectRequest>) -> Result<Response<v1::DoubtObjectReply>, Status> {
        told(&request, |r| format!("run={:?} path={:?} from={:?}", r.run, r.path, r.from)).await?;
        let by = by(&request, &request.get_ref().from)?;
        let v1::DoubtObjectRequest { run, path, .. } = request.into_inner();
        osler_proto::object_path("path", &path).map_err(invalid)?;
        self.handle.doubt(Doubt { run: run_name(run)?, path, by }).await.map_err(status)?;
        Ok(Response::new(v1::DoubtObjectReply {}))
    }

    async fn resume_run(&self, request: Request<v1::ResumeRunRequest>) -> Result<Response<v1::ResumeRunReply>, Status> {
        told(&request, |r| format!("run={:?} ranks={} waive={:?} reason={:?}", r.run, r.ranks, r.waive_gates, r.reason)).await?;
        let by = by(&request, &request.get_ref().from)?;
        let v1::ResumeRunRequest { run, ranks, waive_gates: gates, reason, .. } = request.into_inner();
        waivers(&gates, &reason).map_err(invalid)?;
        let (run, ranks) = (run_name(run)?, Some(ranks).filter(|ranks| *ranks > 0));
        if !gates.is_empty() {
            self.handle.waive(WaiveRequest { run: run.clone(), gates, reason, by }).await.map_err(status)?;
        }
        let state = self.handle.resume(run, ranks).await.map_err(status)?;
        Ok(Response::new(v1::ResumeRunReply { state: state.to_string() }))
    }

    async fn rewind_stage(&self, request: Request<v1::RewindStageRequest>) -> Result<Response<v1::RewindStageReply>, Status> {
        told(&request, |r| {
            format!("run={:?} stage={:?} to={} skip={}..{} ranks={}", r.run, r.stage, r.to, r.skip_from, r.skip_to, r.ranks)
        })
        .await?;
        let v1::RewindStageRequest { run, stage, to, skip_from, skip_to, ranks } = request.into_inner();
        let ranks = Some(ranks).filter(|ranks| *ranks > 0);
        let request = RewindRequest { run: run_name(run)?, stage: stage_name(stage)?, to, skip: skip_from..skip_to, ranks };
        let state = self.handle.rewind(request).await.map_err(status)?;
        Ok(Response::new(v1::RewindStageReply { state: state.to_string() }))
    }

    async fn pin_checkpoint(&self, request: Request<v1::PinCheckpointRequest>) -> Result<Response<v1::PinCheckpointReply>, Status> {
        told(&request, |r| format!("run={:?} stage={:?} step={} pinned={}", r.run, r.stage, r.step, r.pinned)).await?;
        let v1::PinCheckpointRequest { run, stage, step, pinned } = request.into_inner();
        let state = self.handle.pin(run_name(run)?, stage_name(stage)?, step, pinned).await.map_err(status)?;
        Ok(Response::new(v1::PinCheckpointReply { state: state.to_string() }))
    }

    async fn list_workers(&self, _: Request<v1::ListWorkersRequest>) -> Result<Response<v1::ListWorkersReply>, Status> {
        let workers = self.handle.workers().await.map_err(status)?;
        Ok(Response::new(v1::ListWorkersReply { workers }))
    }

    async fn create_token(&self, request: Request<v1::CreateTokenRequest>) -> Result<Response<v1::CreateTokenReply>, Status> {
        admin::create_token(&self.access, request).await
    }

    async fn list_tokens(&self, _: Request<v1::ListTokensRequest>) -> Result<Response<v1::ListTokensReply>, Status> {
        Ok(admin::list_tokens(&self.access))
    }

    async fn revoke_token(&self, request: Request<v1::RevokeTokenRequest>) -> Result<Response<v1::RevokeTokenReply>, Status> {
        admin::revoke_token(&self.access, request).await
    }

    async fn list_calls(&self, request: Request<v1::ListCallsRequest>) -> Result<Response<v1::ListCallsReply>, Status> {
        admin::list_calls(&self.access, request.into_inner().last).await
    }

    async fn list_queue(&self, _: Request<v1::ListQueueRequest>) -> Result<Response<v1::ListQueueReply>, Status> {
        Ok(Response::new(self.handle.queue().await.map_err(status)?))
    }

    async fn set_quota(&self, request: Request<v1::SetQuotaRequest>) -> Result<Response<v1::SetQuotaReply>, Status> {
        told(&request, |r| format!("team={:?} slots={:?}", r.team, r.slots)).await?;
        let v1::SetQuotaRequest { team, slots } = request.into_inner();
        let team = TeamName::new(team).map_err(|e| Status::invalid_argument(format!("field team: {e}")))?;
        self.handle.quota(team, slots).await.map_err(status)?;
        Ok(Response::new(v1::SetQuotaReply {}))
    }

    async fn drain_node(&self, request: Request<v1::DrainNodeRequest>) -> Result<Response<v1::DrainNodeReply>, Status> {
        told(&request, |r| format!("worker={:?} drain={} reason={:?}", r.worker, r.drain, r.reason)).await?;
        let v1::DrainNodeRequest { worker, drain, reason } = request.into_inner();
        self.handle.drain(worker_name(worker)?, drain.then_some(reason)).await.map_err(status)?;
        Ok(Response::new(v1::DrainNodeReply {}))
    }

    async fn check_node(&self, request: Request<v1::CheckNodeRequest>) -> Result<Response<v1::CheckNodeReply>, Status> {
        told(&request, |r| format!("worker={:?}", r.worker)).await?;
        self.handle.check_node(worker_name(request.into_inner().worker)?).await.map_err(status)?;
        Ok(Response::new(v1::CheckNodeReply {}))
    }
}

#[tonic::async_trait]
impl Work for Desk {
    async fn sync(&self, request: Request<v1::SyncRequest>) -> Result<Response<v1::SyncReply>, Status> {
        let worker = worker_name(request.get_ref().worker.clone())?;
        self.access.speaks_for(&request, &worker).await?;
        let request = request.into_inner();
        let (wait, seen) = (Duration::from_millis(request.wait_ms.into()), request.seen_reply);
        let sent = Some(Millis(request.sent_at_ms)).filter(|sent| sent.0 > 0);
        let observed = Observed::try_from(request).map_err(invalid)?;
        let desired = self.handle.sync(observed, sent, wait, seen).await.map_err(status)?;
        let reply = v1::SyncReply::try_from(desired).map_err(|e| Status::internal(e.to_string()))?;
        Ok(Response::new(reply))
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get().cloned().ok_or_else(|| Status::internal("the caller is not known"))
}

/// Who decided something, for the record: the name of the token, and what the caller says of itself.
fn by<T>(request: &Request<T>, from: &str) -> Result<String, Status> {
    osler_proto::from("from", from).map_err(invalid)?;
    let name = caller(request)?.name;
    Ok(if from.is_empty() { name } else { format!("{name} ({from})") })
}

/// What a watcher is sent.
struct Views {
    handle: Handle,
    watcher: Watcher,
    last: Option<Arc<RunView>>,
    alarm: Option<String>,
    over: bool,
}

impl Views {
    /// Views until the run is over or the caller's token is revoked. If the owner ends first, the stream says so instead of ending as if
    /// the run had.
    fn until(self, revoked: impl Future<Output = ()> + Send) -> impl Stream<Item = Result<v1::GetRunReply, Status>> + Send {
        futures::stream::unfold((self, Box::pin(revoked)), |(mut views, mut revoked)| async move {
            if views.over {
                return None;
            }
            let next = tokio::select! {
                biased;
                () = &mut revoked => Err(Status::unauthenticated("the token was revoked")),
                next = views.next() => next,
            };
            views.over |= next.is_err();
            Some((next, (views, revoked)))
        })
    }

    /// The next view; or the last one again when what everybody waits for begins or ends.
    async fn next(&mut self) -> Result<v1::GetRunReply, Status> {
        let view = loop {
            tokio::select! {
                biased;
                view = self.watcher.next() => break view.ok_or_else(|| status(HandleError::Ended))?,
                alarm = self.handle.alarm_changes(self.alarm.is_some()) => {
                    self.alarm = alarm;
                    // Before the first view there is nothing to say it beside.
                    if let Some(last) = &self.last {
                        break last.clone();
                    }
                }
            }
        };
        self.over = view.over;
        self.last = Some(view.clone());
        Ok(v1::GetRunReply { alarm: self.alarm.clone().unwrap_or_default(), ..view.reply.clone() })
    }
}

#[cfg(test)]
mod tests;

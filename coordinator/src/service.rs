//! The door: gRPC requests become events, answers become replies, refusals become status codes that say what to do.

use crate::cluster::{Refused, RewindRequest};
use crate::metrics;
use crate::owner::{Handle, HandleError, Watcher};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use futures::stream::{Stream, StreamExt};
use osler_core::ids::{Millis, RunName, StageName, TeamName, WorkerName};
use osler_core::spec::RunSpec;
use osler_core::sync::Observed;
use osler_proto::v1::control_server::{Control, ControlServer};
use osler_proto::v1::work_server::{Work, WorkServer};
use osler_proto::{InvalidMessage, MAX_MESSAGE_BYTES, v1};
use osler_runtime::auth::{RequireToken, Token};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Serves both services until `shutdown` resolves. Every call must carry the token.
pub async fn serve(
    listener: TcpListener,
    handle: Handle,
    token: Token,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let door = Door { handle };
    let control =
        ControlServer::new(door.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES);
    let work = WorkServer::new(door).max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES);
    Server::builder()
        .tcp_nodelay(true)
        .add_service(InterceptedService::new(control, RequireToken(token.clone())))
        .add_service(InterceptedService::new(work, RequireToken(token)))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown)
        .await
}

/// Serves `/metrics` for Prometheus on a listener of its own, without a token: it shows names and numbers and takes nothing.
pub async fn serve_metrics(listener: TcpListener, handle: Handle) -> std::io::Result<()> {
    let page = move || async move {
        match handle.metrics().await {
            Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, metrics::CONTENT_TYPE)], text),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, [(CONTENT_TYPE, "text/plain")], error.to_string()),
        }
    };
    axum::serve(listener, axum::Router::new().route("/metrics", axum::routing::get(page))).await
}

#[derive(Debug, Clone)]
struct Door {
    handle: Handle,
}

fn status(error: HandleError) -> Status {
    let message = error.to_string();
    match error {
        HandleError::Ended => Status::unavailable(message),
        HandleError::Refused(refused) => match refused {
            Refused::AlreadyExists { .. } => Status::already_exists(message),
            Refused::NoSuchRun(_) | Refused::NoSuchCheckpoint { .. } | Refused::NoSuchWorker(_) | Refused::NoSuchTeam(_) => {
                Status::not_found(message)
            }
            Refused::InvalidSpec(_) | Refused::UnfitRanks { .. } => Status::invalid_argument(message),
            Refused::Overtaken { .. } => Status::aborted(message),
            Refused::StillEnding { .. } | Refused::NotRewound { .. } | Refused::Superseded { .. } => Status::failed_precondition(message),
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
impl Control for Door {
    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitReply>, Status> {
        let json = request.into_inner().spec_json;
        let spec: RunSpec = serde_json::from_slice(&json).map_err(|e| Status::invalid_argument(format!("field spec_json: {e}")))?;
        let run = spec.name.to_string();
        let (created, state) = self.handle.submit(spec).await.map_err(status)?;
        Ok(Response::new(v1::SubmitReply { run, created, state: state.to_string() }))
    }

    async fn list_runs(&self, _: Request<v1::ListRunsRequest>) -> Result<Response<v1::ListRunsReply>, Status> {
        let runs = self.handle.runs().await.map_err(status)?;
        Ok(Response::new(v1::ListRunsReply { runs }))
    }

    async fn get_run(&self, request: Request<v1::GetRunRequest>) -> Result<Response<v1::GetRunReply>, Status> {
        let mut watcher = self.handle.watch(run_name(request.into_inner().run)?).await.map_err(status)?;
        let view = watcher.next().await.ok_or_else(|| status(HandleError::Ended))?;
        Ok(Response::new(view.reply.clone()))
    }

    type WatchRunStream = Pin<Box<dyn Stream<Item = Result<v1::GetRunReply, Status>> + Send>>;

    async fn watch_run(&self, request: Request<v1::GetRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let watcher = self.handle.watch(run_name(request.into_inner().run)?).await.map_err(status)?;
        Ok(Response::new(views(watcher).boxed()))
    }

    async fn stop_run(&self, request: Request<v1::StopRunRequest>) -> Result<Response<v1::StopRunReply>, Status> {
        let state = self.handle.stop(run_name(request.into_inner().run)?).await.map_err(status)?;
        Ok(Response::new(v1::StopRunReply { state: state.to_string() }))
    }

    async fn resume_run(&self, request: Request<v1::ResumeRunRequest>) -> Result<Response<v1::ResumeRunReply>, Status> {
        let v1::ResumeRunRequest { run, ranks } = request.into_inner();
        let ranks = Some(ranks).filter(|ranks| *ranks > 0);
        let state = self.handle.resume(run_name(run)?, ranks).await.map_err(status)?;
        Ok(Response::new(v1::ResumeRunReply { state: state.to_string() }))
    }

    async fn rewind_stage(&self, request: Request<v1::RewindStageRequest>) -> Result<Response<v1::RewindStageReply>, Status> {
        let v1::RewindStageRequest { run, stage, to, skip_from, skip_to } = request.into_inner();
        let request = RewindRequest { run: run_name(run)?, stage: stage_name(stage)?, to, skip: skip_from..skip_to };
        let state = self.handle.rewind(request).await.map_err(status)?;
        Ok(Response::new(v1::RewindStageReply { state: state.to_string() }))
    }

    async fn pin_checkpoint(&self, request: Request<v1::PinCheckpointRequest>) -> Result<Response<v1::PinCheckpointReply>, Status> {
        let v1::PinCheckpointRequest { run, stage, step, pinned } = request.into_inner();
        let state = self.handle.pin(run_name(run)?, stage_name(stage)?, step, pinned).await.map_err(status)?;
        Ok(Response::new(v1::PinCheckpointReply { state: state.to_string() }))
    }

    async fn list_workers(&self, _: Request<v1::ListWorkersRequest>) -> Result<Response<v1::ListWorkersReply>, Status> {
        let workers = self.handle.workers().await.map_err(status)?;
        Ok(Response::new(v1::ListWorkersReply { workers }))
    }

    async fn list_queue(&self, _: Request<v1::ListQueueRequest>) -> Result<Response<v1::ListQueueReply>, Status> {
        Ok(Response::new(self.handle.queue().await.map_err(status)?))
    }

    async fn set_quota(&self, request: Request<v1::SetQuotaRequest>) -> Result<Response<v1::SetQuotaReply>, Status> {
        let v1::SetQuotaRequest { team, slots } = request.into_inner();
        let team = TeamName::new(team).map_err(|e| Status::invalid_argument(format!("field team: {e}")))?;
        self.handle.quota(team, slots).await.map_err(status)?;
        Ok(Response::new(v1::SetQuotaReply {}))
    }

    async fn drain_node(&self, request: Request<v1::DrainNodeRequest>) -> Result<Response<v1::DrainNodeReply>, Status> {
        let v1::DrainNodeRequest { worker, drain, reason } = request.into_inner();
        self.handle.drain(worker_name(worker)?, drain.then_some(reason)).await.map_err(status)?;
        Ok(Response::new(v1::DrainNodeReply {}))
    }

    async fn check_node(&self, request: Request<v1::CheckNodeRequest>) -> Result<Response<v1::CheckNodeReply>, Status> {
        self.handle.check_node(worker_name(request.into_inner().worker)?).await.map_err(status)?;
        Ok(Response::new(v1::CheckNodeReply {}))
    }
}

#[tonic::async_trait]
impl Work for Door {
    async fn sync(&self, request: Request<v1::SyncRequest>) -> Result<Response<v1::SyncReply>, Status> {
        let request = request.into_inner();
        let (wait, seen) = (Duration::from_millis(request.wait_ms.into()), request.seen_reply);
        let sent = Some(Millis(request.sent_at_ms)).filter(|sent| sent.0 > 0);
        let observed = Observed::try_from(request).map_err(invalid)?;
        let desired = self.handle.sync(observed, sent, wait, seen).await.map_err(status)?;
        let reply = v1::SyncReply::try_from(desired).map_err(|e| Status::internal(e.to_string()))?;
        Ok(Response::new(reply))
    }
}

/// Views until the run is over. If the owner ends first, the stream says so instead of ending as if the run had.
fn views(watcher: Watcher) -> impl Stream<Item = Result<v1::GetRunReply, Status>> {
    futures::stream::unfold((watcher, false), |(mut watcher, over)| async move {
        if over {
            return None;
        }
        Some(match watcher.next().await {
            Some(view) => (Ok(view.reply.clone()), (watcher, view.over)),
            None => (Err(status(HandleError::Ended)), (watcher, true)),
        })
    })
}

#[cfg(test)]
mod tests;

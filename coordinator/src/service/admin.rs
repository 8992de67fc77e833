//! Tokens and the log of calls, for admins.

use crate::access::{Access, Caller, ChangeError, told};
use crate::ledger::LedgerError;
use osler_core::access::{NewToken, Role, Unchanged};
use osler_core::digest::Digest;
use osler_core::ids::TokenName;
use osler_core::json;
use osler_proto::v1;
use tonic::{Request, Response, Status};

/// Entries of the log in one answer.
const MAX_CALLS: u32 = 1000;

pub async fn create_token(access: &Access, request: Request<v1::CreateTokenRequest>) -> Result<Response<v1::CreateTokenReply>, Status> {
    told(&request, |r| format!("name={:?} role={:?} worker={:?}", r.name, r.role, r.worker)).await?;
    let by = super::caller(&request)?;
    let v1::CreateTokenRequest { name, role, sha256, worker } = request.into_inner();
    let name = token_name(name)?;
    let role: Role = role.parse().map_err(|e| Status::invalid_argument(format!("field role: {e}")))?;
    let sha256: [u8; 32] = sha256.try_into().map_err(|_| Status::invalid_argument("field sha256: not 32 bytes"))?;
    let worker = if worker.is_empty() { None } else { Some(super::worker_name(worker)?) };
    let Caller { name: by, .. } = by;
    access.tokens.create(NewToken { name, role, sha256: Digest::from_bytes(sha256), worker }, &by).await.map_err(refused)?;
    Ok(Response::new(v1::CreateTokenReply {}))
}

pub fn list_tokens(access: &Access) -> Response<v1::ListTokensReply> {
    let book = access.tokens.book();
    let line = |(name, known): (&TokenName, &osler_core::access::Known)| v1::TokenLine {
        name: name.to_string(),
        role: known.role.to_string(),
        created_at_ms: known.created_at.0,
        created_by: known.created_by.clone(),
        revoked_at_ms: known.revoked_at.map_or(0, |at| at.0),
        worker: known.worker.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    Response::new(v1::ListTokensReply { tokens: book.tokens.iter().map(line).collect() })
}

pub async fn revoke_token(access: &Access, request: Request<v1::RevokeTokenRequest>) -> Result<Response<v1::RevokeTokenReply>, Status> {
    told(&request, |r| format!("name={:?}", r.name)).await?;
    access.tokens.revoke(&token_name(request.into_inner().name)?).await.map_err(refused)?;
    Ok(Response::new(v1::RevokeTokenReply {}))
}

pub async fn list_calls(access: &Access, last: u32) -> Result<Response<v1::ListCallsReply>, Status> {
    let entries = access.log.last(last.min(MAX_CALLS) as usize).await.map_err(|e| unavailable(&e))?;
    let entry_json = entries.iter().map(json::bytes).collect();
    Ok(Response::new(v1::ListCallsReply { entry_json }))
}

fn token_name(name: String) -> Result<TokenName, Status> {
    TokenName::new(name).map_err(|e| Status::invalid_argument(format!("field name: {e}")))
}

fn refused(error: ChangeError) -> Status {
    let message = error.to_string();
    match error {
        ChangeError::Unchanged(Unchanged::Taken(_) | Unchanged::SameSecret) => Status::already_exists(message),
        ChangeError::Unchanged(Unchanged::NotAWorkers) => Status::invalid_argument(message),
        ChangeError::Unchanged(Unchanged::Unknown(_)) => Status::not_found(message),
        ChangeError::Unchanged(Unchanged::Full) => Status::resource_exhausted(message),
        ChangeError::Ledger(error) => unavailable(&error),
    }
}

fn unavailable(error: &LedgerError) -> Status {
    Status::unavailable(error.to_string())
}

//! `osler token create|list|revoke`: who may call the coordinator. The secret is made here and only its SHA-256 is sent.

use super::Context;
use crate::client::TokenLine;
use crate::failure::{Outcome, failed};
use crate::show;
use crate::terminal::{Page, Table, name};
use osler_core::access::{NewToken, Role};
use osler_core::ids::{TokenName, WorkerName};
use osler_runtime::auth::Token;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a token. Without --out it is printed, once.
    Create(CreateArgs),
    /// Show the tokens; their secrets nobody knows but who has them.
    List,
    /// Make a token worthless, from the next call on.
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// viewer (looks), operator (changes runs too), admin (tokens too) or worker (an agent).
    #[arg(long)]
    role: Role,
    /// Of a worker's token: the only worker that it speaks for, the --name of one agent [default: any].
    #[arg(long, value_name = "NAME")]
    worker: Option<WorkerName>,
    /// By which the log of calls names who has it.
    #[arg(long)]
    name: TokenName,
    /// A file for it, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    name: TokenName,
}

/// Of a token that was just made.
#[derive(Serialize)]
pub(super) struct Made {
    pub name: TokenName,
    pub role: String,
    pub worker: Option<WorkerName>,
    /// Where the secret is.
    pub file: Option<PathBuf>,
    /// The secret itself, without a file.
    pub secret: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Tokens {
    pub tokens: Vec<TokenLine>,
}

#[derive(Serialize)]
pub(super) struct Revoked {
    pub name: TokenName,
    pub revoked: bool,
}

pub async fn run(command: &Command, cx: &Context) -> Outcome {
    match command {
        Command::Create(args) => create(args, cx).await,
        Command::List => {
            let tokens = Tokens { tokens: cx.access.need_coordinator().await?.tokens().await? };
            cx.terminal().answer("tokens", &tokens, || list(&tokens.tokens))
        }
        Command::Revoke(args) => {
            cx.access.need_coordinator().await?.revoke_token(&args.name).await?;
            let done = Revoked { name: args.name.clone(), revoked: true };
            cx.terminal().answer("revocation", &done, || Page::from(format!("token {} is revoked", args.name)))
        }
    }
}

async fn create(args: &CreateArgs, cx: &Context) -> Outcome {
    let mut coordinator = cx.access.need_coordinator().await?;
    let token = Token::random()?;
    // The file first: a token that is registered and then lost would take its name with it.
    if let Some(out) = &args.out {
        token.save_new(out)?;
    }
    let new = NewToken { name: args.name.clone(), role: args.role, sha256: token.sha256(), worker: args.worker.clone() };
    if let Err(failure) = coordinator.create_token(&new).await {
        if let Some(out) = &args.out {
            std::fs::remove_file(out).map_err(|e| failed(format!("remove {}: {e}", out.display())))?;
        }
        return Err(failure);
    }
    let secret = args.out.is_none().then(|| token.reveal().to_string());
    let (role, worker) = (args.role.to_string(), args.worker.clone());
    let made = Made { name: args.name.clone(), role, worker, file: args.out.clone(), secret };
    cx.terminal().answer("token", &made, || match &made.file {
        Some(out) => Page::from(format!("token {} ({}) is in {}", made.name, made.role, out.display())),
        None => Page::from(made.secret.clone().unwrap_or_default()),
    })
}

pub(super) fn list(tokens: &[TokenLine]) -> Page {
    if tokens.is_empty() {
        return Page::from("no tokens but the owner's");
    }
    let mut table =
        Table::new([name("token", 0), name("role", 0), name("worker", 2), name("created", 3), name("by", 4), name("revoked", 1)]);
    for token in tokens {
        table.row([
            token.name.as_str().into(),
            token.role.as_str().into(),
            token.worker.clone().unwrap_or_default().into(),
            show::time(token.created_at).into(),
            token.created_by.as_str().into(),
            token.revoked_at.map(show::time).unwrap_or_default().into(),
        ]);
    }
    let mut page = Page::new();
    page.table(table);
    page
}

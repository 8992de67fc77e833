//! `osler token create|list|revoke`: who may call the coordinator. The secret is made here and only its SHA-256 is sent.

use crate::client::Access;
use crate::failure::{Outcome, failed};
use crate::show::{self, Format, Grid};
use osler_core::access::{NewToken, Role};
use osler_core::ids::{TokenName, WorkerName};
use osler_runtime::auth::Token;
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a token. Without --out it is printed, once.
    Create(CreateArgs),
    /// Show the tokens; their secrets nobody knows but who has them.
    List(ListArgs),
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
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    access: Access,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    name: TokenName,
    #[command(flatten)]
    access: Access,
}

pub async fn run(command: &Command) -> Outcome {
    match command {
        Command::Create(args) => create(args).await,
        Command::List(args) => list(args).await,
        Command::Revoke(args) => revoke(args).await,
    }
}

async fn create(args: &CreateArgs) -> Outcome {
    let mut coordinator = args.access.need_coordinator().await?;
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
    match &args.out {
        Some(out) => show::out(&format!("token {} ({}) is in {}\n", args.name, args.role, out.display())),
        None => show::out(&format!("{}\n", token.reveal())),
    }
}

async fn list(args: &ListArgs) -> Outcome {
    let tokens = args.access.need_coordinator().await?.tokens().await?;
    if args.output == Format::Json {
        return show::json(&tokens);
    }
    let mut grid = Grid::new(&["token", "role", "worker", "created", "by", "revoked"]);
    for token in tokens {
        let revoked = token.revoked_at.map(show::time).unwrap_or_default();
        grid.row([token.name, token.role, token.worker.unwrap_or_default(), show::time(token.created_at), token.created_by, revoked]);
    }
    show::out(&if grid.is_empty() { "no tokens but the owner's\n".to_owned() } else { grid.text() })
}

async fn revoke(args: &RevokeArgs) -> Outcome {
    args.access.need_coordinator().await?.revoke_token(&args.name).await?;
    show::out(&format!("token {} is revoked\n", args.name))
}

//! Where a command's data come from: a coordinator if one lives, else the store as it was left. Both give the same [`Seen`].

use crate::client::{Access, Coordinator, RunLine, Seen};
use crate::failure::{Failure, Outcome, usage};
use crate::show;
use crate::stored;
use osler_core::ids::{Millis, RunName};
use osler_core::record::RunRecord;
use osler_runtime::store::Store;

pub enum Source {
    Live(Coordinator),
    /// A coordinator lives, and waits for the store like everybody: what is read is what is durable.
    Waiting {
        store: Store,
        alarm: String,
    },
    /// No coordinator is running: what is read is the past.
    Stored(Store),
}

impl Source {
    pub async fn find(access: &Access) -> Outcome<Self> {
        Self::of(access.find().await?, access)
    }

    /// As [`Self::find`], for who starts a coordinator if there is none.
    pub async fn find_living(access: &Access) -> Outcome<Self> {
        Self::of(access.find_living().await?, access)
    }

    fn of(found: Option<Coordinator>, access: &Access) -> Outcome<Self> {
        match found {
            Some(Coordinator { alarm: Some(alarm), .. }) => Ok(Self::Waiting { store: access.open_store()?, alarm }),
            Some(coordinator) => Ok(Self::Live(coordinator)),
            None => Ok(Self::Stored(access.open_store()?)),
        }
    }

    pub fn is_live(&self) -> bool {
        !matches!(self, Self::Stored(_))
    }

    /// What everybody waits for.
    pub fn alarm(&self) -> Option<&str> {
        match self {
            Self::Waiting { alarm, .. } => Some(alarm),
            Self::Live(coordinator) => coordinator.alarm.as_deref(),
            Self::Stored(_) => None,
        }
    }

    pub async fn runs(&mut self) -> Outcome<Vec<RunLine>> {
        match self {
            Self::Live(coordinator) => coordinator.runs().await,
            Self::Waiting { store, .. } | Self::Stored(store) => stored::lines(store).await,
        }
    }

    /// The run, or a refusal that names those there are.
    pub async fn run(&mut self, run: &RunName) -> Outcome<Seen> {
        let known: Vec<String> = self.runs().await?.into_iter().map(|line| line.run).collect();
        if !known.iter().any(|name| name == run.as_str()) {
            return Err(unknown(run, &known));
        }
        let alarm = self.alarm().map(str::to_owned);
        match self {
            Self::Live(coordinator) => coordinator.run(run.as_str()).await,
            Self::Waiting { store, .. } | Self::Stored(store) => match stored::record(store, run).await? {
                Some(record) => Ok(Seen { alarm, ..Seen::of_record(record) }),
                None => Err(unknown(run, &known)),
            },
        }
    }
}

fn unknown(run: &RunName, known: &[String]) -> Failure {
    let near = show::nearest(run.as_str(), known.iter().map(String::as_str));
    let meant = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    let hint = match known {
        [] => "there are no runs here yet: give another --store, or start one with `osler up RUN.toml`".to_owned(),
        known => format!("known here: {}", known.join(", ")),
    };
    usage(format!("no run is named {:?}{meant}", run.as_str())).hint(hint)
}

/// When the record last changed, as far as it says.
pub fn as_of(record: &RunRecord) -> Millis {
    record.events.last().map_or(record.submitted_at, |event| event.at)
}

/// The state as people should read it: one that claims life without a coordinator is the past, and waived gates are not forgotten.
pub fn state_text(record: &RunRecord, live: bool) -> String {
    let past = || format!(" (no coordinator: as of {})", show::time(as_of(record)));
    let past = if live || !record.state.is_live() { String::new() } else { past() };
    let waived = record.waived().map(|gates| format!("; {gates}")).unwrap_or_default();
    format!("{}{past}{waived}", record.state)
}

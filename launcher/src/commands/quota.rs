//! `osler quota`: how many slots the runs of a team may hold at once.

use super::Context;
use crate::client::QuotaLine;
use crate::failure::Outcome;
use crate::terminal::{Page, Table, name, number};
use osler_core::ids::TeamName;
use serde::Serialize;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Let a team hold so many slots; runs name it with `[queue] team`. What it holds already goes on.
    Set { team: TeamName, slots: u32 },
    /// Show what teams hold of what they may hold.
    List,
    /// Let a team hold all there is.
    Remove { team: TeamName },
}

#[derive(Serialize)]
pub(super) struct Quotas {
    pub quotas: Vec<QuotaLine>,
}

#[derive(Serialize)]
pub(super) struct Quota {
    pub team: TeamName,
    /// None: all there are.
    pub slots: Option<u32>,
}

pub async fn run(command: &Command, cx: &Context) -> Outcome {
    match command {
        Command::Set { team, slots } => set(team, Some(*slots), cx).await,
        Command::Remove { team } => set(team, None, cx).await,
        Command::List => {
            let (_, quotas) = cx.access.need_coordinator().await?.queue().await?;
            let quotas = Quotas { quotas };
            cx.terminal().answer("quotas", &quotas, || cx.access.page(list(&quotas.quotas)))
        }
    }
}

async fn set(team: &TeamName, slots: Option<u32>, cx: &Context) -> Outcome {
    cx.access.need_coordinator().await?.set_quota(team.as_str(), slots).await?;
    let may = slots.map_or_else(|| "all slots".to_owned(), |slots| format!("{slots} slots"));
    cx.terminal().answer("quota", &Quota { team: team.clone(), slots }, || Page::from(format!("team {team} may hold {may}")))
}

fn list(quotas: &[QuotaLine]) -> Page {
    if quotas.is_empty() {
        return Page::from("no quotas: every team may hold all slots; `osler quota set TEAM SLOTS` sets one");
    }
    let mut table = Table::new([name("team", 0), number("slots", 0), number("used", 0)]);
    for quota in quotas {
        let slots = quota.slots.map_or_else(|| "all".to_owned(), |slots| slots.to_string());
        table.row([quota.team.as_str().into(), slots.into(), quota.used.to_string().into()]);
    }
    let mut page = Page::new();
    page.table(table);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::View;

    #[test]
    fn a_team_without_a_quota_may_hold_all() {
        let line = |team: &str, slots, used| QuotaLine { team: team.into(), slots, used };
        assert_eq!(
            list(&[line("nlp", Some(4), 3), line("vision", None, 1)]).render(View::PLAIN),
            "TEAM    SLOTS  USED\nnlp         4     3\nvision    all     1\n"
        );
        assert!(list(&[]).render(View::PLAIN).starts_with("no quotas"));
    }
}

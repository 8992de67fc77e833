//! `osler quota`: how many slots the runs of a team may hold at once.

use crate::client::{Access, QuotaLine};
use crate::failure::Outcome;
use crate::show::{self, Grid, Output};
use osler_core::ids::TeamName;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Let a team hold so many slots; runs name it with `[queue] team`. What it holds already goes on.
    Set {
        team: TeamName,
        slots: u32,
        #[command(flatten)]
        access: Access,
    },
    /// Show what teams hold of what they may hold.
    List {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        output: Output,
    },
    /// Let a team hold all there is.
    Remove {
        team: TeamName,
        #[command(flatten)]
        access: Access,
    },
}

pub async fn run(command: &Command) -> Outcome {
    match command {
        Command::Set { team, slots, access } => access.need_coordinator().await?.set_quota(team.as_str(), Some(*slots)).await,
        Command::Remove { team, access } => access.need_coordinator().await?.set_quota(team.as_str(), None).await,
        Command::List { access, output } => {
            let (_, quotas) = access.need_coordinator().await?.queue().await?;
            if output.is_json() { show::json(&quotas) } else { show::out(&text(&quotas)) }
        }
    }
}

fn text(quotas: &[QuotaLine]) -> String {
    if quotas.is_empty() {
        return "no quotas: every team may hold all slots; `osler quota set TEAM SLOTS` sets one\n".to_owned();
    }
    let mut grid = Grid::new(&["team", ">slots", ">used"]);
    for quota in quotas {
        let slots = quota.slots.map_or_else(|| "all".to_owned(), |slots| slots.to_string());
        grid.row([quota.team.clone(), slots, quota.used.to_string()]);
    }
    grid.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_without_a_quota_may_hold_all() {
        let line = |team: &str, slots, used| QuotaLine { team: team.into(), slots, used };
        assert_eq!(
            text(&[line("nlp", Some(4), 3), line("vision", None, 1)]),
            "TEAM    SLOTS  USED\nnlp         4     3\nvision    all     1\n"
        );
        assert!(text(&[]).starts_with("no quotas"));
    }
}

//! `osler completion`: a script by which a shell completes commands and arguments. It follows from the commands themselves.

use super::{Cli, Context};
use crate::failure::Outcome;
use clap::CommandFactory;
use clap_complete::Shell;
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// For bash: source it, or put it into ~/.local/share/bash-completion/completions/osler.
    shell: Shell,
}

#[derive(Serialize)]
pub(super) struct Script {
    shell: String,
    script: String,
}

pub fn run(args: &Args, cx: &Context) -> Outcome {
    let made = script(args.shell);
    if cx.terminal().is_json() { cx.terminal().json("completion", &made) } else { cx.terminal().raw(&made.script) }
}

pub(super) fn script(shell: Shell) -> Script {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "osler", &mut script);
    Script { shell: shell.to_string(), script: String::from_utf8_lossy(&script).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_every_script() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let Script { script, .. } = script(shell);
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}

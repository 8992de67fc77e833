//! What to do about an object of the store that cannot be read, in words that follow what is wrong with it: the coordinator and the
//! commands that read a store themselves give the same advice.

/// A version of a run's record. RUN stands for the run's name, see [`of_run`].
pub const RUN: &str = "restore it from a copy, or delete that object to go on from the version before; or `osler rm RUN` removes the run";
/// A page of a run's checkpoints: the versions before name it too.
pub const PAGE: &str =
    "restore it from a copy: no version of the record is whole without it; or `osler rm RUN` removes the run with what it trained";
/// A page of a run's events: the run goes on without them.
pub const EVENTS: &str = "restore it from a copy";
/// A version of the cluster's own record.
pub const CLUSTER: &str = "restore it from a copy, or remove it to go on from the version before";
/// The book of tokens. In the version before, a token that was revoked would count again.
pub const TOKENS: &str = "restore it from a copy, or have `osler fsck --repair --forget-tokens` put an empty one in its place";
/// An entry of the log of calls.
pub const CALL: &str = "restore it from a copy, or delete it";

/// [`RUN`] or [`PAGE`] with the name of the run, so that its command can be copied.
pub fn of_run(way_out: &str, run: &str) -> String {
    way_out.replace("RUN", run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_run() {
        for way_out in [RUN, PAGE] {
            assert!(of_run(way_out, "tiny").contains("`osler rm tiny`"), "{way_out}");
        }
    }
}

//! Commands that messages name: with the store or the coordinator that was used, so that they can be copied into a shell as they are.

use crate::client::Access;
use crate::terminal::Page;
use std::borrow::Cow;

/// The store of who names none.
pub const USUAL_STORE: &str = "./osler-store";

/// Commands that have no use for a store or a coordinator; `cluster log` alone of its kind has.
const PLACELESS: [&str; 8] = ["validate", "cluster", "corpus", "exam", "quantize", "demo", "completion", "man"];
/// Those that start or end a coordinator here, or look at the store only.
const STORE_ONLY: [&str; 3] = ["up", "down", "plan"];

impl Access {
    /// "`osler resume RUN --store 'my runs'`". `words` are of our own making: names of runs and stages, which need no quotes.
    pub fn command(&self, words: &str) -> String {
        self.complete(&format!("`osler {words}`"))
    }

    /// The same for each command of ours that a text names in backticks, whoever wrote the text: the coordinator cannot know how it was
    /// found.
    pub fn complete(&self, text: &str) -> String {
        let part = |(i, part): (usize, &str)| if i % 2 == 1 { part.to_owned() + &self.options_of(part) } else { part.to_owned() };
        text.split('`').enumerate().map(part).collect::<Vec<_>>().join("`")
    }

    /// A page whose commands are made whole.
    pub fn page(&self, page: Page) -> Page {
        page.map(|text| self.complete(text))
    }

    /// What a command lacks to go where this one went.
    fn options_of(&self, command: &str) -> String {
        let mut words = command.split_whitespace();
        let (Some("osler"), Some(verb)) = (words.next(), words.next()) else { return String::new() };
        let placeless = PLACELESS.contains(&verb) && !command.starts_with("osler cluster log");
        if placeless || verb.starts_with('-') || words.any(|word| ["--store", "--coordinator"].contains(&word)) {
            return String::new();
        }
        let mut options = String::new();
        let mut option = |name: &str, value: &str| options.push_str(&format!(" --{name} {}", quoted(value)));
        if self.coordinator.is_empty() && self.store != USUAL_STORE {
            option("store", &self.store);
        }
        if !STORE_ONLY.contains(&verb) {
            if !self.coordinator.is_empty() {
                option("coordinator", &self.coordinator.join(","));
            }
            self.token_file.iter().for_each(|file| option("token-file", &file.to_string_lossy()));
            self.tls.iter().for_each(|folder| option("tls", &folder.to_string_lossy()));
        }
        options
    }
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':' | '@' | ',' | '+' | '=' | '%');
    match !word.is_empty() && word.chars().all(plain) {
        true => Cow::Borrowed(word),
        false => Cow::Owned(format!("'{}'", word.replace('\'', r"'\''"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_what_was_used_and_can_be_copied() {
        let on = |store: &str| Access::local(store);
        assert_eq!(on(USUAL_STORE).command("ps"), "`osler ps`");
        assert_eq!(on("/data/runs").command("resume r"), "`osler resume r --store /data/runs`");
        assert_eq!(on("my runs").command("resume r"), "`osler resume r --store 'my runs'`");
        assert_eq!(on("it's; rm -rf ~").command("ps"), r"`osler ps --store 'it'\''s; rm -rf ~'`");
        assert_eq!(on("").command("ps"), "`osler ps --store ''`");
        let remote = Access { coordinator: vec!["c1:7070".into()], tls: Some("my certs".into()), ..on("unused") };
        assert_eq!(remote.command("status r -w"), "`osler status r -w --coordinator c1:7070 --tls 'my certs'`");
        assert_eq!(remote.command("up r.toml"), "`osler up r.toml`");
    }

    #[test]
    fn every_command_of_a_text_is_completed_once_and_others_are_left_alone() {
        let access = Access::local("s");
        let text = "drained (disks): `osler node undrain a`; or `osler cluster init`, `osler-worker`, `rm -rf /`, `osler cluster log`";
        let whole = "drained (disks): `osler node undrain a --store s`; or `osler cluster init`, `osler-worker`, `rm -rf /`, `osler cluster log --store s`";
        assert_eq!(access.complete(text), whole);
        assert_eq!(access.complete(whole), whole);
        for odd in ["", "`", "a ` b", "`osler", "osler ps"] {
            assert!(access.complete(odd).starts_with(odd), "{odd}");
        }
    }
}

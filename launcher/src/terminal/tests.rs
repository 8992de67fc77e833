//! Tables and text in columns, colour, and that nothing from outside steers a terminal.

use super::arguments::{Environment, view};
use super::*;

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

fn widest(text: &str) -> usize {
    text.lines().map(width).max().unwrap_or(0)
}

fn table() -> Table {
    let mut table = Table::new([name("stage", 0), number("first loss", 2), number("steps", 1), prose("what it did", 1), name("digest", 3)]);
    let said = "trained for a while and then stood still";
    table.row(["general".into(), "8.09".into(), "1,300".into(), said.into(), "0123456789abcdef".into()]);
    table.row([Cell::state("failed"), "-".into(), "-".into(), "".into(), "".into()]);
    table
}

#[test]
fn where_there_is_room_a_table_is_as_wide_as_its_cells() {
    let shown = table().render(View::PLAIN);
    assert_eq!(
        lines(&shown),
        [
            "STAGE    FIRST LOSS  STEPS  WHAT IT DID                               DIGEST",
            "general        8.09  1,300  trained for a while and then stood still  0123456789abcdef",
            "failed            -      -",
        ]
    );
    assert_eq!(shown, table().render(View::columns(200)));
}

#[test]
fn a_narrow_table_breaks_titles_and_prose_at_words_then_leaves_out_what_matters_least_and_says_so() {
    let shown = table().render(View::columns(72));
    assert_eq!(
        lines(&shown),
        [
            "         FIRST",
            "STAGE     LOSS  STEPS  WHAT IT DID                      DIGEST",
            "general   8.09  1,300  trained for a while and then     0123456789abcdef",
            "                       stood still",
            "failed       -      -",
        ]
    );
    let shown = table().render(View::columns(50));
    assert_eq!(
        lines(&shown),
        [
            "         FIRST",
            "STAGE     LOSS  STEPS  WHAT IT DID",
            "general   8.09  1,300  trained for a while and",
            "                       then stood still",
            "failed       -      -",
            "left out: digest (see them in a wider terminal or",
            "  with -o json)",
        ]
    );
    let shown = table().render(View::columns(40));
    assert!(shown.contains("left out: first loss, digest (see them") && widest(&shown) <= 40, "{shown}");
}

#[test]
fn names_that_no_table_holds_are_cut_in_the_middle() {
    let long = format!("{}-end", "x".repeat(200));
    let mut table = Table::new([name("job", 0), name("state", 0), number("ranks", 1)]);
    table.row([long.as_str().into(), "failed".into(), u64::MAX.to_string().into()]);
    let shown = table.render(View::columns(80));
    assert!(widest(&shown) <= 80 && shown.contains("…") && shown.contains("-end"), "{shown}");
    assert!(table.render(View::PLAIN).contains(&long), "a pipe gets all of it");
}

#[test]
fn text_breaks_at_words_and_keeps_its_indentation() {
    let line = Line::from("  - one two three four five six seven eight nine ten");
    assert_eq!(line.render(View::columns(30)), "  - one two three four five\n    six seven eight nine ten");
    let path = Line::from(format!("see /{}/end", "folder/".repeat(12)));
    let shown = path.render(View::columns(40));
    assert!(widest(&shown) <= 40 && shown.lines().skip(1).all(|l| l.ends_with('/') || l.ends_with("end")), "{shown}");
    let digits = Line::from("9".repeat(100)).render(View::columns(40));
    assert_eq!(digits.replace('\n', ""), "9".repeat(100));
    // A sign of two columns does not stand half beyond the edge.
    assert!(widest(&Line::from("中文字".repeat(30)).render(View::columns(41))) <= 41);
    assert_eq!(Line::from("").render(View::columns(40)), "");
}

#[test]
fn colour_is_only_where_it_is_wanted_and_costs_no_room() {
    let colour = View { width: Some(50), colour: true };
    let shown = table().render(colour);
    assert!(shown.contains("\u{1b}[31mfailed\u{1b}[0m") && shown.contains("\u{1b}[1mSTAGE"), "{shown:?}");
    let without = |text: &str| {
        let parts = text.split("\u{1b}[").enumerate();
        parts.map(|(i, part)| if i == 0 { part } else { part.split_once('m').unwrap().1 }).collect::<String>()
    };
    assert_eq!(without(&shown), table().render(View::columns(50)));
    assert!(!table().render(View::columns(50)).contains('\u{1b}'));
}

#[test]
fn what_came_from_outside_steers_no_terminal_not_even_one_with_colour() {
    let evil = "a\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}b\rc\nd";
    let mut table = Table::new([name("x", 0), prose("y", 0)]);
    table.row([evil.into(), Cell::state(evil)]);
    let mut page = Page::from(evil);
    page.line(Line::from(evil).styled(evil, Style::Bad)).table(table).extend(failure().page());
    for view in [View::PLAIN, View::columns(40), View { width: Some(40), colour: true }] {
        let shown = page.render(view);
        let rest = [1, 2, 31, 32, 33, 36, 0].iter().fold(shown, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
        assert!(rest.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{rest:?}");
    }
}

fn failure() -> Failure {
    crate::failure::usage("no run is named \"\u{1b}[31mr\"").hint("known here: \u{202e}")
}

#[test]
fn the_environment_says_how_output_looks() {
    let set = |value: &str| Some(value.to_owned());
    let of = |colour, environment: Environment, terminal| view(colour, &environment, terminal, Some(100));
    let none = Environment::default;
    assert_eq!(of(Colour::Auto, none(), true), View { width: Some(100), colour: true });
    assert_eq!(of(Colour::Auto, none(), false), View::PLAIN);
    for (environment, terminal, colour) in [
        (Environment { no_color: set("1"), ..none() }, true, false),
        (Environment { no_color: set(""), ..none() }, true, true),
        (Environment { clicolor_force: set("1"), ..none() }, false, true),
        (Environment { clicolor_force: set("0"), ..none() }, false, false),
        (Environment { no_color: set("1"), clicolor_force: set("1"), ..none() }, true, false),
        (Environment { clicolor: set("0"), ..none() }, true, false),
        (Environment { term: set("dumb"), ..none() }, true, false),
    ] {
        assert_eq!(of(Colour::Auto, environment.clone(), terminal).colour, colour, "{environment:?}");
        assert!(of(Colour::Always, environment.clone(), terminal).colour);
        assert!(!of(Colour::Never, environment, terminal).colour);
    }
    for (columns, width) in [("90", Some(90)), ("7", Some(40)), ("0", None), ("wide", None)] {
        assert_eq!(of(Colour::Auto, Environment { columns: set(columns), ..none() }, false).width, width, "{columns}");
    }
    assert_eq!(of(Colour::Auto, Environment { columns: set("90"), ..none() }, true).width, Some(90));
}

#[test]
fn no_other_file_prints() {
    fn walk(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() { walk(&entry.path(), found) } else { found.push(entry.path()) }
        }
    }
    let mut files = vec![];
    walk(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 50);
    let words = [["print", "ln!"], ["print", "!("], ["std", "out()"], ["std", "err()"]].map(|parts| parts.concat());
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        // Asking what a stream is prints nothing.
        let asked = [["stderr().is_", "terminal()"], ["stdout().is_", "terminal()"], ["use_", "stderr()"]].map(|parts| parts.concat());
        let text = asked.iter().fold(text, |text, word| text.replace(word.as_str(), ""));
        let allowed = ["mod.rs", "arguments.rs", "tests.rs"].iter().any(|name| file.ends_with(format!("terminal/{name}")));
        assert!(allowed || words.iter().all(|word| !text.contains(word.as_str())), "{}: print through Terminal", file.display());
    }
}

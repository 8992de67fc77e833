//! One line for what several ranks of a gang said alike.

use std::collections::BTreeMap;

/// Lines of one gang with who said each, in the order in which they were first said.
///
/// Lines are alike if nothing but their time differs, and if each is its rank's n-th of that kind: a line that a rank says twice is shown
/// twice. `logs` has a rank's lines in their order.
pub fn fold(logs: &[(u32, Vec<String>)]) -> Vec<(Vec<u32>, String)> {
    struct Said<'a> {
        ranks: Vec<u32>,
        line: &'a str,
        /// By time where lines begin with one, else by place.
        order: (Option<&'a str>, usize),
    }
    let mut said: BTreeMap<(&str, usize), Said<'_>> = BTreeMap::new();
    for (rank, lines) in logs {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        let mut latest = None;
        for (place, line) in lines.iter().enumerate() {
            let (time, text) = split_time(line);
            latest = time.or(latest); // a line without a time belongs to the one before
            let nth = times.entry(text).or_default();
            *nth += 1;
            let order = (latest, place);
            let found = said.entry((text, *nth)).or_insert(Said { ranks: vec![], line, order });
            if order < found.order {
                (found.order, found.line) = (order, line);
            }
            found.ranks.push(*rank);
        }
    }
    let mut all: Vec<Said<'_>> = said.into_values().collect();
    all.sort_by_key(|said| (said.order, said.ranks.first().copied()));
    all.into_iter().map(|said| (said.ranks, said.line.to_owned())).collect()
}

/// The RFC 3339 time that a line begins with, and the rest.
fn split_time(line: &str) -> (Option<&str>, &str) {
    match line.split_once(' ') {
        Some((time, rest)) if time.len() >= 20 && time.ends_with('Z') && time.as_bytes().get(10) == Some(&b'T') => (Some(time), rest),
        _ => (None, line),
    }
}

/// `0-3,5`.
pub fn ranks(ranks: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = vec![];
    for &rank in ranks {
        match runs.last_mut().filter(|(_, last)| last.checked_add(1) == Some(rank)) {
            Some((_, last)) => *last = rank,
            None => runs.push((rank, rank)),
        }
    }
    let shown = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.iter().map(shown).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn what_all_say_is_shown_once_and_what_one_says_is_its_own() {
        let at = |s: u32, text: &str| format!("2026-11-24T10:00:{s:02}.5Z {text}");
        let logs = [
            (0, vec![at(1, "INFO training"), at(5, "WARN lost"), at(6, "INFO training")]),
            (1, vec![at(2, "INFO training"), at(3, "INFO only me")]),
            (2, vec![at(2, "INFO training"), at(4, "WARN lost")]),
        ];
        let shown: Vec<String> = fold(&logs).into_iter().map(|(who, line)| format!("{} {line}", ranks(&who))).collect();
        let expected = [
            format!("0-2 {}", at(1, "INFO training")),
            format!("1 {}", at(3, "INFO only me")),
            format!("0,2 {}", at(4, "WARN lost")),
            format!("0 {}", at(6, "INFO training")),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn lines_without_a_time_stay_behind_the_one_that_they_belong_to() {
        let logs = [
            (0, log(&["2026-11-24T10:00:01Z panic", "  at x", "  at y", "2026-11-24T10:00:09Z end"])),
            (1, log(&["2026-11-24T10:00:05Z b"])),
        ];
        let lines: Vec<String> = fold(&logs).into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines, ["2026-11-24T10:00:01Z panic", "  at x", "  at y", "2026-11-24T10:00:05Z b", "2026-11-24T10:00:09Z end"]);
    }

    #[test]
    fn ranks_are_shown_in_runs() {
        assert_eq!(ranks(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranks(&[4]), "4");
    }
}

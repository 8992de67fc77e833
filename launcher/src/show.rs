//! How numbers and times look: such as can be read, times in UTC; and which word was meant.

use osler_core::ids::Millis;

/// 1234567 -> "1,234,567".
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(c);
    }
    shown
}

/// 3021234 -> "3.02 M": three digits and a power of a thousand.
pub fn short(n: f64) -> String {
    let units = ["", " k", " M", " G", " T", " P", " E", " Z"];
    let (mut value, mut unit) = (n, 0);
    while value.abs() >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value.abs() {
        _ if unit == 0 && value.fract() == 0.0 => 0,
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{}", units.get(unit).copied().unwrap_or_default())
}

/// 1610612736 -> "1.50 GiB".
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {}", units.get(unit).copied().unwrap_or_default())
}

/// Seconds -> "0.4 s", "12 s", "3:05", "1:02:03".
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round().min(1e15) as u64;
    let (h, m, s) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (h, whole) {
        (0, 0..60) => format!("{s} s"),
        (0, _) => format!("{m}:{s:02}"),
        _ => format!("{h}:{m:02}:{s:02}"),
    }
}

/// "2026-11-23 05:07:39 UTC".
pub fn time(at: Millis) -> String {
    let stamp = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| "?".to_owned(), |t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

pub fn maybe(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
}

/// "+0.25", "-0.25"; what rounds to nothing has no sign of a loss.
pub fn signed(value: f64, digits: usize) -> String {
    let shown = format!("{value:+.digits$}");
    if shown.trim_start_matches(['-', '0', '.']).is_empty() { format!("{:+.digits$}", 0.0) } else { shown }
}

/// "1 file", "3 files".
pub fn plural(n: u64, one: &str) -> String {
    format!("{} {one}{}", count(n), if n == 1 { "" } else { "s" })
}

/// The known word that is most like the given one, if it is alike enough to be meant.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given: String = given.chars().take(80).collect();
    let scored =
        known.into_iter().map(|word| (strsim::jaro_winkler(&given, word).max(strsim::normalized_damerau_levenshtein(&given, word)), word));
    scored.filter(|(likeness, _)| *likeness > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_can_be_read() {
        for (n, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"), (u64::MAX, "18,446,744,073,709,551,615")] {
            assert_eq!(count(n), shown);
        }
        for (n, shown) in [
            (0.0, "0"),
            (512.0, "512"),
            (1000.0, "1.00 k"),
            (3_021_234.0, "3.02 M"),
            (999_999.0, "1.00 M"),
            (2.5e10, "25.0 G"),
            (0.25, "0.25"),
        ] {
            assert_eq!(short(n), shown);
        }
        for (n, shown) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (3 << 30, "3.00 GiB"), (u64::MAX, "16.0 EiB")] {
            assert_eq!(bytes(n), shown);
        }
        for (s, shown) in
            [(0.44, "0.4 s"), (12.3, "12 s"), (59.7, "1:00"), (185.0, "3:05"), (3723.0, "1:02:03"), (f64::NAN, "?"), (-1.0, "?")]
        {
            assert_eq!(duration(s), shown);
        }
    }

    #[test]
    fn a_difference_of_nothing_is_no_loss() {
        for (value, shown) in [(-0.001, "+0.00"), (-0.0, "+0.00"), (0.0, "+0.00"), (-0.25, "-0.25"), (1.0, "+1.00"), (f64::NAN, "NaN")] {
            assert_eq!(signed(value, 2), shown);
        }
    }

    #[test]
    fn times_are_in_utc_and_never_panic() {
        assert_eq!(time(Millis(1_795_410_459_123)), "2026-11-23 05:07:39 UTC");
        assert_eq!(time(Millis(u64::MAX)), "?");
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        assert_eq!(nearest("quikstart", ["quickstart", "pubmed"]), Some("quickstart"));
        assert_eq!(nearest("zzz", ["quickstart", "pubmed"]), None);
    }
}

//! How often a job is tried again after which faults, and rules that give faults another class.

use crate::job::{Fault, FaultClass};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// Attempts in a row that found no room, each a minute after the one before: by then somebody should have made some.
const NO_ROOM: u32 = 60;
/// Compiled size of a rule's pattern: what is matched against a log must not cost memory without bound.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Retries of one job. All but `total` count only attempts in a row that published nothing: progress forgives what was before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySpec {
    /// After faults of that class.
    pub user: u32,
    pub internal: u32,
    pub out_of_memory: u32,
    pub infrastructure: u32,
    /// Attempts of any class in a row; one more fault and the job has failed for want of progress.
    pub no_progress: u32,
    /// Faults of a job in all, forgiven by an attempt that made progress and lived for `healthy_seconds`.
    pub total: u32,
    pub healthy_seconds: u64,
    /// The first that fits decides a fault's class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RetryRule>,
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self {
            user: 0,
            internal: 1,
            out_of_memory: 1,
            infrastructure: 20,
            no_progress: 10,
            total: 100,
            healthy_seconds: 600,
            rules: vec![],
        }
    }
}

impl RetrySpec {
    /// Left out of the document then: run files that do not ask for it keep their digests.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Retries after faults of a class. Where a stage goes back instead (divergence), and where progress itself is missing, there are none.
    pub fn allowed(&self, class: FaultClass) -> u32 {
        match class {
            FaultClass::User => self.user,
            FaultClass::Internal => self.internal,
            FaultClass::OutOfMemory => self.out_of_memory,
            FaultClass::Infrastructure => self.infrastructure,
            FaultClass::NoRoom => NO_ROOM,
            FaultClass::Divergence | FaultClass::NoProgress => 0,
        }
    }

    /// The fault as the rules see it.
    pub fn classify(&self, fault: Fault) -> Fault {
        let Some((at, rule)) = self.rules.iter().enumerate().find(|(_, rule)| rule.fits(&fault)) else { return fault };
        if rule.class == fault.class {
            return fault;
        }
        let message = format!("{} (retry.rule {at} makes this {})", fault.message, rule.class);
        Fault { class: rule.class, message, ..fault }
    }
}

/// Everything that is given must fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u32>,
    /// A regular expression, looked for in the fault's message and in each of the process's last lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    pub class: FaultClass,
}

impl RetryRule {
    fn fits(&self, fault: &Fault) -> bool {
        let says = |pattern: &Regex| pattern.is_match(&fault.message) || fault.log_tail.iter().any(|line| pattern.is_match(line));
        let code = self.exit_code.is_none_or(|code| fault.exit_code.and_then(|found| u32::try_from(found).ok()) == Some(code));
        // `check` refuses patterns that cannot be compiled; one that came in another way fits nothing.
        code && self.log.as_ref().is_none_or(|log| pattern(log).is_ok_and(|log| says(&log)))
    }
}

/// A rule's pattern, of bounded size; matching takes time linear in the text.
pub(super) fn pattern(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(MAX_PATTERN_BYTES).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(exit_code: Option<u32>, log: Option<&str>, class: FaultClass) -> RetryRule {
        RetryRule { exit_code, log: log.map(str::to_owned), class }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        use FaultClass::{Infrastructure, Internal, User};
        let rules = vec![
            rule(Some(12), None, User),
            rule(None, Some("NCCL .*unhandled system error"), Infrastructure),
            rule(Some(1), Some("(?i)permission denied"), User),
        ];
        let retry = RetrySpec { rules, ..RetrySpec::default() };
        let class = |code: i32, message: &str, tail: &[&str]| {
            let log_tail = tail.iter().map(|line| (*line).to_owned()).collect();
            retry.classify(Fault { exit_code: Some(code), log_tail, ..Fault::new(Internal, message) }).class
        };
        assert_eq!(class(12, "x", &[]), User);
        assert_eq!(class(1, "x", &["ok", "NCCL WARN unhandled system error"]), Infrastructure);
        assert_eq!(class(1, "Permission Denied: /data", &[]), User);
        assert_eq!(class(2, "Permission Denied: /data", &[]), Internal, "both parts must fit");
        assert_eq!(class(1, "x", &[]), Internal);
    }

    #[test]
    fn the_reason_is_told() {
        let retry = RetrySpec { rules: vec![rule(Some(9), None, FaultClass::User)], ..RetrySpec::default() };
        let fault = retry.classify(Fault { exit_code: Some(9), ..Fault::new(FaultClass::Internal, "it broke") });
        assert_eq!(fault.to_string(), "user error: it broke (retry.rule 0 makes this user error)");
    }

    #[test]
    fn a_pattern_that_explodes_is_refused() {
        assert!(pattern("(a{1000}){1000}").is_err());
        assert!(pattern("(").is_err());
    }
}

//! What the doctor makes of what it saw: facts in, findings out. Nothing here asks anybody.

mod account;
mod documents;
mod installation;
mod mend;
mod rules;
mod slack;
mod trails;

use std::fmt;

use serde::Serialize;

pub(super) use self::{
    account::{Account, Inside, Role, account, without_owner},
    installation::{Halt, Installation, LatestRun, Table, installation},
    rules::{Rule, Target},
    slack::Bot,
    trails::Trail,
};

/// What was found out; else why it could not be.
pub(super) type Seen<T> = Result<T, String>;

/// Where everything stands: IAM's events are nowhere else.
const REGION: &str = "us-east-1";

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Severity {
    /// keytide does not do its work, or less of it.
    Broken,
    /// It could not be looked at, so nothing is known.
    Unknown,
    /// It works, and should be mended.
    Weak,
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Broken => "broken",
            Self::Unknown => "not known",
            Self::Weak => "weak",
        })
    }
}

/// Something that is missing or wrong, and how to mend it. Fields are a promise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Finding {
    /// The account; none: the installation as a whole.
    pub(super) account: Option<String>,
    pub(super) severity: Severity,
    /// What is wrong.
    pub(super) what: String,
    /// How to mend it.
    pub(super) mend: String,
}

/// A queue that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) url: String,
    /// All that is on it: what waits, what is at work, what waits out a pause.
    pub(super) messages: u64,
    /// Who may send to it; null where it has no policy.
    pub(super) policy: serde_json::Value,
}

/// Gathers findings of one account, or of the installation.
struct Findings<'a> {
    account: Option<&'a str>,
    all: Vec<Finding>,
}

impl<'a> Findings<'a> {
    fn of(account: Option<&'a str>) -> Self {
        Self { account, all: Vec::new() }
    }

    fn add(&mut self, severity: Severity, what: impl Into<String>, mend: impl Into<String>) {
        let account = self.account.map(str::to_owned);
        self.all.push(Finding { account, severity, what: what.into(), mend: mend.into() });
    }

    fn broken(&mut self, what: impl Into<String>, mend: impl Into<String>) {
        self.add(Severity::Broken, what, mend);
    }

    fn weak(&mut self, what: impl Into<String>, mend: impl Into<String>) {
        self.add(Severity::Weak, what, mend);
    }

    /// What was seen; that nothing was, is a finding of its own.
    fn known<'s, T>(&mut self, of: &str, seen: &'s Seen<T>) -> Option<&'s T> {
        match seen {
            Ok(seen) => Some(seen),
            Err(why) => {
                let mend = "give whoever runs the doctor the right that is named, or mend what failed; then look again";
                self.add(Severity::Unknown, format!("{of} could not be looked at: {why}"), mend);
                None
            }
        }
    }
}

/// So many of them, in words.
fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documented;

    /// The security account of all that is judged here, and a member.
    pub(super) const SECURITY: &str = "999988887777";
    pub(super) const MEMBER: &str = "111122223333";

    pub(super) fn now() -> jiff::Timestamp {
        "2026-06-02T12:00:00Z".parse().unwrap()
    }

    pub(super) fn queue_url(account: &str, name: &str) -> String {
        format!("https://sqs.us-east-1.amazonaws.com/{account}/keytide-{name}")
    }

    /// These findings, of which every command can be pasted as it stands.
    pub(super) fn pasted(found: Vec<Finding>) -> Vec<Finding> {
        for finding in &found {
            assert_eq!(documented::faults_of_mend(&finding.mend), [""; 0], "{finding:?}");
        }
        found
    }

    /// Exactly one finding, with these words, and a mend.
    pub(super) fn one(found: &[Finding], severity: Severity, words: &str) -> Finding {
        assert_eq!(found.len(), 1, "{words}: {found:#?}");
        assert_eq!(found[0].severity, severity, "{found:#?}");
        assert!(found[0].what.contains(words) && !found[0].mend.is_empty(), "{words}: {found:#?}");
        found[0].clone()
    }
}

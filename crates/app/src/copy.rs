//! A copy of people's decisions outside the ledger, for the day when the table is lost.
//!
//! Each sweep of an account writes its exemptions as lines into the sweeper's log, and each run's end the policy and
//! the halt: what a sweep reads anyway. So it takes no bucket, no right and no library more; the log is kept for 400
//! days, and outlives the table and the stack. A line that the log would cut is no copy: exemptions are split over as
//! many lines as it takes, each whole by itself. Approvals are not in it: they hold for a day.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use keytide_aws::ledger::{Halt, PolicyInForce};
use keytide_core::{AccountId, lifecycle::Exemption};
use serde::{Deserialize, Serialize};

use crate::run::{End, Outcome};

/// CloudWatch cuts an event of its logs at 256 KB (CloudWatch Logs' quotas); what is around the line needs some of it.
pub const LONGEST_LINE_BYTES: usize = 240 * 1024;
/// What a line of exemptions says besides them, and more.
const AROUND_BYTES: usize = 512;

/// One line of the copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "keytide", rename_all = "kebab-case")]
pub enum Copy {
    /// An account's exemptions at that time, by key: those that are in none of its lines were not, or had ended.
    Exemptions {
        /// The account.
        account: AccountId,
        /// When: the lines of one sweep say the same.
        at: Timestamp,
        /// Which of that sweep's lines this is, from 1.
        #[serde(default = "one")]
        part: usize,
        /// How many lines that sweep wrote.
        #[serde(default = "one")]
        parts: usize,
        /// The exemptions in this line.
        exemptions: BTreeMap<String, Exemption>,
    },
    /// What was in force for all accounts at that time.
    InForce {
        /// When.
        at: Timestamp,
        /// The policy; `None`: the built-in one.
        policy: Option<PolicyInForce>,
        /// The halt, if there was one.
        halt: Option<Halt>,
    },
}

fn one() -> usize {
    1
}

impl Copy {
    /// An account's exemptions, all of them, in as many lines as it takes.
    pub fn of_exemptions(
        account: &AccountId,
        at: Timestamp,
        exemptions: &BTreeMap<String, Exemption>,
    ) -> Vec<Self> {
        let mut parts: Vec<BTreeMap<String, Exemption>> = vec![BTreeMap::new()];
        let mut bytes = AROUND_BYTES;
        for (key_id, exemption) in exemptions {
            // With the colon and the comma.
            let more = json_bytes(key_id) + json_bytes(exemption) + 2;
            if bytes + more > LONGEST_LINE_BYTES && parts.last().is_some_and(|part| !part.is_empty()) {
                parts.push(BTreeMap::new());
                bytes = AROUND_BYTES;
            }
            bytes += more;
            if let Some(part) = parts.last_mut() {
                part.insert(key_id.clone(), exemption.clone());
            }
        }
        let all = parts.len();
        let numbered = parts.into_iter().zip(1..);
        numbered
            .map(|(exemptions, part)| Self::Exemptions {
                account: account.clone(),
                at,
                part,
                parts: all,
                exemptions,
            })
            .collect()
    }

    /// The line as it is written; `None` never comes of these types.
    pub fn line(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

fn json_bytes(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(0, |text| text.len())
}

/// The lines that an account's outcome and a run's end leave in the log.
pub fn lines_of(outcome: Option<&Outcome>, end: Option<&End>) -> Vec<String> {
    let of_account = outcome.map(Outcome::copies).unwrap_or_default();
    let of_all = end.and_then(|end| end.copy.as_deref());
    of_account.iter().chain(of_all).filter_map(Copy::line).collect()
}

/// What a log says of accounts' exemptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Of each account the latest.
    pub accounts: BTreeMap<AccountId, Latest>,
    /// How many lines are too late, and left out.
    pub late: usize,
    /// Lines that cannot be read. What they held is missing.
    pub broken: Vec<BrokenLine>,
}

/// The exemptions of an account by the lines of the latest sweep of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// As of when.
    pub at: Timestamp,
    /// The exemptions, by key.
    pub exemptions: BTreeMap<String, Exemption>,
    found: BTreeSet<usize>,
    parts: usize,
}

impl Latest {
    /// Of how many lines of that sweep how many are missing.
    pub fn missing(&self) -> Option<(usize, usize)> {
        let missing = self.parts.saturating_sub(self.found.len());
        (missing > 0).then_some((missing, self.parts))
    }
}

/// A line that says it is of a copy, and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {number} is of a copy of {}exemptions and cannot be read, perhaps since it was cut: {problem}",
    .account.as_ref().map(|account| format!("{account}'s ")).unwrap_or_default()
)]
pub struct BrokenLine {
    /// Its number, from 1.
    pub number: usize,
    /// Whose exemptions, as far as it says so.
    pub account: Option<AccountId>,
    /// What is wrong.
    pub problem: String,
}

/// Each account's exemptions by the lines of the latest sweep of it. All other lines, as a log has many, are passed
/// over, and so is what stands before a line's JSON, as `aws logs tail` writes it there. Lines of `before` and later are
/// left out: by then the ledger had forgotten, and copied that.
pub fn latest_exemptions(text: &str, before: Option<Timestamp>) -> Kept {
    let mut kept = Kept::default();
    for (index, line) in text.lines().enumerate() {
        if !line.contains("\"keytide\":\"exemptions\"") {
            continue;
        }
        let json = line.find('{').and_then(|at| line.get(at..)).unwrap_or_default();
        match serde_json::from_str(json.trim_end()) {
            Ok(Copy::Exemptions { at, .. }) if before.is_some_and(|before| at >= before) => kept.late += 1,
            Ok(Copy::Exemptions { account, at, part, parts, exemptions }) => {
                let line = Latest { at, exemptions, found: [part].into(), parts };
                kept.join(account, line);
            }
            Ok(Copy::InForce { .. }) => {}
            Err(error) => {
                let account = json.split_once("\"account\":\"").and_then(|(_, rest)| rest.split('"').next());
                let account = account.and_then(|account| AccountId::parse(account).ok());
                kept.broken.push(BrokenLine { number: index + 1, account, problem: error.to_string() });
            }
        }
    }
    kept
}

impl Kept {
    /// Takes a line in: beside those of the same sweep, in place of those of an earlier one.
    fn join(&mut self, account: AccountId, line: Latest) {
        match self.accounts.get_mut(&account) {
            Some(known) if known.at > line.at => {}
            Some(known) if known.at == line.at => {
                known.exemptions.extend(line.exemptions);
                known.found.extend(line.found);
                known.parts = known.parts.max(line.parts);
            }
            _ => drop(self.accounts.insert(account, line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AccountId {
        "111122223333".parse().unwrap()
    }

    fn exemption(reason: &str) -> Exemption {
        Exemption {
            reason: reason.to_owned(),
            author: "arn:aws:iam::1:role/x".to_owned(),
            granted_at: "2026-05-01T00:00:00Z".parse().unwrap(),
            until: "2026-08-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn lines(at: &str, keys: &[&str]) -> Vec<String> {
        let exemptions =
            keys.iter().map(|key| ((*key).to_owned(), exemption("the vendor rotates it"))).collect();
        let copies = Copy::of_exemptions(&account(), at.parse().unwrap(), &exemptions);
        copies.iter().filter_map(Copy::line).collect()
    }

    fn line(at: &str, keys: &[&str]) -> String {
        lines(at, keys).remove(0)
    }

    #[test]
    fn the_latest_line_of_an_account_holds_whatever_stands_around_it() {
        let (late, early) =
            (line("2026-06-02T06:00:00Z", &["AKIA2"]), line("2026-06-01T06:00:00Z", &["AKIA1"]));
        // As `aws logs tail` shows it, and as a message is by itself.
        let tail = format!("2026-06-02T06:00:01.123000+00:00 2026/06/02/[$LATEST]0a1b {late}");
        let text = format!("START RequestId: 1\n{tail}\n{{\"_aws\":{{}}}}\n\n  {early}\n");
        let found = latest_exemptions(&text, None);
        assert_eq!(found.broken, []);
        let (_, latest) = found.accounts.first_key_value().unwrap();
        assert_eq!((found.accounts.len(), latest.at.to_string().as_str()), (1, "2026-06-02T06:00:00Z"));
        assert_eq!(latest.missing(), None);
        // What was taken back meanwhile does not come back.
        assert_eq!(latest.exemptions.keys().collect::<Vec<_>>(), ["AKIA2"]);
    }

    #[test]
    fn what_a_ledger_copied_once_it_had_forgotten_is_left_out_and_counted() {
        let (known, forgotten) =
            (line("2026-06-01T06:00:00Z", &["AKIA1"]), line("2026-06-02T06:00:00Z", &[]));
        let before =
            |at: &str| latest_exemptions(&format!("{known}\n{forgotten}"), Some(at.parse().unwrap()));
        let found = before("2026-06-02T06:00:00Z");
        assert_eq!((found.late, found.accounts[&account()].exemptions.len()), (1, 1));
        let found = before("2026-06-02T06:00:01Z");
        assert_eq!((found.late, found.accounts[&account()].exemptions.len()), (0, 0));
        assert_eq!(before("2026-06-01T06:00:00Z").accounts.len(), 0);
    }

    #[test]
    fn a_line_of_before_there_were_parts_is_whole() {
        let old = line("2026-06-02T06:00:00Z", &["AKIA2"]).replace("\"part\":1,\"parts\":1,", "");
        assert!(!old.contains("part"), "{old}");
        assert_eq!(latest_exemptions(&old, None).accounts[&account()].missing(), None);
    }

    #[test]
    fn a_line_that_was_cut_is_named_with_its_account_and_the_others_hold() {
        let whole = line("2026-06-01T06:00:00Z", &["AKIA1"]);
        let cut = &whole[..whole.len() / 2];
        let found = latest_exemptions(&format!("{whole}\n{cut}\n"), None);
        assert_eq!(found.accounts[&account()].exemptions.len(), 1);
        let broken: Vec<_> = found.broken.iter().map(|one| (one.number, one.account.clone())).collect();
        assert_eq!(broken, [(2, Some(account()))]);
    }

    #[test]
    fn more_exemptions_than_a_line_holds_are_split_and_joined_and_a_lost_line_is_seen() {
        let at: Timestamp = "2026-06-02T06:00:00Z".parse().unwrap();
        let reason = "\"quoted\" ".repeat(50);
        let all: BTreeMap<String, Exemption> =
            (0..1_500).map(|number| (format!("AKIATIDEWATER{number:07}"), exemption(&reason))).collect();
        let lines: Vec<String> =
            Copy::of_exemptions(&account(), at, &all).iter().filter_map(Copy::line).collect();
        assert!(lines.len() > 1);
        for line in &lines {
            assert!(line.len() <= LONGEST_LINE_BYTES, "{}", line.len());
            assert_eq!(latest_exemptions(line, None).broken, [], "each is whole by itself");
        }
        // In whatever order, beside those of an earlier sweep, and one of them twice.
        let earlier = line("2026-06-01T06:00:00Z", &["AKIA1"]);
        let mut text: Vec<&str> = lines.iter().rev().map(String::as_str).collect();
        text.extend([earlier.as_str(), lines[0].as_str()]);
        let found = latest_exemptions(&text.join("\n"), None);
        assert_eq!(found.accounts[&account()].missing(), None);
        assert_eq!(found.accounts[&account()].exemptions, all);
        let without = latest_exemptions(&lines[1..].join("\n"), None);
        assert_eq!(without.accounts[&account()].missing(), Some((1, lines.len())));
        // None is a line, too: nobody was exempt.
        assert_eq!(Copy::of_exemptions(&account(), at, &BTreeMap::new()).len(), 1);
    }
}

//! A copy of people's decisions outside the ledger, for the day when the table is lost.
//!
//! Each sweep of an account writes its exemptions as a line into the sweeper's log, and each run's end the policy and
//! the halt: what a sweep reads anyway. So it takes no bucket, no right and no library more; the log is kept for 400
//! days, and outlives the table and the stack. Its price: CloudWatch cuts a line at 256 KB, which is some 700
//! exemptions of one account, or a policy that long. Approvals are not in it: they hold for a day.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keytide_aws::ledger::{Halt, PolicyInForce};
use keytide_core::{AccountId, lifecycle::Exemption};
use serde::{Deserialize, Serialize};

/// Each account's exemptions, by key, and as of when.
pub type Kept = BTreeMap<AccountId, (Timestamp, BTreeMap<String, Exemption>)>;

/// One line of the copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "keytide", rename_all = "kebab-case")]
pub enum Copy {
    /// An account's exemptions at that time, all of them, by key: those that are not in it were not, or had ended.
    Exemptions {
        /// The account.
        account: AccountId,
        /// When.
        at: Timestamp,
        /// The exemptions.
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

impl Copy {
    /// The line as it is written; `None` never comes of these types.
    pub fn line(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

/// A line that says it is of a copy, and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number} is of a copy of exemptions and cannot be read, perhaps since it was cut: {problem}")]
pub struct BrokenLine {
    /// Its number, from 1.
    pub number: usize,
    /// What is wrong.
    pub problem: String,
}

/// Each account's exemptions by the latest line about it. All other lines, as a log has many, are passed over.
pub fn latest_exemptions(text: &str) -> Result<Kept, BrokenLine> {
    let mut latest = Kept::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.contains("\"keytide\":\"exemptions\"") {
            continue;
        }
        let read = serde_json::from_str(line);
        let broken = |problem: String| BrokenLine { number: index + 1, problem };
        let Copy::Exemptions { account, at, exemptions } = read.map_err(|error| broken(error.to_string()))?
        else {
            continue;
        };
        if latest.get(&account).is_none_or(|(known, _)| *known <= at) {
            latest.insert(account, (at, exemptions));
        }
    }
    Ok(latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: &str, keys: &[&str]) -> String {
        let exemption = Exemption {
            reason: "the vendor rotates it".to_owned(),
            author: "arn:aws:iam::1:role/x".to_owned(),
            granted_at: "2026-05-01T00:00:00Z".parse().unwrap(),
            until: "2026-08-01T00:00:00Z".parse().unwrap(),
        };
        let exemptions = keys.iter().map(|key| ((*key).to_owned(), exemption.clone())).collect();
        let account = "111122223333".parse().unwrap();
        Copy::Exemptions { account, at: at.parse().unwrap(), exemptions }.line().unwrap()
    }

    #[test]
    fn the_latest_line_of_an_account_holds_whatever_stands_around_it() {
        let (late, early) =
            (line("2026-06-02T06:00:00Z", &["AKIA2"]), line("2026-06-01T06:00:00Z", &["AKIA1"]));
        let text = format!("START RequestId: 1\n{late}\n{{\"_aws\":{{}}}}\n\n  {early}\n");
        let found = latest_exemptions(&text).unwrap();
        let (_, (at, exemptions)) = found.first_key_value().unwrap();
        assert_eq!((found.len(), at.to_string().as_str()), (1, "2026-06-02T06:00:00Z"));
        // What was taken back meanwhile does not come back.
        assert_eq!(exemptions.keys().collect::<Vec<_>>(), ["AKIA2"]);
    }

    #[test]
    fn a_line_that_was_cut_is_named_and_not_passed_over() {
        let whole = line("2026-06-01T06:00:00Z", &["AKIA1"]);
        let cut = &whole[..whole.len() / 2];
        let broken = latest_exemptions(&format!("{whole}\n{cut}\n")).unwrap_err();
        assert_eq!(broken.number, 2);
    }
}

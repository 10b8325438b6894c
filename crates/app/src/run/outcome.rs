//! What a run made of one account, as the ledger keeps it until the digest is written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keytide_core::{
    AccountId,
    key::Key,
    plan::{Finding, FindingKind, HeldDisable, News, Upcoming},
};
use serde::{Deserialize, Serialize};

use crate::sweep::Swept;

/// So many rows of each kind are kept of an account; the digest shows no more of all accounts together.
const ROWS_KEPT: usize = 15;
/// Characters of a cause that are kept: an outcome is one item of the table.
const CAUSE_KEPT: usize = 300;

/// Some rows, and how many more there were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows<T> {
    /// Those that are kept.
    pub rows: Vec<T>,
    /// How many there were besides.
    pub beyond: usize,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), beyond: 0 }
    }
}

impl<T> Rows<T> {
    fn kept(mut all: Vec<T>) -> Self {
        let beyond = all.len().saturating_sub(ROWS_KEPT);
        all.truncate(ROWS_KEPT);
        Self { rows: all, beyond }
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.rows.len() + self.beyond
    }
}

/// What a run made of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The account.
    pub account: AccountId,
    /// When this was written.
    pub at: Timestamp,
    /// How often it was tried in this run; coming back for a credential report does not count.
    pub tries: u32,
    /// Whether the run is done with it.
    pub is_final: bool,
    /// Why it was not swept, or not wholly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Whether it could be looked at: without, all numbers are of nothing.
    pub was_read: bool,
    /// The beginning of its latest sweep that succeeded, in this run or before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept_at: Option<Timestamp>,
    /// Keys that are not closed.
    pub keys: usize,
    /// Of these, active.
    pub active: usize,
    /// Keys that are new since the run before.
    pub new: usize,
    /// Keys told of.
    pub told: u64,
    /// Keys disabled.
    pub disabled: Rows<DisabledRow>,
    /// Disables that something stopped.
    pub held: Rows<HeldDisable>,
    /// What people should mend.
    pub findings: Rows<FindingRow>,
    /// What will be due.
    pub upcoming: Rows<Upcoming>,
    /// What could not be done about single keys, and why.
    pub undelivered: Rows<(String, String)>,
    /// Calls to IAM.
    pub calls: u64,
}

impl Outcome {
    /// Of an account that could not be looked at.
    pub(super) fn unread(account: &AccountId, cause: &str, at: Timestamp) -> Self {
        Self {
            account: account.clone(),
            at,
            tries: 1,
            is_final: false,
            failed: Some(cause.chars().take(CAUSE_KEPT).collect()),
            was_read: false,
            swept_at: None,
            keys: 0,
            active: 0,
            new: 0,
            told: 0,
            disabled: Rows::default(),
            held: Rows::default(),
            findings: Rows::default(),
            upcoming: Rows::default(),
            undelivered: Rows::default(),
            calls: 0,
        }
    }

    /// Of a sweep, with the account's open keys after it; `since` is the beginning of the run before.
    pub(super) fn of(swept: &Swept, keys: &[Key], since: Option<Timestamp>, at: Timestamp) -> Self {
        let plan = &swept.plan;
        let known: BTreeMap<&str, &Key> = keys.iter().map(|key| (key.key_id.as_str(), key)).collect();
        let row = |(key_id, is_confirmed): &(String, bool)| {
            let key = known.get(key_id.as_str());
            let planned = plan.disables.iter().find(|planned| planned.key_id == *key_id);
            DisabledRow {
                key_id: key_id.clone(),
                user: planned.map(|planned| planned.user.clone()).unwrap_or_default(),
                last_used: key.and_then(|key| key.last_use.as_ref()?.at),
                is_confirmed: *is_confirmed,
            }
        };
        // A fact about the account first: a part of it may not have been seen at all.
        let general: Vec<&str> = swept
            .troubles
            .iter()
            .filter(|trouble| trouble.key_id.is_none())
            .map(|trouble| trouble.cause.as_str())
            .collect();
        let failed = general.first().map(|first| {
            let more = match general.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            format!("not wholly: {}{more}", first.chars().take(CAUSE_KEPT).collect::<String>())
        });
        let of_keys = swept.troubles.iter().filter_map(|trouble| {
            Some((trouble.key_id.clone()?, trouble.cause.chars().take(CAUSE_KEPT).collect::<String>()))
        });
        let is_new = |key: &&Key| since.is_some_and(|since| key.born().is_some_and(|born| born >= since));
        let born_since = keys.iter().filter(is_new).count();
        // Found late: older than the run before, and seen for the first time.
        let found_late = plan.changes.iter().filter(|change| {
            !plan.is_baseline && change.news.contains(&News::Found) && !is_new(&&change.key)
        });
        let mut held: Vec<HeldDisable> = plan.held.clone();
        held.extend(swept.refused.iter().cloned());
        let mut upcoming = plan.upcoming.clone();
        upcoming.sort();
        Self {
            failed,
            was_read: true,
            keys: keys.len(),
            active: keys.iter().filter(|key| key.standing_word() == "Active").count(),
            new: born_since + found_late.count(),
            told: swept.told,
            disabled: Rows::kept(swept.disabled.iter().map(row).collect()),
            held: Rows::kept(held),
            findings: Rows::kept(plan.findings.iter().cloned().map(FindingRow::from).collect()),
            upcoming: Rows::kept(upcoming),
            undelivered: Rows::kept(of_keys.collect()),
            calls: swept.calls.values().sum(),
            ..Self::unread(&plan.account, "", at)
        }
    }

    /// Whether everything was done that was to be done.
    pub fn is_whole(&self) -> bool {
        self.was_read && self.failed.is_none()
    }

    /// Whether another try may mend something.
    pub(super) fn has_troubles(&self) -> bool {
        !self.is_whole() || self.undelivered.count() > 0
    }

    /// Joined to what earlier tries of this run did: what was sent and disabled is counted over all of them.
    pub(super) fn after(self, before: Option<Self>) -> Self {
        let Some(before) = before else { return self };
        let mut disabled = before.disabled.rows.clone();
        disabled.retain(|row| self.disabled.rows.iter().all(|later| later.key_id != row.key_id));
        disabled.extend(self.disabled.rows.iter().cloned());
        let beyond = before.disabled.beyond + self.disabled.beyond;
        let disabled = Rows::kept(disabled);
        let sums = Self {
            tries: before.tries.saturating_add(self.tries),
            is_final: before.is_final || self.is_final,
            told: before.told.saturating_add(self.told),
            calls: before.calls.saturating_add(self.calls),
            new: before.new.max(self.new),
            swept_at: before.swept_at.max(self.swept_at),
            disabled: Rows { beyond: disabled.beyond + beyond, ..disabled },
            ..self.clone()
        };
        // The latest look is the truest; one that saw nothing leaves standing what an earlier one saw.
        if before.is_final || (before.was_read && !self.was_read) {
            let failed = if before.is_final { before.failed.clone() } else { self.failed };
            return Self {
                failed,
                tries: sums.tries,
                is_final: sums.is_final,
                told: sums.told,
                calls: sums.calls,
                swept_at: sums.swept_at,
                disabled: sums.disabled,
                ..before
            };
        }
        sums
    }
}

/// A key that was disabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisabledRow {
    /// The access key's id.
    pub key_id: String,
    /// Its user.
    pub user: String,
    /// Its last use, if there was one and it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
    /// Whether IAM showed it as Inactive afterwards.
    pub is_confirmed: bool,
}

/// A [`Finding`] as it is stored: without the name of a user whom nobody knows, where a printed plan says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingRow {
    key_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    what: FindingKind,
}

impl From<Finding> for FindingRow {
    fn from(Finding { key_id, user, what }: Finding) -> Self {
        Self { key_id, user, what }
    }
}

impl From<FindingRow> for Finding {
    fn from(FindingRow { key_id, user, what }: FindingRow) -> Self {
        Self { key_id, user, what }
    }
}

#[cfg(test)]
mod tests {
    use keytide_core::{
        plan::{HeldBy, UpcomingKind},
        policy::Mode,
    };
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    /// That a row is stored in this form, which ledgers hold, and read back from it as it was.
    fn stands<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(row: &T, stored: Value) {
        assert_eq!(serde_json::to_value(row).unwrap(), stored);
        assert_eq!(&serde_json::from_value::<T>(stored).unwrap(), row);
    }

    #[test]
    fn rows_keep_the_form_that_ledgers_hold() {
        let (key_id, user) = ("AKIATIDEWATERALICE01".to_owned(), "alice".to_owned());
        for (by, stored) in [
            (HeldBy::Mode(Mode::Notify), json!({"is": "mode", "detail": "notify"})),
            (HeldBy::NoLicence, json!({"is": "no-licence"})),
            (HeldBy::BreakGlass, json!({"is": "break-glass"})),
            (HeldBy::Halt("an incident".to_owned()), json!({"is": "halt", "detail": "an incident"})),
            (HeldBy::AccountCap { most: 2 }, json!({"is": "account-cap", "detail": {"most": 2}})),
            (HeldBy::Hours("at nine".to_owned()), json!({"is": "hours", "detail": "at nine"})),
            (HeldBy::NotSeen, json!({"is": "not-seen"})),
            (HeldBy::PolicyChanged, json!({"is": "policy-changed"})),
            (HeldBy::TagsUnknown, json!({"is": "tags-unknown"})),
            (HeldBy::BornAhead, json!({"is": "born-ahead"})),
            (HeldBy::Clock, json!({"is": "clock"})),
            (HeldBy::OrganizationCap { most: 50 }, json!({"is": "organization-cap", "detail": {"most": 50}})),
        ] {
            let row = HeldDisable { key_id: key_id.clone(), user: user.clone(), by };
            stands(&row, json!({"key_id": key_id, "user": user, "by": stored}));
        }
        for (what, stored) in [
            (FindingKind::NoSlackId, json!({"is": "no-slack-id"})),
            (
                FindingKind::MalformedSlackId("@al".to_owned()),
                json!({"is": "malformed-slack-id", "detail": "@al"}),
            ),
            (FindingKind::Tag("type".to_owned()), json!({"is": "tag", "detail": "type"})),
            (FindingKind::BornAhead, json!({"is": "born-ahead"})),
            (FindingKind::Unknown("its birth".to_owned()), json!({"is": "unknown", "detail": "its birth"})),
            (FindingKind::Root, json!({"is": "root"})),
        ] {
            let finding = Finding { key_id: key_id.clone(), user: Some(user.clone()), what: what.clone() };
            stands(&FindingRow::from(finding), json!({"key_id": key_id, "user": user, "what": stored}));
            let finding = Finding { key_id: key_id.clone(), user: None, what };
            stands(&FindingRow::from(finding), json!({"key_id": key_id, "what": stored}));
        }
        for (what, stored) in [
            (UpcomingKind::Notice(76), json!({"notice": 76})),
            (UpcomingKind::ExemptionEnds, json!("exemption-ends")),
            (UpcomingKind::Disable, json!("disable")),
        ] {
            let on = "2026-06-09".parse().unwrap();
            let row = Upcoming { on, key_id: key_id.clone(), user: user.clone(), what };
            stands(&row, json!({"on": "2026-06-09", "key_id": key_id, "user": user, "what": stored}));
        }
    }
}

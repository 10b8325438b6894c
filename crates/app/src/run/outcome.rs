//! What a run made of one account, as the ledger keeps it until the digest is written.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use keytide_core::{
    AccountId,
    key::Key,
    lifecycle::Exemption,
    plan::{Change, Finding, FindingKind, HeldBy, HeldDisable, News, Upcoming, was_there},
};
use serde::{Deserialize, Serialize};

use crate::{copy::Copy, sweep::Swept};

/// So many rows of each kind are kept of an account; the digest shows no more of all accounts together.
const ROWS_KEPT: usize = 15;
/// Characters of a cause that are kept: an outcome is one item of the table.
const CAUSE_KEPT: usize = 300;
/// An event takes seconds, sometimes minutes. A key that is younger than this may be about to be told of.
const EVENT_ON_ITS_WAY: SignedDuration = SignedDuration::from_mins(15);

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
    /// Keys that were found here and that no event had told of.
    #[serde(default)]
    pub unheard: usize,
    /// Keys told of.
    pub told: u64,
    /// Keys disabled.
    pub disabled: Rows<DisabledRow>,
    /// Of these, the ones disabled when the run was done with the account already: the next digest tells of them.
    #[serde(default)]
    pub late: Rows<DisabledRow>,
    /// When the latest visit without troubles began, or else the first one: which approvals it found, and carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_at: Option<Timestamp>,
    /// Disables that something stopped.
    pub held: Rows<HeldDisable>,
    /// Of these, by a cap.
    #[serde(default)]
    pub over_cap: usize,
    /// Of these, by a halt.
    #[serde(default)]
    pub halted: usize,
    /// Of these, by the policy's hours.
    #[serde(default)]
    pub closed: usize,
    /// For how many days the key of these has been due that waits longest for the hours.
    #[serde(default)]
    pub closed_days: u32,
    /// What people should mend.
    pub findings: Rows<FindingRow>,
    /// What will be due.
    pub upcoming: Rows<Upcoming>,
    /// What could not be done about single keys, and why.
    pub undelivered: Rows<(String, String)>,
    /// Calls to IAM.
    pub calls: u64,
    /// The exemptions that were read in this very visit; they stand in the ledger elsewhere.
    #[serde(skip)]
    pub exemptions: Option<BTreeMap<String, Exemption>>,
}

impl Outcome {
    /// What is kept of it outside the ledger.
    pub fn copies(&self) -> Vec<Copy> {
        let copies = |exemptions| Copy::of_exemptions(&self.account, self.at, exemptions);
        self.exemptions.as_ref().map(copies).unwrap_or_default()
    }

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
            unheard: 0,
            told: 0,
            disabled: Rows::default(),
            late: Rows::default(),
            looked_at: None,
            held: Rows::default(),
            over_cap: 0,
            halted: 0,
            closed: 0,
            closed_days: 0,
            findings: Rows::default(),
            upcoming: Rows::default(),
            undelivered: Rows::default(),
            calls: 0,
            exemptions: None,
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
                user: planned
                    .map(|planned| planned.user.as_str())
                    .or(key.and_then(|key| key.holder.subject.user()))
                    .unwrap_or_default()
                    .to_owned(),
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
        let unheard = plan.changes.iter().filter(|change| is_unheard(change, plan.at, swept.baseline_at));
        let over_cap = |by: &HeldBy| matches!(by, HeldBy::AccountCap { .. } | HeldBy::OrganizationCap { .. });
        let mut upcoming = plan.upcoming.clone();
        upcoming.sort();
        Self {
            failed,
            was_read: true,
            keys: keys.len(),
            active: keys.iter().filter(|key| key.standing_word() == "Active").count(),
            new: born_since + found_late.count(),
            unheard: unheard.count(),
            told: swept.told,
            disabled: Rows::kept(swept.disabled.iter().map(row).collect()),
            over_cap: held.iter().filter(|held| over_cap(&held.by)).count(),
            halted: held.iter().filter(|held| matches!(held.by, HeldBy::Halt(_))).count(),
            closed: held.iter().filter(|held| matches!(held.by, HeldBy::Hours(_))).count(),
            closed_days: plan.closed_days,
            held: Rows::kept(held),
            findings: Rows::kept(plan.findings.iter().cloned().map(FindingRow::from).collect()),
            upcoming: Rows::kept(upcoming),
            undelivered: Rows::kept(of_keys.collect()),
            calls: swept.calls.values().sum(),
            exemptions: swept.exemptions.clone(),
            ..Self::unread(&plan.account, "", at)
        }
    }

    /// What was disabled before the run was done with it.
    pub(super) fn disabled_in_time(&self) -> Rows<DisabledRow> {
        let mut disabled = self.disabled.clone();
        disabled.rows.retain(|row| self.late.rows.iter().all(|late| late.key_id != row.key_id));
        Rows { beyond: disabled.beyond.saturating_sub(self.late.beyond), ..disabled }
    }

    /// Until when what was approved was carried out: what was approved later, or could not be, is still to be.
    pub(super) fn looked_at(&self) -> Timestamp {
        self.looked_at.unwrap_or(self.at)
    }

    /// Whether everything was done that was to be done.
    pub fn is_whole(&self) -> bool {
        self.was_read && self.failed.is_none()
    }

    /// Whether another try may mend something.
    pub(super) fn has_troubles(&self) -> bool {
        !self.is_whole() || self.undelivered.count() > 0
    }

    /// The first of what could not be done.
    pub(super) fn first_trouble(&self) -> String {
        let of_key = || self.undelivered.rows.first().map(|(key_id, cause)| format!("{key_id}: {cause}"));
        self.failed.clone().or_else(of_key).unwrap_or_default()
    }

    /// Joined to what earlier tries of this run did: what was sent and disabled is counted over all of them.
    pub(super) fn after(self, before: Option<Self>) -> Self {
        let Some(before) = before else { return self };
        let is_done = self.was_read && !self.has_troubles();
        let looked_at = if is_done { self.looked_at() } else { before.looked_at() };
        let sums = Self {
            looked_at: Some(looked_at),
            tries: before.tries.saturating_add(self.tries),
            is_final: before.is_final || self.is_final,
            told: before.told.saturating_add(self.told),
            calls: before.calls.saturating_add(self.calls),
            new: before.new.max(self.new),
            unheard: before.unheard.max(self.unheard),
            swept_at: before.swept_at.max(self.swept_at),
            disabled: before.disabled.joined(&self.disabled),
            ..self.clone()
        };
        // The latest look is the truest; one that saw nothing leaves standing what an earlier one saw.
        if before.is_final || (before.was_read && !self.was_read) {
            // What was held is taken up once; what could not be done then waits for another try.
            let closed = if is_done { self.closed } else { before.closed.max(self.closed) };
            let failed = if before.is_final { before.failed.clone() } else { self.failed };
            let mut held = if is_done { self.held.clone() } else { before.held.clone() };
            held.rows.retain(|row| self.disabled.rows.iter().all(|disabled| disabled.key_id != row.key_id));
            let late = before.late.joined(&self.disabled);
            return Self {
                held,
                failed,
                closed,
                late: if before.is_final { late } else { Rows::default() },
                looked_at: sums.looked_at,
                // A cap may hold what the hours let go: then an approval is for that.
                over_cap: before.over_cap.max(self.over_cap),
                at: self.at,
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

impl Rows<DisabledRow> {
    /// These and later ones; of a key the later.
    fn joined(&self, later: &Self) -> Self {
        let mut rows = self.rows.clone();
        rows.retain(|row| later.rows.iter().all(|later| later.key_id != row.key_id));
        rows.extend(later.rows.iter().cloned());
        let kept = Self::kept(rows);
        Self { beyond: kept.beyond + self.beyond + later.beyond, ..kept }
    }
}

/// Whether no event told of this key although it had the time to, and keytide was there to hear it.
fn is_unheard(change: &Change, at: Timestamp, baseline_at: Option<Timestamp>) -> bool {
    let Some(baseline_at) = baseline_at else { return false };
    let may_be_heard =
        |born: Timestamp| at.duration_since(born) >= EVENT_ON_ITS_WAY && !was_there(born, baseline_at);
    change.news.contains(&News::Found) && change.key.born().is_none_or(may_be_heard)
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
        cloudtrail, key,
        plan::{SweepPlan, UpcomingKind},
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
            (HeldBy::Unaccepted("new".to_owned()), json!({"is": "unaccepted", "detail": "new"})),
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

    /// A sweep at this time that found alice's key, which was made at 08:58:14.
    fn swept(at: &str, baseline_at: Option<&str>, held: &[HeldBy], refused: &[HeldBy]) -> Swept {
        let event = include_bytes!("../../../../events/story/01-alice-creates-her-key.json");
        let cloudtrail::Outcome::Key(event) = cloudtrail::read(event) else { panic!("it is a key's event") };
        let found = Change { key: key::apply(None, &event).key, news: vec![News::Found] };
        let held_by =
            |by: &HeldBy| HeldDisable { key_id: "A".to_owned(), user: "a".to_owned(), by: by.clone() };
        let plan = SweepPlan {
            account: "111122223333".parse().unwrap(),
            mode: Mode::Enforce,
            policy: String::new(),
            at: at.parse().unwrap(),
            is_baseline: baseline_at.is_none(),
            changes: vec![found],
            notices: Vec::new(),
            disables: Vec::new(),
            account_cap: 2,
            if_refused: Vec::new(),
            held: held.iter().map(held_by).collect(),
            closed_days: 0,
            root_keys: Vec::new(),
            findings: Vec::new(),
            upcoming: Vec::new(),
        };
        Swept {
            plan,
            disabled: Vec::new(),
            refused: refused.iter().map(held_by).collect(),
            moot: Vec::new(),
            told: 0,
            troubles: Vec::new(),
            baseline_at: baseline_at.map(|at| at.parse().unwrap()),
            calls: BTreeMap::new(),
            exemptions: None,
        }
    }

    fn outcome(swept: &Swept) -> Outcome {
        Outcome::of(swept, &[], None, swept.plan.at)
    }

    #[test]
    fn a_key_counts_as_unheard_once_its_event_had_the_time_to_come() {
        let unheard = |at, baseline_at| outcome(&swept(at, baseline_at, &[], &[])).unheard;
        let long_ago = Some("2026-05-01T06:00:00Z");
        assert_eq!(unheard("2026-06-02T09:00:00Z", long_ago), 0, "its event may be on its way");
        assert_eq!(unheard("2026-06-02T09:30:00Z", long_ago), 1);
        assert_eq!(unheard("2026-06-02T09:30:00Z", None), 0, "the first sweep of an account takes stock");
        let since = Some("2026-06-02T09:15:00Z");
        assert_eq!(unheard("2026-06-02T09:30:00Z", since), 0, "it was there, and could not be listed then");
        let (first, second) = (
            outcome(&swept("2026-06-02T09:30:00Z", long_ago, &[], &[])),
            Outcome { unheard: 0, ..outcome(&swept("2026-06-02T09:31:00Z", long_ago, &[], &[])) },
        );
        assert_eq!(second.after(Some(first)).unheard, 1, "an earlier try of the run found it");
    }

    #[test]
    fn what_the_hours_held_is_taken_up_until_it_was_looked_at_and_a_cap_may_hold_it_then() {
        let held = |by: &[HeldBy]| outcome(&swept("2026-06-02T06:00:00Z", None, by, &[]));
        let hours = HeldBy::Hours("at nine".to_owned());
        let first = Outcome { is_final: true, ..held(&[hours.clone(), hours]) };
        assert_eq!((first.closed, first.over_cap), (2, 0));
        let unread = Outcome::unread(&first.account, "throttled", first.at);
        assert_eq!(unread.after(Some(first.clone())).closed, 2, "nothing was seen");
        let in_part = Outcome { failed: Some("throttled".to_owned()), ..held(&[]) };
        assert_eq!(in_part.after(Some(first.clone())).closed, 2, "not all was done");
        let second = held(&[HeldBy::AccountCap { most: 2 }]).after(Some(first));
        assert_eq!((second.closed, second.over_cap, second.held.count()), (0, 1, 1));
        let disabled =
            Swept { disabled: vec![("A".to_owned(), true)], ..swept("2026-06-02T09:00:00Z", None, &[], &[]) };
        let third = outcome(&disabled).after(Some(second));
        assert_eq!((third.disabled.count(), third.held.count()), (1, 0), "it is not held any more");
        let in_part = Outcome { failed: Some("throttled".to_owned()), ..outcome(&disabled) };
        let mut one_of_two = Outcome { is_final: true, ..held(&[HeldBy::Clock, HeldBy::Clock]) };
        one_of_two.held.rows[1].key_id = "B".to_owned();
        assert_eq!(
            in_part.after(Some(one_of_two)).held.count(),
            1,
            "nor is it where more is still to be done"
        );
        assert_eq!(third.late.count(), 1, "the digest may have been posted by then");
    }

    #[test]
    fn what_was_approved_is_to_be_carried_out_until_a_visit_had_no_troubles() {
        let cap = [HeldBy::AccountCap { most: 2 }];
        let visit = |at: &str| {
            let visit = outcome(&swept(at, None, &cap, &[]));
            // Slack and IAM took their time.
            let looked_at = visit.at.checked_sub(SignedDuration::from_mins(9)).unwrap();
            Outcome { looked_at: Some(looked_at), ..visit }
        };
        let first = Outcome { is_final: true, ..visit("2026-06-02T06:00:00Z") };
        assert!(first.looked_at() < first.at, "what was approved meanwhile is still to be carried out");
        let unread = Outcome::unread(&first.account, "throttled", "2026-06-02T09:00:00Z".parse().unwrap());
        let in_vain = unread.after(Some(first.clone()));
        assert_eq!((in_vain.looked_at(), in_vain.over_cap), (first.looked_at(), 1));
        let in_part = Outcome { failed: Some("throttled".to_owned()), ..visit("2026-06-02T09:01:00Z") };
        assert_eq!(in_part.after(Some(in_vain.clone())).looked_at(), first.looked_at());
        let last = visit("2026-06-02T09:02:00Z");
        assert_eq!(last.clone().after(Some(in_vain)).looked_at(), last.looked_at());
        // Within the run's own tries, too.
        let tried = Outcome { is_final: false, failed: Some("throttled".to_owned()), ..first.clone() };
        let unread = Outcome::unread(&first.account, "throttled", "2026-06-02T06:09:00Z".parse().unwrap());
        assert_eq!(unread.after(Some(tried)).looked_at(), first.looked_at());
    }

    #[test]
    fn what_caps_and_halts_hold_is_counted_whole_though_not_all_rows_are_kept() {
        let halt = HeldBy::Halt("an incident".to_owned());
        let caps = [HeldBy::NoLicence, halt, HeldBy::AccountCap { most: 2 }];
        let refused = vec![HeldBy::OrganizationCap { most: 50 }; 30];
        let outcome = outcome(&swept("2026-06-02T09:30:00Z", None, &caps, &refused));
        assert_eq!((outcome.over_cap, outcome.halted), (31, 1));
        assert_eq!(outcome.held.rows.len(), ROWS_KEPT);
    }
}

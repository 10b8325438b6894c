//! Keys that are due, as a sweep finds them.

use jiff::{SignedDuration, Timestamp, civil::Date};
use keytide_core::{
    AccountId, AccountNames,
    alert::Severity,
    cloudtrail::Status,
    delivery::{NoticeDay, Stage},
    fact::{DisabledKey, Fact, FactBody, ObservedKey, SeenAfter},
    key::{Ground, Key, LastUse, Sighting, sight},
    lifecycle::{utc_date, whole_days},
    owner::{Owner, OwnerTags},
    plan::{News, PlannedDisable, PlannedNotice},
    policy::Policy,
};
use keytide_slack::messages::DueKey;

pub(crate) const ALICE: &[(&str, &str)] =
    &[("slack-id", "U0ALICE123"), ("full-name", "Alice Abara"), ("type", "human")];
pub(crate) const MACHINE: &[(&str, &str)] = &[("slack-id", "U0ALICE123"), ("type", "Machine")];

pub(crate) fn now() -> Timestamp {
    "2026-05-19T06:00:00Z".parse().unwrap()
}

pub(crate) fn accounts() -> AccountNames {
    AccountNames::parse("111122223333=prod,444455556666=staging").unwrap()
}

pub(crate) fn account(id: &str) -> AccountId {
    AccountId::parse(id).unwrap()
}

pub(crate) fn prod() -> AccountId {
    account("111122223333")
}

pub(crate) fn ago(hours: i64) -> Timestamp {
    now().checked_sub(SignedDuration::from_hours(hours)).unwrap()
}

pub(crate) fn on(days: i64) -> Date {
    utc_date(now().checked_add(SignedDuration::from_hours(24 * days)).unwrap())
}

pub(crate) fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap()
}

pub(crate) fn enforced() -> Policy {
    policy("[modes]\nenforce = [\"111122223333\", \"444455556666\"]")
}

pub(crate) fn key(account_id: &AccountId, user: &str, key_id: &str, tags: &[(&str, &str)], age: i64) -> Key {
    let sighting = Sighting {
        account: account_id.clone(),
        key_id: key_id.to_owned(),
        user: user.to_owned(),
        status: Status::Active,
        created: Some(ago(24 * age)),
        at: now(),
    };
    let owner = Owner {
        user_id: "AIDAEXAMPLE".to_owned(),
        path: "/".to_owned(),
        tags: OwnerTags::from_tags(tags.iter().copied()),
        seen_at: now(),
    };
    sight(None, &sighting, Some(&owner))
}

/// Read an hour ago.
pub(crate) fn used(hours_ago: Option<i64>, service: &str, region: &str) -> LastUse {
    LastUse {
        at: hours_ago.map(ago),
        service: Some(service.to_owned()),
        region: Some(region.to_owned()),
        seen_at: ago(1),
    }
}

/// A key and the notice about it.
pub(crate) struct Due {
    pub(crate) key: Key,
    pub(crate) notice: PlannedNotice,
    policy: Policy,
}

fn ground(stage: Stage) -> Ground {
    if stage == Stage::Notice(NoticeDay::Unused) { Ground::Unused } else { Ground::Age }
}

impl Due {
    pub(crate) fn of(key: Key, stage: Stage, disable_in: i64) -> Self {
        let notice = PlannedNotice {
            key_id: key.key_id.clone(),
            user: key.holder.subject.user().unwrap_or_default().to_owned(),
            epoch: "2026-03-04T06:00:00Z".to_owned(),
            stage,
            ground: ground(stage),
            age_days: key.born().map_or(0, |born| whole_days(born, now())),
            disable_on: on(disable_in),
            tell_owner: true,
            in_earnest: true,
            severity: Severity::Notice,
        };
        Self { key, notice, policy: enforced() }
    }

    /// Alice's key in prod, at this age, with a notice of that day.
    pub(crate) fn alice(age: u32) -> Self {
        let key = key(&prod(), "alice", "AKIAEXAMPLEALICE0001", ALICE, i64::from(age));
        Self::of(key, Stage::Notice(NoticeDay::Age(age)), 91 - i64::from(age))
    }

    pub(crate) fn used(mut self, last_use: impl Into<Option<LastUse>>) -> Self {
        self.key.last_use = last_use.into();
        self
    }

    pub(crate) fn staged(mut self, stage: Stage, disable_in: i64) -> Self {
        self.notice.stage = stage;
        self.notice.ground = ground(stage);
        self.notice.disable_on = on(disable_in);
        self
    }

    pub(crate) fn critical(mut self) -> Self {
        self.notice.severity = Severity::Critical;
        self
    }

    /// Set Active again so many days ago.
    pub(crate) fn reactivated(mut self, days_ago: &[i64]) -> Self {
        for days in days_ago {
            self.key.reactivations.told(ago(24 * days));
        }
        self
    }

    pub(crate) fn under(mut self, policy: Policy, in_earnest: bool) -> Self {
        self.policy = policy;
        self.notice.in_earnest = in_earnest;
        self
    }

    pub(crate) fn due(&self) -> DueKey<'_> {
        DueKey { account: &self.key.account, key: &self.key, notice: &self.notice, policy: &self.policy }
    }
}

pub(crate) fn observed(key: Key, news: Vec<News>) -> Fact {
    let observed = Box::new(ObservedKey { key, at: now(), news });
    fact("sweep-0001", FactBody::Observed { observed })
}

pub(crate) fn disabled(key: Key, ground: Ground, seen: SeenAfter) -> Fact {
    let planned = PlannedDisable {
        key_id: key.key_id.clone(),
        user: key.holder.subject.user().unwrap_or_default().to_owned(),
        epoch: "2026-02-17T06:00:00Z".to_owned(),
        ground,
        age_days: key.born().map_or(0, |born| whole_days(born, now())),
        noticed_at: ago(24 * 5),
        named: on(0),
        beyond_cap: false,
    };
    let disabled = Box::new(DisabledKey { key, at: now(), planned, seen });
    fact("disable-0001", FactBody::Disabled { disabled })
}

fn fact(id: &str, body: FactBody) -> Fact {
    Fact::new(id, now(), body)
}

//! What a scan makes of AWS's answers. Its fields' names and order are a promise: this is the JSON.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, civil::Date};
use keytide_aws::{Failure, inventory::Report};
use keytide_core::{
    AccountId,
    cloudtrail::Status,
    key::{Key, Sighting, sight},
    lifecycle::{utc_date, whole_days},
    owner::SlackIdTag,
    plan::{AccountState, ComingKind, foresee, treatment_of},
    policy::Policy,
    report::LastUsed,
};
use serde::Serialize;

use super::{Answers, LookedAt};
use crate::{
    Trouble,
    output::{counted, shown},
};

/// How far ahead is looked.
const DAYS_AHEAD: u32 = 30;
/// A key that was not used for longer than this is unused.
const UNUSED_DAYS: u32 = 90;
/// The histogram's steps, in days: from, to.
const STEPS: [(u32, Option<u32>); 8] = [
    (0, Some(30)),
    (31, Some(60)),
    (61, Some(75)),
    (76, Some(90)),
    (91, Some(180)),
    (181, Some(365)),
    (366, Some(730)),
    (731, None),
];
/// So many users are named in a trouble that many have.
const NAMED: usize = 3;

#[derive(Debug, Serialize)]
pub(super) struct Scan {
    pub(super) at: Timestamp,
    pub(super) account: AccountId,
    pub(super) caller: String,
    pub(super) complete: bool,
    pub(super) users: usize,
    pub(super) credential_report: ReportState,
    pub(super) keys: Vec<ScannedKey>,
    pub(super) root_keys: Option<Vec<RootKey>>,
    pub(super) histogram: Vec<Step>,
    pub(super) summary: Summary,
    pub(super) if_enforced: IfEnforced,
    pub(super) troubles: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ReportState {
    pub(super) state: &'static str,
    pub(super) generated_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
pub(super) struct ScannedKey {
    pub(super) key_id: String,
    pub(super) user: String,
    pub(super) path: String,
    pub(super) status: String,
    pub(super) created: Option<Timestamp>,
    pub(super) age_days: Option<u32>,
    /// `false`: never, as far as AWS keeps track; `None`: not asked (inactive keys), or not answered.
    pub(super) used: Option<bool>,
    pub(super) last_used_at: Option<Timestamp>,
    pub(super) last_used_service: Option<String>,
    pub(super) last_used_region: Option<String>,
    pub(super) owner_name: Option<String>,
    pub(super) slack_id: Option<String>,
    pub(super) slack_id_state: &'static str,
    #[serde(rename = "type")]
    pub(super) user_type: Option<String>,
    pub(super) disable_day: u32,
    pub(super) flags: Vec<Flag>,
}

/// What is worth a second look at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Flag {
    OverAge,
    Soon,
    Unused,
    NoSlackId,
    BadSlackId,
    NoTags,
    TwoActive,
}

impl Flag {
    pub(super) const ALL: [Self; 7] = [
        Self::OverAge,
        Self::Soon,
        Self::Unused,
        Self::NoSlackId,
        Self::BadSlackId,
        Self::NoTags,
        Self::TwoActive,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::OverAge => "over-age",
            Self::Soon => "soon",
            Self::Unused => "unused",
            Self::NoSlackId => "no-slack-id",
            Self::BadSlackId => "bad-slack-id",
            Self::NoTags => "no-tags",
            Self::TwoActive => "two-active",
        }
    }

    /// One letter, where there is no room for a word.
    pub(super) fn letter(self) -> char {
        match self {
            Self::OverAge => 'A',
            Self::Soon => 's',
            Self::Unused => 'U',
            Self::NoSlackId => 'N',
            Self::BadSlackId => 'B',
            Self::NoTags => '?',
            Self::TwoActive => '2',
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct RootKey {
    pub(super) slot: usize,
    pub(super) active: bool,
    pub(super) last_changed: Option<Timestamp>,
    pub(super) used: Option<bool>,
    pub(super) last_used_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) from_days: u32,
    pub(super) to_days: Option<u32>,
    pub(super) active: usize,
    pub(super) inactive: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) keys: usize,
    pub(super) active: usize,
    pub(super) inactive: usize,
    pub(super) birth_unknown: usize,
    pub(super) over_age: usize,
    pub(super) soon: usize,
    pub(super) never_used: usize,
    pub(super) unused_over_90_days: usize,
    pub(super) no_slack_id: usize,
    pub(super) malformed_slack_id: usize,
    pub(super) tags_unread: usize,
    pub(super) active_root_keys: Option<usize>,
    pub(super) users_with_two_active: usize,
}

/// What the built-in policy would do from today on, were the account in `enforce`.
#[derive(Debug, Serialize)]
pub(super) struct IfEnforced {
    pub(super) notice_days: Vec<u32>,
    pub(super) disable_day: u32,
    pub(super) days_ahead: u32,
    pub(super) notices_today: usize,
    pub(super) disables_today: usize,
    pub(super) notices: usize,
    pub(super) disables: usize,
    pub(super) coming: Vec<ComingDay>,
}

#[derive(Debug, Serialize)]
pub(super) struct ComingDay {
    pub(super) on: Date,
    pub(super) key_id: String,
    pub(super) user: String,
    /// `notice`, `disable` or `held`.
    pub(super) what: &'static str,
    pub(super) stage: Option<String>,
    pub(super) disable_on: Option<Date>,
    pub(super) cause: Option<String>,
}

impl ScannedKey {
    pub(super) fn is_active(&self) -> bool {
        self.status == Status::Active.as_str()
    }

    pub(super) fn has(&self, flag: Flag) -> bool {
        self.flags.contains(&flag)
    }
}

impl Scan {
    pub(super) fn of(
        account: &AccountId,
        caller: &str,
        answers: &Answers,
        now: Timestamp,
    ) -> Result<Self, Trouble> {
        // The built-in policy, in the one mode in which it disables anything.
        let policy = Policy::parse(&format!("[modes]\nenforce = [\"{account}\"]\n")).map_err(|problems| {
            Trouble::Failed(format!("scan: the built-in policy is no policy: {problems}: please report this"))
        })?;
        let mut known = Vec::new();
        let mut keys = Vec::new();
        for looked in &answers.looked_at {
            let active = looked.keys.iter().filter(|key| key.status == Status::Active).count();
            for listed in &looked.keys {
                let sighting = Sighting {
                    account: account.clone(),
                    key_id: listed.key_id.clone(),
                    user: looked.user.name.clone(),
                    status: listed.status.clone(),
                    created: listed.created,
                    at: now,
                };
                let mut key = sight(None, &sighting, looked.owner.as_ref());
                key.last_use = looked.last_use.get(&listed.key_id).cloned();
                keys.push(scanned(&key, looked, active, &policy, now));
                known.push(key);
            }
        }
        // The active ones first, and of them the oldest.
        keys.sort_by(|left, right| {
            let order = |key: &ScannedKey| {
                let age = key.age_days.unwrap_or(u32::MAX);
                (!key.is_active(), std::cmp::Reverse(age), key.user.clone(), key.key_id.clone())
            };
            order(left).cmp(&order(right))
        });
        let (credential_report, root_keys, report_trouble) = report_state(&answers.report);
        let mut troubles = told(&answers.failures);
        troubles.extend(report_trouble);
        let summary = summary(&keys, root_keys.as_deref());
        Ok(Self {
            at: now,
            account: account.clone(),
            caller: caller.to_owned(),
            complete: troubles.is_empty(),
            users: answers.users,
            credential_report,
            histogram: histogram(&keys),
            summary,
            if_enforced: if_enforced(account, known, &policy, now),
            keys,
            root_keys,
            troubles,
        })
    }
}

fn scanned(key: &Key, looked: &LookedAt, active: usize, policy: &Policy, now: Timestamp) -> ScannedKey {
    let treatment = treatment_of(policy, key);
    let life = &treatment.life;
    let status = key.status.as_ref().map_or("Unknown", |mark| mark.status.as_str()).to_owned();
    let age_days = key.born().map(|born| whole_days(born, now));
    let tags = looked.owner.as_ref().map(|owner| &owner.tags);
    let used = key.last_use.as_ref();
    let mut flags = Vec::new();
    if status == Status::Active.as_str() {
        if age_days.is_some_and(|age| age >= life.disable_day) {
            flags.push(Flag::OverAge);
        } else if age_days.zip(life.notice_days.first().copied()).is_some_and(|(age, first)| age >= first) {
            flags.push(Flag::Soon);
        }
        let is_unused = used.is_some_and(|used| used.at.is_none_or(|at| whole_days(at, now) > UNUSED_DAYS));
        if is_unused {
            flags.push(Flag::Unused);
        }
        match tags.map(|tags| &tags.slack_id) {
            Some(SlackIdTag::Missing) => flags.push(Flag::NoSlackId),
            Some(SlackIdTag::Malformed(_)) => flags.push(Flag::BadSlackId),
            Some(SlackIdTag::Valid(_)) => {}
            None => flags.push(Flag::NoTags),
        }
        if active > 1 {
            flags.push(Flag::TwoActive);
        }
    }
    ScannedKey {
        key_id: key.key_id.clone(),
        user: looked.user.name.clone(),
        path: looked.user.path.clone(),
        status,
        created: key.born(),
        age_days,
        used: used.map(|used| used.at.is_some()),
        last_used_at: used.and_then(|used| used.at),
        last_used_service: used.and_then(|used| used.service.clone()),
        last_used_region: used.and_then(|used| used.region.clone()),
        owner_name: tags.and_then(|tags| tags.full_name.clone()),
        slack_id: tags.and_then(|tags| match &tags.slack_id {
            SlackIdTag::Valid(id) => Some(id.as_str().to_owned()),
            SlackIdTag::Malformed(text) => Some(text.clone()),
            SlackIdTag::Missing => None,
        }),
        slack_id_state: match tags.map(|tags| &tags.slack_id) {
            Some(SlackIdTag::Valid(_)) => "ok",
            Some(SlackIdTag::Missing) => "missing",
            Some(SlackIdTag::Malformed(_)) => "malformed",
            None => "unknown",
        },
        user_type: tags.and_then(|tags| tags.user_type.clone()),
        disable_day: life.disable_day,
        flags,
    }
}

/// What the report says of root, and what it says of itself.
fn report_state(report: &Report) -> (ReportState, Option<Vec<RootKey>>, Option<String>) {
    let without = "so root's keys are not known";
    let state = |state, generated_at| ReportState { state, generated_at };
    match report {
        Report::Fresh { generated_at, report } => {
            let fresh = state("fresh", Some(*generated_at));
            let Some(root) = report.root() else {
                let why = report.bad_rows.first().map_or_else(String::new, |row| format!(": {row}"));
                let trouble = format!("the credential report has no row of root that can be read{why}");
                return (fresh, None, Some(shown(&trouble, 600)));
            };
            let shown_keys = root.slots.iter().enumerate().filter(|(_, slot)| slot.shows_a_key());
            let keys = shown_keys.map(|(index, slot)| RootKey {
                slot: index + 1,
                active: slot.active,
                last_changed: slot.last_rotated,
                used: match slot.last_used {
                    LastUsed::Never => Some(false),
                    LastUsed::At { .. } => Some(true),
                    LastUsed::Unknown => None,
                },
                last_used_at: match slot.last_used {
                    LastUsed::At { at, .. } => Some(at),
                    LastUsed::Never | LastUsed::Unknown => None,
                },
            });
            (fresh, Some(keys.collect()), None)
        }
        Report::StillBeingMade => {
            let trouble = format!(
                "AWS was still making the credential report after a minute, {without}; scan again later"
            );
            (state("being-made", None), None, Some(trouble))
        }
        Report::Malformed { generated_at, problem } => {
            let trouble = shown(&format!("{problem}, {without}"), 600);
            (state("malformed", Some(*generated_at)), None, Some(trouble))
        }
        Report::Failed(failure) => {
            let trouble = shown(&format!("the credential report: {failure}, {without}"), 600);
            (state("failed", None), None, Some(trouble))
        }
    }
}

/// Failures, those of one kind together: a permission that is missing is missing for every user.
fn told(failures: &[Failure]) -> Vec<String> {
    let mut kinds: BTreeMap<(&str, Option<&str>), Vec<&Failure>> = BTreeMap::new();
    for failure in failures {
        let action =
            failure.operation.split_once(' ').map_or(failure.operation.as_str(), |(action, _)| action);
        kinds.entry((action, failure.code.as_deref())).or_default().push(failure);
    }
    let words = |((action, _), alike): ((&str, Option<&str>), Vec<&Failure>)| {
        let Some(first) = alike.first() else { return String::new() };
        if alike.len() == 1 {
            return shown(&first.to_string(), 600);
        }
        let whose = |failure: &&Failure| {
            let rest = failure.operation.split_once(" of ").map_or("", |(_, rest)| rest);
            shown(rest.rsplit_once(" in ").map_or(rest, |(name, _)| name), 64)
        };
        let mut names: Vec<String> = alike.iter().map(whose).collect();
        names.sort();
        let rest = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let count = counted(alike.len() as u64, "time");
        shown(&format!("{action} failed {count} (of {}{more}): {}", names.join(", "), first.cause), 800)
    };
    kinds.into_iter().map(words).collect()
}

fn histogram(keys: &[ScannedKey]) -> Vec<Step> {
    let within = |age: u32, from: u32, to: Option<u32>| age >= from && to.is_none_or(|to| age <= to);
    STEPS
        .iter()
        .map(|&(from_days, to_days)| {
            let there =
                keys.iter().filter(|key| key.age_days.is_some_and(|age| within(age, from_days, to_days)));
            let (active, inactive): (Vec<_>, Vec<_>) = there.partition(|key| key.is_active());
            Step { from_days, to_days, active: active.len(), inactive: inactive.len() }
        })
        .collect()
}

fn summary(keys: &[ScannedKey], root_keys: Option<&[RootKey]>) -> Summary {
    let count = |is_so: &dyn Fn(&ScannedKey) -> bool| keys.iter().filter(|key| is_so(key)).count();
    let active = count(&ScannedKey::is_active);
    let two: BTreeSet<&str> =
        keys.iter().filter(|key| key.has(Flag::TwoActive)).map(|key| key.user.as_str()).collect();
    Summary {
        keys: keys.len(),
        active,
        inactive: keys.len() - active,
        birth_unknown: count(&|key| key.created.is_none()),
        over_age: count(&|key| key.has(Flag::OverAge)),
        soon: count(&|key| key.has(Flag::Soon)),
        never_used: count(&|key| key.has(Flag::Unused) && key.used == Some(false)),
        unused_over_90_days: count(&|key| key.has(Flag::Unused) && key.used == Some(true)),
        no_slack_id: count(&|key| key.has(Flag::NoSlackId)),
        malformed_slack_id: count(&|key| key.has(Flag::BadSlackId)),
        tags_unread: count(&|key| key.has(Flag::NoTags)),
        active_root_keys: root_keys.map(|keys| keys.iter().filter(|key| key.active).count()),
        users_with_two_active: two.len(),
    }
}

fn if_enforced(account: &AccountId, keys: Vec<Key>, policy: &Policy, now: Timestamp) -> IfEnforced {
    let entered = AccountState {
        account: account.clone(),
        keys,
        exemptions: BTreeMap::new(),
        baseline_at: Some(now),
        // It would enter `enforce` today: nothing that was said before counts.
        enforced_since: Some(now),
        restored_at: None,
        unaccepted: None,
        disabled_today: 0,
        halt: None,
        approved: Vec::new(),
    };
    let foreseen = foresee(&entered, policy, now, DAYS_AHEAD);
    let coming: Vec<ComingDay> = foreseen
        .coming
        .into_iter()
        .map(|coming| {
            let (what, stage, disable_on, cause) = match coming.what {
                ComingKind::Notice(notice) => {
                    ("notice", Some(notice.stage.to_string()), Some(notice.disable_on), None)
                }
                ComingKind::Disable(_) => ("disable", None, None, None),
                ComingKind::Held(by) => ("held", None, None, Some(by.to_string())),
                ComingKind::ExemptionEnds => ("exemption-ends", None, None, None),
            };
            ComingDay {
                on: coming.on,
                key_id: coming.key_id,
                user: coming.user,
                what,
                stage,
                disable_on,
                cause,
            }
        })
        .collect();
    let count = |what: &str| coming.iter().filter(|day| day.what == what).count();
    let today = |what: &str| coming.iter().filter(|day| day.what == what && day.on == utc_date(now)).count();
    IfEnforced {
        notice_days: policy.defaults().notice_days.clone(),
        disable_day: policy.defaults().disable_day,
        days_ahead: DAYS_AHEAD,
        notices_today: today("notice"),
        disables_today: today("disable"),
        notices: count("notice"),
        disables: count("disable"),
        coming,
    }
}

//! What a sweep of one account is to do, decided before any of it is done.
//!
//! [`needs`] says whose keys have to be listed; [`plan`] makes of the ledger, of what was then observed, of the
//! policy and of the time a [`SweepPlan`]. Both are pure. The plan prints, has a hash by which a person can
//! approve it, and leaves whoever carries it out nothing to choose: he may only do less.

mod needs;
mod reconcile;
mod render;
mod upcoming;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

pub use self::{
    needs::{Needs, UserRow, needs},
    reconcile::{Change, News},
    upcoming::{Coming, ComingKind, Foreseen, foresee},
};
use crate::{
    AccountId,
    alert::Severity,
    cloudtrail::Subject,
    delivery::Stage,
    digest::sha256_hex,
    key::{Ground, Key, LISTING_LAG, LastUse},
    lifecycle::{self, ArmedBy, Circumstances, Clock, Exemption, Phase, phase},
    owner::{ListedKey, Owner, SlackIdTag},
    policy::{Mode, Policy, PolicySubject, Treatment},
    report::REPORT_LIFE,
};

/// What the ledger holds about an account, and what was decided for it.
#[derive(Debug, Clone)]
pub struct AccountState {
    /// The account.
    pub account: AccountId,
    /// Its keys that are not closed, and those closed ones that a sighting could reopen.
    pub keys: Vec<Key>,
    /// Exemptions by key id, ended ones too.
    pub exemptions: BTreeMap<String, Exemption>,
    /// When it was first swept, if it was: that sweep only takes stock.
    pub baseline_at: Option<Timestamp>,
    /// Since when it is in `enforce`, if it is.
    pub enforced_since: Option<Timestamp>,
    /// When the ledger was last accepted, after it was restored or replaced.
    pub restored_at: Option<Timestamp>,
    /// Set while nobody has accepted the ledger as it is: nothing may be disabled by it.
    pub unaccepted: Option<Unaccepted>,
    /// How many of its keys were disabled on this UTC date already.
    pub disabled_today: u32,
    /// Set while nothing may be disabled anywhere, with the reason given.
    pub halt: Option<String>,
    /// Hashes of plans that a person approved beyond the caps.
    pub approved: Vec<String>,
}

/// Why the ledger is not gone by: it was restored or replaced, or that could not be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unaccepted {
    /// The table's id; `None`: it could not be found out.
    pub table_id: Option<String>,
    /// Why, in words.
    pub why: String,
}

impl AccountState {
    /// How far keytide goes in the account: as the policy says, and in a ledger that nobody has accepted no further than
    /// `notify`.
    pub fn mode(&self, policy: &Policy) -> Mode {
        let mode = policy.mode(&self.account);
        if self.unaccepted.is_some() { mode.min(Mode::Notify) } else { mode }
    }

    /// Whether a key that is found belongs to the stock that the account's first sweep takes, and is no news: it
    /// was there before, even if its user could not be read that day.
    pub fn is_stock(&self, key: &Key) -> bool {
        let Some(baseline_at) = self.baseline_at else { return true };
        key.born().is_some_and(|born| was_there(born, baseline_at))
    }
}

/// Whether what was made then was there to be listed at the account's first sweep.
pub fn was_there(made: Timestamp, baseline_at: Timestamp) -> bool {
    made.checked_add(LISTING_LAG).is_ok_and(|shown| shown <= baseline_at)
}

/// What was seen in an account in this run. What was not looked at is not in it.
#[derive(Debug, Clone, Default)]
pub struct Observations {
    /// Users by name.
    pub users: BTreeMap<String, SeenUser>,
    /// Keys' latest use, by key id.
    pub last_use: BTreeMap<String, LastUse>,
    /// When each of the active keys that the report shows for root was made or last changed. Nothing names them.
    /// `None` where there was no report to look at.
    pub root_keys: Option<Vec<Option<Timestamp>>>,
}

/// A user who was looked at.
#[derive(Debug, Clone)]
pub struct SeenUser {
    /// The user with its tags; `None` where they were not read.
    pub owner: Option<Owner>,
    /// All of the user's keys; `None` where the user does not exist (any more).
    pub keys: Option<Vec<ListedKey>>,
    /// When they were listed.
    pub at: Timestamp,
}

/// A message that is due about a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedNotice {
    /// The access key's id.
    pub key_id: String,
    /// Its user.
    pub user: String,
    /// The arming epoch.
    pub epoch: String,
    /// Which message.
    pub stage: Stage,
    /// Why the key is to be disabled.
    pub ground: Ground,
    /// Its age.
    pub age_days: u32,
    /// The UTC date that the message names.
    pub disable_on: Date,
    /// Whether the owner is told, besides the channel: not in `observe`.
    pub tell_owner: bool,
    /// Whether keytide will really disable it: not in `observe` and `notify`, and not for break-glass users.
    pub in_earnest: bool,
    /// How loud.
    pub severity: Severity,
}

/// A key that is to be disabled, if everything still holds when it is read afresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDisable {
    /// The access key's id.
    pub key_id: String,
    /// Its user.
    pub user: String,
    /// The arming epoch.
    pub epoch: String,
    /// Why.
    pub ground: Ground,
    /// Its age.
    pub age_days: u32,
    /// When the notice that licenses it was confirmed.
    pub noticed_at: Timestamp,
    /// The date that notice named.
    pub named: Date,
    /// Whether a person approved it beyond the caps.
    #[serde(default)]
    pub beyond_cap: bool,
}

/// A disable that something stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDisable {
    /// The access key's id.
    pub key_id: String,
    /// Its user.
    pub user: String,
    /// What stops it.
    pub by: HeldBy,
}

/// What stops a disable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "is", content = "detail", rename_all = "kebab-case")]
pub enum HeldBy {
    /// The account's mode.
    Mode(Mode),
    /// No notice in this epoch licenses it yet.
    NoLicence,
    /// The user is a break-glass user.
    BreakGlass,
    /// Nobody has accepted the ledger as it is: why.
    Unaccepted(String),
    /// Nothing may be disabled anywhere: the reason given.
    Halt(String),
    /// The account's cap.
    AccountCap {
        /// So many may be disabled on one date.
        most: u32,
    },
    /// It is not the time for it, in words that say when it is.
    Hours(String),
    /// Its user was not listed in this run.
    NotSeen,
    /// A rule of the policy needs the user's tags, and they could not be read.
    TagsUnknown,
    /// Its birth lies ahead of our clock.
    BornAhead,
    /// Another policy came into force since the plan was made.
    PolicyChanged,
    /// Our clock and AWS's do not agree, or could not be compared.
    Clock,
    /// The organization's cap.
    OrganizationCap {
        /// So many may be disabled on one date.
        most: u32,
    },
}

/// Something that people should mend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The access key's id.
    pub key_id: String,
    /// Its user, if it has one.
    pub user: Option<String>,
    /// What.
    pub what: FindingKind,
}

/// What should be mended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "is", content = "detail", rename_all = "kebab-case")]
pub enum FindingKind {
    /// The user has no tag `slack-id`.
    NoSlackId,
    /// The tag `slack-id` is no member id. Untrusted text.
    MalformedSlackId(String),
    /// The policy remarks on the user's tags.
    Tag(String),
    /// Its birth lies ahead of our clock.
    BornAhead,
    /// What is not known about it.
    Unknown(String),
    /// A key of root.
    Root,
}

/// Something that will be due, if nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Upcoming {
    /// On which UTC date.
    pub on: Date,
    /// The access key's id.
    pub key_id: String,
    /// Its user.
    pub user: String,
    /// What.
    pub what: UpcomingKind,
}

/// What will be due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpcomingKind {
    /// The notice at this age, in days.
    Notice(u32),
    /// The end of its exemption.
    ExemptionEnds,
    /// Its disable (or what would be one, outside `enforce`).
    Disable,
}

/// Everything that a sweep of one account is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SweepPlan {
    /// The account.
    pub account: AccountId,
    /// Its mode.
    pub mode: Mode,
    /// The hash of the policy that it follows.
    pub policy: String,
    /// When it was made.
    pub at: Timestamp,
    /// Whether this is the account's first sweep.
    pub is_baseline: bool,
    /// What the ledger did not know.
    pub changes: Vec<Change>,
    /// The messages due.
    pub notices: Vec<PlannedNotice>,
    /// The keys to disable, longest due first.
    pub disables: Vec<PlannedDisable>,
    /// How many of the account's keys may be disabled on one date, unless a person lets more through.
    pub account_cap: u32,
    /// The messages due about those keys where their disable turns out not to be allowed after all.
    #[serde(skip)]
    pub if_refused: Vec<PlannedNotice>,
    /// Disables that something stops.
    pub held: Vec<HeldDisable>,
    /// For how many days the key has been due that waits longest for the policy's hours; 0 where none does.
    #[serde(skip)]
    pub closed_days: u32,
    /// Root's active keys that no event told of, by when they were made or last changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub root_keys: Vec<Timestamp>,
    /// What people should mend.
    pub findings: Vec<Finding>,
    /// What will be due within [`HORIZON_DATES`].
    pub upcoming: Vec<Upcoming>,
}

/// An event and the credential report give the same moment in seconds, from two clocks.
const SAME_MOMENT: SignedDuration = SignedDuration::from_mins(1);

/// How far ahead a plan looks.
pub const HORIZON_DATES: u32 = 14;

impl SweepPlan {
    /// The plan's name. Where the account's cap holds keys back it names those, and that is what a person
    /// approves: the keys below the cap need no approval, and are disabled meanwhile without changing the
    /// name. Otherwise it names the keys to be disabled. The same keys under the same policy on the same date
    /// give the same hash.
    pub fn hash(&self) -> String {
        let capped = self.held.iter().filter(|held| matches!(held.by, HeldBy::AccountCap { .. }));
        let keys: Vec<&str> = capped.map(|held| held.key_id.as_str()).collect();
        if keys.is_empty() {
            return self.hash_of(self.disables.iter().map(|disable| disable.key_id.as_str()));
        }
        self.hash_of(keys)
    }

    /// The hash that this account's plan of the same UTC date and policy has, once it is about these keys.
    pub fn hash_of<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> String {
        let mut keys: Vec<&str> = keys.into_iter().collect();
        keys.sort_unstable();
        let date = lifecycle::utc_date(self.at);
        let text = format!("{}\n{}\n{date}\n{}", self.account, self.policy, keys.join("\n"));
        sha256_hex(text.as_bytes())
    }

    /// Whether there is nothing to do at all.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.notices.is_empty()
            && self.disables.is_empty()
            && self.root_keys.is_empty()
    }
}

/// Decides what a sweep is to do.
pub fn plan(state: &AccountState, seen: &Observations, policy: &Policy, now: Timestamp) -> SweepPlan {
    let mode = state.mode(policy);
    let (keys, changes) = reconcile::reconcile(state, seen);
    let mut plan = SweepPlan {
        account: state.account.clone(),
        mode,
        policy: policy.hash().to_owned(),
        at: now,
        is_baseline: state.baseline_at.is_none(),
        changes,
        notices: Vec::new(),
        disables: Vec::new(),
        account_cap: 0,
        if_refused: Vec::new(),
        held: Vec::new(),
        closed_days: 0,
        root_keys: Vec::new(),
        findings: Vec::new(),
        upcoming: Vec::new(),
    };
    let mut active = 0_u32;
    for key in &keys {
        let treatment = treatment_of(policy, key);
        let around = circumstances(state, policy, key, &treatment, now);
        find(&mut plan, key, &treatment);
        match phase(key, &around) {
            Phase::Closed | Phase::Dormant(_) => {}
            Phase::Root => plan.find(key, FindingKind::Root),
            Phase::Unknown(what) => plan.find(key, FindingKind::Unknown(what.to_owned())),
            Phase::Exempt { exemption, ending } => {
                active += 1;
                plan_exempt(&mut plan, key, exemption, ending, now);
            }
            Phase::Running(clock) => {
                active += 1;
                let is_seen = was_listed(key, seen);
                plan_running(&mut plan, key, &clock, &around, is_seen, (state, policy));
            }
        }
    }
    plan_root(&mut plan, seen, &keys, state.baseline_at);
    hold_above_cap(&mut plan, state, policy, active);
    plan.sort();
    plan
}

/// How the policy treats a key's user.
pub fn treatment_of(policy: &Policy, key: &Key) -> Treatment {
    policy.treatment(&PolicySubject {
        account: &key.account,
        user: key.holder.subject.user().unwrap_or_default(),
        owner: key.owner.as_ref(),
    })
}

/// What holds for a key besides its own state.
pub fn circumstances<'a>(
    state: &'a AccountState,
    policy: &Policy,
    key: &Key,
    treatment: &'a Treatment,
    now: Timestamp,
) -> Circumstances<'a> {
    Circumstances {
        treatment,
        mode: state.mode(policy),
        enforced_since: state.enforced_since,
        restored_at: state.restored_at,
        exemption: state.exemptions.get(&key.key_id),
        dates_between: policy.dates_between(),
        now,
    }
}

/// Root's keys stand in the credential report alone.
fn plan_root(plan: &mut SweepPlan, seen: &Observations, keys: &[Key], baseline_at: Option<Timestamp>) {
    let what = match seen.root_keys.as_deref() {
        None => {
            let unknown = "whether root has a key is not known: there was no credential report";
            FindingKind::Unknown(unknown.to_owned())
        }
        Some([]) => return,
        Some(shown) => {
            // What the first sweep's report was too old to show is news, and better told of twice than never.
            let is_stock = |at: Timestamp| {
                let shown = at.saturating_add(REPORT_LIFE).unwrap_or(at);
                baseline_at.is_none_or(|baseline_at| shown <= baseline_at)
            };
            // Each key that an event told of explains one of them.
            let mut told: Vec<&Key> = keys.iter().filter(|key| key.holder.subject == Subject::Root).collect();
            for at in shown.iter().flatten().copied() {
                if let Some(place) = told.iter().position(|key| is_known_of_root(key, at)) {
                    told.remove(place);
                } else if !is_stock(at) {
                    plan.root_keys.push(at);
                }
            }
            FindingKind::Root
        }
    };
    plan.findings.push(Finding { key_id: "root".to_owned(), user: None, what });
}

/// Whether what events told of a key of root's explains one that was made, or changed, at that time.
fn is_known_of_root(key: &Key, at: Timestamp) -> bool {
    let since = key.status.as_ref().map(|mark| mark.since);
    let mut told = key.born().into_iter().chain(since).chain(key.reactivations.all());
    told.any(|told| told.duration_since(at).abs() <= SAME_MOMENT)
}

fn was_listed(key: &Key, seen: &Observations) -> bool {
    let listed = key.holder.subject.user().and_then(|user| seen.users.get(user)?.keys.as_ref());
    listed.is_some_and(|keys| keys.iter().any(|listed| listed.key_id == key.key_id))
}

impl SweepPlan {
    fn find(&mut self, key: &Key, what: FindingKind) {
        let user = key.holder.subject.user().map(str::to_owned);
        self.findings.push(Finding { key_id: key.key_id.clone(), user, what });
    }

    fn look_ahead(&mut self, key: &Key, on: Date, what: UpcomingKind) {
        let today = lifecycle::utc_date(self.at);
        if on > today && on <= lifecycle::dates_after(today, HORIZON_DATES) {
            let user = key.holder.subject.user().unwrap_or_default().to_owned();
            self.upcoming.push(Upcoming { on, key_id: key.key_id.clone(), user, what });
        }
    }

    fn hold(&mut self, key: &Key, by: HeldBy) {
        let user = key.holder.subject.user().unwrap_or_default().to_owned();
        self.held.push(HeldDisable { key_id: key.key_id.clone(), user, by });
    }

    /// One order, whatever order the ledger gave: for the hash, for people, and for the same plan twice.
    fn sort(&mut self) {
        self.notices.sort_by(|left, right| {
            (&left.user, &left.key_id, left.stage).cmp(&(&right.user, &right.key_id, right.stage))
        });
        self.held.sort_by(|left, right| (&left.by, &left.key_id).cmp(&(&right.by, &right.key_id)));
        self.findings.sort();
        self.upcoming.sort();
    }
}

fn find(plan: &mut SweepPlan, key: &Key, treatment: &Treatment) {
    if key.is_closed() || key.holder.subject.user().is_none() {
        return;
    }
    match key.owner.as_ref().map(|owner| &owner.tags.slack_id) {
        Some(SlackIdTag::Missing) => plan.find(key, FindingKind::NoSlackId),
        Some(SlackIdTag::Malformed(text)) => {
            plan.find(key, FindingKind::MalformedSlackId(text.clone()));
        }
        Some(SlackIdTag::Valid(_)) | None => {}
    }
    for remark in &treatment.remarks {
        plan.find(key, FindingKind::Tag(remark.clone()));
    }
}

fn plan_exempt(
    plan: &mut SweepPlan,
    key: &Key,
    exemption: &Exemption,
    ending: Option<Stage>,
    now: Timestamp,
) {
    let ends = exemption.ends(now);
    if ends < exemption.until {
        let what = "its exemption says more than 180 days, and ends after those";
        plan.find(key, FindingKind::Unknown(what.to_owned()));
    }
    let ends = lifecycle::utc_date(ends);
    plan.look_ahead(key, ends, UpcomingKind::ExemptionEnds);
    let is_told = ending.is_none_or(|stage| key.notices.iter().any(|mark| mark.stage == stage));
    if let Some(stage) = ending.filter(|_| !is_told) {
        plan.notices.push(PlannedNotice {
            key_id: key.key_id.clone(),
            user: key.holder.subject.user().unwrap_or_default().to_owned(),
            epoch: exemption.granted_at.to_string(),
            stage,
            ground: Ground::Age,
            age_days: key.born().map_or(0, |born| lifecycle::whole_days(born, now)),
            disable_on: ends,
            tell_owner: plan.mode != Mode::Observe,
            in_earnest: false,
            severity: Severity::Notice,
        });
    }
}

fn plan_running(
    plan: &mut SweepPlan,
    key: &Key,
    clock: &Clock<'_>,
    around: &Circumstances<'_>,
    is_seen: bool,
    (state, policy): (&AccountState, &Policy),
) {
    let treatment = around.treatment;
    let user = key.holder.subject.user().unwrap_or_default().to_owned();
    if clock.born_ahead {
        plan.find(key, FindingKind::BornAhead);
    }
    for day in treatment.life.notice_days.iter().filter(|day| **day > clock.age_days) {
        if let Some(born) = key.born() {
            let on = lifecycle::utc_date(lifecycle::days_after(born, *day));
            plan.look_ahead(key, on, UpcomingKind::Notice(*day));
        }
    }
    if !treatment.break_glass {
        plan.look_ahead(key, clock.disable_on, UpcomingKind::Disable);
    }

    let mode = plan.mode;
    let (mut is_disabled_now, mut waits_for_today) = (false, false);
    if clock.is_past_its_day || clock.licence.is_some() {
        let obstacle = obstacle(clock, around, is_seen, plan.mode, (state, policy));
        match (clock.licence, obstacle) {
            (Some(licence), None) => {
                is_disabled_now = true;
                plan.disables.push(PlannedDisable {
                    key_id: key.key_id.clone(),
                    user: user.clone(),
                    epoch: clock.armed.epoch(),
                    ground: clock.ground,
                    age_days: clock.age_days,
                    noticed_at: licence.at,
                    named: licence.disable_on,
                    beyond_cap: false,
                });
            }
            (_, obstacle) => {
                if matches!(obstacle, Some(HeldBy::Hours(_))) {
                    let days = (lifecycle::utc_date(around.now) - clock.disable_on).get_days();
                    plan.closed_days = plan.closed_days.max(u32::try_from(days).unwrap_or(0));
                    waits_for_today = clock.licence.is_some() && days <= 0;
                }
                plan.hold(key, obstacle.unwrap_or(HeldBy::NoLicence));
            }
        }
    }
    // Who is disabled now is told of that; a key that no listing shows is told of when one does.
    // And who may be, later on this very day, is not told yet that the key is past it.
    let is_early = |stage: &Stage| waits_for_today && matches!(stage, Stage::Reminder(_));
    if let Some(stage) = clock.notice.filter(|stage| is_seen && !is_early(stage)) {
        let is_past = matches!(stage, Stage::Reminder(_)) || clock.age_days >= treatment.life.disable_day;
        let is_again = clock.armed.again.is_some() && is_past;
        let severity = match (is_again || treatment.break_glass, clock.armed.by, stage) {
            (true, ..) => Severity::Critical,
            (_, ArmedBy::Reactivation, _) | (.., Stage::Reminder(_)) => Severity::Warning,
            _ => Severity::Notice,
        };
        let notices = if is_disabled_now { &mut plan.if_refused } else { &mut plan.notices };
        notices.push(PlannedNotice {
            key_id: key.key_id.clone(),
            user,
            epoch: clock.armed.epoch(),
            stage,
            ground: clock.ground,
            age_days: clock.age_days,
            disable_on: clock.disable_on,
            tell_owner: mode != Mode::Observe,
            in_earnest: mode == Mode::Enforce && !treatment.break_glass,
            severity,
        });
    }
}

/// What stops a disable of a key that is due for one, the weightiest first; the account's cap comes last, over
/// all of them.
pub fn obstacle(
    clock: &Clock<'_>,
    around: &Circumstances<'_>,
    is_seen: bool,
    mode: Mode,
    (state, policy): (&AccountState, &Policy),
) -> Option<HeldBy> {
    if mode != Mode::Enforce {
        let instead = state.unaccepted.as_ref().filter(|_| policy.mode(&state.account) == Mode::Enforce);
        return Some(
            instead.map_or(HeldBy::Mode(mode), |unaccepted| HeldBy::Unaccepted(unaccepted.why.clone())),
        );
    }
    if around.treatment.break_glass {
        return Some(HeldBy::BreakGlass);
    }
    if let Some(reason) = &state.halt {
        return Some(HeldBy::Halt(reason.clone()));
    }
    if clock.born_ahead {
        return Some(HeldBy::BornAhead);
    }
    if !is_seen {
        return Some(HeldBy::NotSeen);
    }
    if around.treatment.uncertain {
        return Some(HeldBy::TagsUnknown);
    }
    policy.disabling_open(around.now).err().map(|closed| HeldBy::Hours(closed.to_string()))
}

/// What stops a planned disable as things stand now, by the very rules of the plan: its caller has read all of
/// `state` and `key` afresh, and listed the user's keys in this run.
pub fn stopped_by(
    planned: &PlannedDisable,
    state: &AccountState,
    key: &Key,
    policy: &Policy,
    now: Timestamp,
) -> Option<HeldBy> {
    let treatment = treatment_of(policy, key);
    let around = circumstances(state, policy, key, &treatment, now);
    let Phase::Running(clock) = phase(key, &around) else { return Some(HeldBy::NoLicence) };
    let is_that_one = clock.armed.epoch() == planned.epoch && clock.ground == planned.ground;
    if !is_that_one || key.holder.subject.user() != Some(&planned.user) {
        return Some(HeldBy::NoLicence);
    }
    if let Some(by) = obstacle(&clock, &around, true, state.mode(policy), (state, policy)) {
        return Some(by);
    }
    clock.licence.is_none().then_some(HeldBy::NoLicence)
}

/// Of what is to be disabled, only so many keys as the account's cap allows on one date; the rest is held,
/// unless a person approved exactly this.
fn hold_above_cap(plan: &mut SweepPlan, state: &AccountState, policy: &Policy, active: u32) {
    plan.disables.sort_by(|left, right| (left.named, &left.key_id).cmp(&(right.named, &right.key_id)));
    let caps = policy.caps();
    // Those disabled today were active this morning.
    let share =
        u64::from(active.saturating_add(state.disabled_today)) * u64::from(caps.account_percent) / 100;
    let most = u32::try_from(share).unwrap_or(u32::MAX).max(caps.account_at_least);
    plan.account_cap = most;
    let left = usize::try_from(most.saturating_sub(state.disabled_today)).unwrap_or(usize::MAX);
    let above = plan.disables.split_off(left.min(plan.disables.len()));
    // What the account's cap allows, the organization's may still hold: that is approved by a name of its own.
    if state.approved.contains(&plan.hash_of(plan.disables.iter().map(|one| one.key_id.as_str()))) {
        plan.disables.iter_mut().for_each(|one| one.beyond_cap = true);
    }
    if above.is_empty() {
        return;
    }
    if state.approved.contains(&plan.hash_of(above.iter().map(|one| one.key_id.as_str()))) {
        plan.disables.extend(above.into_iter().map(|one| PlannedDisable { beyond_cap: true, ..one }));
        return;
    }
    for disable in above {
        let by = HeldBy::AccountCap { most };
        plan.held.push(HeldDisable { key_id: disable.key_id, user: disable.user, by });
    }
}

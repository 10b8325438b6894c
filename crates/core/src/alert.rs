//! Which messages an outcome calls for, how loud they are, and which event is our own echo.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    AccountId,
    cloudtrail::{
        Actor, ActorKind, Call, FailedCall, KeyChange, KeyEvent, OwnerChange, OwnerEvent, Partial, Status,
        Subject,
    },
    decision::Decision,
    delivery::{Delivery, DeliveryName, DeliveryState, Recipient, Stage},
    fact::{Fact, FactBody, SeenAfter},
    key::Key,
    owner::{OwnerReport, is_watched_tag},
    plan::News,
};

/// How loud a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// To be known.
    Notice,
    /// To be looked at.
    Warning,
    /// To be looked at now; always a message of its own.
    Critical,
}

/// Which refused attempts are posted. All are recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedAttempts {
    /// None.
    Never,
    /// Those of root, on root, or on anybody but the caller (or on somebody who cannot be told).
    #[default]
    RootAndOthers,
    /// All.
    Always,
}

/// The roles of this installation, by which it knows its own events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRoles {
    /// The role in each account that reads.
    pub reader: String,
    /// The role in each account that disables: the only one that ever changes a key.
    pub disabler: String,
    /// The roles that the functions run under. By themselves they may do nothing to IAM.
    pub functions: Vec<String>,
    /// The account where the functions are: in another one a role of such a name is anybody's. `None`: not known, so in any.
    pub functions_in: Option<AccountId>,
}

impl OwnRoles {
    /// The roles that the functions run under, unless they are told other names.
    pub const FUNCTIONS: [&str; 2] = ["keytide-watcher", "keytide-sweeper"];
}

impl Default for OwnRoles {
    fn default() -> Self {
        Self {
            reader: "keytide-reader".to_owned(),
            disabler: "keytide-disabler".to_owned(),
            functions: Self::FUNCTIONS.map(str::to_owned).to_vec(),
            functions_in: None,
        }
    }
}

/// What alerting depends on besides the event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertRules {
    /// Which refused attempts are posted.
    pub failed_attempts: FailedAttempts,
    /// Our own roles.
    pub own_roles: OwnRoles,
}

/// What an event calls for: how loud, about what, to whom. No recipients: it is recorded and not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// How loud.
    pub severity: Severity,
    /// What the deliveries are called.
    pub names: Vec<DeliveryName>,
}

impl Announcement {
    fn of(severity: Severity, epoch: &str, stage: Stage, recipients: &[Recipient]) -> Self {
        let names = recipients
            .iter()
            .map(|&recipient| DeliveryName { epoch: epoch.to_owned(), stage, recipient })
            .collect();
        Self { severity, names }
    }

    fn silence() -> Self {
        Self { severity: Severity::Notice, names: Vec::new() }
    }

    /// What a break-glass user's event calls for: it is critical, and told also where anybody else's were only
    /// recorded. But not a disable of our own, whose claim was made before the policy named the user.
    #[must_use]
    pub fn for_break_glass(self, fact_id: &str, body: &FactBody) -> Self {
        let stage = match body {
            FactBody::FailedCall { .. } => Some(Stage::FailedAttempt),
            FactBody::Owner { .. } => Some(Stage::OwnerChanged),
            FactBody::Observed { .. } => Some(Stage::StatusChanged),
            _ => None,
        };
        match stage {
            Some(stage) if self.names.is_empty() => {
                Self::of(Severity::Critical, fact_id, stage, &[Recipient::Channel])
            }
            _ => Self { severity: Severity::Critical, ..self },
        }
    }

    /// The deliveries, yet to be made, of the fact `fact_id`.
    pub fn deliveries(&self, fact_id: &str, now: Timestamp) -> Vec<Delivery> {
        let delivery =
            |name: &DeliveryName| Delivery::new(name.clone(), fact_id.to_owned(), self.severity, now);
        self.names.iter().map(delivery).collect()
    }
}

/// Which of our roles made this call, if one did. A role of that name in another account is not ours.
pub fn own_role<'a>(rules: &'a AlertRules, call: &Call) -> Option<&'a str> {
    own_role_in(rules, &call.actor, Some(&call.account))
}

fn own_role_in<'a>(rules: &'a AlertRules, actor: &Actor, account: Option<&AccountId>) -> Option<&'a str> {
    let role = actor.role.as_ref()?;
    if actor.kind != ActorKind::AssumedRole || role.account.as_deref() != account.map(AccountId::as_str) {
        return None;
    }
    let OwnRoles { reader, disabler, functions, functions_in } = &rules.own_roles;
    // Else whoever makes a role of that name in an account of theirs could bury the channel in critical messages.
    let functions_are_here = functions_in.is_none() || functions_in.as_ref() == account;
    [reader, disabler]
        .into_iter()
        .chain(functions.iter().filter(|_| functions_are_here))
        .find(|own| **own == role.role)
        .map(String::as_str)
}

/// How far an event's second may lie outside the claim it answers to: `eventTime` is cut to whole seconds
/// and made by another clock.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(5);

/// Whether this is the echo of our own disabling: `Inactive`, by the disabler's session, on a key with a
/// claim that bears that session's name and was live when it happened. Nothing else done with our roles is.
pub fn is_own_disable(rules: &AlertRules, event: &KeyEvent, claims: &[Delivery]) -> bool {
    if !is_by_disabler(rules, event) {
        return false;
    }
    let session = event.call.actor.role.as_ref().and_then(|role| role.session.as_deref());
    claims.iter().filter(|claim| claim.name.stage == Stage::Disable).any(|claim| match &claim.state {
        DeliveryState::Doing { by, since, until } => {
            Some(by.as_str()) == session && within(event.call.at, *since, *until)
        }
        DeliveryState::Done { by, at, .. } => {
            Some(by.as_str()) == session && within(event.call.at, claim.created_at, *at)
        }
        DeliveryState::Pending { .. } | DeliveryState::Ambiguous { .. } | DeliveryState::GivenUp { .. } => {
            false
        }
    })
}

/// Whether this session of the disabler set the key Inactive.
pub fn is_disable_by(rules: &AlertRules, event: &KeyEvent, session_name: &str) -> bool {
    let session = event.call.actor.role.as_ref().and_then(|role| role.session.as_deref());
    is_by_disabler(rules, event) && session == Some(session_name)
}

fn is_by_disabler(rules: &AlertRules, event: &KeyEvent) -> bool {
    event.sets(&Status::Inactive) && own_role(rules, &event.call) == Some(&rules.own_roles.disabler)
}

fn within(at: Timestamp, from: Timestamp, until: Timestamp) -> bool {
    let from = from.saturating_sub(CLOCK_SLACK).unwrap_or(Timestamp::MIN);
    let until = until.saturating_add(CLOCK_SLACK).unwrap_or(Timestamp::MAX);
    (from..=until).contains(&at)
}

/// What a key event calls for; `claims` are the key's disable deliveries.
pub fn for_key_event(rules: &AlertRules, event: &KeyEvent, claims: &[Delivery]) -> Announcement {
    if is_own_disable(rules, event, claims) {
        return Announcement::silence();
    }
    let fact_id = event.fact_id();
    let by_itself = is_same_user(&event.call, &event.subject);
    let (stage, calm, owner_is_told) = match &event.change {
        KeyChange::Created { .. } => (Stage::Created, Severity::Notice, true),
        KeyChange::StatusChanged { to: Status::Active } => (Stage::Reactivated, Severity::Warning, true),
        KeyChange::StatusChanged { to: Status::Inactive } => {
            (Stage::Deactivated, Severity::Notice, !by_itself)
        }
        KeyChange::StatusChanged { .. } => (Stage::StatusChanged, Severity::Warning, true),
        KeyChange::Deleted => (Stage::Deleted, Severity::Notice, !by_itself),
    };
    let severity = if event.subject == Subject::Root || own_role(rules, &event.call).is_some() {
        Severity::Critical
    } else if matches!(event.change, KeyChange::Created { .. }) && !by_itself {
        Severity::Warning
    } else {
        calm
    };
    // A key is new once, whoever finds it and however often the event comes.
    let epoch = if stage == Stage::Created { DeliveryName::ONCE_PER_KEY } else { &fact_id };
    let recipients: &[Recipient] = if owner_is_told && event.subject.user().is_some() {
        &[Recipient::Channel, Recipient::Owner]
    } else {
        &[Recipient::Channel]
    };
    Announcement::of(severity, epoch, stage, recipients)
}

/// The name of the message that adds to the alert of a key which a sweep had found.
pub fn made_by_name(event: &KeyEvent) -> Option<DeliveryName> {
    matches!(event.change, KeyChange::Created { .. }).then(|| DeliveryName {
        epoch: event.fact_id(),
        stage: Stage::MadeBy,
        recipient: Recipient::Channel,
    })
}

/// What a creation's event adds where a sweep found the key before it came: who made it, and from where, in the
/// thread of the alert that could not say so. What is critical stands in the channel, since a thread calls
/// nobody. `told` are the key's deliveries that are known.
pub fn made_by(event: &KeyEvent, severity: Severity, told: &[Delivery], now: Timestamp) -> Option<Delivery> {
    let name = made_by_name(event)?;
    let found = told.iter().find(|told| {
        told.name.stage == Stage::Created
            && told.name.recipient == Recipient::Channel
            && told.fact_id.starts_with(Fact::OBSERVED)
    })?;
    // One that is not posted yet cannot be answered: then this stands beside it.
    let answers = match &found.state {
        DeliveryState::Done { receipt, .. } if severity != Severity::Critical => Some(receipt.clone()),
        _ => None,
    };
    Some(Delivery { answers, ..Delivery::new(name, event.fact_id(), severity, now) })
}

/// What a refused call calls for.
pub fn for_failed_call(rules: &AlertRules, failed: &FailedCall) -> Announcement {
    let ours = own_role(rules, &failed.call).is_some();
    let root = failed.subject == Subject::Root || failed.call.actor.kind == ActorKind::Root;
    let told = match rules.failed_attempts {
        FailedAttempts::Never => false,
        FailedAttempts::Always => true,
        // Refused changes of a user redirect nothing and reach no key: recorded, told only if root tried.
        FailedAttempts::RootAndOthers => {
            root || (failed.kind.is_some() && !is_same_user(&failed.call, &failed.subject))
        }
    };
    if !told && !ours {
        return Announcement::silence();
    }
    let severity = if ours { Severity::Critical } else { Severity::Warning };
    Announcement::of(severity, &failed.fact_id(), Stage::FailedAttempt, &[Recipient::Channel])
}

/// What a change of a user calls for: told where it changes who is told, or when a key ends.
pub fn for_owner_event(rules: &AlertRules, event: &OwnerEvent) -> Announcement {
    let ours = own_role(rules, &event.call).is_some();
    let matters = match &event.change {
        OwnerChange::Tagged { .. } | OwnerChange::Untagged { .. } => {
            event.change.tag_keys().into_iter().any(is_watched_tag)
        }
        OwnerChange::Renamed { .. } => true,
        // IAM deletes no user that still has keys, so its keys have already been told of.
        OwnerChange::Deleted => false,
    };
    if !matters && !ours {
        return Announcement::silence();
    }
    let severity = if ours { Severity::Critical } else { Severity::Warning };
    Announcement::of(severity, &event.fact_id(), Stage::OwnerChanged, &[Recipient::Channel])
}

/// What a call calls for that says nothing about keys or owners: nothing, unless it was made with one of our
/// roles and is more than reading. Keytide itself makes no such call.
pub fn for_other_call(rules: &AlertRules, fact_id: &str, partial: &Partial) -> Option<Announcement> {
    own_role_in(rules, &partial.actor, partial.account.as_ref())?;
    let reads = |name: &String| ["Get", "List", "Generate"].iter().any(|verb| name.starts_with(verb));
    if partial.event_name.as_ref().is_some_and(reads) {
        return None;
    }
    Some(Announcement::of(Severity::Critical, fact_id, Stage::OwnRole, &[Recipient::Channel]))
}

/// What a sweep's news of a key call for: a key is new once, whoever finds it.
pub fn for_observed(fact_id: &str, key: &Key, news: &[News]) -> Announcement {
    let both: &[Recipient] = match key.holder.subject {
        Subject::User(_) => &[Recipient::Channel, Recipient::Owner],
        Subject::Root | Subject::Unknown => &[Recipient::Channel],
    };
    let severity = if key.holder.subject == Subject::Root { Severity::Critical } else { Severity::Warning };
    let is_active = |news: &News| matches!(news, News::Status { to: Status::Active, .. } | News::Reopened);
    if news.contains(&News::Found) {
        Announcement::of(severity, DeliveryName::ONCE_PER_KEY, Stage::Created, both)
    } else if news.iter().any(is_active) {
        Announcement::of(severity, fact_id, Stage::Reactivated, both)
    } else if news.iter().any(|news| matches!(news, News::Status { .. })) {
        // As an event would have been told of; and a disable of ours that could not be recorded ends here.
        Announcement::of(Severity::Notice, fact_id, Stage::Deactivated, both)
    } else {
        Announcement::silence()
    }
}

/// What a disable by keytide calls for.
pub fn for_disabled(fact_id: &str, seen: SeenAfter) -> Announcement {
    let severity = match seen {
        SeenAfter::Inactive => Severity::Notice,
        SeenAfter::Unconfirmed | SeenAfter::FoundInactive => Severity::Warning,
    };
    Announcement::of(severity, fact_id, Stage::Disabled, &[Recipient::Channel, Recipient::Owner])
}

/// What a person's decision calls for: the channel is told, always.
pub fn for_decision(fact_id: &str, decision: &Decision) -> Announcement {
    Announcement::of(decision.severity(), fact_id, Stage::Decided, &[Recipient::Channel])
}

/// What an unreadable event calls for: made with one of our own roles, it is not to be overlooked.
pub fn for_unreadable(rules: &AlertRules, fact_id: &str, partial: &Partial) -> Announcement {
    let ours = own_role_in(rules, &partial.actor, partial.account.as_ref()).is_some();
    let severity = if ours { Severity::Critical } else { Severity::Warning };
    Announcement::of(severity, fact_id, Stage::Unreadable, &[Recipient::Channel])
}

/// Whether the caller is the very user whose key it is.
pub fn is_same_user(call: &Call, subject: &Subject) -> bool {
    let actor = &call.actor;
    // A user of the same name in another account is somebody else.
    if actor.account.as_deref().is_some_and(|account| account != call.account.as_str()) {
        return false;
    }
    match subject {
        Subject::User(user) => actor.kind == ActorKind::IamUser && actor.name.as_deref() == Some(user),
        Subject::Root => actor.kind == ActorKind::Root,
        Subject::Unknown => false,
    }
}

/// What is worth a second look about a new or reactivated key. Shown only where true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// A key of the account's root user.
    Root,
    /// Made by somebody else than its owner.
    CreatorIsNotOwner,
    /// Made with one of keytide's own roles.
    OwnRole,
    /// Made without MFA.
    WithoutMfa,
    /// The user has another active key.
    SecondActiveKey,
    /// The owner cannot be told: no tag, a malformed one, or the user could not be looked up.
    OwnerUnknown,
}

/// The flags of a key event.
pub fn flags(rules: &AlertRules, event: &KeyEvent, report: &OwnerReport) -> Vec<Flag> {
    let mut flags = Vec::new();
    if event.subject == Subject::Root {
        flags.push(Flag::Root);
    }
    if own_role(rules, &event.call).is_some() {
        flags.push(Flag::OwnRole);
    }
    let adds_a_key =
        matches!(event.change, KeyChange::Created { .. } | KeyChange::StatusChanged { to: Status::Active });
    if adds_a_key {
        if !is_same_user(&event.call, &event.subject) {
            flags.push(Flag::CreatorIsNotOwner);
        }
        if event.call.mfa == Some(false) {
            flags.push(Flag::WithoutMfa);
        }
        if let OwnerReport::Found { keys: Ok(keys), .. } = report
            && keys.iter().any(|key| key.status == Status::Active && key.key_id != event.key_id)
        {
            flags.push(Flag::SecondActiveKey);
        }
        if event.subject != Subject::Root
            && report.owner().is_none_or(|owner| owner.tags.slack_id().is_none())
        {
            flags.push(Flag::OwnerUnknown);
        }
    }
    flags
}

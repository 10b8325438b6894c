//! One event: read, recorded with the deliveries it calls for, its owner looked up, its messages sent.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use keytide_aws::{
    Failure,
    directory::Directory,
    ledger::{Known, Place, PolicyInForce, Question, Recorded, Unrenamed, Versioned},
};
use keytide_core::{
    AccountId,
    alert::{self, AlertRules, Announcement},
    cloudtrail::{self, FailedCall, KeyChange, KeyEvent, Outcome, OwnerChange, OwnerEvent, Partial},
    delivery::{Delivery, Recipient},
    digest::sha256_hex,
    fact::{Fact, FactBody, Untold},
    key::{self, Key, Renames},
    owner::OwnerReport,
    policy::Policy,
};
use keytide_slack::Post;
use tokio::time::{Instant, timeout};

use crate::{
    Invocation,
    deliver::{Context, Deliver, Delivered, Undelivered},
};

/// Watches: takes events to the ledger and to Slack.
#[derive(Debug)]
pub struct Watch<P> {
    deliver: Deliver<P>,
    directory: Option<Directory>,
    telling: Telling,
    policy: Mutex<Option<(Instant, Judge)>>,
}

/// Which facts are told at all. All are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// All: the function's way.
    All,
    /// Those since this time; older ones are only recorded.
    Since(Timestamp),
    /// None: they are only recorded.
    Nothing,
}

/// One event as it was received.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// An EventBridge event or a CloudTrail record, as JSON.
    pub json: &'a [u8],
    /// How often it was received, this time included.
    pub received: u32,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// It says nothing about access keys or their owners.
    NotOurs(Box<Partial>),
    /// It is in the ledger, and everything it calls for is done.
    Recorded(Box<Record>),
}

/// A recorded event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where the ledger has it.
    pub place: Place,
    /// The fact.
    pub fact: Fact,
    /// What it called for.
    pub announcement: Announcement,
    /// What was known of the owner; not looked up where there was nothing left to tell.
    pub owner: OwnerReport,
    /// Whether it had been recorded before.
    pub known_before: bool,
    /// What this invocation sent, and when Slack had it.
    pub sent: Vec<(Recipient, Timestamp)>,
}

/// Why an event has to come again. Whatever was done stays done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// It could not be recorded. `alerted` says how the alert fared that goes out all the same.
    #[error("the event is not in the ledger yet: {failure}{}", alerted_words(.alerted.as_ref()))]
    NotRecorded {
        /// What kept it.
        failure: Failure,
        /// The early alert, if one was due.
        alerted: Option<Result<(), Undelivered>>,
    },
    /// It is in the ledger, and not everything it calls for is done.
    #[error("the event is in the ledger, and {}", list(.troubles))]
    Undelivered {
        /// What is still to be done.
        troubles: Vec<Undelivered>,
        /// What this invocation did send, and when Slack had it.
        sent: Vec<(Recipient, Timestamp)>,
        /// When the event happened, as far as that is known.
        happened: Option<Timestamp>,
    },
    /// It is in the ledger and told, and the keys of the user it is about do not stand as it says yet.
    #[error("the event is in the ledger and told, and its user's keys are not up to date: {failure}")]
    KeysBehind {
        /// What kept them.
        failure: Failure,
        /// What this invocation did send, and when Slack had it.
        sent: Vec<(Recipient, Timestamp)>,
        /// When the event happened, as far as that is known.
        happened: Option<Timestamp>,
    },
}

impl WatchError {
    /// When another try makes sense, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotRecorded { .. } | Self::KeysBehind { .. } => None,
            Self::Undelivered { troubles, .. } => {
                troubles.iter().filter_map(|trouble| trouble.retry_after).max()
            }
        }
    }

    /// What was sent all the same.
    pub fn sent(&self) -> &[(Recipient, Timestamp)] {
        match self {
            Self::NotRecorded { .. } => &[],
            Self::Undelivered { sent, .. } | Self::KeysBehind { sent, .. } => sent,
        }
    }

    /// When the event happened, where that is known.
    pub fn happened(&self) -> Option<Timestamp> {
        match self {
            Self::NotRecorded { .. } => None,
            Self::Undelivered { happened, .. } | Self::KeysBehind { happened, .. } => *happened,
        }
    }
}

fn alerted_words(alerted: Option<&Result<(), Undelivered>>) -> String {
    match alerted {
        None => String::new(),
        Some(Ok(())) => "; the alert went out all the same".to_owned(),
        Some(Err(trouble)) => format!("; the alert could not go out either: {trouble}"),
    }
}

fn list(troubles: &[Undelivered]) -> String {
    troubles.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// How long the ledger may be silent on an event's first receive before the alert goes out without it.
const LEDGER_PATIENCE: Duration = Duration::from_secs(1);
/// How long it may be silent later.
const LEDGER_LIMIT: Duration = Duration::from_secs(10);
/// How often a write is decided anew because somebody else was faster.
const TRIES: u32 = 6;
/// For so long the policy in force is kept: it only says whose events are loud.
const POLICY_KEPT: Duration = Duration::from_secs(10);
/// How many renames of a user are followed; they end here only if they go in a circle.
const MOST_RENAMES: usize = 8;

impl<P: Post> Watch<P> {
    /// Without a directory, owners are not looked up (and every alert says so).
    pub fn new(deliver: Deliver<P>, directory: Option<Directory>, telling: Telling) -> Self {
        // By hand, everything goes out alone: whatever is held back is the functions' to join.
        let deliver = if telling == Telling::All { deliver } else { deliver.without_joining() };
        Self { deliver, directory, telling, policy: Mutex::default() }
    }

    /// Takes one event as far as it can be taken now.
    pub async fn event(
        &self,
        incoming: &Incoming<'_>,
        invocation: &Invocation,
    ) -> Result<Watched, WatchError> {
        let matter = match Matter::read(incoming.json, &self.deliver.settings.rules) {
            Ok(matter) => matter,
            Err(partial) => return Ok(Watched::NotOurs(partial)),
        };
        let patience = if incoming.received <= 1 { LEDGER_PATIENCE } else { LEDGER_LIMIT };
        let mut gathered = Gathered::default();
        let recording = Box::pin(self.record(&matter, patience, &mut gathered, invocation));
        let recorded = match recording.await {
            Ok(recorded) => recorded,
            Err(failure) => {
                let alerted = if incoming.received <= 1 {
                    self.alert_unrecorded(&matter, gathered, invocation).await
                } else {
                    None
                };
                return Err(WatchError::NotRecorded { failure, alerted });
            }
        };
        let Gathered { owner, .. } = gathered;
        Box::pin(self.finish(matter, recorded, owner, incoming.received, invocation)).await
    }

    /// Delivers whatever a recorded event still calls for.
    async fn finish(
        &self,
        matter: Matter,
        recorded: InLedger,
        owner: Option<OwnerReport>,
        received: u32,
        invocation: &Invocation,
    ) -> Result<Watched, WatchError> {
        let InLedger { place, fact, announcement, mut deliveries, whose, known_before } = recorded;
        deliveries.retain(|delivery| !delivery.value.state.is_finished());
        if self.silence(&fact.body).is_some() {
            // What the functions have still to tell is theirs to tell.
            deliveries.clear();
        }
        let must_look = !deliveries.is_empty() || matches!(matter, Matter::Owner(_));
        let owner = match owner {
            Some(owner) => owner,
            None if must_look => self.look_up(whose.as_ref(), invocation).await,
            None => OwnerReport::NoUser,
        };
        let context = Context { place: &place, fact: &fact, owner: &owner, received };
        let mut sent = Vec::new();
        let mut troubles = Vec::new();
        // The channel first: it must not wait for a person's inbox.
        deliveries.sort_by_key(|delivery| delivery.value.name.recipient);
        for delivery in &deliveries {
            match self.deliver.one(delivery, &context, invocation).await {
                Ok(Delivered::Sent) => sent.push((delivery.value.name.recipient, invocation.now())),
                Ok(Delivered::Already | Delivered::GivenUp) => {}
                Err(trouble) => troubles.push(trouble),
            }
        }
        // Told first: what a tag or a name decides is news, whether or not the keys can follow.
        let refreshed = match &matter {
            Matter::Owner(event) => self.refresh_in_time(event, &owner, invocation.now()).await,
            _ => Ok(()),
        };
        let happened = fact.body.at();
        if !troubles.is_empty() {
            return Err(WatchError::Undelivered { troubles, sent, happened });
        }
        refreshed.map_err(|failure| WatchError::KeysBehind { failure, sent: sent.clone(), happened })?;
        Ok(Watched::Recorded(Box::new(Record { place, fact, announcement, owner, known_before, sent })))
    }

    /// Writes the fact, the key's new state and the deliveries, whatever else happens to them meanwhile.
    async fn record(
        &self,
        matter: &Matter,
        patience: Duration,
        gathered: &mut Gathered,
        invocation: &Invocation,
    ) -> Result<InLedger, Failure> {
        let ledger = &self.deliver.ledger;
        let rules = &self.deliver.settings.rules;
        let fact_id = matter.fact_id();
        let place = matter.place(&fact_id);
        let silent = |_| {
            let cause = format!("no answer within {} s", patience.as_secs_f32());
            Failure::retry("asking the ledger", cause)
        };
        let user = matter.key_event().and_then(|event| Some((&event.call.account, event.subject.user()?)));
        for turn in 0..TRIES {
            let claims = match matter {
                Matter::Key(event) if may_be_own_disable(rules, event) => {
                    let claims = timeout(patience, ledger.deliveries(&place)).await.map_err(silent)??;
                    claims.into_iter().map(|claim| claim.value).collect()
                }
                _ => Vec::new(),
            };
            let calm = matter.announcement(rules, &fact_id, &claims);
            let loud = calm.clone().for_break_glass(&fact_id, &matter.applied(None).0);
            // Whose event it is, only the policy says: asked for is whatever it may call for.
            let mut names = loud.names.clone();
            names.extend(matter.key_event().filter(|_| !names.is_empty()).and_then(alert::made_by_name));
            let at_hand = self.policy_at_hand();
            gathered.judge = at_hand.clone().unwrap_or_default();
            // A new key is most often really new, and the write itself finds out when it is not.
            let at_once = turn == 0 && self.directory.is_none() && at_hand.is_some() && matter.is_creation();
            let mut known = if at_once {
                Known::default()
            } else {
                let (place, fact_id, names) = (&place, fact_id.as_str(), names.as_slice());
                let question = Question { place, fact_id, names, user, with_policy: at_hand.is_none() };
                timeout(patience, ledger.answer(question)).await.map_err(silent)??
            };
            gathered.judge = at_hand.unwrap_or_else(|| self.keep_at_hand(Judge::of(known.policy.take())));
            if let Some(fact) = known.fact {
                let announcement = if fact.break_glass { loud } else { calm };
                let deliveries = known.deliveries;
                if let (Some(key), Some((_, name))) = (&mut known.key, user) {
                    // A rename may have missed it: the index that finds a user's keys lags by moments.
                    let before = key.value.clone();
                    self.follow_renames(&mut key.value, name.to_owned(), known.renames).await?;
                    if key.value != before {
                        let whose = matter.whose(Some(&*key));
                        let owner = self.look_up(whose.as_ref(), invocation).await;
                        if let Some(owner) = owner.owner() {
                            key.value = key.value.clone().with_owner(owner.clone());
                        }
                        gathered.owner = Some(owner);
                        ledger.save_key(&key.value, key.version, invocation.now()).await?;
                    }
                }
                let whose = matter.whose(known.key.as_ref());
                return Ok(InLedger { place, fact, announcement, deliveries, whose, known_before: true });
            }
            let holder_before = known.key.as_ref().map(|key| key.value.holder.clone());
            let (body, mut key) = matter.applied(known.key);
            let mut unrenamed = None;
            if let (Some(key), Some((account, name))) = (&mut key, user)
                && holder_before.as_ref() != Some(&key.value.holder)
            {
                let following = self.follow_renames(&mut key.value, name.to_owned(), known.renames);
                let (name, version) = timeout(patience, following).await.map_err(silent)??;
                unrenamed = Some((account, name, version));
            }
            let whose = matter.whose(key.as_ref());
            if gathered.owner.is_none() {
                gathered.owner = Some(self.look_up(whose.as_ref(), invocation).await);
            }
            let owner = gathered.owner.as_ref().and_then(OwnerReport::owner);
            if let (Some(key), Some(owner)) = (&mut key, owner) {
                key.value = key.value.clone().with_owner(owner.clone());
            }
            let now = invocation.now();
            let holder = key.as_ref().and_then(|key| key.value.holder.subject.user());
            let mut fact = gathered.judge.judge(Fact::new(&fact_id, now, body), holder);
            let announcement = if fact.break_glass { loud } else { calm };
            let mut new = announcement.deliveries(&fact_id, now);
            new.retain(|delivery| known.deliveries.iter().all(|known| known.value.name != delivery.name));
            let told: Vec<Delivery> = known.deliveries.iter().map(|told| told.value.clone()).collect();
            new.extend(
                matter.key_event().and_then(|event| alert::made_by(event, announcement.severity, &told, now)),
            );
            fact.untold = self.silence(&fact.body).filter(|_| !new.is_empty());
            if fact.untold.is_some() {
                // The fact says so, once; whoever hears of it again finds it known, and nothing to deliver.
                new.clear();
            }
            let unrenamed = unrenamed.as_ref().map(|(account, name, version)| Unrenamed {
                account,
                name,
                version: *version,
            });
            let writing = ledger.record_while(unrenamed, &place, &fact, key.as_ref(), &new);
            match timeout(patience, writing).await.map_err(silent)?? {
                Recorded::Written => {
                    let mut deliveries = known.deliveries;
                    deliveries.extend(new.into_iter().map(|value| Versioned { value, version: 1 }));
                    return Ok(InLedger {
                        place,
                        fact,
                        announcement,
                        deliveries,
                        whose,
                        known_before: false,
                    });
                }
                Recorded::AlreadyThere | Recorded::StateChanged => {}
            }
        }
        Err(Failure::retry("recording the event", format!("its key changed {TRIES} times meanwhile")))
    }

    /// The ledger is silent, and an alert is due: it goes out at once, marked as not recorded yet.
    async fn alert_unrecorded(
        &self,
        matter: &Matter,
        Gathered { owner, judge }: Gathered,
        invocation: &Invocation,
    ) -> Option<Result<(), Undelivered>> {
        let rules = &self.deliver.settings.rules;
        if let Matter::Key(event) = matter
            && may_be_own_disable(rules, event)
        {
            // Only the ledger knows whether this is our own echo: a false alarm helps nobody.
            return None;
        }
        let fact_id = matter.fact_id();
        let calm = matter.announcement(rules, &fact_id, &[]);
        let (body, key) = matter.applied(None);
        let fact = judge.judge(Fact::new(&fact_id, invocation.now(), body), None);
        let announcement = if fact.break_glass { calm.for_break_glass(&fact_id, &fact.body) } else { calm };
        let to_channel = announcement.names.iter().any(|name| name.recipient == Recipient::Channel);
        if !to_channel || self.silence(&fact.body).is_some() {
            return None;
        }
        let owner = match owner {
            Some(owner) => owner,
            None => self.look_up(matter.whose(key.as_ref()).as_ref(), invocation).await,
        };
        let posted = self.deliver.unrecorded(&fact, &owner, announcement.severity, invocation).await;
        Some(posted.map(|_| ()))
    }

    /// Who the owner is, as far as that can be found out in time.
    async fn look_up(&self, whose: Option<&(AccountId, String)>, invocation: &Invocation) -> OwnerReport {
        let Some((account, user)) = whose else { return OwnerReport::NoUser };
        match &self.directory {
            Some(directory) => directory.report(account, user, invocation.now()).await,
            None => OwnerReport::Failed("owners are not looked up here".to_owned()),
        }
    }

    /// Brings a key under its user's present name: the user may have been renamed since, by an event that was heard
    /// of before. `renames`: of who bore `name`. Gives the name that the key has now, and the version of its renames.
    async fn follow_renames(
        &self,
        key: &mut Key,
        name: String,
        renames: Versioned<Renames>,
    ) -> Result<(String, u64), Failure> {
        let (mut name, mut renames) = (name, renames);
        for _ in 0..MOST_RENAMES {
            let Some(followed) = key.following(&name, &renames.value) else { break };
            *key = followed;
            name = key.holder.subject.user().unwrap_or_default().to_owned();
            renames = self.deliver.ledger.renames(&key.account, &name).await?;
        }
        Ok((name, renames.version))
    }

    async fn refresh_in_time(
        &self,
        event: &OwnerEvent,
        owner: &OwnerReport,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let silent = |_| {
            let cause = format!("not done within {} s", LEDGER_LIMIT.as_secs());
            Failure::retry("bringing a user's keys up to date", cause)
        };
        timeout(LEDGER_LIMIT, self.refresh_keys(event, owner, now)).await.map_err(silent)?
    }

    /// The policy in force, if it was read a moment ago.
    fn policy_at_hand(&self) -> Option<Judge> {
        let kept = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(read_at, _)| read_at.elapsed() < POLICY_KEPT).map(|(_, judge)| judge.clone())
    }

    fn keep_at_hand(&self, judge: Judge) -> Judge {
        let mut kept = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((Instant::now(), judge.clone()));
        judge
    }

    /// A user's tags or name changed: its keys are brought up to date. Doing it again changes nothing.
    async fn refresh_keys(
        &self,
        event: &OwnerEvent,
        owner: &OwnerReport,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let ledger = &self.deliver.ledger;
        let account = &event.call.account;
        // First for the keys that are not there yet.
        if let OwnerChange::Renamed { new_name: Some(name), .. } = &event.change {
            ledger.note_rename(account, &event.user, name, event.call.at).await?;
        }
        for indexed in ledger.open_keys(account, Some(&event.user)).await? {
            let mut settled = false;
            for _ in 0..TRIES {
                let Some(known) = ledger.key(account, &indexed.value.key_id).await? else {
                    settled = true;
                    break;
                };
                let mut key = known.value.clone();
                if let OwnerChange::Renamed { new_name: Some(name), .. } = &event.change {
                    key = key.with_holder_renamed(&event.user, name, event.call.at);
                    let renames = ledger.renames(account, name).await?;
                    self.follow_renames(&mut key, name.clone(), renames).await?;
                }
                // A namesake's key, made since, is somebody else's.
                let is_theirs = key.holder.subject.user() == Some(event.present_name());
                if let (OwnerReport::Found { owner, .. }, true) = (owner, is_theirs) {
                    key = key.with_owner(owner.clone());
                }
                if key == known.value || ledger.save_key(&key, known.version, now).await? {
                    settled = true;
                    break;
                }
            }
            if !settled {
                let key_id = &indexed.value.key_id;
                return Err(Failure::retry(
                    "bringing a user's keys up to date",
                    format!("{key_id} keeps changing"),
                ));
            }
        }
        Ok(())
    }

    fn silence(&self, body: &FactBody) -> Option<Untold> {
        match self.telling {
            Telling::All => None,
            Telling::Nothing => Some(Untold::ByHand),
            Telling::Since(since) => match body.at() {
                Some(at) if at >= since => None,
                _ => Some(Untold::OldByHand),
            },
        }
    }
}

/// The policy by which facts are judged; none where it was not read, or cannot be understood.
#[derive(Debug, Clone, Default)]
struct Judge(Option<Arc<Policy>>);

impl Judge {
    /// The policy in force, the built-in one where there is none. One that cannot be understood silences no alert:
    /// the sweep, which acts by it, does not act, and says so in its digest.
    fn of(found: Option<Result<PolicyInForce, Failure>>) -> Self {
        let unread = |why: &dyn std::fmt::Display| {
            tracing::warn!(%why, "the policy in force cannot be read: no event is taken for a break-glass user's");
            Self(None)
        };
        match found {
            None => Self(Some(Arc::new(Policy::built_in()))),
            Some(Ok(found)) => match Policy::parse(&found.text) {
                Ok(policy) => Self(Some(Arc::new(policy))),
                Err(problems) => unread(&problems),
            },
            Some(Err(failure)) => unread(&failure),
        }
    }

    fn judge(&self, fact: Fact, holder: Option<&str>) -> Fact {
        match &self.0 {
            Some(policy) => fact.judged_by(policy, holder),
            None => fact,
        }
    }
}

/// What was found out about an event on the way into the ledger.
#[derive(Default)]
struct Gathered {
    owner: Option<OwnerReport>,
    judge: Judge,
}

/// An event as it stands in the ledger.
struct InLedger {
    place: Place,
    fact: Fact,
    announcement: Announcement,
    deliveries: Vec<Versioned<Delivery>>,
    /// Whose tags say who is to be told.
    whose: Option<(AccountId, String)>,
    known_before: bool,
}

/// An event that keytide has to do with.
enum Matter {
    Key(KeyEvent),
    Failed(FailedCall),
    Owner(OwnerEvent),
    OwnRole { fact_id: String, partial: Partial, announcement: Announcement },
    Unreadable { fact_id: String, partial: Partial },
}

impl Matter {
    fn read(json: &[u8], rules: &AlertRules) -> Result<Self, Box<Partial>> {
        // The same bytes are the same event, however often they come.
        let id_of = |partial: &Partial| {
            let named = partial.event_id.clone().or_else(|| partial.envelope_id.clone());
            named.unwrap_or_else(|| format!("derived-{}", sha256_hex(json)))
        };
        Ok(match cloudtrail::read(json) {
            Outcome::Key(event) => Self::Key(event),
            Outcome::Failed(failed) => Self::Failed(failed),
            Outcome::Owner(event) => Self::Owner(event),
            Outcome::NotOurs(partial) => {
                let fact_id = id_of(&partial);
                match alert::for_other_call(rules, &fact_id, &partial) {
                    Some(announcement) => Self::OwnRole { fact_id, partial, announcement },
                    None => return Err(Box::new(partial)),
                }
            }
            Outcome::Unreadable(partial) => Self::Unreadable { fact_id: id_of(&partial), partial },
        })
    }

    fn fact_id(&self) -> String {
        match self {
            Self::Key(event) => event.fact_id(),
            Self::Failed(failed) => failed.fact_id(),
            Self::Owner(event) => event.fact_id(),
            Self::OwnRole { fact_id, .. } | Self::Unreadable { fact_id, .. } => fact_id.clone(),
        }
    }

    fn place(&self, fact_id: &str) -> Place {
        Place::of(fact_id, &self.applied(None).0)
    }

    fn announcement(&self, rules: &AlertRules, fact_id: &str, claims: &[Delivery]) -> Announcement {
        match self {
            Self::Key(event) => alert::for_key_event(rules, event, claims),
            Self::Failed(failed) => alert::for_failed_call(rules, failed),
            Self::Owner(event) => alert::for_owner_event(rules, event),
            Self::OwnRole { announcement, .. } => announcement.clone(),
            Self::Unreadable { partial, .. } => alert::for_unreadable(rules, fact_id, partial),
        }
    }

    fn key_event(&self) -> Option<&KeyEvent> {
        match self {
            Self::Key(event) => Some(event),
            _ => None,
        }
    }

    fn is_creation(&self) -> bool {
        matches!(self, Self::Key(KeyEvent { change: KeyChange::Created { .. }, .. }))
    }

    /// The fact's body, and the key's new state over the version that was known.
    fn applied(&self, known: Option<Versioned<Key>>) -> (FactBody, Option<Versioned<Key>>) {
        match self {
            Self::Key(event) => {
                let version = known.as_ref().map_or(0, |known| known.version);
                let transition = key::apply(known.map(|known| known.value), event);
                (
                    FactBody::Key { event: event.clone(), effect: transition.effect },
                    Some(Versioned { value: transition.key, version }),
                )
            }
            Self::Failed(failed) => (FactBody::FailedCall { failed: failed.clone() }, None),
            Self::Owner(event) => (FactBody::Owner { event: event.clone() }, None),
            Self::OwnRole { partial, .. } => (FactBody::OwnRole { partial: partial.clone() }, None),
            Self::Unreadable { partial, .. } => (FactBody::Unreadable { partial: partial.clone() }, None),
        }
    }

    /// Whose tags say who is to be told: of a key, its user under the name that is known now.
    fn whose(&self, key: Option<&Versioned<Key>>) -> Option<(AccountId, String)> {
        let holder = key.and_then(|key| Some((&key.value.account, key.value.holder.subject.user()?)));
        let (account, user) = holder.or_else(|| self.user())?;
        Some((account.clone(), user.to_owned()))
    }

    /// The user whom the event names: after a rename, under its new name.
    fn user(&self) -> Option<(&AccountId, &str)> {
        match self {
            Self::Key(event) => Some((&event.call.account, event.subject.user()?)),
            Self::Failed(failed) => Some((&failed.call.account, failed.subject.user()?)),
            Self::Owner(event) => {
                let is_gone = event.change == OwnerChange::Deleted;
                (!is_gone).then(|| (&event.call.account, event.present_name()))
            }
            Self::OwnRole { .. } | Self::Unreadable { .. } => None,
        }
    }
}

/// Whether only a claim in the ledger can tell our own echo from somebody who has our role.
fn may_be_own_disable(rules: &AlertRules, event: &KeyEvent) -> bool {
    let inactive = matches!(&event.change, KeyChange::StatusChanged { to } if to.as_str() == "Inactive");
    let role = event.call.actor.role.as_ref().map(|role| role.role.as_str());
    inactive && role == Some(rules.own_roles.disabler.as_str())
}

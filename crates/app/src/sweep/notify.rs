//! The plan's notices: one message for each owner, the same for the channel, and the mark that they leave.
//!
//! Each notice is a delivery to the owner and one to the channel, claimed before anything is sent, and each
//! keeps what it says. The channel comes after the owner, whose message names a date that must not be older
//! than the channel's. Only when both are finished does the key get its mark ([`NoticeMark`]), which is what
//! licenses a disable later on: a notice that Slack did not confirm licenses nothing, and is sent by the next
//! sweep; one that it confirmed to a sweep that died is marked by the next, as it was said.
//!
//! [`NoticeMark`]: keytide_core::key::NoticeMark

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use keytide_aws::ledger::{Place, Versioned};
use keytide_core::{
    alert::Severity,
    delivery::{Delivery, DeliveryName, DeliveryState, Ending, Recipient},
    key::{Key, NoticeTerms, settle_notices},
    owner::{SlackId, SlackIdTag},
    plan::{PlannedNotice, SweepPlan},
    policy::{Mode, Policy},
};
use keytide_slack::{
    ErrorClass, Post, SlackError,
    messages::{self, DueKey, OwnerReached},
};

use super::{Observed, Sweep, Swept, TRIES, Trouble, side_by_side, some_at_once};
use crate::{
    Invocation,
    deliver::{Cause, Destination, TimeToSend},
};

/// Up to so many keys of an account are told of in a message each; more are listed in one.
const ONE_BY_ONE: usize = 10;
/// So many keys one message names. A longer list would be cut, and those beyond it would not be told of.
const A_MESSAGE: usize = 8;
/// For so long the channel waits for an owner whom Slack fails to take a message for. Then its copy is the
/// notice.
const PATIENCE: SignedDuration = SignedDuration::from_hours(3 * 24);
/// So many owners are told side by side. Slack takes about one message a second in each conversation, and short
/// bursts over all; whoever dies meanwhile leaves so many messages of which nobody knows whether they were sent.
const OWNERS_AT_ONCE: usize = 8;

/// One notice on its way.
struct Going {
    place: Place,
    key: Key,
    /// The version of the key's item that this was decided on.
    version: u64,
    notice: PlannedNotice,
    /// `None` where there is none to make.
    owner: Option<Versioned<Delivery>>,
    channel: Option<Versioned<Delivery>>,
    reached: OwnerReached,
    /// How the owner's message failed that is to be tried again.
    failed: Option<Ending>,
    trouble: Option<String>,
}

impl Going {
    /// Whether the channel's copy has to wait for the owner's message.
    fn waits(&self, now: Timestamp) -> bool {
        let owner = self.owner.as_ref().filter(|owner| !owner.value.state.is_finished());
        owner.is_some_and(|owner| now.duration_since(owner.value.created_at) < PATIENCE)
    }
}

impl<P: Post> Sweep<P> {
    /// Sends what is due.
    pub(super) async fn notify(&self, swept: &mut Swept, policy: &Policy, invocation: &Invocation) {
        let notices = swept.plan.notices.clone();
        self.tell(notices, swept, policy, invocation).await;
    }

    /// Sends what is due about keys that were to be disabled and, for whatever cause, are still active.
    pub(super) async fn notify_refused(&self, swept: &mut Swept, policy: &Policy, invocation: &Invocation) {
        let ended = swept.disabled.iter().map(|(key_id, _)| key_id).chain(&swept.moot);
        let ended: BTreeSet<&str> = ended.map(String::as_str).collect();
        let due = swept.plan.if_refused.iter().filter(|notice| !ended.contains(notice.key_id.as_str()));
        let notices = due.cloned().collect();
        self.tell(notices, swept, policy, invocation).await;
    }

    async fn tell(
        &self,
        notices: Vec<PlannedNotice>,
        swept: &mut Swept,
        policy: &Policy,
        invocation: &Invocation,
    ) {
        let mode = swept.plan.mode;
        let account = &swept.plan.account;
        let beginning =
            notices.into_iter().map(|notice| self.begin(account, notice, mode, invocation).boxed());
        let begun = side_by_side(beginning.collect()).await;
        let mut going = Vec::new();
        for begun in begun {
            match begun {
                Ok(begun) => going.extend(begun),
                Err(trouble) => swept.troubles.push(trouble),
            }
        }
        self.tell_owners(&mut going, policy, invocation).await;
        self.tell_channel(&mut going, policy, invocation).await;
        let finishing = going.into_iter().map(|one| self.finish(one, invocation).boxed());
        let ended = side_by_side(finishing.collect()).await;
        for (one, marked) in ended {
            match marked {
                Ok(true) => swept.told += 1,
                Ok(false) => {}
                Err(trouble) => swept.troubles.push(trouble),
            }
            if let Some(cause) = one.trouble {
                swept.troubles.push(Trouble::of(&one.notice.key_id, cause));
            }
        }
    }

    /// Records how a message failed that is to be tried again, and marks the key if all is said.
    async fn finish(&self, mut one: Going, invocation: &Invocation) -> (Going, Result<bool, Trouble>) {
        if let Some(failed) = one.failed.take() {
            let is_in_channel = one.channel.as_ref().is_some_and(|channel| channel.value.state.is_finished());
            let ending = match failed {
                Ending::Retry(cause) | Ending::Ambiguous(cause) if is_in_channel => {
                    Ending::GivenUp(format!("the channel was told in the owner's place: {cause}"))
                }
                failed => failed,
            };
            self.end_one(&mut one, Recipient::Owner, ending, invocation).await;
        }
        let marked = self.mark(&one, invocation).await;
        (one, marked)
    }

    /// Claims a notice's deliveries; `None` where the key is not as the plan thought any more.
    async fn begin(
        &self,
        account: &keytide_core::AccountId,
        notice: PlannedNotice,
        mode: Mode,
        invocation: &Invocation,
    ) -> Result<Option<Going>, Trouble> {
        let trouble = |cause: String| Trouble::of(&notice.key_id, cause);
        let place = Place::Key { account: account.clone(), key_id: notice.key_id.clone() };
        let name = |recipient| DeliveryName { epoch: notice.epoch.clone(), stage: notice.stage, recipient };
        let names = [name(Recipient::Owner), name(Recipient::Channel)];
        let known = self.ledger.look(&place, "", &names).await;
        let known = known.map_err(|failure| trouble(failure.to_string()))?;
        let Some(Versioned { value: key, version }) = known.key else { return Ok(None) };
        let is_still = key.holder.subject.user() == Some(&notice.user)
            && key.standing_word() == "Active"
            && !key.notices.iter().any(|mark| mark.epoch == notice.epoch && mark.stage == notice.stage);
        if !is_still {
            return Ok(None);
        }
        let terms = NoticeTerms {
            ground: notice.ground,
            disable_on: notice.disable_on,
            mode: if notice.in_earnest { mode } else { mode.min(Mode::Notify) },
        };
        let of = |recipient: Recipient| {
            let found = known.deliveries.iter().find(|known| known.value.name.recipient == recipient);
            found.cloned().unwrap_or_else(|| {
                let fact_id = format!("sweep of {}", invocation.now());
                let value = Delivery::new(name(recipient), fact_id, notice.severity, invocation.now());
                Versioned { value, version: 0 }
            })
        };
        let mut going = Going {
            place,
            key,
            version,
            owner: notice.tell_owner.then(|| of(Recipient::Owner)),
            channel: Some(of(Recipient::Channel)),
            reached: OwnerReached::NotInThisMode,
            failed: None,
            trouble: None,
            notice,
        };
        let ((owner, refused), (channel, refused_too)) = tokio::join!(
            self.claimed(&going.place, going.owner.take(), terms, invocation),
            self.claimed(&going.place, going.channel.take(), terms, invocation),
        );
        (going.owner, going.channel, going.trouble) = (owner, channel, refused.or(refused_too));
        // A date once named to somebody, by an attempt that failed or under another policy, is not undercut.
        let said = going.owner.iter().chain(&going.channel).filter_map(|delivery| delivery.value.notice);
        if let Some(latest) = said.map(|terms| terms.disable_on).max() {
            going.notice.disable_on = going.notice.disable_on.max(latest);
        }
        Ok(Some(going))
    }

    /// A message as this sweep claimed it, saying these terms; one that is finished, or that somebody else holds, as
    /// it is, the latter with what kept it.
    async fn claimed(
        &self,
        place: &Place,
        delivery: Option<Versioned<Delivery>>,
        terms: NoticeTerms,
        invocation: &Invocation,
    ) -> (Option<Versioned<Delivery>>, Option<String>) {
        let Some(delivery) = delivery else { return (None, None) };
        if delivery.value.state.is_finished() {
            return (Some(delivery), None);
        }
        let saying = Versioned { value: delivery.value.clone().saying(Some(terms)), ..delivery };
        match self.deliver.claim(place, &saying, invocation).await {
            Ok(Some(claimed)) => (Some(claimed), None),
            // Somebody finished it meanwhile; read as what it became.
            Ok(None) => (self.finished(place, &delivery).await, None),
            Err(refused) => (Some(delivery), Some(refused.to_string())),
        }
    }

    async fn finished(&self, place: &Place, delivery: &Versioned<Delivery>) -> Option<Versioned<Delivery>> {
        let known = self.ledger.look(place, "", std::slice::from_ref(&delivery.value.name)).await.ok()?;
        known.deliveries.into_iter().next()
    }

    /// One message for each owner.
    async fn tell_owners(&self, going: &mut [Going], policy: &Policy, invocation: &Invocation) {
        let mut by_owner: BTreeMap<SlackId, Vec<&mut Going>> = BTreeMap::new();
        for one in going.iter_mut() {
            let Some(delivery) = &one.owner else { continue };
            let tag = one.key.owner.as_ref().map(|owner| &owner.tags.slack_id);
            one.reached = match (&delivery.value.state, tag) {
                (DeliveryState::Done { .. }, Some(SlackIdTag::Valid(id))) => {
                    OwnerReached::Told { slack_id: id.clone() }
                }
                (DeliveryState::GivenUp { cause, .. }, _) => OwnerReached::Unreachable(cause.clone()),
                (_, Some(SlackIdTag::Missing)) => OwnerReached::NoTag,
                (_, Some(SlackIdTag::Malformed(text))) => OwnerReached::Malformed(text.clone()),
                (_, None) => OwnerReached::Unknown("the user's tags could not be read".to_owned()),
                (DeliveryState::Doing { by, .. }, Some(SlackIdTag::Valid(id)))
                    if *by == invocation.session =>
                {
                    by_owner.entry(id.clone()).or_default().push(one);
                    continue;
                }
                (state, _) => OwnerReached::Unknown(format!("the message is {}", state.as_str())),
            };
        }
        let telling = by_owner
            .into_iter()
            .map(|(slack_id, theirs)| self.tell_owner(slack_id, theirs, policy, invocation).boxed());
        some_at_once(OWNERS_AT_ONCE, telling.collect()).await;
        // Who has no usable tag is given up on, so that the channel's copy is the notice.
        for one in going {
            let cause = match &one.reached {
                OwnerReached::NoTag => "the user has no tag slack-id; the channel was told".to_owned(),
                OwnerReached::Malformed(text) => {
                    let shown: String = text.chars().take(40).collect();
                    format!("the user's tag slack-id is {shown:?}, no Slack member id; the channel was told")
                }
                _ => continue,
            };
            self.end_one(one, Recipient::Owner, Ending::GivenUp(cause), invocation).await;
        }
    }

    /// One owner's message, recorded as it ended; several, one after the other, if one cannot name all their keys:
    /// whoever is marked as told must have been named.
    async fn tell_owner(
        &self,
        slack_id: SlackId,
        mut theirs: Vec<&mut Going>,
        policy: &Policy,
        invocation: &Invocation,
    ) {
        for named in theirs.chunks_mut(A_MESSAGE) {
            let due: Vec<DueKey<'_>> = named.iter().map(|one| due(one, policy)).collect();
            let message =
                messages::notices_for_owner(&due, &self.deliver.settings.accounts, invocation.now());
            let time = self.deliver.time_to_send(invocation);
            let sent = self.deliver.send(Destination::Direct(&slack_id), &message, time).await;
            let detail = match &sent {
                Err(Cause::Slack(error)) => Some(error.detail.clone()),
                _ => None,
            };
            let (ending, reached, trouble) = match sent {
                Ok(receipt) => {
                    (Ending::Done(receipt), OwnerReached::Told { slack_id: slack_id.clone() }, None)
                }
                Err(Cause::Slack(SlackError { class: ErrorClass::Recipient, detail })) => {
                    let cause = format!("Slack cannot reach the owner: {detail}; the channel was told");
                    (Ending::GivenUp(cause), OwnerReached::Unreachable(detail), None)
                }
                Err(cause) => {
                    let said = cause.to_string();
                    let ending = match &cause {
                        Cause::Slack(SlackError { class: ErrorClass::Ambiguous, .. }) => {
                            Ending::Ambiguous(said.clone())
                        }
                        _ => Ending::Retry(said.clone()),
                    };
                    (ending, OwnerReached::Unknown(said.clone()), Some(said))
                }
            };
            for one in named {
                one.reached = reached.clone();
                one.trouble = one.trouble.take().or_else(|| trouble.clone());
                if trouble.is_some() && !one.waits(invocation.now()) {
                    if let (Ending::Retry(_), Some(detail)) = (&ending, &detail) {
                        one.reached = OwnerReached::Unreachable(detail.clone());
                    }
                    // Known only when the channel has its copy.
                    one.failed = Some(ending.clone());
                    continue;
                }
                self.end_one(one, Recipient::Owner, ending.clone(), invocation).await;
            }
        }
    }

    /// The same for the channel, with whether the owner was reached.
    async fn tell_channel(&self, going: &mut [Going], policy: &Policy, invocation: &Invocation) {
        let mine: Vec<usize> = going
            .iter()
            .enumerate()
            .filter(|(_, one)| !one.waits(invocation.now()))
            .filter(|(_, one)| {
                one.channel.as_ref().is_some_and(|delivery| {
                    matches!(&delivery.value.state, DeliveryState::Doing { by, .. } if *by == invocation.session)
                })
            })
            .map(|(index, _)| index)
            .collect();
        let groups: Vec<Vec<usize>> = if mine.len() > ONE_BY_ONE {
            // Critical ones always stand alone.
            let is_critical = |index: &usize| {
                going.get(*index).is_some_and(|one| one.notice.severity == Severity::Critical)
            };
            let (critical, rest): (Vec<usize>, Vec<usize>) = mine.into_iter().partition(is_critical);
            {
                let rest = rest.chunks(A_MESSAGE).map(<[usize]>::to_vec);
                critical.into_iter().map(|index| vec![index]).chain(rest).collect()
            }
        } else {
            mine.into_iter().map(|index| vec![index]).collect()
        };
        for group in groups.into_iter().filter(|group| !group.is_empty()) {
            let message = {
                let due: Vec<(DueKey<'_>, OwnerReached)> = group
                    .iter()
                    .filter_map(|index| going.get(*index))
                    .map(|one| (due(one, policy), one.reached.clone()))
                    .collect();
                let Some(account) = due.first().map(|(due, _)| due.account) else { continue };
                messages::notices_for_channel(
                    account,
                    &due,
                    &self.deliver.settings.accounts,
                    invocation.now(),
                )
            };
            let time: TimeToSend = self.deliver.time_to_send(invocation);
            let (ending, trouble) = match policy.notices_channel() {
                Some(channel) => self.deliver.to_named_channel(channel, &message, time).await,
                None => self.deliver.to_channel(&message, time).await,
            };
            let named = going.iter_mut().enumerate().filter(|(index, _)| group.contains(index));
            let ends = named.map(|(_, one)| {
                one.trouble =
                    one.trouble.take().or_else(|| trouble.as_ref().map(|(cause, _)| cause.to_string()));
                self.end_one(one, Recipient::Channel, ending.clone(), invocation).boxed()
            });
            side_by_side(ends.collect()).await;
        }
    }

    /// Records how one delivery ended, here and in the ledger.
    async fn end_one(&self, one: &mut Going, recipient: Recipient, ending: Ending, invocation: &Invocation) {
        let slot = if recipient == Recipient::Owner { &mut one.owner } else { &mut one.channel };
        let Some(delivery) = slot.as_mut() else { return };
        let is_mine =
            matches!(&delivery.value.state, DeliveryState::Doing { by, .. } if *by == invocation.session);
        if !is_mine {
            return;
        }
        if let Err(undelivered) = self.deliver.end(&one.place, delivery, ending.clone(), invocation).await {
            one.trouble = Some(undelivered.to_string());
        } else if let Ok(ended) = delivery.value.end(&invocation.session, invocation.now(), ending) {
            delivery.value = ended;
        }
    }

    /// Marks the key, once everybody who is to be told was told; `false` where that is not yet so.
    async fn mark(&self, one: &Going, invocation: &Invocation) -> Result<bool, Trouble> {
        let said: Vec<Delivery> =
            one.owner.iter().chain(&one.channel).map(|delivery| delivery.value.clone()).collect();
        let known = Versioned { value: one.key.clone(), version: one.version };
        let marked = self.settle(&one.place, Some(known), &said, invocation).await?;
        Ok(marked.is_some())
    }

    /// Marks the keys that a plan is about with the notices that earlier sweeps sent and could not mark, and
    /// says whether there were any: then the plan is to be made anew.
    pub(super) async fn mark_what_was_said(
        &self,
        observed: &mut Observed,
        plan: &SweepPlan,
        invocation: &Invocation,
    ) -> (bool, Vec<Trouble>) {
        let notices = plan.notices.iter().chain(&plan.if_refused).map(|notice| &notice.key_id);
        let due: BTreeSet<&String> =
            notices.chain(plan.disables.iter().map(|disable| &disable.key_id)).collect();
        let account = &observed.state.account;
        let known = observed.state.keys.iter().filter(|key| due.contains(&key.key_id));
        let settling = known.map(|key| {
            async move {
                let place = Place::Key { account: account.clone(), key_id: key.key_id.clone() };
                let said = self.ledger.deliveries(&place).await;
                let said = said.map_err(|failure| Trouble::of(&key.key_id, failure.to_string()))?;
                let said: Vec<Delivery> = said.into_iter().map(|delivery| delivery.value).collect();
                // Nothing is said that the key is not marked with, and marks do not go: no need to read it afresh.
                if settle_notices(key, &said).is_none() {
                    return Ok(None);
                }
                self.settle(&place, None, &said, invocation).await
            }
            .boxed()
        });
        let settled = side_by_side(settling.collect()).await;
        let mut troubles = Vec::new();
        let mut is_any = false;
        for settled in settled {
            match settled {
                Ok(Some(key)) => {
                    is_any = true;
                    if let Some(known) =
                        observed.state.keys.iter_mut().find(|known| known.key_id == key.key_id)
                    {
                        *known = key;
                    }
                }
                Ok(None) => {}
                Err(trouble) => troubles.push(trouble),
            }
        }
        (is_any, troubles)
    }

    /// Gives a key, where it is known as it was read just now, the marks that its deliveries call for, and returns
    /// it if it has new ones.
    async fn settle(
        &self,
        place: &Place,
        mut known: Option<Versioned<Key>>,
        said: &[Delivery],
        invocation: &Invocation,
    ) -> Result<Option<Key>, Trouble> {
        let Place::Key { account, key_id } = place else { return Ok(None) };
        let trouble = |cause: String| Trouble::of(key_id, cause);
        for _ in 0..TRIES {
            let read = match known.take() {
                Some(known) => Some(known),
                None => {
                    self.ledger.key(account, key_id).await.map_err(|failure| trouble(failure.to_string()))?
                }
            };
            let Some(Versioned { value: key, version }) = read else { return Ok(None) };
            let Some(key) = settle_notices(&key, said) else { return Ok(None) };
            let saved = self.ledger.save_key(&key, version, invocation.now()).await;
            if saved.map_err(|failure| trouble(failure.to_string()))? {
                return Ok(Some(key));
            }
        }
        Err(trouble(format!("a notice is sent and could not be marked: the key changed {TRIES} times")))
    }
}

fn due<'a>(one: &'a Going, policy: &'a Policy) -> DueKey<'a> {
    DueKey { account: &one.key.account, key: &one.key, notice: &one.notice, policy }
}

//! The plan's disables: the one place where keytide takes something away.
//!
//! The plan only proposes. Here everything is read afresh, consistently, and judged by the same rules once
//! more: the key, its exemption, the halt, the policy, the approval; then the key as IAM shows it, by the very
//! session that could disable it. Whatever is not as it was, or cannot be read, means no. The claim in the
//! ledger bears the session's name, by which the watcher knows the echo.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keytide_aws::{
    disabler::{Disabler, DisablerSession, Target},
    ledger::{AccountRecord, DisablesOf, Place, Recorded, Versioned},
};
use keytide_core::{
    alert,
    cloudtrail::Status,
    delivery::{Delivery, DeliveryName, DeliveryState, Ending, Receipt, Recipient, Stage},
    digest::sha256_hex,
    fact::{DisabledKey, Fact, FactBody, SeenAfter},
    key::{Ground, Key},
    lifecycle::{utc_date, whole_days},
    owner::ListedKey,
    plan::{self, AccountState, HeldBy, HeldDisable, PlannedDisable},
    policy::Policy,
};
use keytide_slack::Post;
use tokio::time::{Instant, sleep};

use super::{Observed, Sweep, Swept, TRIES, Trouble, is_of, record::report_of};
use crate::{Invocation, deliver::Context};

/// How long IAM may take to show what was done. It takes three or four seconds.
const REREAD_FOR: Duration = Duration::from_secs(30);
const REREAD_EVERY: Duration = Duration::from_secs(2);
/// A disable is not begun with less time than this left in the invocation.
const LEAST_TIME: Duration = Duration::from_mins(1);
/// Our clock and AWS's may differ by so much; beyond it, no age is certain.
const CLOCKS_AGREE: SignedDuration = SignedDuration::from_mins(5);
/// A claim to disable lives long enough for its event to arrive under it.
const CLAIM: SignedDuration = SignedDuration::from_mins(10);
/// For so long after its claim ran out the event of a disable may still come.
const EVENT_MAY_COME: SignedDuration = SignedDuration::from_hours(24);

/// What the sweep at hand goes by.
#[derive(Clone, Copy)]
struct Under<'a> {
    observed: &'a Observed,
    policy: &'a Policy,
    record: &'a AccountRecord,
    account_cap: u32,
}

/// How a disable went that was begun.
enum Went {
    /// It was done, and IAM showed this afterwards; with what kept it from being recorded or told.
    Seen(SeenAfter, Option<Trouble>),
    /// It was not allowed after all.
    Held(HeldBy),
    /// The key is not there, or not active: nothing to do.
    Moot,
}

impl<P: Post> Sweep<P> {
    /// Disables what the plan proposes and everything still allows.
    pub(super) async fn disable(
        &self,
        observed: &Observed,
        swept: &mut Swept,
        policy: &Policy,
        record: &AccountRecord,
        invocation: &Invocation,
    ) {
        let planned = swept.plan.disables.clone();
        let under = Under { observed, policy, record, account_cap: swept.plan.account_cap };
        let Some(disabler) = &self.disabler else {
            swept.troubles.extend(planned.iter().map(|one| {
                Trouble::of(&one.key_id, "it is due to be disabled, and this sweep cannot disable")
            }));
            return;
        };
        for (number, disable) in planned.iter().enumerate() {
            if invocation.remaining() < LEAST_TIME {
                let left = planned.len() - number;
                swept.troubles.push(Trouble::general(format!(
                    "{left} of the keys to disable are left for the next sweep: too little time was left"
                )));
                return;
            }
            match self.disable_one(disabler, disable, under, invocation).await {
                Ok(Went::Seen(seen, trouble)) => {
                    // It is done, and counts, whatever became of telling it.
                    swept.disabled.push((disable.key_id.clone(), seen == SeenAfter::Inactive));
                    swept.troubles.extend(trouble);
                }
                Ok(Went::Held(by)) => swept.refused.push(HeldDisable {
                    key_id: disable.key_id.clone(),
                    user: disable.user.clone(),
                    by,
                }),
                Ok(Went::Moot) => swept.moot.push(disable.key_id.clone()),
                Err(trouble) => swept.troubles.push(trouble),
            }
        }
    }

    async fn disable_one(
        &self,
        disabler: &Disabler,
        planned: &PlannedDisable,
        under: Under<'_>,
        invocation: &Invocation,
    ) -> Result<Went, Trouble> {
        let account = &under.observed.state.account;
        let key_id = &planned.key_id;
        let trouble = |cause: String| Trouble::of(key_id, cause);
        let key = match self.still_allowed(planned, under, invocation).await.map_err(trouble)? {
            Ok(key) => key,
            Err(went) => return Ok(went),
        };
        let Some(owner) = &key.owner else { return Ok(Went::Held(HeldBy::TagsUnknown)) };

        // A session of its own for each key, and the claim under that name before anything else.
        let session_name = session_name(invocation, key_id);
        let place = Place::Key { account: account.clone(), key_id: key_id.clone() };
        let name =
            DeliveryName { epoch: planned.epoch.clone(), stage: Stage::Disable, recipient: Recipient::Iam };
        let Some(claim) = self.claim_disable(&place, &name, &session_name, invocation).await? else {
            // It was disabled in this epoch, and is active although nobody set it so: nothing to be sure of.
            return Ok(Went::Held(HeldBy::NotSeen));
        };
        let target =
            Target { account: account.clone(), path: owner.path.clone(), name: planned.user.clone() };
        let session = disabler.session(&target, &session_name, invocation.now()).await;
        let went = match session {
            Ok(session) => self.act(&session, &session_name, planned, under, invocation).await,
            Err(failure) => Err(trouble(failure.to_string())),
        };
        match went {
            Ok(Went::Seen(seen, _)) => {
                let recorded = self
                    .record_disable(&place, planned, (seen, None), &session_name, under.policy, invocation)
                    .await;
                let untold = match recorded {
                    Ok(untold) => untold,
                    // The claim stays as it is and runs out; the key is disabled all the same.
                    Err(trouble) => return Ok(Went::Seen(seen, Some(trouble))),
                };
                let receipt = Receipt {
                    channel: "iam".to_owned(),
                    ts: invocation.now().to_string(),
                    note: (seen == SeenAfter::Unconfirmed).then(|| "unconfirmed".to_owned()),
                };
                let ended =
                    self.end_claim(&place, &claim, &session_name, Ending::Done(receipt), invocation).await;
                Ok(Went::Seen(seen, untold.or(ended.err())))
            }
            Ok(went) => {
                let cause = "it was not allowed after all, or there was nothing to do".to_owned();
                self.end_claim(&place, &claim, &session_name, Ending::GivenUp(cause), invocation).await?;
                Ok(went)
            }
            Err(trouble) => {
                // Before the call: nothing was done. The next sweep claims it anew.
                let ending = Ending::GivenUp(trouble.to_string());
                self.end_claim(&place, &claim, &session_name, ending, invocation).await?;
                Err(trouble)
            }
        }
    }

    /// The key, if everything that decides, read consistently at this moment, still lets it be disabled; else
    /// what stops it.
    async fn still_allowed(
        &self,
        planned: &PlannedDisable,
        Under { observed, policy, record, .. }: Under<'_>,
        invocation: &Invocation,
    ) -> Result<Result<Key, Went>, String> {
        let words = |failure: keytide_aws::Failure| failure.to_string();
        let (account, key_id) = (&observed.state.account, &planned.key_id);
        let Some(key) = self.ledger.key(account, key_id).await.map_err(words)? else {
            return Ok(Err(Went::Moot));
        };
        let key = key.value;
        let exemption = self.ledger.exemption(account, key_id).await.map_err(words)?;
        let acceptance = self.ledger.acceptance().await.map_err(words)?;
        let in_force = self.ledger.policy().await.map_err(words)?;
        // The halt last: whoever sets one wants it to hold at once.
        let halt = self.ledger.halt().await.map_err(words)?;
        // One that is gone is another one, too; and so is one that came back after another.
        let is_the_same = match in_force {
            Some(found) => is_of(&found, policy) && Some(found.version) == record.policy_version,
            None => policy.hash() == Policy::built_in().hash(),
        };
        if !is_the_same {
            return Ok(Err(Went::Held(HeldBy::PolicyChanged)));
        }
        let state = AccountState {
            account: account.clone(),
            keys: vec![key.clone()],
            exemptions: exemption.map(|found| (key_id.to_owned(), found.value)).into_iter().collect(),
            baseline_at: observed.state.baseline_at,
            enforced_since: record.enforced_since,
            restored_at: acceptance.at,
            unaccepted: acceptance.unaccepted,
            disabled_today: observed.state.disabled_today,
            halt: halt.map(|halt| halt.value.reason),
            approved: Vec::new(),
        };
        if let Some(by) = plan::stopped_by(planned, &state, &key, policy, invocation.now()) {
            return Ok(Err(Went::Held(by)));
        }
        let is_read_now = key.last_use.as_ref().is_some_and(|read| read.seen_at >= observed.at);
        if planned.ground == Ground::Unused && !is_read_now {
            // The notice may well have made somebody use it.
            return Ok(Err(Went::Held(HeldBy::NotSeen)));
        }
        Ok(Ok(key))
    }

    async fn act(
        &self,
        session: &DisablerSession,
        session_name: &str,
        planned: &PlannedDisable,
        under: Under<'_>,
        invocation: &Invocation,
    ) -> Result<Went, Trouble> {
        let account = &under.observed.state.account;
        let key_id = &planned.key_id;
        let trouble = |cause: String| Trouble::of(key_id, cause);
        let agree = session.aws_clock_skew().is_some_and(|skew| skew.abs() <= CLOCKS_AGREE);
        if !agree {
            return Ok(Went::Held(HeldBy::Clock));
        }
        let listed = session.reread(key_id).await.map_err(|failure| trouble(failure.to_string()))?;
        let Some(listed) = listed.filter(|listed| listed.status == Status::Active) else {
            return Ok(Went::Moot);
        };
        // Counted before it is done: whoever dies in between has counted it.
        let of_account = if planned.beyond_cap { u32::MAX } else { under.account_cap };
        let cap_of_all = under.policy.caps().organization_per_day;
        let of_all = if planned.beyond_cap { u32::MAX } else { cap_of_all };
        let caps = [
            // The organization's first: the account's plan has reckoned with its own.
            (DisablesOf::Organization, of_all, HeldBy::OrganizationCap { most: cap_of_all }),
            (DisablesOf::Account(account), of_account, HeldBy::AccountCap { most: of_account }),
        ];
        for (of, most, by) in caps {
            let date = utc_date(invocation.now());
            let counted = self.ledger.count_disable(of, date, most, invocation.now()).await;
            if !counted.map_err(|failure| trouble(failure.to_string()))? {
                return Ok(Went::Held(by));
            }
        }
        // Last of all: whatever was decided while this went on.
        let key = match self.still_allowed(planned, under, invocation).await.map_err(trouble)? {
            Ok(key) => key,
            Err(went) => return Ok(went),
        };
        if !is_that_very_key(&listed, &key) {
            return Ok(Went::Held(HeldBy::NotSeen));
        }
        tracing::info!(%account, key_id, user = planned.user, session_name, "disabling an access key");
        if let Err(failure) = session.disable(key_id).await {
            // It may have been done all the same: what IAM shows decides.
            tracing::warn!(key_id, %failure, "the call to disable gave no answer");
        }
        let until = Instant::now() + REREAD_FOR.min(invocation.remaining().saturating_sub(LEAST_TIME / 2));
        loop {
            match session.reread(key_id).await {
                Ok(Some(listed)) if listed.status == Status::Active => {}
                Ok(Some(_)) => return Ok(Went::Seen(SeenAfter::Inactive, None)),
                // Gone, or under another name by now: nobody saw it Inactive.
                Ok(None) => return Ok(Went::Seen(SeenAfter::Unconfirmed, None)),
                Err(failure) => tracing::warn!(key_id, %failure, "a disabled key could not be read again"),
            }
            if Instant::now() + REREAD_EVERY > until {
                return Ok(Went::Seen(SeenAfter::Unconfirmed, None));
            }
            sleep(REREAD_EVERY).await;
        }
    }

    /// The claim under which the key is disabled; `None` where that was done in this epoch already.
    async fn claim_disable(
        &self,
        place: &Place,
        name: &DeliveryName,
        session_name: &str,
        invocation: &Invocation,
    ) -> Result<Option<Versioned<Delivery>>, Trouble> {
        let now = invocation.now();
        let trouble = |cause: String| Trouble::general(format!("claiming a disable: {cause}"));
        let known = self.ledger.look(place, "", std::slice::from_ref(name)).await;
        let known = known.map_err(|failure| trouble(failure.to_string()))?.deliveries.into_iter().next();
        let known = known.unwrap_or_else(|| {
            let fact_id = format!("sweep of {now}");
            let value = Delivery::new(name.clone(), fact_id, alert::Severity::Notice, now);
            Versioned { value, version: 0 }
        });
        // In an epoch that goes on, a key that was disabled and set Active again shortly after is disabled
        // once more: its claim begins anew.
        let again = match &known.value.state {
            DeliveryState::Done { .. } | DeliveryState::GivenUp { .. } => {
                Delivery { state: DeliveryState::NEW, created_at: now, ..known.value.clone() }
            }
            _ => known.value.clone(),
        };
        let claimed =
            again.claim(session_name, now, CLAIM).map_err(|refused| trouble(refused.to_string()))?;
        let saved = self.ledger.save_delivery(place, &claimed, known.version).await;
        saved.map_err(|failure| trouble(failure.to_string()))
    }

    async fn end_claim(
        &self,
        place: &Place,
        claim: &Versioned<Delivery>,
        session_name: &str,
        ending: Ending,
        invocation: &Invocation,
    ) -> Result<(), Trouble> {
        let trouble = |cause: String| Trouble::general(format!("recording a disable's end: {cause}"));
        let ended = claim.value.end(session_name, invocation.now(), ending);
        let ended = ended.map_err(|refused| trouble(refused.to_string()))?;
        let saved = self.ledger.save_delivery(place, &ended, claim.version).await;
        match saved.map_err(|failure| trouble(failure.to_string()))? {
            Some(_) => Ok(()),
            None => Err(trouble("the claim was changed by somebody else".to_owned())),
        }
    }

    /// Writes what was seen, the key's new state and the messages about it; then sends them. Gives what kept
    /// a message, which is recorded and goes out with the next sweep. `found_of` says when it was done, where that is
    /// found out later: then the key's state is known from elsewhere.
    async fn record_disable(
        &self,
        place: &Place,
        planned: &PlannedDisable,
        (seen, found_of): (SeenAfter, Option<Timestamp>),
        session_name: &str,
        policy: &Policy,
        invocation: &Invocation,
    ) -> Result<Option<Trouble>, Trouble> {
        let Place::Key { account, key_id } = place else { return Ok(None) };
        let trouble = |cause: String| Trouble::of(key_id, cause);
        for _ in 0..TRIES {
            let known =
                self.ledger.key(account, key_id).await.map_err(|failure| trouble(failure.to_string()))?;
            let Some(Versioned { value: mut key, version }) = known else { return Ok(None) };
            let now = invocation.now();
            let at = found_of.unwrap_or(now);
            let disabled = DisabledKey { key: key.clone(), at, planned: planned.clone(), seen };
            if found_of.is_none() && seen == SeenAfter::Inactive && key.standing_word() == "Active" {
                key.set_inactive(now);
            }
            let id = format!("disable-{}", sha256_hex(session_name.as_bytes()));
            let body = FactBody::Disabled { disabled: Box::new(disabled) };
            let fact = Fact::new(&id, now, body).judged_by(policy, None);
            let announcement = alert::for_disabled(&id, seen);
            let deliveries = announcement.deliveries(&id, now);
            let owner = report_of(&key);
            let key = Versioned { value: key, version };
            let recorded = self.ledger.record(place, &fact, Some(&key), &deliveries).await;
            match recorded.map_err(|failure| trouble(failure.to_string()))? {
                Recorded::StateChanged => continue,
                Recorded::Written | Recorded::AlreadyThere => {}
            }
            let context = Context { place, fact: &fact, owner: &owner, received: u32::MAX };
            let mut failed = Vec::new();
            for delivery in deliveries {
                let delivery = Versioned { value: delivery, version: 1 };
                if let Err(undelivered) = self.deliver.one(&delivery, &context, invocation).await {
                    failed.push(undelivered.to_string());
                }
            }
            return Ok((!failed.is_empty()).then(|| trouble(failed.join("; "))));
        }
        Err(trouble(format!("it is disabled, and could not be recorded: the key changed {TRIES} times")))
    }

    /// Whether it was this session of the disabler that set the key Inactive after `since`, if an event told.
    async fn who_disabled(
        &self,
        place: &Place,
        session_name: &str,
        since: Timestamp,
    ) -> Result<Option<bool>, keytide_aws::Failure> {
        let rules = &self.deliver.settings.rules;
        let since = since.saturating_sub(CLOCKS_AGREE).unwrap_or(since);
        let history = self.ledger.history(place).await?;
        let told = history.facts.iter().filter_map(|fact| match &fact.body {
            FactBody::Key { event, .. } if event.call.at >= since && event.sets(&Status::Inactive) => {
                Some(alert::is_disable_by(rules, event, session_name))
            }
            _ => None,
        });
        Ok(told.reduce(|ours, this| ours || this))
    }

    /// A disable that somebody began and could not record, as an invocation that died: told of now, if the key has
    /// turned out Inactive since, or its event has come. Else it is given up after a day: what is to become of an
    /// active key, the plan decides.
    pub(super) async fn finish_disable(
        &self,
        place: &Place,
        claim: &Versioned<Delivery>,
        swept: &mut Swept,
        policy: &Policy,
        invocation: &Invocation,
    ) -> Result<(), Trouble> {
        let DeliveryState::Doing { by, since, until } = &claim.value.state else { return Ok(()) };
        let Place::Key { account, key_id } = place else { return Ok(()) };
        let trouble = |cause: String| Trouble::of(key_id, cause);
        let now = invocation.now();
        if now < *until {
            return Err(trouble(format!(
                "a disable that another sweep began at {since} has not ended; it is looked at after {until}"
            )));
        }
        let known = self.ledger.key(account, key_id).await.map_err(|failure| trouble(failure.to_string()))?;
        let Some(Versioned { value: key, .. }) = known else { return Ok(()) };
        let who =
            self.who_disabled(place, by, *since).await.map_err(|failure| trouble(failure.to_string()))?;
        let give_up = |cause: &str| Ending::GivenUp(cause.to_owned());
        let seen = match (who, key.standing_word() == "Inactive") {
            // Also if somebody has changed it since.
            (Some(true), _) => SeenAfter::Inactive,
            (None, true) => SeenAfter::FoundInactive,
            (Some(false), true) => {
                let ending = give_up("somebody else had set the key Inactive");
                return self.end_claim(place, claim, by, ending, invocation).await;
            }
            (_, false) if now.duration_since(*until) < EVENT_MAY_COME => return Ok(()),
            (_, false) => {
                let ending = give_up("nothing shows that it was done");
                return self.end_claim(place, claim, by, ending, invocation).await;
            }
        };
        let mark = key.notices.iter().rfind(|mark| mark.epoch == claim.value.name.epoch);
        let planned = PlannedDisable {
            key_id: key_id.clone(),
            user: key.holder.subject.user().unwrap_or_default().to_owned(),
            epoch: claim.value.name.epoch.clone(),
            ground: mark.map_or(Ground::Age, |mark| mark.ground),
            age_days: key.born().map_or(0, |born| whole_days(born, *since)),
            noticed_at: mark.map_or(*since, |mark| mark.at),
            named: mark.map_or_else(|| utc_date(*since), |mark| mark.disable_on),
            beyond_cap: false,
        };
        let found = (seen, Some(*since));
        let untold = self.record_disable(place, &planned, found, by, policy, invocation).await?;
        swept.disabled.push((key_id.clone(), seen == SeenAfter::Inactive));
        let note = Some("found done by a later sweep".to_owned());
        let receipt = Receipt { channel: "iam".to_owned(), ts: now.to_string(), note };
        self.end_claim(place, claim, by, Ending::Done(receipt), invocation).await?;
        untold.map_or(Ok(()), Err)
    }
}

/// Whether IAM shows the key that the ledger knows: of that birth, as far as both say one.
fn is_that_very_key(listed: &ListedKey, key: &Key) -> bool {
    listed.key_id == key.key_id && listed.created.is_some() && listed.created == key.born()
}

/// The name that the session bears in the account's trail: for one key in one invocation. STS takes 64
/// letters, digits and `=,.@-_`.
fn session_name(invocation: &Invocation, key_id: &str) -> String {
    let digest = sha256_hex(format!("{} {key_id}", invocation.session).as_bytes());
    format!("keytide-{}", digest.chars().take(40).collect::<String>())
}

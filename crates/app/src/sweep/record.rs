//! What no event told, written into the ledger, and told.

use futures_util::FutureExt as _;
use jiff::SignedDuration;
use keytide_aws::ledger::{Place, Recorded, Versioned};
use keytide_core::{
    AccountId, alert,
    delivery::{Delivery, DeliveryState, Stage},
    digest::sha256_hex,
    fact::{Fact, FactBody, ObservedKey, Untold},
    key::Key,
    owner::OwnerReport,
    plan::{AccountState, Change, News},
    policy::Policy,
};
use keytide_slack::Post;

use super::{Observed, Sweep, Swept, TRIES, Trouble, side_by_side};
use crate::{
    Invocation,
    deliver::{Cause, Context},
};

/// How many unfinished messages of an account one sweep takes up.
const MOST_UNFINISHED: usize = 200;
/// An event's own message is first of all the watcher's, whose queue brings it back. So long after it came to be
/// it has been given up there, or is as good as.
const LEFT_TO_THE_WATCHER: SignedDuration = SignedDuration::from_hours(6);

/// The claim of a disable that was begun and not ended.
pub(super) type OpenDisable = (Place, Versioned<Delivery>);

impl<P: Post> Sweep<P> {
    /// Makes the messages that somebody left unfinished; gives the disables that were begun and not ended, which
    /// only a look at the keys can settle.
    pub(super) async fn finish_unfinished(
        &self,
        account: &AccountId,
        invocation: &Invocation,
    ) -> (Vec<OpenDisable>, Vec<Trouble>) {
        let mut disables = Vec::new();
        let mut troubles = Vec::new();
        let mut unfinished = Vec::new();
        // What people decided for all accounts, and events that name none, are nobody's in particular: whoever
        // comes first tells of them.
        let (of_account, of_all, of_nobody) = tokio::join!(
            self.ledger.unfinished(account, MOST_UNFINISHED),
            self.ledger.unfinished_of_organization(MOST_UNFINISHED),
            self.ledger.unfinished_of_strays(MOST_UNFINISHED),
        );
        for found in [of_account, of_all, of_nobody] {
            match found {
                Ok(found) => unfinished.extend(found),
                Err(failure) => troubles.push(Trouble::general(failure)),
            }
        }
        for (place, delivery) in unfinished {
            if delivery.value.name.stage == Stage::Disable {
                if matches!(delivery.value.state, DeliveryState::Doing { .. }) {
                    disables.push((place, delivery));
                }
                continue;
            }
            let fact = match self.ledger.fact(&place, &delivery.value.fact_id).await {
                Ok(Some(fact)) => fact,
                // It comes with the next read, or it expired: nothing can be said of it now.
                Ok(None) => continue,
                Err(failure) => {
                    troubles.push(Trouble::general(failure));
                    continue;
                }
            };
            let is_ours = matches!(
                fact.body,
                FactBody::Observed { .. } | FactBody::Disabled { .. } | FactBody::Decided { .. }
            );
            let age = invocation.now().duration_since(delivery.value.created_at);
            if !is_ours && (self.leaves_events || age < LEFT_TO_THE_WATCHER) {
                continue;
            }
            let owner = self.owner_of(&place).await;
            let context = Context { place: &place, fact: &fact, owner: &owner, received: u32::MAX };
            if let Err(trouble) = self.deliver.one(&delivery, &context, invocation).await
                && !matches!(trouble.cause, Cause::Claimed(_))
            {
                troubles.push(Trouble::general(trouble));
            }
        }
        (disables, troubles)
    }

    /// The owner as the ledger has it: the sweep has just read it, or will.
    async fn owner_of(&self, place: &Place) -> OwnerReport {
        let Place::Key { account, key_id } = place else { return OwnerReport::NoUser };
        match self.ledger.key(account, key_id).await {
            Ok(Some(key)) => report_of(&key.value),
            Ok(None) => OwnerReport::NotFound,
            Err(failure) => OwnerReport::Failed(failure.to_string()),
        }
    }

    /// Writes every change of the plan, each on its own, and tells of those that are news.
    pub(super) async fn record_changes(
        &self,
        observed: &Observed,
        open_disables: &[OpenDisable],
        swept: &mut Swept,
        policy: &Policy,
        invocation: &Invocation,
    ) {
        // What is told goes out one by one, in the plan's order; the rest, as a whole baseline, side by side.
        let is_quiet = |change: &&Change| change.news.is_empty() || is_untold(&observed.state, change);
        let (quiet, told): (Vec<&Change>, Vec<&Change>) = swept.plan.changes.iter().partition(is_quiet);
        let record = |change: &Change| {
            let key_id = change.key.key_id.clone();
            async move { self.record_change(observed, open_disables, &key_id, policy, invocation).await }
                .boxed()
        };
        let recorded = side_by_side(quiet.into_iter().map(record).collect()).await;
        let mut troubles: Vec<Trouble> = recorded.into_iter().filter_map(Result::err).collect();
        for change in told {
            troubles.extend(record(change).await.err());
        }
        swept.troubles.extend(troubles);
    }

    async fn record_change(
        &self,
        observed: &Observed,
        open_disables: &[OpenDisable],
        key_id: &str,
        policy: &Policy,
        invocation: &Invocation,
    ) -> Result<(), Trouble> {
        let account = &observed.state.account;
        let trouble = |cause: &dyn ToString| Trouble::of(key_id, cause.to_string());
        // Stock that is taken is written as new, and nothing is read before: if the ledger knows the key after all,
        // the transaction is refused.
        let mut is_stock = observed.state.baseline_at.is_none()
            && observed.state.keys.iter().all(|known| known.key_id != key_id);
        for _ in 0..TRIES {
            // The index found it; this decides. What an event told meanwhile is taken into account.
            let known = if is_stock {
                None
            } else {
                self.ledger.key(account, key_id).await.map_err(|failure| trouble(&failure))?
            };
            let version = known.as_ref().map_or(0, |known| known.version);
            let change = observed.seen.settle(account, key_id, known.as_ref().map(|known| &known.value));
            let Some(change) = change else { return Ok(()) };
            let now = invocation.now();
            if change.news.is_empty() {
                let saved = self.ledger.save_key(&change.key, version, now).await;
                if saved.map_err(|failure| trouble(&failure))? {
                    return Ok(());
                }
                continue;
            }
            let place = Place::Key { account: account.clone(), key_id: key_id.to_owned() };
            let mut fact = fact_of(&change, version, invocation).judged_by(policy, None);
            let mut announcement = alert::for_observed(&fact.id, &change.key, &change.news);
            if fact.break_glass {
                announcement = announcement.for_break_glass(&fact.id, &fact.body);
            }
            let mut deliveries = announcement.deliveries(&fact.id, now);
            if !is_stock {
                let known = self.ledger.look(&place, &fact.id, &announcement.names).await;
                let known = known.map_err(|failure| trouble(&failure))?.deliveries;
                deliveries.retain(|new| known.iter().all(|known| known.value.name != new.name));
            }
            if is_untold(&observed.state, &change) && !deliveries.is_empty() {
                fact.untold = Some(Untold::Baseline);
                deliveries.clear();
            }
            let is_off = change.key.standing_word() == "Inactive";
            if is_off && open_disables.iter().any(|(open, _)| *open == place) && !deliveries.is_empty() {
                fact.untold = Some(Untold::AsDisable);
                deliveries.clear();
            }
            let key = Versioned { value: change.key.clone(), version };
            let recorded = self.ledger.record(&place, &fact, Some(&key), &deliveries).await;
            match recorded.map_err(|failure| trouble(&failure))? {
                Recorded::Written => {
                    let owner = report_of(&change.key);
                    let context = Context { place: &place, fact: &fact, owner: &owner, received: u32::MAX };
                    let mut failed = Vec::new();
                    for delivery in deliveries {
                        let delivery = Versioned { value: delivery, version: 1 };
                        if let Err(undelivered) = self.deliver.one(&delivery, &context, invocation).await {
                            failed.push(undelivered.to_string());
                        }
                    }
                    return if failed.is_empty() { Ok(()) } else { Err(trouble(&failed.join("; "))) };
                }
                Recorded::AlreadyThere | Recorded::StateChanged => is_stock = false,
            }
        }
        Err(trouble(&format!("it changed {TRIES} times meanwhile")))
    }
}

/// Whether a change belongs to the stock that is taken: of a first sweep all, later a key that was there before.
fn is_untold(state: &AccountState, change: &Change) -> bool {
    state.baseline_at.is_none() || (change.news == [News::Found] && state.is_stock(&change.key))
}

/// The owner as the ledger's key has it.
pub(super) fn report_of(key: &Key) -> OwnerReport {
    match (&key.owner, key.holder.subject.user()) {
        (_, None) => OwnerReport::NoUser,
        (Some(owner), _) => OwnerReport::Found {
            owner: owner.clone(),
            keys: Err("they were not listed for this message".to_owned()),
        },
        (None, Some(_)) => OwnerReport::Failed("the user's tags could not be read".to_owned()),
    }
}

fn fact_of(change: &Change, over_version: u64, invocation: &Invocation) -> Fact {
    let now = invocation.now();
    let observed = ObservedKey { key: change.key.clone(), at: now, news: change.news.clone() };
    // The same news of the same state, however often it is written, is one fact; of a later state it is another.
    let news: Vec<String> = change.news.iter().map(ToString::to_string).collect();
    let text = format!("{} {} {over_version} {}", change.key.account, change.key.key_id, news.join("; "));
    let id = format!("{}{}", Fact::OBSERVED, &sha256_hex(text.as_bytes()));
    Fact::new(id, now, FactBody::Observed { observed: Box::new(observed) })
}

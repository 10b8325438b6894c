//! Too many alerts at once: beyond ten a minute for one account, the channel gets them joined.
//!
//! The first ten of a minute go out alone. The rest are left `pending` and their events on the queue. In a
//! later minute the first invocation to come by takes that minute's right to join, claims every pending
//! channel message of the account and posts them as few messages that list them all. The others find theirs
//! done. A crash in between leaves claims that run out, and the next minute's joiner takes them up.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use keytide_aws::{
    Failure,
    ledger::{Place, Versioned},
};
use keytide_core::{
    AccountId,
    alert::Severity,
    delivery::{Delivery, Ending, Recipient, Stage},
    fact::Fact,
    owner::OwnerReport,
};
use keytide_slack::{Post, messages};

use crate::{
    Invocation,
    deliver::{Cause, Context, Deliver, Delivered, Undelivered},
};

/// How many alerts one joined message lists.
const A_MESSAGE: usize = 50;
/// How many unfinished deliveries one joining looks at.
const A_JOINING: usize = 1200;
/// A joining stops while this much time is left, so that what it began is recorded.
const RESERVE: Duration = Duration::from_secs(8);

impl<P: Post> Deliver<P> {
    /// Decides whether a channel message goes out alone (`None`), has been joined, or must wait.
    pub(crate) async fn join_if_many(
        &self,
        account: &AccountId,
        delivery: &Versioned<Delivery>,
        context: &Context<'_>,
        invocation: &Invocation,
    ) -> Result<Option<Delivered>, Undelivered> {
        let ledger = |failure| undelivered(Cause::Ledger(failure), None);
        let now = invocation.now();
        if minute(delivery.value.created_at) < minute(now) && context.received > 1 {
            let held = self.held(account, delivery, context).await.map_err(ledger)?;
            if held.len() == 1 {
                return Ok(None);
            }
            if !self.ledger.take_joining(account, &invocation.session, now).await.map_err(ledger)? {
                return Err(undelivered(Cause::HeldToJoin, Some(until_next_minute(now))));
            }
            return self.join_all(account, &held, invocation).await.map(Some);
        }
        if delivery.value.attempts > 0 {
            // Counted before, in this very minute.
            return Ok(None);
        }
        let count = self.ledger.count_alert(account, now).await.map_err(ledger)?;
        if count > self.settings.alerts_a_minute {
            return Err(undelivered(Cause::HeldToJoin, Some(until_next_minute(now))));
        }
        Ok(None)
    }

    /// The messages of an account that wait, the one at hand first: the index may lag behind it.
    async fn held(
        &self,
        account: &AccountId,
        mine: &Versioned<Delivery>,
        context: &Context<'_>,
    ) -> Result<Vec<(Place, Versioned<Delivery>)>, Failure> {
        let mut held = vec![(context.place.clone(), mine.clone())];
        for (place, delivery) in self.ledger.unfinished(account, A_JOINING).await? {
            let is_mine = place == *context.place && delivery.value.name == mine.value.name;
            if !is_mine && can_be_joined(&delivery.value) {
                held.push((place, delivery));
            }
        }
        Ok(held)
    }

    /// Posts all held alerts of an account, and says how it went for the first of them.
    async fn join_all(
        &self,
        account: &AccountId,
        held: &[(Place, Versioned<Delivery>)],
        invocation: &Invocation,
    ) -> Result<Delivered, Undelivered> {
        let mut first = Err(undelivered(Cause::HeldToJoin, Some(Duration::from_secs(1))));
        for (number, group) in held.chunks(A_MESSAGE).enumerate() {
            if invocation.remaining() < RESERVE {
                break;
            }
            let joined = self.join_group(account, group, invocation).await;
            let went_well = joined.is_ok();
            if number == 0 {
                first = joined;
            }
            // What is left over, or meets trouble, is for its own events to bring up again.
            if !went_well {
                break;
            }
        }
        first
    }

    /// Posts one group as one message, and says how it went for the first of them: an event leaves the
    /// queue only if its own message is finished, whatever became of the others.
    async fn join_group(
        &self,
        account: &AccountId,
        group: &[(Place, Versioned<Delivery>)],
        invocation: &Invocation,
    ) -> Result<Delivered, Undelivered> {
        let time = self.time_to_send(invocation);
        let taken = join_all(group.iter().map(|item| self.take(item, invocation))).await;
        let mut taken = taken.into_iter();
        let mut first = Ok(Delivered::Already);
        let mut claimed = Vec::new();
        let mut first_is_claimed = false;
        match taken.next() {
            Some(Ok(Some(mine))) => {
                first_is_claimed = true;
                claimed.push(mine);
            }
            Some(Err(trouble)) => first = Err(trouble),
            Some(Ok(None)) | None => {}
        }
        // Whoever else is at one of the others, or a ledger that stutters: that one is left for later.
        claimed.extend(taken.filter_map(|other| other.ok().flatten()));
        if claimed.is_empty() {
            return first;
        }
        let notices: Vec<_> = claimed
            .iter()
            .map(|(place, delivery, fact)| {
                let context = Context { place, fact, owner: &OwnerReport::NoUser, received: 1 };
                self.notice(&context, delivery.value.severity, true)
            })
            .collect();
        let label = self.settings.accounts.label(account);
        let mut ending = Ending::Retry("no message was written".to_owned());
        let mut trouble = None;
        for message in messages::joined(label, account, &notices) {
            (ending, trouble) = self.to_channel(&message, time).await;
            if trouble.is_some() {
                break;
            }
        }
        // Each is recorded, whatever becomes of recording the others.
        let ends =
            claimed.iter().map(|(place, delivery, _)| self.end(place, delivery, ending.clone(), invocation));
        let mut ends = join_all(ends).await.into_iter();
        if first_is_claimed {
            first = match (trouble, ends.next()) {
                (Some((cause, retry_after)), _) => Err(undelivered(cause, retry_after)),
                (None, Some(Err(unrecorded))) => Err(unrecorded),
                (None, _) => Ok(Delivered::Sent),
            };
        }
        first
    }

    /// Claims one held message and reads what it tells of; `None` where it is finished.
    async fn take(
        &self,
        (place, delivery): &(Place, Versioned<Delivery>),
        invocation: &Invocation,
    ) -> Result<Option<(Place, Versioned<Delivery>, Fact)>, Undelivered> {
        let Some(delivery) = self.claim(place, delivery, invocation).await? else { return Ok(None) };
        match self.ledger.fact(place, &delivery.value.fact_id).await {
            Ok(Some(fact)) => Ok(Some((place.clone(), delivery, fact))),
            Ok(None) => {
                let cause = "its fact has gone from the ledger".to_owned();
                self.end(place, &delivery, Ending::GivenUp(cause), invocation).await?;
                Ok(None)
            }
            Err(failure) => {
                self.end(place, &delivery, Ending::Retry(failure.to_string()), invocation).await?;
                Err(undelivered(Cause::Ledger(failure), None))
            }
        }
    }
}

fn undelivered(cause: Cause, retry_after: Option<Duration>) -> Undelivered {
    Undelivered { recipient: Recipient::Channel, cause, retry_after }
}

/// Critical ones always stand alone, and so does what people decide, whose reason and author are to be read. What
/// adds to a message belongs to that.
pub(crate) fn can_be_joined(delivery: &Delivery) -> bool {
    delivery.name.recipient == Recipient::Channel
        && delivery.severity != Severity::Critical
        && !matches!(delivery.name.stage, Stage::Decided | Stage::MadeBy)
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// A little more than until the next minute begins.
fn until_next_minute(now: Timestamp) -> Duration {
    let left = 60 - now.as_second().rem_euclid(60);
    Duration::from_secs(u64::try_from(left).unwrap_or(60) + 1)
}

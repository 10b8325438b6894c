//! Too many alerts at once: beyond ten a minute for one account, the channel gets them joined.
//!
//! The first ten of a minute go out alone. The rest are left `pending` and their events on the queue. In a
//! later minute the first invocation to come by takes that minute's right to join, claims every pending
//! channel message of the account and posts them as few messages that list them all. The others find theirs
//! done. A crash in between leaves claims that run out, and the next minute's joiner takes them up.

use std::time::Duration;

use jiff::Timestamp;
use keytide_aws::{
    Failure,
    ledger::{Place, Versioned},
};
use keytide_core::{
    AccountId,
    alert::Severity,
    delivery::{Delivery, Ending, Recipient},
    fact::Fact,
    owner::OwnerReport,
};
use keytide_slack::{Post, messages};

use crate::{
    Invocation,
    deliver::{Cause, Context, Deliver, Delivered, Undelivered},
};

/// How many alerts one joined message lists.
const A_MESSAGE: usize = 60;
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
        let trouble = |cause, retry_after| Undelivered { recipient: Recipient::Channel, cause, retry_after };
        let ledger = |failure| trouble(Cause::Ledger(failure), None);
        let now = invocation.now();
        if minute(delivery.value.created_at) < minute(now) && context.received > 1 {
            let held = self.held(account, delivery, context).await.map_err(ledger)?;
            if held.len() == 1 {
                return Ok(None);
            }
            if !self.ledger.take_joining(account, &invocation.session, now).await.map_err(ledger)? {
                return Err(trouble(Cause::HeldToJoin, Some(until_next_minute(now))));
            }
            return self.join_all(account, &held, invocation).await.map(Some);
        }
        if delivery.value.attempts > 0 {
            // Counted before, in this very minute.
            return Ok(None);
        }
        let count = self.ledger.count_alert(account, now).await.map_err(ledger)?;
        if count > self.settings.alerts_a_minute {
            return Err(trouble(Cause::HeldToJoin, Some(until_next_minute(now))));
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
        let mut groups = held.chunks(A_MESSAGE);
        let mut first = Ok(Delivered::Already);
        if let Some(group) = groups.next() {
            first = self.join_group(account, group, invocation).await;
        }
        for group in groups {
            // What is left over, or meets trouble, is for its own events to bring up again.
            if invocation.remaining() < RESERVE || self.join_group(account, group, invocation).await.is_err()
            {
                break;
            }
        }
        first
    }

    async fn join_group(
        &self,
        account: &AccountId,
        group: &[(Place, Versioned<Delivery>)],
        invocation: &Invocation,
    ) -> Result<Delivered, Undelivered> {
        let mut claimed: Vec<(Place, Versioned<Delivery>, Fact)> = Vec::new();
        for (place, delivery) in group {
            // Whoever else is at it, or a ledger that stutters: that one is left for later.
            let Ok(Some(delivery)) = self.claim(place, delivery, invocation).await else { continue };
            match self.ledger.fact(place, &delivery.value.fact_id).await {
                Ok(Some(fact)) => claimed.push((place.clone(), delivery, fact)),
                Ok(None) => {
                    let cause = Ending::GivenUp("its fact has gone from the ledger".to_owned());
                    self.end(place, &delivery, cause, invocation).await?;
                }
                Err(failure) => {
                    let cause = Ending::Retry(failure.to_string());
                    self.end(place, &delivery, cause, invocation).await?;
                }
            }
        }
        if claimed.is_empty() {
            return Ok(Delivered::Already);
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
            (ending, trouble) = self.to_channel(&message, invocation).await;
            if trouble.is_some() {
                break;
            }
        }
        let done = matches!(ending, Ending::Done(_));
        for (place, delivery, _) in &claimed {
            self.end(place, delivery, ending.clone(), invocation).await?;
        }
        match trouble {
            Some((cause, retry_after)) => {
                Err(Undelivered { recipient: Recipient::Channel, cause, retry_after })
            }
            None if done => Ok(Delivered::Sent),
            None => Ok(Delivered::GivenUp),
        }
    }
}

fn can_be_joined(delivery: &Delivery) -> bool {
    delivery.name.recipient == Recipient::Channel && delivery.severity != Severity::Critical
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// A little more than until the next minute begins.
fn until_next_minute(now: Timestamp) -> Duration {
    let left = 60 - now.as_second().rem_euclid(60);
    Duration::from_secs(u64::try_from(left).unwrap_or(60) + 1)
}

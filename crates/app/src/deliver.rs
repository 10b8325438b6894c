//! One outgoing message: claimed in the ledger, sent, and recorded as it ended.
//!
//! The claim comes before the send, so two invocations never send the same; the end is recorded after it,
//! so a crash between the two leaves a claim that runs out, and then the message is sent again. Twice only
//! where an answer was lost.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keytide_aws::{
    Failure,
    ledger::{Ledger, Place, Versioned},
};
use keytide_core::{
    AccountNames,
    alert::{AlertRules, Severity},
    delivery::{ClaimRefused, Delivery, Ending, Receipt, Recipient, Stage},
    fact::Fact,
    owner::{OwnerReport, SlackId, SlackIdTag},
};
use keytide_slack::{
    ErrorClass, Message, Post, Slack, SlackError, Token,
    messages::{self, Notice},
};

use tokio::time::Instant;

use crate::{Invocation, TokenSource, join};

/// How deliveries are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverSettings {
    /// The infrastructure channel's id.
    pub channel: String,
    /// What people call the accounts.
    pub accounts: AccountNames,
    /// Which alerts there are.
    pub rules: AlertRules,
    /// How long a claim holds. Longer than a send may take, shorter than people wait.
    pub lease: Duration,
    /// Beyond this many alerts of one account a minute, the channel gets them joined. Critical ones never.
    pub alerts_a_minute: u64,
    /// How often a message is received before an owner who cannot be looked up is given up on.
    pub owner_lookups: u32,
    /// So long after an event a user whom IAM does not show may still appear, or their rename be told of.
    pub owner_may_appear: SignedDuration,
}

impl DeliverSettings {
    /// The defaults, for this channel.
    pub fn for_channel(channel: impl Into<String>) -> Self {
        Self {
            channel: channel.into(),
            accounts: AccountNames::default(),
            rules: AlertRules::default(),
            lease: Duration::from_mins(1),
            alerts_a_minute: 10,
            owner_lookups: 3,
            owner_may_appear: SignedDuration::from_mins(15),
        }
    }
}

/// Makes deliveries.
#[derive(Debug)]
pub struct Deliver<P> {
    pub(crate) ledger: Ledger,
    pub(crate) slack: Slack<P>,
    token: TokenSource,
    joins: bool,
    /// How.
    pub settings: DeliverSettings,
}

/// What one delivery is about.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Where the ledger has it.
    pub place: &'a Place,
    /// What it tells of.
    pub fact: &'a Fact,
    /// What is known of the owner.
    pub owner: &'a OwnerReport,
    /// How often the event behind it was received, this time included.
    pub received: u32,
}

/// How a delivery ended that needs nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// Slack confirmed it to this invocation.
    Sent,
    /// It was finished already.
    Already,
    /// It was given up, with the cause in the ledger.
    GivenUp,
}

/// Why a delivery is still to be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message to the {} is still to be made: {cause}", .recipient.as_str())]
pub struct Undelivered {
    /// To whom it goes.
    pub recipient: Recipient,
    /// What kept it.
    pub cause: Cause,
    /// When another try makes sense, if that is known.
    pub retry_after: Option<Duration>,
}

/// What kept a delivery from being made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Another invocation is at it, or was and died.
    #[error("{0}")]
    Claimed(ClaimRefused),
    /// The ledger.
    #[error("{0}")]
    Ledger(Failure),
    /// The token could not be read.
    #[error("{0}")]
    Token(Failure),
    /// Slack.
    #[error("{0}")]
    Slack(SlackError),
    /// The owner could not be looked up.
    #[error("the owner could not be looked up: {0}")]
    Directory(String),
    /// IAM knows no such user (yet, or any more).
    #[error("IAM shows no such user, who may still appear, or whose rename may still be told of")]
    NoSuchUser,
    /// Too many alerts of one account in this minute: held to be joined.
    #[error("held back to be joined with others of this account")]
    HeldToJoin,
}

impl Cause {
    /// The cause in one word, for a metric.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Claimed(_) => "claimed",
            Self::Ledger(_) => "ledger",
            Self::Token(_) => "token",
            Self::Slack(error) => match error.class {
                ErrorClass::Retry { .. } => "slack-busy",
                ErrorClass::Ambiguous => "slack-answer-lost",
                ErrorClass::Configuration { .. } => "slack-configuration",
                ErrorClass::Recipient => "slack-recipient",
                ErrorClass::OurFault => "slack-refused-message",
            },
            Self::Directory(_) => "directory",
            Self::NoSuchUser => "no-such-user",
            Self::HeldToJoin => "held-to-join",
        }
    }
}

impl<P: Post> Deliver<P> {
    /// Over this ledger, to this Slack.
    pub fn new(ledger: Ledger, slack: Slack<P>, token: TokenSource, settings: DeliverSettings) -> Self {
        Self { ledger, slack, token, joins: true, settings }
    }

    /// Every message goes out alone, however many there are.
    pub(crate) fn without_joining(mut self) -> Self {
        self.joins = false;
        self
    }

    /// Makes one delivery, unless it is finished or another invocation is at it.
    pub async fn one(
        &self,
        delivery: &Versioned<Delivery>,
        context: &Context<'_>,
        invocation: &Invocation,
    ) -> Result<Delivered, Undelivered> {
        if delivery.value.state.is_finished() {
            return Ok(Delivered::Already);
        }
        if delivery.value.name.recipient == Recipient::Channel
            && join::can_be_joined(&delivery.value)
            && self.joins
            && let Some(account) = context.fact.body.account()
            && let Some(joined) = self.join_if_many(account, delivery, context, invocation).await?
        {
            return Ok(joined);
        }
        self.alone(delivery, context, invocation).await
    }

    async fn alone(
        &self,
        delivery: &Versioned<Delivery>,
        context: &Context<'_>,
        invocation: &Invocation,
    ) -> Result<Delivered, Undelivered> {
        let recipient = delivery.value.name.recipient;
        let Some(claimed) = self.claim(context.place, delivery, invocation).await? else {
            return Ok(Delivered::Already);
        };
        let time = self.time_to_send(invocation);
        let notice = self.notice(context, delivery.value.severity, true);
        let (ending, trouble) = match recipient {
            Recipient::Channel => {
                let message = match delivery.value.name.stage {
                    Stage::MadeBy => messages::made_by(&notice),
                    _ => messages::for_channel(&notice),
                };
                self.to_thread(delivery.value.answers.as_ref(), &message, time).await
            }
            Recipient::Owner => self.to_owner(&notice, context, invocation.now(), time).await,
            Recipient::Iam => (Ending::Retry("no Slack message".to_owned()), None),
        };
        let sent = matches!(ending, Ending::Done(_));
        self.end(context.place, &claimed, ending, invocation).await?;
        match trouble {
            Some((cause, retry_after)) => Err(Undelivered { recipient, cause, retry_after }),
            None if sent => Ok(Delivered::Sent),
            None => Ok(Delivered::GivenUp),
        }
    }

    /// Sends the alert of a fact that could not be recorded, marked as such. Nothing is claimed: the ledger
    /// is silent. It may come a second time, once it can be recorded.
    pub async fn unrecorded(
        &self,
        fact: &Fact,
        owner: &OwnerReport,
        severity: Severity,
        invocation: &Invocation,
    ) -> Result<Receipt, Undelivered> {
        let accounts = &self.settings.accounts;
        let notice =
            Notice { fact, severity, owner, accounts, rules: &self.settings.rules, in_ledger: false };
        let time = self.time_to_send(invocation);
        let channel = Destination::Channel(&self.settings.channel);
        match self.send(channel, &messages::for_channel(&notice), time).await {
            Ok(receipt) => Ok(receipt),
            Err(cause) => Err(Undelivered { recipient: Recipient::Channel, cause, retry_after: None }),
        }
    }

    /// Claims a delivery; `None` where it turned out to be finished.
    pub(crate) async fn claim(
        &self,
        place: &Place,
        delivery: &Versioned<Delivery>,
        invocation: &Invocation,
    ) -> Result<Option<Versioned<Delivery>>, Undelivered> {
        let recipient = delivery.value.name.recipient;
        let lease = SignedDuration::try_from(self.settings.lease).unwrap_or(SignedDuration::MAX);
        let trouble = |cause, retry_after| Undelivered { recipient, cause, retry_after };
        let ledger = |failure| trouble(Cause::Ledger(failure), None);
        let mut seen = delivery.clone();
        // Twice: as it was read before, then as whoever was faster left it.
        for _ in 0..2 {
            let claimed = match seen.value.claim(&invocation.session, invocation.now(), lease) {
                Ok(claimed) => claimed,
                Err(ClaimRefused::Finished) => return Ok(None),
                Err(refused) => {
                    let until = match &refused {
                        ClaimRefused::Claimed { until, now, .. } => {
                            until.duration_since(*now).try_into().ok()
                        }
                        ClaimRefused::Finished => None,
                    };
                    return Err(trouble(Cause::Claimed(refused), until));
                }
            };
            let saved = self.ledger.save_delivery(place, &claimed, seen.version).await;
            if let Some(saved) = saved.map_err(ledger)? {
                return Ok(Some(saved));
            }
            let mine = claimed.state;
            let known = self.ledger.look(place, &seen.value.fact_id, &[seen.value.name.clone()]).await;
            let Some(now) = known.map_err(ledger)?.deliveries.into_iter().next() else {
                let gone = format!("delivery {} has gone from the ledger", seen.value.name);
                return Err(ledger(Failure::retry("claiming a delivery", gone)));
            };
            // Our own write, whose answer was lost and which the SDK made again, refuses itself.
            if now.value.state == mine {
                return Ok(Some(now));
            }
            seen = Versioned { value: now.value.saying(delivery.value.notice), version: now.version };
        }
        let cause = format!("delivery {} keeps changing", seen.value.name);
        Err(ledger(Failure::retry("claiming a delivery", cause)))
    }

    /// Records how a claimed delivery ended. A confirmed send is worth several tries to record: if it cannot
    /// be, the message goes out twice.
    pub(crate) async fn end(
        &self,
        place: &Place,
        claimed: &Versioned<Delivery>,
        ending: Ending,
        invocation: &Invocation,
    ) -> Result<(), Undelivered> {
        let recipient = claimed.value.name.recipient;
        let trouble = |cause| Undelivered { recipient, cause, retry_after: None };
        let mut seen = claimed.clone();
        let mut failure = Failure::retry("recording a delivery's end", "it keeps changing");
        for turn in 0..3_u32 {
            let ended = match seen.value.end(&invocation.session, invocation.now(), ending.clone()) {
                Ok(ended) => ended,
                Err(ClaimRefused::Finished) => return Ok(()),
                Err(refused) => return Err(trouble(Cause::Claimed(refused))),
            };
            match self.ledger.save_delivery(place, &ended, seen.version).await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {
                    let name = seen.value.name.clone();
                    let known = self.ledger.look(place, &seen.value.fact_id, &[name]).await;
                    if let Ok(known) = known
                        && let Some(now) = known.deliveries.into_iter().next()
                    {
                        // A write of ours whose answer was lost, repeated by the SDK, looks like this.
                        if now.value.state == ended.state {
                            return Ok(());
                        }
                        // What was confirmed is what this attempt said.
                        seen =
                            Versioned { value: now.value.saying(claimed.value.notice), version: now.version };
                    }
                }
                Err(failed) => {
                    let retryable = failed.is_retryable();
                    failure = failed;
                    if !retryable {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50 << turn)).await;
                }
            }
        }
        Err(trouble(Cause::Ledger(failure)))
    }

    pub(crate) fn notice<'a>(
        &'a self,
        context: &Context<'a>,
        severity: Severity,
        in_ledger: bool,
    ) -> Notice<'a> {
        Notice {
            fact: context.fact,
            severity,
            owner: context.owner,
            accounts: &self.settings.accounts,
            rules: &self.settings.rules,
            in_ledger,
        }
    }

    /// Posts to the channel. A refused recipient is a matter of configuration here.
    pub(crate) async fn to_channel(&self, message: &Message, time: TimeToSend) -> Attempt {
        self.to_named_channel(&self.settings.channel, message, time).await
    }

    /// Posts in the thread of a message, if there is one to answer; else to the channel.
    async fn to_thread(&self, answers: Option<&Receipt>, message: &Message, time: TimeToSend) -> Attempt {
        let Some(answered) = answers else { return self.to_channel(message, time).await };
        match self.send(Destination::Thread(answered), message, time).await {
            Ok(receipt) => (Ending::Done(receipt), None),
            // Somebody deleted the message: then it stands on its own.
            Err(Cause::Slack(error)) if error.detail.contains("thread") => {
                self.to_channel(message, time).await
            }
            Err(cause) => unsent(cause),
        }
    }

    /// Posts to a channel by its id.
    pub(crate) async fn to_named_channel(
        &self,
        channel: &str,
        message: &Message,
        time: TimeToSend,
    ) -> Attempt {
        match self.send(Destination::Channel(channel), message, time).await {
            Ok(receipt) => (Ending::Done(receipt), None),
            Err(cause) => unsent(cause),
        }
    }

    async fn to_owner(
        &self,
        notice: &Notice<'_>,
        context: &Context<'_>,
        now: Timestamp,
        time: TimeToSend,
    ) -> Attempt {
        let is_young = now.duration_since(context.fact.recorded_at) < self.settings.owner_may_appear;
        let may_appear =
            context.received < self.settings.owner_lookups || (is_young && context.received < u32::MAX);
        let given_up = |cause: &str| (Ending::GivenUp(cause.to_owned()), None);
        let slack_id = match context.owner {
            OwnerReport::Found { owner, .. } => match &owner.tags.slack_id {
                SlackIdTag::Valid(slack_id) => slack_id,
                SlackIdTag::Missing => return given_up("the user has no tag slack-id; the channel was told"),
                SlackIdTag::Malformed(text) => {
                    let shown: String = text.chars().take(40).collect();
                    return given_up(&format!(
                        "the user's tag slack-id is {shown:?}, no Slack member id; the channel was told"
                    ));
                }
            },
            OwnerReport::NoUser => return given_up("there is no user to tell; the channel was told"),
            // IAM is seconds behind itself, and of a user who was renamed the event is minutes away at times.
            OwnerReport::NotFound if may_appear => {
                return unsent(Cause::NoSuchUser);
            }
            OwnerReport::NotFound => {
                return given_up("the user does not exist any more; the channel was told");
            }
            OwnerReport::Failed(reason) if context.received >= self.settings.owner_lookups => {
                return given_up(&format!(
                    "the owner could not be looked up, the last time because {reason}; the channel was told"
                ));
            }
            OwnerReport::Failed(reason) => return unsent(Cause::Directory(reason.clone())),
        };
        let direct = Destination::Direct(slack_id);
        match self.send(direct, &messages::for_owner(notice), time).await {
            Ok(receipt) => (Ending::Done(receipt), None),
            Err(Cause::Slack(SlackError { class: ErrorClass::Recipient, detail })) => {
                let message = messages::owner_fallback(notice, &detail);
                match self.send(Destination::Channel(&self.settings.channel), &message, time).await {
                    Ok(receipt) => {
                        let note = format!("told in the channel instead: {detail}");
                        (Ending::Done(Receipt { note: Some(note), ..receipt }), None)
                    }
                    Err(cause) => unsent(cause),
                }
            }
            Err(cause) => unsent(cause),
        }
    }

    /// The time that a claim made now leaves for sending: something must be left of it, and of the
    /// invocation, to record how it ended.
    pub(crate) fn time_to_send(&self, invocation: &Invocation) -> TimeToSend {
        let time = self.settings.lease.min(invocation.remaining());
        TimeToSend(Instant::now() + time.saturating_sub(ENDING_RESERVE))
    }

    /// Sends with the token at hand; if Slack refuses that, the token is read once more.
    pub(crate) async fn send(
        &self,
        to: Destination<'_>,
        message: &Message,
        time: TimeToSend,
    ) -> Result<Receipt, Cause> {
        let token = self.token.get().await.map_err(Cause::Token)?;
        match self.send_with(&token, to, message, time).await {
            Err(refused @ SlackError { class: ErrorClass::Configuration { token_refused: true }, .. }) => {
                match self.token.instead_of(&token).await.map_err(Cause::Token)? {
                    Some(fresh) => self.send_with(&fresh, to, message, time).await.map_err(Cause::Slack),
                    None => Err(Cause::Slack(refused)),
                }
            }
            answered => answered.map_err(Cause::Slack),
        }
    }

    async fn send_with(
        &self,
        token: &Token,
        to: Destination<'_>,
        message: &Message,
        time: TimeToSend,
    ) -> Result<Receipt, SlackError> {
        match to {
            Destination::Channel(channel) => {
                self.slack.post_message(token, channel, None, message, time.left()).await
            }
            Destination::Thread(Receipt { channel, ts, .. }) => {
                self.slack.post_message(token, channel, Some(ts), message, time.left()).await
            }
            Destination::Direct(user) => {
                let conversation = self.slack.open_direct(token, user, time.left() / 2).await?;
                self.slack.post_message(token, &conversation, None, message, time.left() / 2).await
            }
        }
    }
}

/// Until when a claimed message may be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeToSend(Instant);

impl TimeToSend {
    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// How an attempt ended, and, where it is still to be made, why and when to try again.
pub(crate) type Attempt = (Ending, Option<(Cause, Option<Duration>)>);

/// Kept back from every send's time, so that its end can be recorded.
const ENDING_RESERVE: Duration = Duration::from_secs(3);

/// Where a message goes.
#[derive(Clone, Copy)]
pub(crate) enum Destination<'a> {
    Channel(&'a str),
    Thread(&'a Receipt),
    Direct(&'a SlackId),
}

fn unsent(cause: Cause) -> Attempt {
    let said = cause.to_string();
    let (ending, retry_after) = match &cause {
        Cause::Slack(error) => match error.class {
            ErrorClass::Ambiguous => (Ending::Ambiguous(said), None),
            ErrorClass::Retry { after } => (Ending::Retry(said), after),
            ErrorClass::Configuration { .. } | ErrorClass::Recipient | ErrorClass::OurFault => {
                (Ending::Retry(said), None)
            }
        },
        _ => (Ending::Retry(said), None),
    };
    (ending, Some((cause, retry_after)))
}

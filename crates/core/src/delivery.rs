//! The small life of an outgoing effect.
//!
//! Everything that leaves keytide, a Slack message now and a disable later, is an item in the ledger that
//! goes `pending → doing(until) → done | ambiguous | given-up(cause)`, one conditional write a step, so that
//! whoever finds it unfinished can finish it and nobody does it twice. A transition takes the state and the
//! time; an impossible one is an error that names both.

use jiff::{SignedDuration, Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::key::NoticeTerms;

/// Which effect this is: unique within its key (or user, or stray event).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryName {
    /// What it belongs to: a fact's id, or, for what may happen once in a key's life, `key`.
    pub epoch: String,
    /// What it is about.
    pub stage: Stage,
    /// Which part of the audience; who that is, is found out when it is sent.
    pub recipient: Recipient,
}

impl DeliveryName {
    /// The name of an effect that happens once in a key's life, whoever finds the cause.
    pub const ONCE_PER_KEY: &'static str = "key";
}

impl std::fmt::Display for DeliveryName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}#{}#{}", self.epoch, self.stage, self.recipient.as_str())
    }
}

/// What a delivery is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// A key appeared.
    Created,
    /// Who made a key that a sweep had found, told once the event of its creation has come.
    MadeBy,
    /// A key was set Active again.
    Reactivated,
    /// A key was set Inactive.
    Deactivated,
    /// A key was given a status that this version does not know.
    StatusChanged,
    /// A key was deleted.
    Deleted,
    /// Somebody tried and was refused.
    FailedAttempt,
    /// A user's tags, name or existence changed.
    OwnerChanged,
    /// One of keytide's own roles was used for what keytide never does.
    OwnRole,
    /// An event could not be read.
    Unreadable,
    /// A key is disabled by keytide: the effect is on IAM, not on Slack.
    Disable,
    /// A key has reached this age in days, or has been unused for too long (`unused`).
    Notice(NoticeDay),
    /// A key past its day that is still active: once more, due from this date.
    Reminder(Date),
    /// An exemption is about to end, on this date.
    ExemptionEnding(Date),
    /// keytide disabled the key.
    Disabled,
    /// More keys of an account are to be disabled than its cap allows.
    CapReached,
    /// Root has an access key that no event told of.
    RootKey,
    /// The ledger is in another table than the one that was accepted.
    LedgerChanged,
    /// A person decided something.
    Decided,
}

/// Which notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeDay {
    /// The one at this age, in days.
    Age(u32),
    /// The one before a key is disabled because nobody uses it.
    Unused,
}

impl Stage {
    /// Whether a sweep's plan calls for it, and not a fact: what it says is computed anew at every run.
    pub fn is_planned(self) -> bool {
        matches!(
            self,
            Self::CapReached
                | Self::RootKey
                | Self::LedgerChanged
                | Self::Notice(_)
                | Self::Reminder(_)
                | Self::ExemptionEnding(_)
        )
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self {
            Self::Created => "created",
            Self::MadeBy => "made-by",
            Self::Reactivated => "reactivated",
            Self::Deactivated => "deactivated",
            Self::StatusChanged => "status-changed",
            Self::Deleted => "deleted",
            Self::FailedAttempt => "failed-attempt",
            Self::OwnerChanged => "owner-changed",
            Self::OwnRole => "own-role",
            Self::Unreadable => "unreadable",
            Self::Disable => "disable",
            Self::Disabled => "disabled",
            Self::CapReached => "cap-reached",
            Self::RootKey => "root-key",
            Self::LedgerChanged => "ledger-changed",
            Self::Decided => "decided",
            Self::Notice(NoticeDay::Unused) => "notice-unused",
            Self::Notice(NoticeDay::Age(days)) => return write!(formatter, "notice-{days}"),
            Self::Reminder(date) => return write!(formatter, "reminder-{date}"),
            Self::ExemptionEnding(date) => return write!(formatter, "exemption-ending-{date}"),
        };
        formatter.write_str(word)
    }
}

/// The part of the audience that a delivery is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipient {
    /// The infrastructure channel.
    Channel,
    /// The key's owner.
    Owner,
    /// Nobody on Slack: the effect is a call to IAM.
    Iam,
}

impl Recipient {
    /// The word in names and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Owner => "owner",
            Self::Iam => "iam",
        }
    }
}

/// One outgoing effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its name.
    pub name: DeliveryName,
    /// The fact that it tells of; what to say is read from there when it is sent.
    pub fact_id: String,
    /// Critical ones always stand alone.
    pub severity: crate::alert::Severity,
    /// When it came to be.
    pub created_at: Timestamp,
    /// How often it was claimed.
    pub attempts: u32,
    /// Where it stands.
    pub state: DeliveryState,
    /// What it says of a key's end, if it is a notice: that of the latest attempt, with the latest date that
    /// any attempt named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<NoticeTerms>,
    /// The message in whose thread it is posted, if it adds to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Receipt>,
}

/// Where a delivery stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be done.
    Pending {
        /// Why the latest attempt did not do it, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
    /// Claimed. After `until` the claimant is taken for dead, and whether it acted is not known.
    Doing {
        /// The session that claims it.
        by: String,
        /// When it was claimed.
        since: Timestamp,
        /// The end of the claim.
        until: Timestamp,
    },
    /// Done, and confirmed by the other side.
    Done {
        /// When.
        at: Timestamp,
        /// Who did it.
        by: String,
        /// What the other side gave back.
        receipt: Receipt,
    },
    /// It may have been done: the answer was lost. It is done again, since for a message twice is better
    /// than not at all.
    Ambiguous {
        /// When.
        at: Timestamp,
        /// What happened.
        cause: String,
    },
    /// It will not be done, and why.
    GivenUp {
        /// When.
        at: Timestamp,
        /// Why.
        cause: String,
    },
}

/// Slack's proof of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The conversation it went to.
    pub channel: String,
    /// The message's timestamp, which is its id there.
    pub ts: String,
    /// What went otherwise than meant, as a fallback to the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Confirmed.
    Done(Receipt),
    /// Not done, and worth another try.
    Retry(String),
    /// Perhaps done.
    Ambiguous(String),
    /// Not to be done.
    GivenUp(String),
}

/// Why a delivery cannot be claimed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefused {
    /// Another invocation is at it.
    #[error("delivery is being made by {by} until {until}, and it is {now}")]
    Claimed {
        /// The claimant.
        by: String,
        /// The end of its claim.
        until: Timestamp,
        /// The time of this attempt.
        now: Timestamp,
    },
    /// There is nothing left to do.
    #[error("delivery is finished already")]
    Finished,
}

impl DeliveryState {
    /// Nothing has been tried yet.
    pub const NEW: Self = Self::Pending { cause: None };

    /// Whether there is nothing left to do.
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::GivenUp { .. })
    }

    /// The state in one word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Doing { .. } => "doing",
            Self::Done { .. } => "done",
            Self::Ambiguous { .. } => "ambiguous",
            Self::GivenUp { .. } => "given-up",
        }
    }
}

impl Delivery {
    /// A delivery yet to be made.
    pub fn new(
        name: DeliveryName,
        fact_id: String,
        severity: crate::alert::Severity,
        now: Timestamp,
    ) -> Self {
        Self {
            name,
            fact_id,
            severity,
            created_at: now,
            attempts: 0,
            state: DeliveryState::NEW,
            notice: None,
            answers: None,
        }
    }

    /// The delivery that is about to say this, if it is a notice.
    #[must_use]
    pub fn saying(self, terms: Option<NoticeTerms>) -> Self {
        Self { notice: terms.map(|terms| terms.after(self.notice)), ..self }
    }

    /// Claims it for `lease`. A live claim of another is an error, never success.
    pub fn claim(&self, by: &str, now: Timestamp, lease: SignedDuration) -> Result<Self, ClaimRefused> {
        match &self.state {
            DeliveryState::Doing { by: claimant, until, .. } if now < *until => {
                Err(ClaimRefused::Claimed { by: claimant.clone(), until: *until, now })
            }
            state if state.is_finished() => Err(ClaimRefused::Finished),
            _ => Ok(Self {
                attempts: self.attempts.saturating_add(1),
                state: DeliveryState::Doing {
                    by: by.to_owned(),
                    since: now,
                    until: now.saturating_add(lease).unwrap_or(Timestamp::MAX),
                },
                ..self.clone()
            }),
        }
    }

    /// Records how the attempt under `by`'s claim ended. Whoever lost the claim meanwhile does not get to
    /// say so; a confirmed end counts all the same, since it happened.
    pub fn end(&self, by: &str, now: Timestamp, ending: Ending) -> Result<Self, ClaimRefused> {
        match &self.state {
            DeliveryState::Doing { by: claimant, .. } if claimant == by => {}
            DeliveryState::Doing { by: claimant, until, .. } if !matches!(ending, Ending::Done(_)) => {
                return Err(ClaimRefused::Claimed { by: claimant.clone(), until: *until, now });
            }
            state if state.is_finished() => return Err(ClaimRefused::Finished),
            _ => {}
        }
        let state = match ending {
            Ending::Done(receipt) => DeliveryState::Done { at: now, by: by.to_owned(), receipt },
            Ending::Retry(cause) => DeliveryState::Pending { cause: Some(cause) },
            Ending::Ambiguous(cause) => DeliveryState::Ambiguous { at: now, cause },
            Ending::GivenUp(cause) => DeliveryState::GivenUp { at: now, cause },
        };
        Ok(Self { state, ..self.clone() })
    }
}

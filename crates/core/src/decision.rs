//! What people decide over keytide's rules: a halt, an approval, an exemption, a policy, a ledger's acceptance.
//!
//! Each is written down together with the message that tells the channel of it, or not at all: a change of the
//! rules that nobody hears of is a back door.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{AccountId, alert::Severity, digest::sha256_hex, lifecycle::Exemption};

/// An exemption lasts so long at most, counted from when it is granted.
pub const LONGEST_EXEMPTION_DAYS: u32 = 180;
/// A reason has so many characters at least: fewer say nothing to whoever reads it in half a year.
pub const SHORTEST_REASON: usize = 10;
/// A reason has so many characters at most: it is read in a message.
pub const LONGEST_REASON: usize = 500;
/// So many changes of a policy are kept word by word; the rest is counted.
pub const MOST_CHANGES_KEPT: usize = 200;

/// Something that a person decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Who, as AWS named them.
    pub author: String,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Decided,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Decided {
    /// Nothing is disabled any more, anywhere.
    Halted {
        /// Why.
        reason: String,
    },
    /// The halt is lifted.
    Resumed {
        /// Why.
        reason: String,
    },
    /// The ledger is gone by again, in this table.
    LedgerAccepted {
        /// The table's id.
        table_id: String,
        /// Why.
        reason: String,
    },
    /// A plan is let through beyond its account's cap.
    Approved {
        /// The account.
        account: AccountId,
        /// The plan's hash.
        plan: String,
        /// How many keys the cap held back.
        disables: usize,
    },
    /// A key is not to be disabled for a while.
    Exempted {
        /// The account.
        account: AccountId,
        /// The key.
        key_id: String,
        /// Its user.
        user: String,
        /// Until when, and why.
        exemption: Exemption,
    },
    /// An exemption ends at once.
    ExemptionRemoved {
        /// The account.
        account: AccountId,
        /// The key.
        key_id: String,
        /// Its user.
        user: String,
        /// The exemption, as it stood.
        exemption: Exemption,
        /// Why it ends.
        reason: String,
    },
    /// Another policy holds.
    PolicyApplied {
        /// The hash of the one before; `None`: the built-in one held.
        old_hash: Option<String>,
        /// The hash of the one that holds now.
        new_hash: String,
        /// What that changes for the keys of that day, a line each.
        changes: Vec<String>,
    },
}

impl Decision {
    /// How loud it is told.
    pub fn severity(&self) -> Severity {
        match self.what {
            Decided::Halted { .. }
            | Decided::Resumed { .. }
            | Decided::LedgerAccepted { .. }
            | Decided::Approved { .. } => Severity::Warning,
            Decided::Exempted { .. } | Decided::ExemptionRemoved { .. } | Decided::PolicyApplied { .. } => {
                Severity::Notice
            }
        }
    }

    /// The account that it is about; `None` where it is about all of them.
    pub fn account(&self) -> Option<&AccountId> {
        match &self.what {
            Decided::Approved { account, .. }
            | Decided::Exempted { account, .. }
            | Decided::ExemptionRemoved { account, .. } => Some(account),
            Decided::Halted { .. }
            | Decided::Resumed { .. }
            | Decided::LedgerAccepted { .. }
            | Decided::PolicyApplied { .. } => None,
        }
    }

    /// The key that it is about, with its user.
    pub fn key(&self) -> Option<(&str, &str)> {
        match &self.what {
            Decided::Exempted { key_id, user, .. } | Decided::ExemptionRemoved { key_id, user, .. } => {
                Some((key_id, user))
            }
            _ => None,
        }
    }

    /// The fact's id: the same decision of the same person at the same moment is one.
    pub fn fact_id(&self) -> String {
        let text = format!("{} {} {:?}", self.author, self.at, self.what);
        format!("decision-{}", sha256_hex(text.as_bytes()))
    }

    /// What was decided, in a few words.
    pub fn describe(&self) -> &'static str {
        match self.what {
            Decided::Halted { .. } => "all disabling halted",
            Decided::Resumed { .. } => "the halt lifted",
            Decided::LedgerAccepted { .. } => "the ledger accepted",
            Decided::Approved { .. } => "a plan approved beyond the cap",
            Decided::Exempted { .. } => "exempted",
            Decided::ExemptionRemoved { .. } => "exemption taken back",
            Decided::PolicyApplied { .. } => "another policy put into force",
        }
    }
}

/// Why a decision is not one that may be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// The reason is too short.
    #[error(
        "the reason has {found} characters: expected {SHORTEST_REASON} or more, for whoever reads it later"
    )]
    ShortReason {
        /// So many it has.
        found: usize,
    },
    /// The reason is too long.
    #[error(
        "the reason has {found} characters: expected {LONGEST_REASON} at most, since it is read in a message"
    )]
    LongReason {
        /// So many it has.
        found: usize,
    },
    /// The reason has characters that do not show.
    #[error("the reason has line breaks or control characters: expected one line of text")]
    ControlInReason,
    /// The exemption's end is not ahead.
    #[error("an exemption until {until} has ended already: expected a time after {now}")]
    EndedAlready {
        /// The end that was asked for.
        until: Timestamp,
        /// Now.
        now: Timestamp,
    },
    /// The exemption is too long.
    #[error(
        "an exemption until {until} is too long: expected {latest} at the latest, which is {LONGEST_EXEMPTION_DAYS} days from now"
    )]
    TooLong {
        /// The end that was asked for.
        until: Timestamp,
        /// The latest that may be.
        latest: Timestamp,
    },
}

/// A reason as it is kept: one line that says something.
pub fn reason(text: &str) -> Result<String, NotAllowed> {
    let text = text.trim();
    let found = text.chars().count();
    if text.chars().any(char::is_control) {
        return Err(NotAllowed::ControlInReason);
    }
    if found < SHORTEST_REASON {
        return Err(NotAllowed::ShortReason { found });
    }
    if found > LONGEST_REASON {
        return Err(NotAllowed::LongReason { found });
    }
    Ok(text.to_owned())
}

/// An exemption that begins now; 180 days is the most.
pub fn exemption(
    reason_given: &str,
    author: &str,
    until: Timestamp,
    now: Timestamp,
) -> Result<Exemption, NotAllowed> {
    let reason = reason(reason_given)?;
    if until <= now {
        return Err(NotAllowed::EndedAlready { until, now });
    }
    let most = SignedDuration::from_hours(i64::from(LONGEST_EXEMPTION_DAYS) * 24);
    let latest = now.saturating_add(most).unwrap_or(Timestamp::MAX);
    if until > latest {
        return Err(NotAllowed::TooLong { until, latest });
    }
    Ok(Exemption { reason, author: author.to_owned(), granted_at: now, until })
}

/// What an exemption out of the copy of a lost ledger is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutBack {
    /// It holds until then, and the ledger has forgotten it.
    Until(Timestamp),
    /// It has ended, or was void.
    Ended(Timestamp),
    /// Its key is deleted, or no longer there.
    Gone,
    /// The ledger knows this grant, or a later one of that key: whatever became of it, taken back or not, is newer than
    /// the copy.
    Known,
}

/// Whether an exemption of a copy is to be put back; `known` is what the ledger holds of that key, ended or not.
pub fn put_back(was: &Exemption, known: Option<&Exemption>, now: Timestamp) -> PutBack {
    let ends = was.ends(now);
    if known.is_some_and(|known| known.granted_at >= was.granted_at) {
        PutBack::Known
    } else if ends <= now {
        PutBack::Ended(ends)
    } else {
        PutBack::Until(ends)
    }
}

/// An exemption of a copy as it is put back, by whoever puts it back. It is still that grant: so its 180 days are counted
/// from when it was granted, and a copy that knows a later one of that key, or that this was taken back, is not held up
/// by it.
pub fn as_put_back(was: &Exemption, until: Timestamp, author: &str) -> Result<Exemption, NotAllowed> {
    let reason = reason(&was.reason)?;
    Ok(Exemption { reason, author: author.to_owned(), granted_at: was.granted_at, until })
}

/// Whether an exemption that is in force is to be asked about, since the whole copy of its account that was made at that
/// time does not have it: it was granted before, and so perhaps taken back.
pub fn may_be_taken_back(in_force: &Exemption, copied_at: Timestamp, now: Timestamp) -> bool {
    in_force.ends(now) > now && in_force.granted_at <= copied_at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_reason_says_something_in_one_line() {
        assert_eq!(reason("  the vendor rotates in May ").unwrap(), "the vendor rotates in May");
        assert_eq!(reason("because"), Err(NotAllowed::ShortReason { found: 7 }));
        assert_eq!(reason("         a         "), Err(NotAllowed::ShortReason { found: 1 }));
        assert_eq!(reason("long enough\nand a forged line"), Err(NotAllowed::ControlInReason));
        assert_eq!(reason(&"a".repeat(501)), Err(NotAllowed::LongReason { found: 501 }));
        assert!(reason(&"a".repeat(500)).is_ok() && reason(&"a".repeat(10)).is_ok());
    }

    #[test]
    fn an_exemption_ends_and_within_180_days() {
        let now = at("2026-05-04T09:00:00Z");
        let until = |until: &str| exemption("the vendor rotates", "somebody", at(until), now);
        assert!(matches!(until("2026-05-04T09:00:00Z"), Err(NotAllowed::EndedAlready { .. })));
        assert_eq!(until("2026-05-04T09:00:01Z").unwrap().granted_at, now);
        assert!(until("2026-10-31T09:00:00Z").is_ok(), "180 days to the second");
        assert!(matches!(until("2026-10-31T09:00:01Z"), Err(NotAllowed::TooLong { .. })));
    }

    #[test]
    fn what_a_copy_holds_is_put_back_only_where_the_ledger_has_forgotten_it() {
        let now = at("2026-06-02T18:00:00Z");
        let granted = |granted_at: &str, until: &str| Exemption {
            reason: "the vendor rotates".to_owned(),
            author: "somebody".to_owned(),
            granted_at: at(granted_at),
            until: at(until),
        };
        let was = granted("2026-05-01T00:00:00Z", "2026-07-01T00:00:00Z");
        assert_eq!(put_back(&was, None, now), PutBack::Until(was.until));
        // Exempted by the morning's sweep, and taken back at noon: what is left of it is the same grant, ended.
        let taken_back = Exemption { until: at("2026-06-02T12:00:00Z"), ..was.clone() };
        assert_eq!(put_back(&was, Some(&taken_back), now), PutBack::Known);
        let anew = granted("2026-06-01T00:00:00Z", "2026-06-10T00:00:00Z");
        assert_eq!(put_back(&was, Some(&anew), now), PutBack::Known, "and not lengthened");
        // Of an older table only an earlier grant is known, which says nothing about this one.
        let earlier = granted("2026-02-01T00:00:00Z", "2026-08-01T00:00:00Z");
        assert_eq!(put_back(&was, Some(&earlier), now), PutBack::Until(was.until));
        // It ends as exemptions end, whatever it says.
        let long = granted("2026-01-01T00:00:00Z", "2030-01-01T00:00:00Z");
        assert_eq!(put_back(&long, None, now), PutBack::Until(at("2026-06-30T00:00:00Z")));
        let over = granted("2025-11-01T00:00:00Z", "2030-01-01T00:00:00Z");
        assert_eq!(put_back(&over, None, now), PutBack::Ended(at("2026-04-30T00:00:00Z")));
        let ahead = granted("2026-06-03T00:00:00Z", "2026-07-01T00:00:00Z");
        assert_eq!(put_back(&ahead, None, now), PutBack::Ended(Timestamp::MIN));
    }
}

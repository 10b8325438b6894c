//! What happened outside of keytide, as one tells it afterwards: all that the judge reads.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use jiff::{Timestamp, tz::TimeZone};
use keytide_core::{key::Key, policy::Mode};
use serde_json::Value;

use super::weather::Said;

/// The rules of one policy, as the company wrote them.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) modes: BTreeMap<String, Mode>,
    pub(super) notice_days: [i64; 3],
    pub(super) disable_day: i64,
    pub(super) organization_cap: usize,
}

/// A user, by what decides over its keys.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) account: String,
    /// The name at the beginning.
    pub(super) name: String,
    /// The tag `key-max-age-days`.
    pub(super) max_age: Option<i64>,
    pub(super) break_glass: bool,
    /// Where the owner reads messages, if there is a usable tag.
    pub(super) direct: Option<String>,
}

/// A key that was there at the beginning.
#[derive(Debug, Clone)]
pub(super) struct FirstKey {
    pub(super) key_id: String,
    pub(super) account: String,
    pub(super) user: String,
    pub(super) born: Timestamp,
    pub(super) active: bool,
}

/// What people decided, besides what the trail shows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Decision {
    /// From now on the policy of that number holds.
    Policy(usize),
    Halt,
    Resume,
    Exempt {
        key_id: String,
        until: Timestamp,
    },
    Restored,
    /// How far AWS's clocks are ahead, in minutes.
    Skew(i64),
    /// An owner cannot be reached (or can again).
    Reachable(String, bool),
}

/// How a sweep ended, by its own word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ended {
    /// With these troubles, each with the key that it names.
    Done(Vec<(Option<String>, String)>),
    Failed(String),
    Died,
}

/// One invocation that swept an account, or took an event.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) account: String,
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
    pub(super) rules: usize,
    pub(super) ended: Ended,
    /// The ledger was silent, an answer of Slack was lost, or somebody died meanwhile.
    pub(super) excused: bool,
    /// `None` for a sweep, else the event's id.
    pub(super) event: Option<String>,
    /// Nothing was to be left to do: it follows upon a calm success at once.
    pub(super) is_repeat: bool,
}

impl Run {
    pub(super) fn is_sweep(&self) -> bool {
        self.event.is_none()
    }

    /// Whether it says that it did all of its work.
    pub(super) fn succeeded(&self) -> bool {
        self.ended == Ended::Done(Vec::new())
    }

    /// Whether it says that it did all of its work on this key of this user.
    pub(super) fn succeeded_for(&self, key_id: &str, user: &str) -> bool {
        let Ended::Done(troubles) = &self.ended else { return false };
        troubles.iter().all(|(key, cause)| {
            if let Some(key) = key {
                return key != key_id;
            }
            // A failed look at another user says whose it was.
            let of = cause
                .strip_prefix("iam:ListAccessKeys of ")
                .or_else(|| cause.strip_prefix("iam:GetUser of "));
            of.and_then(|rest| rest.split_once(" in ")).is_some_and(|(other, _)| other != user)
        })
    }
}

/// A whole story.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) accounts: Vec<String>,
    pub(super) rules: Vec<Rules>,
    pub(super) people: Vec<Person>,
    pub(super) first_keys: Vec<FirstKey>,
    /// CloudTrail's events in the order in which things happened.
    pub(super) trail: Vec<Value>,
    pub(super) runs: Vec<Run>,
    pub(super) decisions: Vec<(Timestamp, Decision)>,
    pub(super) said: Vec<Said>,
    /// The ledger's rows at the end.
    pub(super) rows: Vec<Key>,
    pub(super) faults: Vec<(Timestamp, String)>,
}

impl fmt::Display for Story {
    /// Everything that happened, in the order of time.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<(Timestamp, u8, String)> = Vec::new();
        for key in &self.first_keys {
            let FirstKey { key_id, account, user, born, active } = key;
            let state = if *active { "Active" } else { "Inactive" };
            lines.push((
                *born,
                0,
                format!("born    {key_id} of {user} in {account}, {state}, before all events"),
            ));
        }
        for (number, rules) in self.rules.iter().enumerate() {
            let mut line = String::new();
            write!(line, "policy  {number}: {rules:?}")?;
            lines.push((Timestamp::UNIX_EPOCH, 0, line));
        }
        for person in &self.people {
            lines.push((Timestamp::UNIX_EPOCH, 1, format!("person  {person:?}")));
        }
        for event in &self.trail {
            let detail = &event["detail"];
            let at =
                detail["eventTime"].as_str().and_then(|at| at.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH);
            let line = format!(
                "iam     {} {} by {} {} ({})",
                detail["eventName"],
                detail["requestParameters"],
                detail["userIdentity"]["arn"],
                detail["errorCode"].as_str().unwrap_or_default(),
                detail["eventID"],
            );
            lines.push((at, 2, line));
        }
        for (at, decision) in &self.decisions {
            lines.push((*at, 1, format!("decided {decision:?}")));
        }
        for (number, run) in self.runs.iter().enumerate() {
            let what = match &run.event {
                Some(event) => format!("event {event}"),
                None => format!("sweep of {}", run.account),
            };
            let excused = if run.excused { ", excused" } else { "" };
            let end = format!("run {number}: {what} began {}, ended {:?}{excused}", run.begin, run.ended);
            lines.push((run.end, 4, format!("end     {end}")));
            lines.push((run.begin, 1, format!("begin   run {number}: {what} under policy {}", run.rules)));
        }
        for said in &self.said {
            let lost = if said.confirmed { "" } else { " (its answer was lost)" };
            lines.push((
                said.at,
                3,
                format!("said    run {} to {}{lost}: {}", said.run, said.conversation, said.text),
            ));
        }
        for (at, fault) in &self.faults {
            lines.push((*at, 2, format!("fault   {fault}")));
        }
        lines.sort_by_key(|(at, rank, _)| (at.as_second(), *rank));
        for (at, _, line) in lines {
            writeln!(formatter, "{} {line}", at.to_zoned(TimeZone::UTC).strftime("%F %T"))?;
        }
        Ok(())
    }
}

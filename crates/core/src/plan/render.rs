//! A plan as people read it, before anything is done.

use std::fmt::{Display, Formatter, Result};

use super::{FindingKind, HeldBy, News, PlannedDisable, PlannedNotice, SweepPlan, UpcomingKind};
use crate::{key::Ground, lifecycle::utc_date};

impl Display for SweepPlan {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        writeln!(out, "account {}, {}, on {}", self.account, self.mode.as_str(), utc_date(self.at))?;
        writeln!(out, "plan {}", self.hash())?;
        writeln!(out, "policy {}", self.policy)?;
        if self.is_baseline {
            writeln!(out, "first sweep of this account: keys are entered, and not alerted one by one")?;
        }
        section(out, "the ledger did not know", &self.changes, |out, change| {
            let words: Vec<String> = change.news.iter().map(ToString::to_string).collect();
            let words = if words.is_empty() { "read afresh".to_owned() } else { words.join(", ") };
            let user = change.key.holder.subject.user().unwrap_or("-");
            write!(out, "{} of {user}: {words}", change.key.key_id)
        })?;
        section(out, "root's keys that no event told of", &self.root_keys, |out, at| {
            write!(out, "made or last changed at {at}")
        })?;
        section(out, "notices due", &self.notices, |out, notice| write!(out, "{notice}"))?;
        section(out, "to be disabled", &self.disables, |out, disable| write!(out, "{disable}"))?;
        section(out, "held", &self.held, |out, held| {
            write!(out, "{} of {}: {}", held.key_id, held.user, held.by)
        })?;
        section(out, "to be mended", &self.findings, |out, finding| {
            let user = finding.user.as_deref().unwrap_or("-");
            write!(out, "{} of {user}: {}", finding.key_id, finding.what)
        })?;
        section(out, "coming", &self.upcoming, |out, upcoming| {
            write!(out, "{} {} of {}: {}", upcoming.on, upcoming.key_id, upcoming.user, upcoming.what)
        })
    }
}

fn section<T>(
    out: &mut Formatter<'_>,
    title: &str,
    lines: &[T],
    mut line: impl FnMut(&mut Formatter<'_>, &T) -> Result,
) -> Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "{title}:")?;
    for item in lines {
        out.write_str("  ")?;
        line(out, item)?;
        writeln!(out)?;
    }
    Ok(())
}

impl Display for PlannedNotice {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let Self { key_id, user, stage, age_days, disable_on, .. } = self;
        let whom = if self.tell_owner { "channel and owner" } else { "channel" };
        let earnest = if self.in_earnest { "will be" } else { "would be" };
        write!(
            out,
            "{key_id} of {user}: {stage} to {whom}, {age_days} days old, {earnest} disabled on {disable_on}"
        )
    }
}

impl Display for PlannedDisable {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let Self { key_id, user, age_days, noticed_at, named, .. } = self;
        let ground = match self.ground {
            Ground::Age => "too old",
            Ground::Unused => "unused",
        };
        write!(
            out,
            "{key_id} of {user}: {ground}, {age_days} days old, told on {} that it ends on {named}",
            utc_date(*noticed_at)
        )
    }
}

impl Display for HeldBy {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Mode(mode) => write!(out, "the account is in {}", mode.as_str()),
            Self::NoLicence => out.write_str("no notice that licenses it is old enough yet"),
            Self::BreakGlass => out.write_str("a break-glass user is never disabled"),
            Self::Unaccepted(why) => write!(out, "{why}; `keytide ledger accept` is for that"),
            Self::Halt(reason) => write!(out, "everything is halted: {reason}"),
            Self::AccountCap { most } => {
                write!(
                    out,
                    "above the account's cap of {most} a day: `keytide approve` lets this plan through"
                )
            }
            Self::Hours(words) => out.write_str(words),
            Self::NotSeen => out.write_str("its user's keys could not be listed"),
            Self::TagsUnknown => {
                out.write_str("a rule of the policy needs the user's tags, which could not be read")
            }
            Self::BornAhead => out.write_str("its birth lies ahead of our clock"),
            Self::PolicyChanged => out.write_str("another policy came into force meanwhile"),
            Self::Clock => out.write_str("our clock and AWS's do not agree within five minutes"),
            Self::OrganizationCap { most } => {
                write!(out, "above the organization's cap of {most} a day: it waits for tomorrow")
            }
        }
    }
}

impl Display for News {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Found => out.write_str("no event told of it"),
            Self::Reopened => out.write_str("it was taken for deleted, and is there"),
            Self::Status { from, to } => {
                write!(out, "its status is {}", to.as_str())?;
                from.as_ref().map_or(Ok(()), |from| write!(out, ", not {}", from.as_str()))
            }
            Self::Renamed { from, to } => match from {
                Some(from) => write!(out, "its user {from} is now called {to}"),
                None => write!(out, "it is a key of {to}"),
            },
            Self::Gone => out.write_str("not listed for a day: taken for deleted"),
        }
    }
}

impl Display for FindingKind {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::NoSlackId => out.write_str("the user has no tag slack-id"),
            Self::MalformedSlackId(text) => {
                write!(
                    out,
                    "the tag slack-id holds no member id: {:?}",
                    text.chars().take(40).collect::<String>()
                )
            }
            Self::Tag(remark) => out.write_str(remark),
            Self::BornAhead => out.write_str("its birth lies ahead of our clock"),
            Self::Unknown(what) => out.write_str(what),
            Self::Root => out.write_str("root has an access key: delete it"),
        }
    }
}

impl Display for UpcomingKind {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Notice(day) => write!(out, "notice of day {day}"),
            Self::ExemptionEnds => out.write_str("its exemption ends"),
            Self::Disable => out.write_str("disabled"),
        }
    }
}

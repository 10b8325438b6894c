//! Trails: CloudTrail hands EventBridge what a trail records, and nothing else.

use super::{Findings, REGION, Seen, Severity};

/// A trail that is seen from the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Trail {
    /// Its ARN.
    pub(in super::super) name: String,
    /// Whose it is, where it is another account's: an organization trail.
    pub(in super::super) owner: Option<String>,
    pub(in super::super) home_region: String,
    pub(in super::super) is_multi_region: bool,
    pub(in super::super) has_global_events: bool,
    pub(in super::super) is_logging: Seen<bool>,
    /// Whether it certainly records IAM's calls that write.
    pub(in super::super) has_writes: Seen<bool>,
}

impl Trail {
    /// IAM's events are in one region; a trail of that one is enough.
    fn reaches_iam(&self) -> bool {
        self.is_multi_region || self.home_region == REGION
    }

    fn does_all(&self) -> bool {
        self.reaches_iam()
            && self.has_global_events
            && self.is_logging == Ok(true)
            && self.has_writes == Ok(true)
    }

    /// Why it is not known whether it does all, where nothing speaks against it.
    fn unknown(&self) -> Option<&String> {
        let seen = [&self.is_logging, &self.has_writes];
        let may = self.reaches_iam() && self.has_global_events && !seen.contains(&&Ok(false));
        may.then(|| seen.into_iter().find_map(|seen| seen.as_ref().err())).flatten()
    }
}

/// One trail that does all of it is enough.
pub(super) fn trails_are(found: &mut Findings<'_>, trails: &[Trail]) {
    if trails.iter().any(Trail::does_all) {
        return;
    }
    let mend = "have an organization trail: multi-region, with global service events, logging, recording write \
                management events; CloudTrail hands EventBridge what a trail records";
    if let Some((trail, why)) = trails.iter().find_map(|trail| Some((trail, trail.unknown()?))) {
        match &trail.owner {
            // The same in every account that it records: said once, of the installation.
            Some(owner) => {
                let account = found.account.take();
                found.add(
                    Severity::Unknown,
                    format!("whether the organization's trail {} records IAM's calls could not be looked at: {why}", trail.name),
                    format!("it is owned by {owner}: look there, by `aws cloudtrail get-event-selectors --trail-name {} --region {}` \
                             and `get-trail-status`", trail.name, trail.home_region),
                );
                found.account = account;
            }
            None => found.add(
                Severity::Unknown,
                format!("whether a trail records IAM's calls could not be looked at: {why}"),
                mend,
            ),
        }
        return;
    }
    let faults: Vec<String> = trails
        .iter()
        .map(|trail| {
            let lacks = [
                (trail.reaches_iam(), "is of another region"),
                (trail.has_global_events, "leaves out global services such as IAM"),
                (trail.is_logging != Ok(false), "is stopped"),
                (
                    trail.has_writes != Ok(false),
                    "does not record, or may leave out, management events that write",
                ),
            ];
            let lacks: Vec<&str> = lacks.iter().filter(|(is, _)| !is).map(|(_, what)| *what).collect();
            format!("{} {}", trail.name, lacks.join(" and "))
        })
        .collect();
    let what = if faults.is_empty() { "there is none".to_owned() } else { faults.join("; ") };
    found.broken(format!("no trail records IAM's calls, so no event tells of a key: {what}"), mend);
}

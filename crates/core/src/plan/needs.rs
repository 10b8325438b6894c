//! Whose keys a sweep has to list: what is due, what changed, and everybody now and then.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{AccountState, circumstances, treatment_of};
use crate::{
    AccountId,
    cloudtrail::Status,
    digest::sha256_hex,
    key::{Key, Standing},
    lifecycle::{Phase, phase},
    policy::Policy,
};

const A_WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A user, as the credential report has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// The user's name.
    pub user: String,
    /// How many active keys it shows: two at most.
    pub active: usize,
    /// Whether it says that there is more than it shows.
    pub has_more: bool,
    /// Whether this row is other than the one of the report before.
    pub has_changed: bool,
}

/// What has to be asked of IAM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// The users whose keys are to be listed.
    pub users: BTreeSet<String>,
    /// Those of them whose tags are to be read in any case, since something is due.
    pub owners: BTreeSet<String>,
    /// The keys whose latest use is to be read, since a message or a disable is due.
    pub last_use: BTreeSet<String>,
    /// Whether the users are everybody.
    pub is_everybody: bool,
}

/// Says what has to be asked. `rows` is the credential report; without one everybody that the ledger knows is
/// listed, since nothing else could tell what changed. `listed_all_at` says when everybody was listed last, if ever.
pub fn needs(
    state: &AccountState,
    rows: Option<&[UserRow]>,
    listed_all_at: Option<Timestamp>,
    policy: &Policy,
    now: Timestamp,
) -> Needs {
    let mut needs = Needs::default();
    let mut by_user: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
    for key in &state.keys {
        let Some(user) = key.holder.subject.user() else { continue };
        if !key.is_closed() {
            by_user.entry(user).or_default().push(key);
        }
        let treatment = treatment_of(policy, key);
        let around = circumstances(state, policy, key, &treatment, now);
        let (is_due, wants_use) = match phase(key, &around) {
            Phase::Running(clock) => {
                let is_due = clock.notice.is_some() || clock.licence.is_some() || clock.is_past_its_day;
                (is_due, is_due || treatment.life.inactive_days.is_some())
            }
            Phase::Exempt { ending, .. } => (ending.is_some(), ending.is_some()),
            Phase::Unknown(_) => (true, false),
            Phase::Closed | Phase::Root | Phase::Dormant(_) => (false, false),
        };
        if is_due || is_open_question(key) {
            needs.users.insert(user.to_owned());
            needs.owners.insert(user.to_owned());
        }
        if wants_use {
            needs.last_use.insert(key.key_id.clone());
        }
    }
    let Some(rows) = rows else {
        needs.users.extend(by_user.keys().map(|user| (*user).to_owned()));
        return needs;
    };
    // A week after it at the latest, should its weekday have failed.
    let is_long_ago = listed_all_at.is_none_or(|at| now.duration_since(at) >= A_WEEK);
    needs.is_everybody = is_long_ago || is_weekday_of(&state.account, now);
    let mut reported = BTreeSet::new();
    for row in rows {
        reported.insert(row.user.as_str());
        let known = by_user.get(row.user.as_str()).map_or(&[][..], Vec::as_slice);
        let active = known.iter().filter(|key| is_active(key)).count();
        // Of a user's third key the report knows nothing, and an inactive one it may hide.
        let agrees = row.active == active.min(2);
        if row.has_changed || row.has_more || !agrees || needs.is_everybody {
            needs.users.insert(row.user.clone());
        }
    }
    // Whom the report does not show was renamed, or deleted, or is newer than the report.
    needs
        .users
        .extend(by_user.keys().filter(|user| !reported.contains(*user)).map(|user| (*user).to_owned()));
    needs
}

/// Whether only a listing can say how the key stands.
fn is_open_question(key: &Key) -> bool {
    match key.standing() {
        Some(Standing::Exists(mark)) => mark.unsettled || key.absence.is_some(),
        Some(Standing::Deleted(_) | Standing::Gone(_)) => false,
        None => true,
    }
}

fn is_active(key: &Key) -> bool {
    matches!(key.standing(), Some(Standing::Exists(mark)) if mark.status == Status::Active)
}

/// Once a week everybody's keys are listed, since a report shows no user's third key; each account has its
/// own weekday for it.
fn is_weekday_of(account: &AccountId, now: Timestamp) -> bool {
    let digest = sha256_hex(account.as_str().as_bytes());
    let place = digest.bytes().take(8).fold(0_i64, |sum, byte| (sum * 31 + i64::from(byte)) % 7);
    now.as_second().div_euclid(24 * 60 * 60).rem_euclid(7) == place
}

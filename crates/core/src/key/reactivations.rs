//! When a key was set Active again.
//!
//! Every event that sets a key Active counts, also where nothing is known of its having been off, since it may be
//! that event which was lost. So there may be any number of them, and what is kept must neither grow with them nor
//! lose the first, on which the arming epochs stand: of each UTC date the earliest.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::lifecycle::utc_date;

/// So many dates are kept, the earliest: of a key that is set Active on a thousand dates the later ones arm nothing.
const DATES_KEPT: usize = 1_000;
/// A listing may be this much older or younger than its time says: users are listed one after another.
const AROUND_A_LISTING: SignedDuration = SignedDuration::from_mins(5);

/// When a key was set Active again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reactivations {
    /// What events told, and listings showed: the earliest of each UTC date.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    at: BTreeSet<Timestamp>,
    /// Those that only a listing showed, until the event comes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    seen: BTreeSet<Seen>,
}

/// A key that was known to be off was listed as Active: it was set so some time in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Seen {
    /// What counts until better is known.
    until: Timestamp,
    /// Since when it was off.
    after: Timestamp,
    /// When the listing was made.
    listed_at: Timestamp,
}

impl Reactivations {
    /// In their order, of each UTC date the earliest.
    pub fn all(&self) -> BTreeSet<Timestamp> {
        earliest(self.at.iter().copied().chain(self.seen.iter().map(|seen| seen.until)))
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty() && self.seen.is_empty()
    }

    /// An event told of one: what a listing had shown was this one, if it fits.
    pub fn told(&mut self, at: Timestamp) {
        let latest = |seen: &Seen| seen.listed_at.saturating_add(AROUND_A_LISTING).unwrap_or(Timestamp::MAX);
        let seen = self.seen.iter().copied().find(|seen| seen.after < at && at <= latest(seen));
        if let Some(seen) = seen {
            self.seen.remove(&seen);
        }
        self.at = earliest(self.at.iter().copied().chain([at]));
    }

    /// A listing made at `listed_at`, which vouches for what was at `until`, showed one of a key that was off
    /// since `after`.
    pub fn seen(&mut self, after: Timestamp, until: Timestamp, listed_at: Timestamp) {
        self.seen.insert(Seen { until, after, listed_at });
        while self.seen.len() > DATES_KEPT {
            self.seen.pop_last();
        }
    }
}

fn earliest(all: impl Iterator<Item = Timestamp>) -> BTreeSet<Timestamp> {
    let sorted: BTreeSet<Timestamp> = all.collect();
    let mut latest_date = None;
    let of_dates = sorted.into_iter().filter(|at| latest_date.replace(utc_date(*at)) != Some(utc_date(*at)));
    of_dates.take(DATES_KEPT).collect()
}

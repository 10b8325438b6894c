//! How fast an account may be called, as IAM bounds it: each account on its own.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

/// So much of what was not called lately may be called at once.
const BURST: SignedDuration = SignedDuration::from_secs(1);

/// A number of calls a second that each account has.
#[derive(Debug)]
pub(crate) struct Rate {
    /// What one call takes of an account's time.
    each: SignedDuration,
    /// Until when an account's time is taken; in the past where it rests.
    taken_until: HashMap<String, Timestamp>,
}

impl Rate {
    pub(crate) fn new(calls_a_second: u32) -> Self {
        let calls = i32::try_from(calls_a_second).unwrap_or(i32::MAX).max(1);
        Self { each: BURST / calls, taken_until: HashMap::new() }
    }

    /// Takes one call of the account's, where it has one left. One that is refused takes nothing.
    pub(crate) fn take(&mut self, account: &str, now: Timestamp) -> bool {
        let latest = now.saturating_add(BURST).unwrap_or(Timestamp::MAX);
        // Later than that only where the clock was set back: then it begins anew.
        let taken = self.taken_until.get(account).copied().filter(|taken| (now..=latest).contains(taken));
        let until = taken.unwrap_or(now).saturating_add(self.each).unwrap_or(Timestamp::MAX);
        if until > latest {
            return false;
        }
        self.taken_until.insert(account.to_owned(), until);
        true
    }
}

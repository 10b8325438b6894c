//! Where time comes from.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// One run of a program: who it is, when it began, how long it may take.
///
/// The time of day is read once, in `main`; later moments are that plus what has elapsed, by a clock that
/// a simulation can pause.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The name under which it claims deliveries, unique among all that run at once.
    pub session: String,
    started: Timestamp,
    began: Instant,
    time_limit: Duration,
}

impl Invocation {
    /// Begins now, at `started`, with this much time.
    pub fn begin(session: String, started: Timestamp, time_limit: Duration) -> Self {
        Self { session, started, began: Instant::now(), time_limit }
    }

    /// The same run, under another name to claim with.
    #[must_use]
    pub fn named(&self, session: String) -> Self {
        Self { session, ..self.clone() }
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.began.elapsed()).unwrap_or(SignedDuration::ZERO);
        self.started.saturating_add(elapsed).unwrap_or(self.started)
    }

    /// How much time is left.
    pub fn remaining(&self) -> Duration {
        self.time_limit.saturating_sub(self.began.elapsed())
    }
}

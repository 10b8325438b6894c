//! The simulation's time: given by whoever made the world, carried on by tokio's clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_smithy_async::time::TimeSource;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// 2026-01-01T00:00:00Z, what the world's clock shows until it is set.
const BEGINNING_SECOND: i64 = 1_767_225_600;

/// A clock that starts where it was set and runs with tokio's, so it stands still where that is
/// paused. The machine's own clock is never read.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedTime {
    set: Arc<Mutex<(Timestamp, Instant)>>,
}

impl SimulatedTime {
    pub(crate) fn new() -> Self {
        let beginning = Timestamp::from_second(BEGINNING_SECOND).unwrap_or(Timestamp::UNIX_EPOCH);
        Self { set: Arc::new(Mutex::new((beginning, Instant::now()))) }
    }

    pub(crate) fn set(&self, now: Timestamp) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = (now, Instant::now());
    }

    pub(crate) fn now(&self) -> Timestamp {
        let (start, since) = *self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = SignedDuration::try_from(since.elapsed()).unwrap_or(SignedDuration::MAX);
        start.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
    }
}

/// The SDK judges by this clock whether credentials are still good, so it must be the world's too.
impl TimeSource for SimulatedTime {
    fn now(&self) -> SystemTime {
        self.now().into()
    }
}

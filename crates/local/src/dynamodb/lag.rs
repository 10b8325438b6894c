//! Indexes that lag: in AWS a secondary index follows its table some time later.
//!
//! A second database follows the first, some writes behind, and answers what is asked of indexes.
//! A write that succeeded once succeeds again there, since it meets the very same state.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use dynoxide::Database;

use super::dispatch;

pub(super) struct LaggingCopy {
    database: Database,
    behind: usize,
    waiting: VecDeque<(String, Box<[u8]>)>,
}

impl LaggingCopy {
    pub(super) fn of(original: &Database, behind: usize) -> dynoxide::Result<Self> {
        let passage = passage();
        let database = Database::memory()?;
        let copied = original
            .vacuum_into(&passage.to_string_lossy())
            .and_then(|()| database.restore_from(&passage.to_string_lossy()));
        // The file served its purpose, or was never made: either way there is nothing to mend.
        let _ = std::fs::remove_file(&passage);
        copied?;
        Ok(Self { database, behind, waiting: VecDeque::new() })
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Notes a write that succeeded, and does those that are old enough to be seen. What is done to
    /// tables does not lag.
    pub(super) fn follow(&mut self, operation: &str, body: &[u8]) {
        if matches!(operation, "CreateTable" | "DeleteTable" | "UpdateTimeToLive") {
            dispatch(&self.database, operation, body);
            return;
        }
        self.waiting.push_back((operation.to_owned(), body.into()));
        while self.waiting.len() > self.behind {
            let Some((operation, body)) = self.waiting.pop_front() else {
                break;
            };
            dispatch(&self.database, &operation, &body);
        }
    }
}

pub(super) fn writes(operation: &str) -> bool {
    matches!(
        operation,
        "CreateTable"
            | "DeleteTable"
            | "UpdateTimeToLive"
            | "PutItem"
            | "UpdateItem"
            | "DeleteItem"
            | "BatchWriteItem"
            | "TransactWriteItems"
    )
}

pub(super) fn reads_index(operation: &str, body: &[u8]) -> bool {
    matches!(operation, "Query" | "Scan")
        && serde_json::from_slice::<serde_json::Value>(body)
            .is_ok_and(|request| request.get("IndexName").is_some())
}

/// A file that nobody else uses, for the moment of copying.
fn passage() -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    std::env::temp_dir().join(format!(
        "keytide-lag-{}-{}.db",
        process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    ))
}

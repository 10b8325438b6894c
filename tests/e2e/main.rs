//! keytide's stories, end to end: one file a story. Nothing here leaves the process but over 127.0.0.1.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says so by failing")]

mod burst;
mod by_hand;
mod cli;
mod decide;
mod faults;
mod found;
mod inventory;
mod ledger;
mod locks;
mod notices;
mod outage;
mod program;
mod redrive;
mod restore;
mod rights;
mod run;
mod scan;
mod simulate;
mod sweep;
mod sweep_cli;
mod sweep_faults;
mod sweeper;
mod table_lost;
mod watch;
mod watcher;
mod world;

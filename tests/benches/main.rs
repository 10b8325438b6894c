//! keytide's figures, each beside a reference that is measured in the same run: `make bench`.
//!
//! Not timed tests: a slow machine gives slow figures and no failure. A wrong result fails: every run that is
//! measured is looked at afterwards.
//!
//! `make bench FIGURES="reader warm"` measures only those named.

mod cold;
mod company;
mod front;
mod reader;
mod replay;
mod size;
mod sweep;
mod table;
mod warm;

use std::{env, error::Error, process::ExitCode};

use tokio::runtime::{Builder, Runtime};

use crate::table::Table;

/// What a figure gives: an error is a wrong result, or something that is not there.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

type Figure = fn(&mut Table) -> Outcome<()>;

/// The slow builds first, so that the measuring is not among them.
const FIGURES: [(&str, Figure); 9] = [
    ("cold", |table| several_threads()?.block_on(cold::measure(table))),
    ("warm", |table| one_thread()?.block_on(warm::measure(table))),
    ("reader", reader::measure),
    ("size", size::measure),
    ("replay", |table| several_threads()?.block_on(replay::measure(table))),
    ("sweep", |table| one_paused_thread()?.block_on(sweep::peers::measure(table))),
    ("units", |table| one_paused_thread()?.block_on(sweep::units::measure(table))),
    ("accounts", sweep::accounts::measure),
    ("growth", sweep::growth::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` starts this too.
        table::say("these are benchmarks: `make bench` runs them");
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|name| !FIGURES.iter().any(|(known, _)| known == *name)) {
        let known = FIGURES.map(|(name, _)| name).join(", ");
        table::complain(&format!("there is no figure {unknown:?}: expected some of {known}"));
        return ExitCode::from(2);
    }
    let mut table = Table::default();
    let mut all_right = true;
    for (name, figure) in FIGURES {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| *wanted == name) {
            continue;
        }
        table::complain(&format!("measuring: {name}"));
        if let Err(error) = figure(&mut table) {
            table::complain(&format!("{name}: {error}"));
            all_right = false;
        }
    }
    table::say(&table.to_string());
    if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Time passes on it only where everything waits: what is computed takes none.
fn one_paused_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().start_paused(true).build()
}

fn several_threads() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

//! `keytide` by hand: the same use cases as in AWS, on a laptop.
//!
//! Read in this order: [`args`] for what there is, [`explain`] for the shortest way through, [`ingest`] for
//! the whole one, [`demo`] for a world to try it in. [`input`] and [`split`] turn whatever is given into
//! events; [`store`] opens ledgers; [`policy`] reads policy files. [`sweep`] is what runs every day, [`decide`]
//! what people decide over it, [`lost`] what they do when the ledger is another one. Everything is printed by [`output`].

mod args;
mod confirm;
mod decide;
mod demo;
mod doctor;
#[cfg(test)]
mod documented;
mod explain;
mod ingest;
mod input;
mod ledger;
mod lost;
mod man;
mod output;
mod policy;
mod redrive;
mod scan;
mod split;
mod store;
mod sweep;
mod upcoming;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser as _};
use jiff::Timestamp;
use keytide_slack::Token;

use crate::{
    args::{Arguments, Command, PolicyCommand},
    output::Output,
};

/// The embedded ledger and the SDK allocate thousands of small things an event, on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why a command could not be carried out. Each says what, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Trouble {
    /// It could not be done. Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Wrong usage or configuration. Exit code 2.
    #[error("{0}")]
    Usage(String),
}

/// How a command ended that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// All of it.
    Done,
    /// Some inputs failed, and each was named.
    SomeFailed,
    /// Everything was refused for safety.
    Refused,
}

/// What is read from the environment, apart from what AWS's own libraries read.
#[derive(Debug, Default)]
struct Environment {
    slack_token: Option<Token>,
    channel: Option<String>,
    slack_url: Option<String>,
    no_color: bool,
    /// The operating system's name for whoever runs this.
    user: Option<String>,
}

impl Environment {
    /// Reads `KEYTIDE_SLACK_TOKEN`, `KEYTIDE_CHANNEL`, `KEYTIDE_SLACK_URL`, `NO_COLOR` and `USER`. A variable that
    /// is set to nothing counts as not set.
    fn from_env() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one documented from_env of this program")]
        let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        Self {
            slack_token: variable("KEYTIDE_SLACK_TOKEN").map(|text| Token::new(text.trim().to_owned())),
            channel: variable("KEYTIDE_CHANNEL").map(|text| text.trim().to_owned()),
            slack_url: variable("KEYTIDE_SLACK_URL"),
            no_color: variable("NO_COLOR").is_some(),
            user: variable("USER"),
        }
    }
}

fn main() -> ExitCode {
    // A bug is said in a line, not in a stack trace.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let _ =
            writeln!(io::stderr(), "keytide: this is a bug, at {place}: please report it, with the command");
    }));
    let arguments = Arguments::parse();
    #[expect(clippy::disallowed_methods, reason = "the one place where this program reads the time of day")]
    let now = Timestamp::now();
    let environment = Environment::from_env();
    let mut output = Output::new(environment.no_color);
    let ended = run(&arguments.command, environment, now, &mut output);
    let printed = output.finish();
    match ended.and_then(|ended| printed.map(|()| ended)) {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::SomeFailed) => ExitCode::from(1),
        Ok(Ended::Refused) => ExitCode::from(3),
        Err(trouble) => {
            let _ = writeln!(io::stderr(), "keytide: {trouble}");
            ExitCode::from(match trouble {
                Trouble::Failed(_) => 1,
                Trouble::Usage(_) => 2,
            })
        }
    }
}

fn run(
    command: &Command,
    environment: Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<Ended, Trouble> {
    match command {
        Command::Demo(args) => in_runtime(demo::run(args, output)),
        Command::Explain(args) => Ok(explain::run(args, output)),
        Command::Ingest(args) => in_runtime(ingest::run(args, environment, now, output)),
        Command::Ledger(command) => in_runtime(ledger::run(command, environment, now, output)),
        Command::Sweep(args) => in_runtime(sweep::run(args, environment, now, output)),
        Command::Halt(args) => {
            in_runtime(decide::halt_or_resume(decide::Disabling::Halt, args, environment, now, output))
        }
        Command::Resume(args) => {
            in_runtime(decide::halt_or_resume(decide::Disabling::Resume, args, environment, now, output))
        }
        Command::Approve(args) => in_runtime(decide::approve(args, environment, now, output)),
        Command::Exempt(command) => in_runtime(decide::exempt(command, environment, now, output)),
        Command::Policy(PolicyCommand::Try(args)) => {
            in_runtime(decide::try_policy(args, environment, now, output))
        }
        Command::Policy(PolicyCommand::Apply(args)) => {
            in_runtime(decide::apply_policy(args, environment, now, output))
        }
        Command::Policy(command) => policy::run(command, now, output),
        Command::Scan(args) => in_runtime(scan::run(args, now, output)),
        Command::Upcoming(args) => in_runtime(upcoming::run(args, now, output)),
        Command::Doctor(args) => in_runtime(doctor::run(args, environment, now, output)),
        Command::Redrive(args) => in_runtime(redrive::run(args, output)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "keytide", &mut script);
            output.print(&String::from_utf8_lossy(&script));
            Ok(Ended::Done)
        }
        Command::Man { command } => {
            output.print(&man::page(command.as_deref())?);
            Ok(Ended::Done)
        }
    }
}

fn in_runtime(task: impl Future<Output = Result<Ended, Trouble>>) -> Result<Ended, Trouble> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Trouble::Failed(format!("starting: the operating system gave no threads: {error}; try again"))
    })?;
    let ended = runtime.block_on(task);
    // A thread may still wait for standard input, which nobody needs any more.
    runtime.shutdown_background();
    ended
}

//! A hundred accounts with ever more keys, and the same number of them due: what grows with what exists.

use std::{fs, time::Duration};

use super::organization::{AccountDay, Day, LATENCY, Organization, Shape};
use crate::{
    Outcome, one_paused_thread,
    table::{Row, Table, median, ratio},
};

const START: &str = "2026-06-01T06:00:00Z";
const ACCOUNTS: u32 = 100;
/// For so long accounts are filled, and their day takes about as long again; what is not filled by then is left
/// out, and said.
const FILLING: Duration = Duration::from_secs(100);
/// Megabytes of memory that are to be left for others.
const LEFT_MB: f64 = 2_000.0;

/// A day of one size, by its ordinary accounts and by those of which everybody was listed.
struct Size {
    accounts: u32,
    keys: u32,
    calls: f64,
    seconds: f64,
    cpu: f64,
    weekly: (usize, f64, f64),
    day: Day,
}

pub(crate) fn measure(table: &mut Table) -> Outcome<()> {
    let mut sizes = Vec::new();
    for keys_each in [100, 1_000, 10_000] {
        // Each in a world of its own, which is gone before the next.
        sizes.push(one_paused_thread()?.block_on(day_of(keys_each))?);
    }
    let smallest = sizes.first().map_or((f64::NAN, f64::NAN), |size| (size.seconds + size.cpu, size.calls));
    for (size, figure) in sizes.iter().zip([
        "an account's day, of 10,000 keys in all",
        "the same, of 100,000 keys",
        "the same, of 1,000,000 keys",
    ]) {
        let filled = u64::from(size.accounts) * u64::from(size.keys);
        table.row(Row {
            figure,
            keytide: format!(
                "{:.2} s + {:.2} s on a CPU, {} calls to IAM",
                size.seconds, size.cpu, size.calls
            ),
            reference: format!("{:.2} s, {} calls  at 10,000 keys", smallest.0, smallest.1),
            ratio: ratio(size.seconds + size.cpu, smallest.0),
            aim: "≤ 3×, the same calls",
            samples: format!("{} of {ACCOUNTS} accounts, {filled} keys", size.accounts),
        });
        let (weekly, weekly_calls, weekly_seconds) = size.weekly;
        let said = if size.accounts < ACCOUNTS {
            format!(
                "as far as {} seconds of filling and the memory of this machine went: {filled} keys in {} of {ACCOUNTS} accounts",
                FILLING.as_secs(),
                size.accounts
            )
        } else {
            format!("{filled} keys in {ACCOUNTS} accounts")
        };
        table.note(format!(
            "{figure}: {said}, a key due in each; the day took one sandbox {:.0} s and {:.1} s on a CPU, {}. Of these \
             accounts {weekly} had their day of the week, on which everybody is listed: {weekly_calls:.0} calls to \
             IAM and {weekly_seconds:.1} s each.",
            size.day.clock.as_secs_f64(),
            size.day.cpu.as_secs_f64(),
            size.day.by_service(),
        ));
    }
    table.note(
        "An account's day is the median over those that had an ordinary one: seconds waited by a paused \
         clock, beside them those on a CPU, and the calls to IAM.",
    );
    Ok(())
}

async fn day_of(keys_each: u32) -> Outcome<Size> {
    let began = elapsed();
    // The first key becomes due on the day that is measured.
    let shape =
        Shape { users: keys_each / 2, keys: keys_each, age_days: |key| if key == 0 { 75 } else { 10 } };
    let mut organization = Organization::new(shape, START.parse()?, ACCOUNTS).await?;
    organization.run(1).await?;
    let mut accounts = 1;
    while accounts < ACCOUNTS && elapsed().saturating_sub(began) < FILLING && memory_left_mb() > LEFT_MB {
        organization.add_account_like_the_first().await?;
        accounts += 1;
    }
    organization.aws.faults().set_latency(LATENCY);
    organization.go_to_day(1)?;
    let day = organization.run(1).await?;
    if day.told() != u64::from(accounts) {
        return Err(
            format!("{} keys were told of in {accounts} accounts; expected one in each", day.told()).into()
        );
    }
    let listed = |account: &&AccountDay| account.iam_calls >= u64::from(keys_each / 2);
    let (weekly, ordinary): (Vec<&AccountDay>, Vec<&AccountDay>) = day.accounts.iter().partition(listed);
    let calls = |accounts: &[&AccountDay]| {
        median(accounts.iter().map(|account| f64::from(u32::try_from(account.iam_calls).unwrap_or(u32::MAX))))
    };
    let seconds =
        |accounts: &[&AccountDay]| median(accounts.iter().map(|account| account.invoked.as_secs_f64()));
    let cpu = |accounts: &[&AccountDay]| median(accounts.iter().map(|account| account.cpu.as_secs_f64()));
    if ordinary.is_empty() {
        return Err("no account had an ordinary day".into());
    }
    Ok(Size {
        accounts,
        keys: keys_each,
        calls: calls(&ordinary),
        seconds: seconds(&ordinary),
        cpu: cpu(&ordinary),
        weekly: (weekly.len(), calls(&weekly), seconds(&weekly)),
        day,
    })
}

/// A clock that is not paused: this is about the patience of whoever waits for the table.
fn elapsed() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(time).unwrap_or_default()
}

/// What the system could still give away (`proc_meminfo(5)`, in units of 1,024 bytes); all that is needed, where
/// it does not say.
fn memory_left_mb() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u32>().ok());
    kibibytes.map_or(f64::INFINITY, |kibibytes| f64::from(kibibytes) * 1_024.0 / 1_000_000.0)
}

//! One account of 500 users and 550 keys of which 166 are due, every call to AWS 30 ms late: what a first sweep,
//! a steady day and a day of notices take. Beside it the way that is usual: every user and every key asked for,
//! one call after the other.

use std::time::Duration;

use aws_sdk_iam::types::StatusType;
use keytide_local::{LocalAws, Service};
use tokio::time::Instant;

use super::organization::{Day, LATENCY, Organization, Shape, account_id};
use crate::{
    Outcome,
    table::{Row, Table, cpu_time, median, ratio},
};

pub(super) const START: &str = "2026-06-01T06:00:00Z";
pub(super) const USERS: u32 = 500;
pub(super) const KEYS: u32 = 550;
pub(super) const DUE: u32 = 166;
/// How often the whole is done.
const RUNS: usize = 3;
/// The days after the first sweep. The 166 keys are due on the fifth again, and on one of the seven everybody's
/// keys are listed, as once in every week.
pub(super) const DAYS: u32 = 7;
pub(super) const DUE_AGAIN: u32 = 5;

/// Seconds and calls of one sort of day.
#[derive(Debug, Default)]
struct Sort {
    waited: Vec<f64>,
    cpu: Vec<f64>,
    calls: Vec<f64>,
    /// By service, of one such day.
    services: String,
}

impl Sort {
    fn add(&mut self, day: &Day) {
        self.waited.push(day.invoked.as_secs_f64());
        self.cpu.push(day.cpu.as_secs_f64());
        self.calls.push(f64::from(u32::try_from(day.all_calls()).unwrap_or(u32::MAX)));
        self.services = format!(
            "{} (IAM: {}; DynamoDB: {})",
            day.by_service(),
            day.of(Service::Iam),
            day.of(Service::DynamoDb)
        );
    }

    fn seconds(&self) -> f64 {
        median(self.waited.iter().zip(&self.cpu).map(|(waited, cpu)| waited + cpu))
    }
}

pub(crate) async fn measure(table: &mut Table) -> Outcome<()> {
    let sorts = [
        "first sweep, 166 due",
        "a steady day, none due",
        "a day with 166 notices",
        "the day of the week for all",
    ];
    let [mut first, mut steady, mut due, mut weekly] = [(); 4].map(|()| Sort::default());
    let mut reference = Sort::default();
    for _ in 0..RUNS {
        let mut organization = one_account().await?;
        organization.aws.faults().set_latency(LATENCY);
        let day = organization.run(1).await?;
        check(&day, DUE)?;
        first.add(&day);
        for number in 1..=DAYS {
            organization.go_to_day(number)?;
            let day = organization.run(1).await?;
            check(&day, if number == DUE_AGAIN { DUE } else { 0 })?;
            let is_weekly = day
                .calls
                .get(&(Service::Iam, "ListAccessKeys"))
                .is_some_and(|calls| *calls >= u64::from(USERS));
            match (is_weekly, number == DUE_AGAIN) {
                (false, false) => steady.add(&day),
                (false, true) => due.add(&day),
                (true, false) => weekly.add(&day),
                (true, true) => {
                    return Err("all were listed on the day of the notices: choose another start".into());
                }
            }
        }
        organization = one_account().await?;
        one_by_one(&organization.aws, &mut reference).await?;
    }
    let beside = reference.seconds();
    let calls = |sort: &Sort| format!("{:.0} calls", median(sort.calls.iter().copied()));
    let aims = ["≤ 2 s", "≤ 1 s", "", ""];
    for ((figure, aim), sort) in sorts.into_iter().zip(aims).zip([&first, &steady, &due, &weekly]) {
        let (waited, cpu) = (median(sort.waited.iter().copied()), median(sort.cpu.iter().copied()));
        let is_first = aim == "≤ 2 s";
        table.row(Row {
            figure,
            keytide: format!("{waited:.2} s + {cpu:.2} s on a CPU, {}", calls(sort)),
            reference: if is_first {
                format!("{beside:.1} s, {}  one user, one key after the other", calls(&reference))
            } else {
                format!("{beside:.1} s, {}  the same", calls(&reference))
            },
            ratio: ratio(sort.seconds(), beside),
            aim,
            samples: format!("{} days", sort.waited.len()),
        });
        table.note(format!("{figure}: {}.", sort.services));
    }
    table.note(format!(
        "Sweeps of one account ({USERS} users, {KEYS} keys) with {} ms added to each call: seconds waited by a paused \
         clock, and beside them those on a CPU, without what passed in the AWS of this process. The half minute \
         in which AWS makes the credential report, and no invocation runs, is not among them. One user, one key \
         after the other: ListUsers, then each user's keys and tags, each key's last use, and 166 keys disabled, \
         nothing recorded and nobody told: what others' tools do.",
        LATENCY.as_millis()
    ));
    Ok(())
}

pub(super) async fn one_account() -> Outcome<Organization> {
    let start = START.parse()?;
    let shape = Shape { users: USERS, keys: KEYS, age_days: |key| if key < DUE { 76 } else { 1 + key % 50 } };
    Organization::new(shape, start, 1).await
}

pub(super) fn check(day: &Day, told: u32) -> Outcome<()> {
    if day.told() == u64::from(told) && day.accounts.iter().all(|account| account.outcome.keys == 550) {
        return Ok(());
    }
    Err(format!("of {KEYS} keys {told} were to be told of; the day was {day:?}").into())
}

/// A sweep as it is usually written, by the account's own credentials.
async fn one_by_one(aws: &LocalAws, sort: &mut Sort) -> Outcome<()> {
    let client = aws_sdk_iam::Client::new(&aws.sdk_config_in(&account_id(0)));
    aws.faults().set_latency(LATENCY);
    aws.calls().restart();
    let (began, cpu) = (Instant::now(), cpu_time());
    let oldest = aws.now().as_second() - 76 * 24 * 60 * 60;
    let mut disabled = 0;
    let mut marker = None;
    loop {
        let page = client.list_users().set_marker(marker).send().await?;
        for user in page.users() {
            let keys = client.list_access_keys().user_name(user.user_name()).send().await?;
            client.list_user_tags().user_name(user.user_name()).send().await?;
            for key in keys.access_key_metadata() {
                let id = key.access_key_id().ok_or("a key without an id")?;
                client.get_access_key_last_used().access_key_id(id).send().await?;
                if key.create_date().is_some_and(|born| born.secs() <= oldest) {
                    let update = client.update_access_key().user_name(user.user_name());
                    update.access_key_id(id).status(StatusType::Inactive).send().await?;
                    disabled += 1;
                }
            }
        }
        marker = page.marker().map(str::to_owned);
        if marker.is_none() {
            break;
        }
    }
    if disabled != DUE {
        return Err(format!("{disabled} keys were disabled; expected {DUE}").into());
    }
    let waited: Duration = began.elapsed();
    sort.waited.push(waited.as_secs_f64());
    sort.cpu.push(cpu_time().saturating_sub(cpu).as_secs_f64());
    sort.calls.push(f64::from(u32::try_from(aws.calls().total())?));
    Ok(())
}

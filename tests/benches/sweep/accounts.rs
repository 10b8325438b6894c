//! A thousand accounts of a hundred keys each, every call to AWS 30 ms late, and IAM answering twenty calls a
//! second in each account: a steady day by one sandbox of the function and by ten at once, and the memory of its
//! real program.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keytide_local::Service;
use keytide_tests::{
    build,
    runtime_api::{Answered, RuntimeApi, time_of_day},
};
use serde_json::{Value, json};

use super::organization::{AccountDay, Day, LATENCY, Organization, Shape, account_id};
use crate::{
    Outcome,
    cold::peak_mb,
    company::{CHANNEL, EXTERNAL_ID, SECRET, TABLE},
    one_paused_thread, several_threads,
    table::{Row, Table, median, ratio},
};

const ACCOUNTS: u32 = 1_000;
const USERS: u32 = 90;
const KEYS: u32 = 100;
/// What IAM answers in an account in a second.
const IAM_RATE: u32 = 20;
/// The first of the days that are measured; the program's is the day on which this runs.
const DAYS_BEFORE: i64 = 3;
/// So many accounts one sandbox sweeps for its memory: more than those whose sessions it keeps.
const FEW: usize = 100;
const MANY: usize = 400;

pub(crate) fn measure(table: &mut Table) -> Outcome<()> {
    let program = build::program("keytide-sweeper", "lambda")?;
    let today = Timestamp::from_second(time_of_day().as_second())?;
    let start = today.checked_sub(SignedDuration::from_hours(DAYS_BEFORE * 24))?;
    let organization = one_paused_thread()?.block_on(days(table, start))?;
    let (few, many) = several_threads()?.block_on(memory(&program, &organization))?;
    table.row(Row {
        figure: "memory of a sweeper",
        keytide: format!("{many:.1} MB  after {MANY} accounts"),
        reference: format!("{few:.1} MB  after {FEW}"),
        ratio: ratio(many, few),
        aim: "≤ 256 MB",
        samples: "the real program".to_owned(),
    });
    Ok(())
}

async fn days(table: &mut Table, start: Timestamp) -> Outcome<Organization> {
    // Ages as they are where everybody rotates in time: each day as many keys become due as on any other.
    let shape = Shape { users: USERS, keys: KEYS, age_days: |key| key * 76 / KEYS };
    let mut organization = Organization::new(shape, start, ACCOUNTS).await?;
    let delays = |organization: &Organization, are_on: bool| {
        let faults = organization.aws.faults();
        faults.set_latency(if are_on { LATENCY } else { Duration::ZERO });
        faults.set_iam_rate(are_on.then_some(IAM_RATE));
    };
    delays(&organization, true);
    let first = organization.run(1).await?;
    delays(&organization, false);
    for _ in 1..ACCOUNTS {
        organization.add_account_like_the_first().await?;
    }
    delays(&organization, true);
    organization.go_to_day(1)?;
    let alone = organization.run(1).await?;
    organization.go_to_day(2)?;
    let together = organization.run(10).await?;
    delays(&organization, false);

    let seconds = |day: &Day| day.clock.as_secs_f64();
    for (figure, day, at_once) in
        [("1,000 accounts, one sandbox", &alone, 1.0), ("1,000 accounts, ten at once", &together, 10.0)]
    {
        // What ten compute, each computes a tenth of.
        let cpu = day.cpu.as_secs_f64() / at_once;
        table.row(Row {
            figure,
            keytide: format!("{:.0} s + {cpu:.1} s on a CPU, {} keys told of", seconds(day), day.told()),
            reference: if at_once > 1.0 {
                format!("{:.0} s  one sandbox", seconds(&alone))
            } else {
                String::new()
            },
            ratio: if at_once > 1.0 { ratio(seconds(day), seconds(&alone)) } else { String::new() },
            aim: "≤ 900 s",
            samples: format!("a day, {} calls", day.all_calls()),
        });
        let throttled = day.throttled;
        let (weekly, ordinary): (Vec<&AccountDay>, Vec<&AccountDay>) =
            day.accounts.iter().partition(|account| is_listed_wholly(account.outcome.calls));
        let each =
            |accounts: &[&AccountDay]| median(accounts.iter().map(|account| account.invoked.as_secs_f64()));
        table.note(format!(
            "{figure}: {} calls, of them {throttled} throttled by IAM (IAM: {}; DynamoDB: {}). An account took {:.1} s; the \
             {} that had their day of the week, on which everybody is listed, {:.1} s each. Medians.",
            day.by_service(),
            day.of(Service::Iam),
            day.of(Service::DynamoDb),
            each(&ordinary),
            weekly.len(),
            each(&weekly),
        ));
    }
    table.note(format!(
        "{ACCOUNTS} accounts of {USERS} users and {KEYS} keys, {} ms added to each call, {IAM_RATE} calls to IAM a \
         second in each account; a steady day is the day after the first sweep. The first sweep of one such account \
         took {:.1} s; the others stand as that left it.",
        LATENCY.as_millis(),
        first.invoked.as_secs_f64(),
    ));
    Ok(organization)
}

fn is_listed_wholly(calls: u64) -> bool {
    calls >= u64::from(USERS)
}

/// The program's peak of memory after few accounts and after many, one after the other.
async fn memory(program: &std::path::Path, organization: &Organization) -> Outcome<(f64, f64)> {
    let (aws, slack) = (organization.aws.clone(), organization.slack.clone());
    let api = RuntimeApi::start(aws, slack).await?;
    let accounts: Vec<String> = (0..u32::try_from(MANY)?).map(account_id).collect();
    let environment = [
        ("KEYTIDE_TABLE", TABLE),
        ("KEYTIDE_CHANNEL", CHANNEL),
        ("KEYTIDE_SLACK_SECRET", SECRET),
        ("KEYTIDE_QUEUE_URL", organization.queue_url.as_str()),
        ("KEYTIDE_EXTERNAL_ID", EXTERNAL_ID),
        ("KEYTIDE_ACCOUNTS", &accounts.join(",")),
        ("KEYTIDE_SLACK_URL", &api.slack_url()),
    ];
    let function = api.start_function(program, &environment)?;
    let peak = || {
        let id = function.id().ok_or("the function has ended")?;
        peak_mb(id).ok_or("the system does not tell VmHWM: expected Linux's /proc")
    };
    let time_limit = Duration::from_mins(15);
    let begun = api.invoke_within(time_limit, &json!({"keytide": "begin"})).await?;
    if begun != Answered::Response(json!({"begin": "started", "accounts": MANY})) {
        return Err(format!("the run began as {begun:?}:\n{}", function.output()).into());
    }
    // The run is named after the day on which it began.
    let date = organization.ledger().latest_runs(1).await?.first().map(|run| run.value.date);
    let date = date.ok_or("the run is not in the ledger")?;
    let mut after_few = 0.0;
    for (number, account) in accounts.iter().enumerate() {
        if number == FEW {
            after_few = peak()?;
        }
        let body = json!({"keytide": "account", "run": date, "account": account}).to_string();
        let mut visit = 0;
        loop {
            visit += 1;
            let record = json!({
                "messageId": format!("m-{number}-{visit}"), "receiptHandle": "receipt", "body": body,
                "attributes": {"ApproximateReceiveCount": visit.to_string()},
                "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "us-east-1",
            });
            let answered = api.invoke_within(time_limit, &json!({"Records": [record]})).await?;
            let Answered::Response(response) = answered else {
                return Err(format!("the sweep of {account} ended as {answered:?}").into());
            };
            // The credential report is come back for.
            let again = response.get("batchItemFailures").and_then(Value::as_array).map_or(1, Vec::len);
            if again == 0 {
                break;
            }
            if visit > 3 {
                return Err(format!("{account} comes again and again:\n{}", function.output()).into());
            }
        }
    }
    Ok((after_few, peak()?))
}

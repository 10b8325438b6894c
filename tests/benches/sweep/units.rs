//! What DynamoDB would bill for an event, for an account's day, for each of its keys, and for a key's notices: what
//! infra/COST.md reckons with. dynoxide counts the units, indexes and transactions among them.

use std::time::Duration;

use keytide_app::{
    Invocation,
    watch::{Incoming, Watched},
};
use keytide_local::Units;

use super::{
    organization::{Organization, Shape},
    peers,
};
use crate::{
    Outcome,
    company::{Company, NewKeys},
    table::{Row, Table},
};

/// Events of new keys.
const EVENTS: u32 = 50;
/// Days of a week: each has its users to list.
const DAYS: u32 = 7;
/// Keys of a small account and of a large one: what is between them is what keys cost.
const SIZES: [u32; 2] = [10, 1_010];

pub(crate) async fn measure(table: &mut Table) -> Outcome<()> {
    say(table, "units of a new key's event", per_event().await?, format!("{EVENTS} events"));

    let [small, large] = [week_of(SIZES[0]).await?, week_of(SIZES[1]).await?];
    let keys = f64::from(SIZES[1] - SIZES[0]);
    let each_key = over(difference(large, small), keys);
    let without_keys = difference(small, times(each_key, f64::from(SIZES[0])));
    say(table, "units of an account's day", without_keys, format!("{DAYS} days"));
    say(table, "and of each of its keys", each_key, format!("{DAYS} days"));

    let organization = peers::one_account().await?;
    organization.run(1).await?;
    let day_of = async |number: u32, told: u32| -> Outcome<Units> {
        organization.go_to_day(number)?;
        organization.aws.count_units();
        let day = organization.run(1).await?;
        peers::check(&day, told)?;
        Ok(organization.aws.units())
    };
    let steady = day_of(peers::DUE_AGAIN - 1, 0).await?;
    let due = day_of(peers::DUE_AGAIN, peers::DUE).await?;
    let notices = over(difference(due, steady), f64::from(peers::DUE));
    say(table, "units of a key's notices", notices, format!("{} keys", peers::DUE));
    let organization = peers::one_account().await?;
    organization.aws.count_units();
    organization.run(1).await?;
    let first = over(organization.aws.units(), f64::from(peers::KEYS));
    say(table, "units of a key in the first sweep", first, format!("{} keys", peers::KEYS));
    Ok(())
}

fn say(table: &mut Table, figure: &'static str, units: Units, samples: String) {
    let keytide = format!("{:.2} read, {:.2} written", units.read, units.write);
    table.row(Row { figure, keytide, samples, ..Row::default() });
}

async fn per_event() -> Outcome<Units> {
    let company = Company::new().await?;
    let keys = NewKeys::read()?;
    let watch = Company::watch(&company.aws.sdk_config(), company.slack.clone())?;
    company.aws.count_units();
    for number in 0..EVENTS {
        let (key_id, event) = keys.of_alice(number);
        let now = company.aws.now();
        let invocation = Invocation::begin(format!("request-{key_id}"), now, Duration::from_mins(1));
        match watch.event(&Incoming { json: event.as_bytes(), received: 1 }, &invocation).await? {
            Watched::Recorded(record) if record.sent.len() == 2 => {}
            other => return Err(format!("the event of {key_id} ended as {other:?}").into()),
        }
    }
    Ok(over(company.aws.units(), f64::from(EVENTS)))
}

/// An account's average day of a week in which nothing is due.
async fn week_of(keys: u32) -> Outcome<Units> {
    let organization =
        Organization::new(Shape { users: keys, keys, age_days: |_| 10 }, peers::START.parse()?, 1).await?;
    organization.run(1).await?;
    organization.aws.count_units();
    for number in 1..=DAYS {
        organization.go_to_day(number)?;
        let day = organization.run(1).await?;
        if day.told() > 0 || day.accounts.iter().any(|account| account.outcome.keys != keys as usize) {
            return Err(format!("nothing was to be told of: {day:?}").into());
        }
    }
    Ok(over(organization.aws.units(), f64::from(DAYS)))
}

fn over(units: Units, number: f64) -> Units {
    Units { read: units.read / number, write: units.write / number }
}

fn times(units: Units, number: f64) -> Units {
    over(units, number.recip())
}

fn difference(one: Units, other: Units) -> Units {
    Units { read: one.read - other.read, write: one.write - other.write }
}

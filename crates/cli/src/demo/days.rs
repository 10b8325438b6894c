//! The demo's ninety-five days: what a sweep a day does to the keys of five people and a machine.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, civil::Date};
use keytide_app::{
    Invocation,
    decide::{Decide, compare},
    sweep::{Observer, Sweep, SweepError, Swept},
    watch::{Incoming, Watched},
};
use keytide_aws::{
    disabler::{Disabler, DisablerRole},
    ledger::LedgerReader,
    member::{Members, RoleReach},
};
use keytide_core::{
    AccountId,
    cloudtrail::{self, KeyChange, Outcome},
    delivery::{NoticeDay, Stage},
    fact::FactBody,
    lifecycle::{Exemption, utc_date},
    plan::PlannedNotice,
    policy::Policy,
};
use keytide_local::{
    KeyStatus,
    draw::draw,
    slack::{PostedMessage, SlackSim},
};

use super::{ACCOUNTS, CHANNEL_NAME, Company, EXTERNAL_ID, PROD, READER, USERS, broken};
use crate::{
    Trouble,
    ledger::{fact_table, key_table_of, place},
    output::{Output, Style},
};

/// The first day; sweeps run in its early morning, before anybody works.
const FIRST: Timestamp = Timestamp::constant(1_780_552_800, 0);
const DAYS: i64 = 95;
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Days on which nobody swept, counted from the first.
const MISSED: std::ops::RangeInclusive<i64> = 73..=79;

const DARIO: &str = "AKIATIDEWATERDARIO29";
const CHIARA: &str = "AKIATIDEWATERCHIAR29";
const ELENA: &str = "AKIATIDEWATERELENA24";
const BOT: &str = "AKIATIDEWATERBOT1101";
const ALICE: &str = "AKIATIDEWATERSTORY22";
pub(super) const DISABLER: &str = "keytide-disabler";

/// Keys that are there before keytide is: whose, which, since when.
const OLD_KEYS: [(&str, &str, &str); 4] = [
    ("deploy-bot", BOT, "2025-11-01T10:00:00Z"),
    ("elena", ELENA, "2026-05-24T09:30:00Z"),
    ("chiara", CHIARA, "2026-05-29T13:05:00Z"),
    ("dario", DARIO, "2026-05-29T16:40:00Z"),
];

/// What people do, on which day.
const DEEDS: [(i64, &str, &str, Deed); 4] = [
    (70, "deploy-bot", BOT, Deed::Rotate),
    (72, "chiara", CHIARA, Deed::Rotate),
    (86, "elena", ELENA, Deed::SetActive),
    (87, "alice", ALICE, Deed::Rotate),
];

/// Who decides, as AWS names her.
const CHIARA_AS_SECURITY: &str = "arn:aws:sts::111122223333:assumed-role/security/chiara";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Makes a new key and deletes the old one.
    Rotate,
    /// Sets a key Active that keytide disabled; somebody with more rights does it for them.
    SetActive,
}

/// The keys that the company has before the first sweep.
pub(super) fn arrange(company: &Company) -> Result<(), Trouble> {
    for (user, key_id, born) in OLD_KEYS {
        let born: Timestamp = born.parse().map_err(|_| broken("a key's birth", born))?;
        let made = company.aws.iam().add_access_key(PROD, user, key_id, born, KeyStatus::Active);
        made.map_err(|error| broken("a key could not be made", &error.to_string()))?;
    }
    Ok(())
}

/// All ninety-five days, a line for each thing that happens.
pub(super) async fn tell(company: &Company, output: &mut Output) -> Result<(), Trouble> {
    let title = "Ninety-five days: prod is in `enforce`, swept every morning";
    output.line(&output.styled(Style::Bold, &format!("{title:<72}told")));
    let policy = put_in_force(company, &format!("[modes]\nenforce = [\"{PROD}\"]\n")).await?;
    let account = account()?;
    let sweep = sweep(company);
    company.aws.trail().start();
    let mut last_notice = None;
    for day in 0..DAYS {
        let morning = FIRST.saturating_add(DAY * i32::try_from(day).unwrap_or_default()).unwrap_or(FIRST);
        company.aws.set_now(morning);
        if day == 0 {
            let until = morning.saturating_add(DAY * 67).unwrap_or(morning);
            let exemption = Exemption {
                reason: "moves to OIDC in August".to_owned(),
                author: CHIARA_AS_SECURITY.to_owned(),
                granted_at: morning,
                until,
            };
            let saved = company.ledger.save_exemption(&account, BOT, &exemption, 0).await;
            saved.map_err(|failure| broken("the exemption", &failure.to_string()))?;
            line(
                output,
                morning,
                &format!("deploy-bot's key is exempt until {}", day_of(utc_date(until))),
                "",
            );
        }
        if MISSED.contains(&day) {
            if day == *MISSED.start() {
                line(output, morning, "for a week nobody sweeps: what falls due is caught up with", "");
            }
        } else {
            let before = company.slack.messages().len();
            for (account, name) in ACCOUNTS {
                let account =
                    AccountId::parse(account).map_err(|error| broken("an account", &error.to_string()))?;
                let swept = run(&sweep, &account, name, &policy, morning).await?;
                tell_swept(&swept, morning, output);
            }
            let sent = company.slack.messages().split_off(before);
            let is_darios_notice = |message: &PostedMessage| {
                message.channel == SlackSim::direct_of("U0DARIO") && message.text.contains("will be disabled")
            };
            last_notice = sent.into_iter().rfind(is_darios_notice).or(last_notice);
        }
        for (_, user, key_id, deed) in DEEDS.iter().filter(|(on, ..)| *on == day) {
            let later = morning.saturating_add(SignedDuration::from_hours(4)).unwrap_or(morning);
            company.aws.set_now(later);
            act(company, user, key_id, *deed).await?;
            for event in company.aws.trail().take() {
                happened(company, &event, later, output).await?;
            }
        }
        // What keytide itself did comes back as events, and is quiet.
        for event in company.aws.trail().take() {
            happened(company, &event, morning, output).await?;
        }
    }
    if let Some(message) = last_notice {
        output.line("");
        output.line(&output.styled(Style::Bold, "What dario's phone said last:"));
        let sentence = serde_json::json!({ "text": message.text });
        output.print(&draw(&sentence, output.width, output.colour));
    }
    end(company, output).await
}

/// The policy in force, as a person puts it there.
async fn put_in_force(company: &Company, text: &str) -> Result<Policy, Trouble> {
    let broken = |cause: &dyn ToString| broken("the policy", &cause.to_string());
    let policy = Policy::parse(text).map_err(|problems| broken(&problems))?;
    let reader = LedgerReader::of(&company.ledger);
    let comparison = compare(&reader, &policy, FIRST).await.map_err(|failure| broken(&failure))?;
    let decide = Decide::new(company.ledger.clone(), CHIARA_AS_SECURITY.to_owned());
    let applied = decide.apply_policy(text, &policy, &comparison, FIRST).await;
    applied.map_err(|refused| broken(&refused))?;
    Ok(policy)
}

/// One key's life, and the ledger at the end.
async fn end(company: &Company, output: &mut Output) -> Result<(), Trouble> {
    let account = account()?;
    let failed = |failure: keytide_aws::Failure| broken("the ledger", &failure.to_string());
    let history = company.ledger.history(&place(&account, DARIO)).await.map_err(failed)?;
    output.line("");
    output.line(&output.styled(Style::Bold, &format!("The life of dario's key, {DARIO}")));
    if let Some(key) = &history.key {
        for mark in &key.value.notices {
            let named = day_of(mark.disable_on);
            output.line(&format!("{}  {} confirmed by Slack: it ends on {named}", time(mark.at), mark.stage));
        }
    }
    // As wide as a screen of a hundred columns leaves room for.
    output.line(&fact_table(&history, 17));
    let keys = company.ledger.open_keys(&account, None).await.map_err(failed)?;
    let keys: Vec<_> = keys.into_iter().map(|key| key.value).collect();
    output.line("");
    output.line(
        &output.styled(Style::Bold, "The ledger after ninety-five days: no active key is older than ninety"),
    );
    let last = FIRST.saturating_add(DAY * i32::try_from(DAYS).unwrap_or_default()).unwrap_or(FIRST);
    output.line(&key_table_of(&keys, last));
    Ok(())
}

fn account() -> Result<AccountId, Trouble> {
    AccountId::parse(PROD).map_err(|error| broken("the account", &error.to_string()))
}

fn sweep(company: &Company) -> Sweep<SlackSim> {
    let config = company.aws.sdk_config();
    let reach = RoleReach {
        partition: "aws".to_owned(),
        name: READER.to_owned(),
        external_id: Some(EXTERNAL_ID.to_owned()),
        session_name: "keytide-demo".to_owned(),
    };
    let role = DisablerRole {
        partition: "aws".to_owned(),
        name: DISABLER.to_owned(),
        external_id: Some(EXTERNAL_ID.to_owned()),
    };
    Sweep::new(
        Observer::new(LedgerReader::of(&company.ledger), Members::new(&config, reach)),
        company.ledger.clone(),
        company.deliver(),
        Disabler::new(&config, role),
    )
}

async fn run(
    sweep: &Sweep<SlackSim>,
    account: &AccountId,
    name: &str,
    policy: &Policy,
    morning: Timestamp,
) -> Result<Swept, Trouble> {
    let mut visit = 1;
    loop {
        let session = format!("demo-sweep-{account}-{morning}-{visit}");
        let invocation = Invocation::begin(session, morning, Duration::from_mins(14));
        match Box::pin(sweep.account(account, Some(name), policy, visit, &invocation)).await {
            Ok(swept) => match swept.troubles.first() {
                None => return Ok(swept),
                Some(trouble) => return Err(broken("a sweep", &trouble.to_string())),
            },
            // Here a report is made at once: it is there when it is asked for again.
            Err(SweepError::ReportInTheMaking { .. }) => visit += 1,
            Err(error) => return Err(broken("a sweep", &error.to_string())),
        }
    }
}

fn tell_swept(swept: &Swept, morning: Timestamp, output: &mut Output) {
    if swept.plan.is_baseline && !swept.plan.changes.is_empty() {
        let found = swept.plan.changes.len();
        line(
            output,
            morning,
            &format!("the first sweep takes stock of {found} keys that were there before"),
            "",
        );
    }
    for notice in &swept.plan.notices {
        line(output, morning, &words(notice), &told_of(&notice.user));
    }
    for (key_id, _) in &swept.disabled {
        if let Some(disable) = swept.plan.disables.iter().find(|disable| disable.key_id == *key_id) {
            let words = format!("{}'s key is DISABLED at {} days", disable.user, disable.age_days);
            line(output, morning, &words, &told_of(&disable.user));
        }
    }
}

fn words(notice: &PlannedNotice) -> String {
    let on = day_of(notice.disable_on);
    let PlannedNotice { user, age_days, .. } = notice;
    match notice.stage {
        Stage::Notice(NoticeDay::Age(day)) => {
            format!("{user}'s key, day {age_days}: notice {day}, it ends on {on}")
        }
        Stage::ExemptionEnding(date) => format!("{user}'s key: its exemption ends on {}", day_of(date)),
        stage => format!("{user}'s key, day {age_days}: {stage}, it ends on {on}"),
    }
}

fn told_of(user: &str) -> String {
    let name = USERS.iter().find(|(name, ..)| *name == user).map_or(user, |(.., full_name)| full_name);
    format!("{CHANNEL_NAME}, @{name}")
}

async fn act(company: &Company, user: &str, key_id: &str, deed: Deed) -> Result<(), Trouble> {
    let failed = |what: &str| broken("what people do", what);
    match deed {
        Deed::Rotate => {
            let own = aws_sdk_iam::Client::new(&company.aws.sdk_config_as(key_id));
            own.create_access_key().user_name(user).send().await.map_err(|_| failed("a new key"))?;
            let old = own.delete_access_key().user_name(user).access_key_id(key_id);
            old.send().await.map_err(|_| failed("deleting the old key"))?;
        }
        Deed::SetActive => {
            let root = aws_sdk_iam::Client::new(&company.aws.sdk_config_in(PROD));
            let update = root.update_access_key().user_name(user).access_key_id(key_id);
            let update = update.status(aws_sdk_iam::types::StatusType::Active);
            update.send().await.map_err(|_| failed("setting the key Active"))?;
        }
    }
    Ok(())
}

/// An event arrives at the watch.
async fn happened(
    company: &Company,
    event: &serde_json::Value,
    at: Timestamp,
    output: &mut Output,
) -> Result<(), Trouble> {
    let json = event.to_string();
    let arrival = at.saturating_add(super::ARRIVES_AFTER).unwrap_or(at);
    let invocation = Invocation::begin(format!("demo-event-{arrival}"), arrival, Duration::from_mins(1));
    let incoming = Incoming { json: json.as_bytes(), received: 1 };
    let watched = Box::pin(company.watch.event(&incoming, &invocation)).await;
    let Watched::Recorded(record) = watched.map_err(|error| broken("an event", &error.to_string()))? else {
        return Ok(());
    };
    let (FactBody::Key { .. }, Outcome::Key(event)) = (&record.fact.body, cloudtrail::read(json.as_bytes()))
    else {
        return Ok(());
    };
    if record.sent.is_empty() {
        // Our own echo.
        return Ok(());
    }
    let user = event.subject.user().unwrap_or("root");
    let deed = match &event.change {
        KeyChange::Created { .. } => format!("{user} makes a new key"),
        KeyChange::StatusChanged { to } => format!("{user}'s key is set {}", to.as_str()),
        KeyChange::Deleted => format!("{user} deletes the old one: rotated in time"),
    };
    let told = if record.sent.len() > 1 { told_of(user) } else { CHANNEL_NAME.to_owned() };
    line(output, at, &deed, &told);
    Ok(())
}

fn line(output: &mut Output, at: Timestamp, deed: &str, told: &str) {
    output.line(format!("{}  {deed:<60}{told}", at.strftime("%a %e %b")).trim_end());
}

fn day_of(date: Date) -> String {
    date.strftime("%a %-d %b").to_string()
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

//! `keytide demo`: the very code that runs in AWS, over an AWS and a Slack inside this process.
//!
//! The sample events of `events/` are part of the program, so it runs from anywhere and reads no file.

mod days;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keytide_app::{
    Invocation, TokenSource,
    deliver::{Deliver, DeliverSettings},
    watch::{Incoming, Record, Telling, Watch, Watched},
};
use keytide_aws::{
    directory::{Directory, ReaderRole},
    ledger::Ledger,
};
use keytide_core::{
    AccountId, AccountNames,
    cloudtrail::{self, KeyChange, Outcome, Status},
    delivery::Recipient,
};
use keytide_local::{
    KeyStatus, LocalAws,
    draw::draw,
    slack::{Person, PostedMessage, SlackSim},
};
use keytide_slack::{Slack, Token};

use crate::{
    Ended, Trouble,
    args::DemoArgs,
    ledger::{fact_table, place},
    output::{Output, Style, shown},
    store::chain,
};

/// A sample event and its file's name.
struct Sample {
    name: &'static str,
    json: &'static str,
}

macro_rules! samples {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(Sample { name: $name, json: include_str!(concat!("../../../../events/", $folder, "/", $name, ".json")) }),*]
    };
}

/// One key's life, in order.
const STORY: &[Sample] = samples!["story":
    "01-alice-creates-her-key",
    "02-bruno-creates-a-second-key-for-alice",
    "03-alice-deactivates-it",
    "04-bruno-reactivates-it",
    "05-security-deletes-it",
];

/// One case each.
const CASES: &[Sample] = samples!["cloudtrail":
    "attach-policy-by-keytide-disabler",
    "attach-quarantine-policy",
    "console-login",
    "create-access-denied",
    "create-access-denied-exception",
    "create-account-mismatch",
    "create-aws-internal",
    "create-by-other-account",
    "create-by-role",
    "create-by-service",
    "create-cloudformation-source",
    "create-console-narrow-space-date",
    "create-empty-string-response",
    "create-explicit-null-error",
    "create-federated-user",
    "create-for-other",
    "create-for-user-by-root",
    "create-hostile-text",
    "create-identity-center",
    "create-identity-missing",
    "create-identity-unknown-type",
    "create-iso-date",
    "create-limit-exceeded",
    "create-no-account",
    "create-no-recipient-account",
    "create-no-such-entity",
    "create-null-parameters",
    "create-odd-key-id",
    "create-own",
    "create-root",
    "create-root-with-alias",
    "create-saml",
    "create-space-separated-time",
    "create-success-without-key",
    "create-unmodifiable",
    "create-unreadable-time",
    "create-user",
    "create-web-identity",
    "delete-by-other",
    "delete-failed",
    "delete-own",
    "delete-user",
    "delete-user-conflict",
    "list-access-keys",
    "list-access-keys-denied",
    "old-version-1.0",
    "other-source-s3",
    "record-without-envelope",
    "tag-user-access-denied",
    "tag-user-slack-id",
    "tag-user-unrelated",
    "untag-user-type",
    "update-active",
    "update-by-keytide-disabler",
    "update-empty-string-response",
    "update-expired-status",
    "update-failed",
    "update-inactive",
    "update-no-user-name",
    "update-no-user-name-by-role",
    "update-unknown-status",
    "update-user-failed",
    "update-user-path",
    "update-user-rename",
    "version-1.11-extra-fields",
];

/// The key that the story is about.
const STORY_KEY: &str = "AKIATIDEWATERSTORY33";
const PROD: &str = "111122223333";
const ACCOUNTS: [(&str, &str); 3] =
    [(PROD, "prod"), ("444455556666", "staging"), ("777788889999", "security")];
const READER: &str = "keytide-reader";
const READER_MAY: [&str; 6] = [
    "iam:GenerateCredentialReport",
    "iam:GetAccessKeyLastUsed",
    "iam:GetCredentialReport",
    "iam:GetUser",
    "iam:ListAccessKeys",
    "iam:ListUsers",
];
const EXTERNAL_ID: &str = "tidewater";
const TOKEN: &str = "xoxb-demo";
const CHANNEL: &str = "C0SECURITY";
const CHANNEL_NAME: &str = "#security";

/// Name, path, type, Slack member id and full name of the company's users, the same in every account.
const USERS: [(&str, &str, &str, &str, &str); 6] = [
    ("alice", "/", "human", "U0ALICE", "Alice Abara"),
    ("bruno", "/engineering/", "human", "U0BRUNO", "Bruno Berti"),
    ("chiara", "/", "human", "U0CHIARA", "Chiara Conti"),
    ("dario", "/", "human", "U0DARIO", "Dario Costa"),
    ("elena", "/", "human", "U0ELENA", "Elena Esposito"),
    ("deploy-bot", "/machines/", "machine", "U0CHIARA", "Deployments"),
];

/// How long after it happened an event arrives here: CloudTrail takes seconds to minutes.
const ARRIVES_AFTER: SignedDuration = SignedDuration::from_secs(4);

/// A small company: its AWS, its Slack, and keytide on watch over both.
struct Company {
    aws: LocalAws,
    slack: SlackSim,
    ledger: Ledger,
    settings: DeliverSettings,
    watch: Watch<SlackSim>,
}

fn deliver(ledger: &Ledger, slack: &SlackSim, settings: DeliverSettings) -> Deliver<SlackSim> {
    let token = TokenSource::Given(Token::new(TOKEN.to_owned()));
    Deliver::new(ledger.clone(), Slack::new(slack.clone()), token, settings)
}

/// What one event led to.
struct Told {
    record: Option<Record>,
    messages: Vec<PostedMessage>,
}

pub(crate) async fn run(args: &DemoArgs, output: &mut Output) -> Result<Ended, Trouble> {
    let company = Company::open().await?;
    if args.all {
        return all(&company, output).await;
    }
    days::arrange(&company)?;
    story(&company, output).await?;
    days::tell(&company, output).await?;
    output.line("");
    output.line("Next: `keytide scan` shows how your own account stands, and changes nothing;");
    output.line(
        "`keytide explain FILE…` reads your CloudTrail events; `keytide demo --all` draws every alert.",
    );
    Ok(Ended::Done)
}

fn broken(what: &str, why: &str) -> Trouble {
    Trouble::Failed(format!("demo: {what}: {why}; this is a bug, please report it"))
}

impl Company {
    async fn open() -> Result<Self, Trouble> {
        let local =
            |error: &keytide_local::LocalError| broken("the company could not be made", &chain(error));
        let aws = LocalAws::in_memory().map_err(|error| local(&error))?;
        for (account, _) in ACCOUNTS {
            aws.iam().add_account(account).map_err(|error| local(&error))?;
            aws.iam()
                .add_role(account, READER, Some(EXTERNAL_ID), &READER_MAY)
                .map_err(|error| local(&error))?;
            let may = ["iam:UpdateAccessKey", "iam:ListAccessKeys"];
            let disabler = aws.iam().add_role(account, days::DISABLER, Some(EXTERNAL_ID), &may);
            disabler.map_err(|error| local(&error))?;
            for (name, path, kind, slack_id, full_name) in USERS {
                let tags = [("type", kind), ("slack-id", slack_id), ("full-name", full_name)];
                aws.iam().add_user(account, name, path, &tags).map_err(|error| local(&error))?;
            }
        }
        let mut slack = SlackSim::new(TOKEN).with_channel(CHANNEL);
        for (_, _, _, slack_id, _) in USERS {
            slack = slack.with_person(slack_id, Person::Active);
        }
        // Days pass between these events; here they take no time, so Slack's rate does not matter.
        slack.set_burst(None);

        let config = aws.sdk_config();
        let ledger = Ledger::new(&config, "keytide");
        ledger
            .create_table()
            .await
            .map_err(|failure| broken("the ledger could not be made", &failure.to_string()))?;
        let directory_role = ReaderRole {
            partition: "aws".to_owned(),
            name: READER.to_owned(),
            external_id: Some(EXTERNAL_ID.to_owned()),
            session_name: "keytide-demo".to_owned(),
        };
        let directory = Directory::new(&config, directory_role, Duration::from_secs(2));
        let mut settings = DeliverSettings::for_channel(CHANNEL);
        // Each event comes once: who is not found now is not waited for.
        settings.owner_lookups = 1;
        settings.owner_may_appear = SignedDuration::ZERO;
        let names = ACCOUNTS.map(|(id, name)| format!("{id}={name}")).join(",");
        settings.accounts =
            AccountNames::parse(&names).map_err(|error| broken("the accounts' names", &error.to_string()))?;
        let watch = Watch::new(deliver(&ledger, &slack, settings.clone()), Some(directory), Telling::All);
        Ok(Self { aws, slack, ledger, settings, watch })
    }

    fn deliver(&self) -> Deliver<SlackSim> {
        deliver(&self.ledger, &self.slack, self.settings.clone())
    }

    /// Lets one event happen in this AWS and then arrive at the watcher.
    async fn happens(&self, sample: &Sample) -> Result<Told, Trouble> {
        let outcome = cloudtrail::read(sample.json.as_bytes());
        let at = time_of(&outcome);
        self.aws.set_now(at);
        self.follow(&outcome);
        let arrival = at.saturating_add(ARRIVES_AFTER).unwrap_or(at);
        self.aws.set_now(arrival);
        let invocation = Invocation::begin(format!("demo-{}", sample.name), arrival, Duration::from_mins(1));
        let before = self.slack.messages().len();
        let incoming = Incoming { json: sample.json.as_bytes(), received: 1 };
        let watched = self.watch.event(&incoming, &invocation).await;
        let record = match watched.map_err(|error| broken(sample.name, &error.to_string()))? {
            Watched::NotOurs(_) => None,
            Watched::Recorded(record) => Some(*record),
        };
        Ok(Told { record, messages: self.slack.messages().split_off(before) })
    }

    /// Brings this AWS to where a key's event says that it is. Samples that do not fit (a user who is not
    /// here, a key made before time began) change nothing, as they would in an account that has moved on.
    fn follow(&self, outcome: &Outcome) {
        let Outcome::Key(event) = outcome else { return };
        let (account, key_id) = (event.call.account.as_str(), event.key_id.as_str());
        let status = |status: &Status| match status {
            Status::Active => KeyStatus::Active,
            _ => KeyStatus::Inactive,
        };
        let iam = self.aws.iam();
        let _ = match (&event.change, event.subject.user()) {
            (KeyChange::Created { status: is, .. }, Some(user)) => {
                iam.add_access_key(account, user, key_id, event.call.at, status(is))
            }
            (KeyChange::Created { .. }, None) => Ok(()),
            (KeyChange::StatusChanged { to }, _) => iam.set_status(account, key_id, status(to)),
            (KeyChange::Deleted, _) => iam.delete_access_key(account, key_id),
        };
    }

    /// Takes a key away again, so that each case stands for itself.
    fn forget(&self, outcome: &Outcome) {
        if let Outcome::Key(event) = outcome {
            let _ = self.aws.iam().delete_access_key(event.call.account.as_str(), &event.key_id);
        }
    }
}

fn time_of(outcome: &Outcome) -> Timestamp {
    let at = match outcome {
        Outcome::Key(event) => Some(event.call.at),
        Outcome::Failed(failed) => Some(failed.call.at),
        Outcome::Owner(event) => Some(event.call.at),
        Outcome::NotOurs(partial) | Outcome::Unreadable(partial) => partial.at,
    };
    // The month that the samples are from.
    at.unwrap_or(Timestamp::constant(1_780_000_000, 0))
}

fn clock(at: Timestamp) -> String {
    at.strftime("%a %e %b %H:%M:%S").to_string()
}

/// One key's story, on one screen.
async fn story(company: &Company, output: &mut Output) -> Result<(), Trouble> {
    let title = "keytide demo: one access key's story at Tidewater (accounts prod, staging, security)";
    output.line(&output.styled(Style::Bold, title));
    output.line("The code that runs in AWS, over an AWS and a Slack inside this process; nothing leaves it.");
    output.line("");
    for sample in STORY {
        let outcome = cloudtrail::read(sample.json.as_bytes());
        let told = company.happens(sample).await?;
        let Outcome::Key(event) = &outcome else {
            return Err(broken(sample.name, "the story tells of keys, and this is no key's event"));
        };
        let actor = &event.call.actor;
        let by =
            shown(&actor.role.as_ref().map_or_else(|| actor.display_name(), |role| role.role.clone()), 30);
        let whose = shown(event.subject.user().unwrap_or("root"), 30);
        let deed = match &event.change {
            KeyChange::Created { .. } if by == whose => format!("{by} creates an access key"),
            KeyChange::Created { .. } => format!("{by} creates a second key for {whose}"),
            KeyChange::StatusChanged { to } => format!("{by} sets it {}", to.as_str()),
            KeyChange::Deleted => format!("{by} deletes it"),
        };
        let line = format!("{}  {deed:<48}told: {}", clock(event.call.at), recipients(&told));
        output.line(&output.styled(Style::Bold, &line));
        let is_the_alarming_one =
            event.key_id == STORY_KEY && matches!(event.change, KeyChange::Created { .. });
        if is_the_alarming_one {
            for message in &told.messages {
                if message.channel == CHANNEL {
                    output.print(&draw(&message.to_value(), output.width, output.colour));
                } else {
                    // Of the owner's message, what the phone shows.
                    let sentence = serde_json::json!({ "text": message.text });
                    output.line("And to alice directly:");
                    output.print(&draw(&sentence, output.width, output.colour));
                }
            }
            output.line("");
        }
    }
    output.line("");
    let account = AccountId::parse(PROD).map_err(|error| broken("the account", &error.to_string()))?;
    let history = company.ledger.history(&place(&account, STORY_KEY)).await;
    let history = history.map_err(|failure| broken("the ledger", &failure.to_string()))?;
    let state = history.key.as_ref().map_or("Unknown", |key| key.value.standing_word());
    let title = format!("In the ledger, 400 days: {STORY_KEY}, alice, prod: {state}");
    output.line(&output.styled(Style::Bold, &title));
    // As wide as a screen of a hundred columns leaves room for.
    output.line(&fact_table(&history, 26));
    output.line("");
    Ok(())
}

/// Who got the messages about an event.
fn recipients(told: &Told) -> String {
    let Some(record) = &told.record else { return "nobody".to_owned() };
    let owner = record.owner.owner().and_then(|owner| owner.tags.full_name.as_deref());
    let words: Vec<String> = record
        .sent
        .iter()
        .map(|(recipient, _)| match recipient {
            Recipient::Channel => CHANNEL_NAME.to_owned(),
            Recipient::Owner => format!("@{}", shown(owner.unwrap_or("owner"), 30)),
            Recipient::Iam => "IAM".to_owned(),
        })
        .collect();
    if words.is_empty() { "nobody".to_owned() } else { words.join(", ") }
}

/// Every sample event, in the order of time, with the messages it leads to.
async fn all(company: &Company, output: &mut Output) -> Result<Ended, Trouble> {
    let mut samples: Vec<&Sample> = CASES.iter().collect();
    samples.sort_by_key(|sample| (time_of(&cloudtrail::read(sample.json.as_bytes())), sample.name));
    for sample in &samples {
        let outcome = cloudtrail::read(sample.json.as_bytes());
        let told = company.happens(sample).await?;
        let heading = format!("{}  {}  told: {}", clock(time_of(&outcome)), sample.name, recipients(&told));
        output.line(&output.styled(Style::Bold, &heading));
        if told.record.is_none() {
            output.line("Not about access keys or their owners: passed over.");
        }
        for message in &told.messages {
            let to = if message.channel == CHANNEL { CHANNEL_NAME } else { "their owner, directly" };
            output.line(&output.styled(Style::Dim, &format!("To {to}:")));
            output.print(&draw(&message.to_value(), output.width, output.colour));
        }
        output.line("");
        company.forget(&outcome);
        if !output.is_open() {
            break;
        }
    }
    output.line(&format!("{} sample events, {} messages.", samples.len(), company.slack.messages().len()));
    Ok(Ended::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_part_of_the_program() {
        for (folder, samples) in [("story", STORY), ("cloudtrail", CASES)] {
            let folder = format!("{}/../../events/{folder}", env!("CARGO_MANIFEST_DIR"));
            let mut there: Vec<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            there.sort();
            let mut here: Vec<String> =
                samples.iter().map(|sample| format!("{}.json", sample.name)).collect();
            here.sort();
            assert_eq!(here, there);
        }
    }
}

//! A small company in the process, and its new access keys.

use std::{fs, path::PathBuf, time::Duration};

use jiff::Timestamp;
use keytide_app::{
    TokenSource,
    deliver::{Deliver, DeliverSettings},
    watch::{Telling, Watch},
};
use keytide_aws::{
    directory::{Directory, ReaderRole},
    ledger::{History, Ledger, Place},
    secrets::Secrets,
};
use keytide_core::{AccountId, AccountNames, delivery::DeliveryState};
use keytide_local::{
    KeyStatus, LocalAws,
    slack::{Person, SlackSim},
};
use keytide_slack::{Post, Slack};

use crate::Outcome;

pub(crate) const PROD: &str = "111122223333";
pub(crate) const CHANNEL: &str = "C0INFRA001";
pub(crate) const TABLE: &str = "keytide";
pub(crate) const EXTERNAL_ID: &str = "tidewater-7";
pub(crate) const TOKEN: &str = "xoxb-only-for-benchmarks";
pub(crate) const SECRET: &str = "slack-token";
const ALICE: &str = "U0ALICE01";
/// The sample's names, which every other event replaces by its own.
pub(crate) const KEY: &str = "AKIATIDEWATERALICE24";
const EVENT_ID: &str = "3178c466-afd1-54e3-acaa-d4e28a201c37";
/// A minute after the sample event.
const NOW: &str = "2026-05-04T10:03:47Z";

/// The folder of the sample events.
pub(crate) fn samples() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../events/cloudtrail"))
}

/// New keys' events, as EventBridge writes them: one line each.
pub(crate) struct NewKeys {
    template: String,
}

impl NewKeys {
    /// From the sample of a key that one user makes for another: who, how and from where are all told.
    pub(crate) fn read() -> Outcome<Self> {
        let path = samples().join("create-for-other.json");
        let template =
            on_one_line(&fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?);
        for name in [KEY, EVENT_ID, r#""userName":"alice""#] {
            if !template.contains(name) {
                return Err(format!("{} does not hold {name} any more", path.display()).into());
            }
        }
        Ok(Self { template })
    }

    /// The key's id and the event of number `number`, for a user of alice's name.
    pub(crate) fn of_alice(&self, number: u32) -> (String, String) {
        let key_id = format!("AKIATIDE{number:012}");
        let event = self.template.replace(KEY, &key_id).replace(EVENT_ID, &event_id(number));
        (key_id, event)
    }

    /// The same for one of many users.
    pub(crate) fn of_many(&self, number: u32) -> (String, String) {
        let (key_id, event) = self.of_alice(number);
        let user = format!(r#""userName":"user-{:06}""#, number / 2);
        (key_id, event.replace(r#""userName":"alice""#, &user))
    }
}

fn event_id(number: u32) -> String {
    format!("3178c466-afd1-54e3-acaa-{number:012}")
}

/// JSON without the blanks between its parts: events arrive so.
pub(crate) fn on_one_line(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    json.chars()
        .filter(|&character| {
            let kept = in_text || !character.is_ascii_whitespace();
            match character {
                _ if escaped => escaped = false,
                '\\' if in_text => escaped = true,
                '"' => in_text = !in_text,
                _ => {}
            }
            kept
        })
        .collect()
}

/// An AWS with a ledger, a reader role and alice, and a Slack that knows her.
#[derive(Debug, Clone)]
pub(crate) struct Company {
    pub(crate) aws: LocalAws,
    pub(crate) slack: SlackSim,
}

impl Company {
    pub(crate) async fn new() -> Outcome<Self> {
        let aws = LocalAws::in_memory()?;
        aws.set_now(NOW.parse()?);
        let iam = aws.iam();
        iam.add_account(PROD)?;
        iam.add_role(PROD, "keytide-reader", Some(EXTERNAL_ID), &["iam:GetUser", "iam:ListAccessKeys"])?;
        let tags = [("type", "human"), ("slack-id", ALICE), ("full-name", "Alice Adler")];
        iam.add_user(PROD, "alice", "/engineering/", &tags)?;
        let born: Timestamp = "2026-05-04T10:02:47Z".parse()?;
        iam.add_access_key(PROD, "alice", KEY, born, KeyStatus::Active)?;
        aws.secrets().put(SECRET, TOKEN)?;
        let slack = SlackSim::new(TOKEN).with_channel(CHANNEL).with_person(ALICE, Person::Active);
        // Slack's pace is not ours.
        slack.set_burst(None);
        Ledger::new(&aws.sdk_config(), TABLE).create_table().await?;
        aws.calls().restart();
        Ok(Self { aws, slack })
    }

    /// The watch as the function sets it up, over this AWS, or a wrapping of it, and this Slack.
    pub(crate) fn watch<P: Post>(config: &aws_config::SdkConfig, slack: P) -> Outcome<Watch<P>> {
        let settings = DeliverSettings {
            accounts: AccountNames::parse(&format!("{PROD}=prod"))?,
            // Every alert alone, however many a minute.
            alerts_a_minute: u64::MAX,
            ..DeliverSettings::for_channel(CHANNEL)
        };
        let token = TokenSource::secret(Secrets::new(config), SECRET.to_owned());
        let deliver = Deliver::new(Ledger::new(config, TABLE), Slack::new(slack), token, settings);
        let role = ReaderRole {
            partition: "aws".to_owned(),
            name: "keytide-reader".to_owned(),
            external_id: Some(EXTERNAL_ID.to_owned()),
            session_name: "keytide-watcher".to_owned(),
        };
        Ok(Watch::new(deliver, Some(Directory::new(config, role, Duration::from_secs(2))), Telling::All))
    }

    /// Fails unless the ledger holds this key, active, with its one fact, and both messages as sent.
    pub(crate) async fn check(&self, key_id: &str) -> Outcome<()> {
        let history = history(&Ledger::new(&self.aws.sdk_config(), TABLE), key_id).await?;
        let done = |state: &DeliveryState| matches!(state, DeliveryState::Done { .. });
        let sent = history.deliveries.iter().filter(|delivery| done(&delivery.value.state)).count();
        if !is_new(&history, 2) || sent != 2 {
            return Err(format!(
                "the ledger's story of {key_id} is not that of a new key, told twice: {history:?}"
            )
            .into());
        }
        Ok(())
    }
}

/// What a ledger holds about a key.
pub(crate) async fn history(ledger: &Ledger, key_id: &str) -> Outcome<History> {
    let place = Place::Key { account: AccountId::parse(PROD)?, key_id: key_id.to_owned() };
    Ok(ledger.history(&place).await?)
}

/// Whether that is a key that was made and nothing else, with so many deliveries: two where somebody is told,
/// none where the fact says that nobody is.
pub(crate) fn is_new(history: &History, deliveries: usize) -> bool {
    let active = history.key.as_ref().is_some_and(|key| key.value.standing_word() == "Active");
    let [fact] = history.facts.as_slice() else { return false };
    active && history.deliveries.len() == deliveries && fact.untold.is_some() == (deliveries == 0)
}

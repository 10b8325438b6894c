//! keytide, installed in moto: what the templates declare, made by hand where the doctor looks at it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_cloudtrail::types::{EventSelector, ReadWriteType};
use aws_sdk_dynamodb::types::{PointInTimeRecoverySpecification, TimeToLiveSpecification};
use aws_sdk_eventbridge::types::{DeadLetterConfig, RuleState, Target};
use aws_sdk_scheduler::types::{FlexibleTimeWindow, FlexibleTimeWindowMode};
use aws_sdk_sqs::types::QueueAttributeName;
use jiff::Timestamp;
use keytide_app::decide::{Decide, compare};
use keytide_aws::ledger::{AccountRecord, Ledger, LedgerReader, Run};
use keytide_core::{AccountId, lifecycle::utc_date, policy::Policy};
use keytide_tests::{build, runtime_api::time_of_day};
use serde_json::{Value, json};

use super::fakes::{self, TOKEN};
use crate::{
    counterparts::{Moto, start_moto},
    iam_contract,
    infrastructure::template::{self, Deployed},
    moto,
};

/// moto's own account.
pub(super) const SECURITY: &str = "123456789012";
pub(super) const PROD: &str = "111122223333";
const TABLE: &str = "keytide-ledger";

pub(super) struct Installed {
    pub(super) moto: Moto,
    pub(super) config: SdkConfig,
    pub(super) prod: SdkConfig,
    pub(super) slack: String,
}

/// What a template declares of a resource, as it is in moto's accounts.
fn declared(deployed: &Deployed, id: &str, account: &str) -> Value {
    let text = deployed.properties(id).to_string();
    let text = text.replace(template::PROD, account).replace(template::SECURITY, SECURITY);
    serde_json::from_str(&text).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

impl Installed {
    /// Everything as it should be.
    pub(super) async fn new() -> Self {
        let moto = start_moto();
        let config = moto::config(&moto).await;
        let prod = Self::within(&config, PROD).await;
        let slack = fakes::slack("chat:write,im:write").await;
        let installed = Self { moto, config, prod, slack };
        installed.security().await;
        installed.member(PROD, &installed.prod).await;
        installed
    }

    /// Any account of moto's.
    pub(super) async fn within(config: &SdkConfig, account: &str) -> SdkConfig {
        iam_contract::as_role(config, &format!("arn:aws:iam::{account}:role/anybody"), None).await
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger::new(&self.config, TABLE)
    }

    pub(super) fn decide(&self) -> Decide {
        Decide::new(self.ledger(), "arn:aws:iam::123456789012:user/vera".to_owned())
    }

    pub(super) fn now() -> Timestamp {
        time_of_day()
    }

    async fn security(&self) {
        let ledger = self.ledger();
        ledger.create_table().await.unwrap();
        self.protect(true).await;
        self.recover(true).await;
        let policy_text = format!("[modes]\nenforce = [\"{PROD}\"]\n");
        let policy = Policy::parse(&policy_text).unwrap();
        let before = compare(&LedgerReader::of(&ledger), &policy, Self::now()).await.unwrap();
        self.decide().apply_policy(&policy_text, &policy, &before, Self::now()).await.unwrap();
        let account: AccountId = PROD.parse().unwrap();
        let swept = AccountRecord { swept_at: Some(Self::now()), ..AccountRecord::default() };
        ledger.save_account(&account, &swept, 0).await.unwrap().unwrap();
        let run = Run {
            date: utc_date(Self::now()),
            began_at: Self::now(),
            previous_at: None,
            expected: BTreeMap::from([(account, "prod".to_owned())]),
            left: BTreeMap::new(),
            queueing: None,
            queued_at: Some(Self::now()),
            taken_up_at: None,
            telling: None,
            digest_at: Some(Self::now()),
            totals: BTreeMap::new(),
        };
        ledger.save_run(&run, 0).await.unwrap().unwrap();

        let templates = template::security();
        for (id, policy) in [
            ("Events", Some("EventsPolicy")),
            ("EventsDead", Some("EventsPolicy")),
            ("AccountsToSweep", Some("SweepQueuesPolicy")),
            ("AccountsDead", Some("SweepQueuesPolicy")),
            ("BeginsDead", Some("SweepQueuesPolicy")),
        ] {
            let policy = policy.map(|policy| declared(&templates, policy, PROD)["PolicyDocument"].clone());
            Self::put_queue(&self.config, &templates.name(id), policy.as_ref()).await;
        }
        let secrets = aws_sdk_secretsmanager::Client::new(&self.config);
        secrets.create_secret().name("keytide/slack").secret_string(TOKEN).send().await.unwrap();
        let events = aws_sdk_eventbridge::Client::new(&self.config);
        events.create_event_bus().name("keytide").send().await.unwrap();
        self.open_bus().await;
        let rule = declared(&templates, "KeyEventsRule", PROD);
        Self::put_rule(&self.config, &rule).await;
        Self::put_targets(&self.config, &rule).await;
        let sns = aws_sdk_sns::Client::new(&self.config);
        sns.create_topic().name("keytide-alarms").send().await.unwrap();
        self.subscribe().await;
        let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build().unwrap();
        let target = aws_sdk_scheduler::types::Target::builder()
            .arn(format!("arn:aws:lambda:us-east-1:{SECURITY}:function:keytide-sweeper"))
            .role_arn(format!("arn:aws:iam::{SECURITY}:role/keytide-schedule"))
            .build()
            .unwrap();
        aws_sdk_scheduler::Client::new(&self.config)
            .create_schedule()
            .name("keytide-sweep")
            .schedule_expression("cron(0 6,9 * * ? *)")
            .flexible_time_window(window)
            .target(target)
            .send()
            .await
            .unwrap();
    }

    /// An account's own part, with the disabler in prod alone, and a trail.
    pub(super) async fn member(&self, account: &str, config: &SdkConfig) {
        let templates = template::member(&[]);
        for id in ["ForwardKeyEvents", "ForwardOwnRoleEvents"] {
            let rule = declared(&templates, id, account);
            Self::put_rule(config, &rule).await;
            Self::put_targets(config, &rule).await;
        }
        for role in ["ReaderRole", "ForwarderRole"] {
            Self::put_role(config, &declared(&templates, role, account)).await;
        }
        if account == PROD {
            Self::put_role(config, &declared(&template::enforced(), "DisablerRole", account)).await;
        }
        let policy = declared(&templates, "UndeliveredEventsPolicy", account)["PolicyDocument"].clone();
        Self::put_queue(config, "keytide-undelivered", Some(&policy)).await;
        // CloudTrail wants its bucket, in its account, and what makes one is not among our clients.
        let credentials = config.credentials_provider().unwrap().provide_credentials().await.unwrap();
        let bucket = format!("tidewater-trail-{account}");
        let made = Command::new("python3")
            .args([
                "-c",
                "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], method='PUT', headers={\
                'Authorization': f'AWS4-HMAC-SHA256 Credential={sys.argv[2]}/20260602/us-east-1/s3/aws4_request'}))",
            ])
            .args([&format!("{}/{bucket}", self.moto.url), credentials.access_key_id()])
            .status()
            .unwrap();
        assert!(made.success());
        let cloudtrail = aws_sdk_cloudtrail::Client::new(config);
        cloudtrail
            .create_trail()
            .name("all")
            .s3_bucket_name(bucket)
            .is_multi_region_trail(true)
            .include_global_service_events(true)
            .send()
            .await
            .unwrap();
        cloudtrail.start_logging().name("all").send().await.unwrap();
        let selector =
            EventSelector::builder().include_management_events(true).read_write_type(ReadWriteType::All);
        let selecting = cloudtrail.put_event_selectors().trail_name("all").event_selectors(selector.build());
        selecting.send().await.unwrap();
    }

    pub(super) async fn protect(&self, protected: bool) {
        let client = aws_sdk_dynamodb::Client::new(&self.config);
        client.update_table().table_name(TABLE).deletion_protection_enabled(protected).send().await.unwrap();
    }

    pub(super) async fn recover(&self, enabled: bool) {
        let wanted = PointInTimeRecoverySpecification::builder()
            .point_in_time_recovery_enabled(enabled)
            .build()
            .unwrap();
        let client = aws_sdk_dynamodb::Client::new(&self.config);
        let update = client.update_continuous_backups().table_name(TABLE);
        update.point_in_time_recovery_specification(wanted).send().await.unwrap();
    }

    pub(super) async fn expire(&self, enabled: bool) {
        let wanted =
            TimeToLiveSpecification::builder().attribute_name("expires_at").enabled(enabled).build().unwrap();
        let client = aws_sdk_dynamodb::Client::new(&self.config);
        client
            .update_time_to_live()
            .table_name(TABLE)
            .time_to_live_specification(wanted)
            .send()
            .await
            .unwrap();
    }

    async fn put_queue(config: &SdkConfig, name: &str, policy: Option<&Value>) {
        let mut making = aws_sdk_sqs::Client::new(config).create_queue().queue_name(name);
        if let Some(policy) = policy {
            making = making.attributes(QueueAttributeName::Policy, policy.to_string());
        }
        making.send().await.unwrap();
    }

    /// The bus's policy as the template has it.
    pub(super) async fn open_bus(&self) {
        let mut statement = declared(&template::security(), "EventBusPolicy", PROD)["Statement"].clone();
        statement["Sid"] = json!("forwarders-of-the-organization");
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let events = aws_sdk_eventbridge::Client::new(&self.config);
        events.put_permission().event_bus_name("keytide").policy(policy).send().await.unwrap();
    }

    pub(super) async fn close_bus(&self) {
        let events = aws_sdk_eventbridge::Client::new(&self.config);
        let closing = events.remove_permission().event_bus_name("keytide").remove_all_permissions(true);
        closing.send().await.unwrap();
    }

    pub(super) async fn subscribe(&self) -> String {
        let topic = format!("arn:aws:sns:us-east-1:{SECURITY}:keytide-alarms");
        let sns = aws_sdk_sns::Client::new(&self.config);
        let asking =
            sns.subscribe().topic_arn(topic).protocol("email").endpoint("security@tidewater.example");
        asking.send().await.unwrap().subscription_arn().unwrap().to_owned()
    }

    /// A rule as declared, but for its targets.
    pub(super) async fn put_rule(config: &SdkConfig, rule: &Value) {
        aws_sdk_eventbridge::Client::new(config)
            .put_rule()
            .name(text(&rule["Name"]))
            .set_event_bus_name(rule["EventBusName"].as_str().map(str::to_owned))
            .event_pattern(rule["EventPattern"].to_string())
            .state(RuleState::from(text(&rule["State"])))
            .send()
            .await
            .unwrap();
    }

    pub(super) async fn put_targets(config: &SdkConfig, rule: &Value) {
        let owned = |value: &Value| value.as_str().map(str::to_owned);
        for declared in rule["Targets"].as_array().unwrap() {
            let dead = owned(&declared["DeadLetterConfig"]["Arn"]);
            let target = Target::builder()
                .id(text(&declared["Id"]))
                .arn(text(&declared["Arn"]))
                .set_role_arn(owned(&declared["RoleArn"]))
                .set_input(owned(&declared["Input"]))
                .set_dead_letter_config(dead.map(|arn| DeadLetterConfig::builder().arn(arn).build()));
            let events = aws_sdk_eventbridge::Client::new(config);
            let putting = events.put_targets().rule(text(&rule["Name"]));
            let putting = putting.set_event_bus_name(owned(&rule["EventBusName"]));
            putting.targets(target.build().unwrap()).send().await.unwrap();
        }
    }

    /// A rule of prod, as declared.
    pub(super) fn rule(id: &str) -> Value {
        declared(&template::member(&[]), id, PROD)
    }

    /// The rule of the security account, as declared.
    pub(super) fn rule_in() -> Value {
        declared(&template::security(), "KeyEventsRule", PROD)
    }

    /// A role of prod, as declared.
    pub(super) fn role(id: &str) -> Value {
        declared(&template::member_with(id), id, PROD)
    }

    pub(super) async fn put_role(config: &SdkConfig, role: &Value) {
        let making = aws_sdk_iam::Client::new(config).create_role().role_name(text(&role["RoleName"]));
        let trust = role["AssumeRolePolicyDocument"].to_string();
        making.assume_role_policy_document(trust).send().await.unwrap();
    }

    pub(super) async fn delete_role(&self, role: &Value) {
        let iam = aws_sdk_iam::Client::new(&self.prod);
        iam.delete_role().role_name(text(&role["RoleName"])).send().await.unwrap();
    }

    pub(super) async fn select(&self, kind: ReadWriteType) {
        let selector = EventSelector::builder().include_management_events(true).read_write_type(kind).build();
        let cloudtrail = aws_sdk_cloudtrail::Client::new(&self.prod);
        cloudtrail.put_event_selectors().trail_name("all").event_selectors(selector).send().await.unwrap();
    }

    pub(super) async fn delete_item(
        &self,
        partition: &str,
        sort: &str,
    ) -> Option<aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput> {
        use aws_sdk_dynamodb::types::{AttributeValue::S, ReturnValue};
        let client = aws_sdk_dynamodb::Client::new(&self.config);
        let deleting = client.delete_item().table_name(TABLE).return_values(ReturnValue::AllOld);
        deleting.key("pk", S(partition.to_owned())).key("sk", S(sort.to_owned())).send().await.ok()
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        let mut command = Command::new(PROGRAM.get_or_init(|| build::program("keytide", "dev").unwrap()));
        command.args(arguments).env_clear().current_dir(Path::new(env!("CARGO_TARGET_TMPDIR")));
        command.env("HOME", env!("CARGO_TARGET_TMPDIR")).env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_ENDPOINT_URL", &self.moto.url).env("AWS_ACCESS_KEY_ID", "moto");
        command.env("AWS_SECRET_ACCESS_KEY", "moto").env("KEYTIDE_SLACK_URL", format!("{}/api/", self.slack));
        command.stdin(std::process::Stdio::null());
        command
    }

    pub(super) async fn run(mut command: Command) -> (i32, String) {
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let (out, error) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
        assert!(!out.contains(TOKEN) && !error.contains(TOKEN), "the token is never shown");
        assert!(!error.contains("this is a bug"), "{error}");
        let code = ran.status.code().unwrap();
        (code, if out.is_empty() { error } else { out })
    }

    /// The doctor's words, with these arguments and this in its environment.
    pub(super) async fn asked(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
        let ledger = format!("dynamodb:{TABLE}");
        let all = [&["doctor", "--ledger", &ledger, "--external-id", "tidewater-7"], arguments].concat();
        let mut command = self.command(&all);
        command.envs(environment.iter().copied());
        Self::run(command).await
    }

    /// Of prod alone, what it finds.
    pub(super) async fn findings(&self, channel: &str, environment: &[(&str, &str)]) -> Vec<Value> {
        let arguments = ["--account", PROD, "--channel", channel, "--format", "json"];
        let (code, said) = self.asked(&arguments, environment).await;
        let said: Value = serde_json::from_str(&said).expect(&said);
        let findings = said["findings"].as_array().unwrap().clone();
        assert_eq!(code, i32::from(!findings.is_empty()), "{said:#}");
        findings
    }

    /// There is exactly one finding, and it says so.
    pub(super) async fn finds(&self, words: &str, environment: &[(&str, &str)]) {
        self.finds_all(&[words], environment).await;
    }

    /// There are exactly these findings, in this order.
    pub(super) async fn finds_all(&self, words: &[&str], environment: &[(&str, &str)]) {
        let findings = self.findings("C0INFRA001", environment).await;
        assert_eq!(findings.len(), words.len(), "{words:?}: {findings:#?}");
        for (finding, words) in findings.iter().zip(words) {
            assert!(text(&finding["what"]).contains(words), "{words}: {findings:#?}");
            assert!(!text(&finding["mend"]).is_empty());
        }
    }
}

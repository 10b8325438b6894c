//! `keytide doctor` and `keytide redrive`, as the real program against moto: an installation that is well, and each defect
//! sown once and found.

use std::{collections::BTreeMap, path::Path, process::Command};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_cloudtrail::types::{EventSelector, ReadWriteType};
use aws_sdk_dynamodb::types::{PointInTimeRecoverySpecification, TimeToLiveSpecification};
use aws_sdk_eventbridge::types::{RuleState, Target};
use aws_sdk_scheduler::types::{FlexibleTimeWindow, FlexibleTimeWindowMode, ScheduleState};
use axum::{Router, http::StatusCode, response::IntoResponse, routing::any};
use jiff::Timestamp;
use keytide_app::decide::{Decide, compare};
use keytide_aws::ledger::{AccountRecord, Ledger, LedgerReader, Run};
use keytide_core::{AccountId, lifecycle::utc_date, policy::Policy};
use keytide_tests::{build, runtime_api::time_of_day};
use serde_json::{Value, json};

use crate::{
    counterparts::{Moto, start_moto},
    iam_contract, moto,
};

/// moto's own account.
const SECURITY: &str = "123456789012";
const PROD: &str = "111122223333";
const TABLE: &str = "keytide-ledger";
const TOKEN: &str = "xoxb-only-for-tests";

/// A Slack that says which scopes the token has, and that the bot is in the channel `C0INFRA001` alone; and an AWS that
/// grants nothing.
async fn serve(scopes: &'static str) -> String {
    let with_scopes = move |body: Value| ([("x-oauth-scopes", scopes)], body.to_string()).into_response();
    let info = move |uri: axum::http::Uri| async move {
        let is_member = uri.query().unwrap_or_default().contains("C0INFRA001");
        with_scopes(json!({"ok": true, "channel": {"is_member": is_member}}))
    };
    let denied = async || {
        let body = json!({"__type": "AccessDeniedException", "Message": "not authorized to perform that"});
        (StatusCode::FORBIDDEN, [("x-amzn-errortype", "AccessDeniedException")], body.to_string())
    };
    let router = Router::new()
        .route("/api/auth.test", any(move || async move { with_scopes(json!({"ok": true})) }))
        .route("/api/conversations.info", any(info))
        .fallback(denied);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

struct Installed {
    moto: Moto,
    config: SdkConfig,
    prod: SdkConfig,
    slack: String,
    greedy_slack: String,
}

impl Installed {
    /// Everything as it should be.
    async fn new() -> Self {
        let moto = start_moto();
        let config = moto::config(&moto).await;
        let prod =
            iam_contract::as_role(&config, &format!("arn:aws:iam::{PROD}:role/SecurityAudit"), None).await;
        let slack = serve("chat:write,im:write").await;
        let greedy_slack = serve("chat:write,files:read").await;
        let installed = Self { moto, config, prod, slack, greedy_slack };
        installed.security().await;
        installed.member().await;
        installed
    }

    fn ledger(&self) -> Ledger {
        Ledger::new(&self.config, TABLE)
    }

    fn now() -> Timestamp {
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
        let decide = Decide::new(ledger.clone(), "arn:aws:iam::123456789012:user/vera".to_owned());
        decide.apply_policy(&policy_text, &policy, &before, Self::now()).await.unwrap();
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
            telling: None,
            digest_at: Some(Self::now()),
            totals: BTreeMap::new(),
        };
        ledger.save_run(&run, 0).await.unwrap().unwrap();

        let sqs = aws_sdk_sqs::Client::new(&self.config);
        for name in ["events", "accounts", "events-dead", "accounts-dead", "begins-dead"] {
            sqs.create_queue().queue_name(format!("keytide-{name}")).send().await.unwrap();
        }
        let secrets = aws_sdk_secretsmanager::Client::new(&self.config);
        secrets.create_secret().name("keytide/slack").secret_string(TOKEN).send().await.unwrap();
        let events = aws_sdk_eventbridge::Client::new(&self.config);
        events.create_event_bus().name("keytide").send().await.unwrap();
        self.put_rule(&self.config, "keytide-key-events-in", Some("keytide"), true).await;
        let queue = format!("arn:aws:sqs:us-east-1:{SECURITY}:keytide-events");
        let target = Target::builder().id("events").arn(queue).build().unwrap();
        events
            .put_targets()
            .rule("keytide-key-events-in")
            .event_bus_name("keytide")
            .targets(target)
            .send()
            .await
            .unwrap();
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

    async fn member(&self) {
        for name in ["key-events", "own-role-events"] {
            self.put_rule(&self.prod, &format!("keytide-{name}"), None, true).await;
            self.put_target(name, true).await;
        }
        for role in ["reader", "disabler", "forwarder"] {
            self.put_role(role, true).await;
        }
        // CloudTrail wants its bucket, in its account, and what makes one is not among our clients.
        let credentials = self.prod.credentials_provider().unwrap().provide_credentials().await.unwrap();
        let bucket = Command::new("python3")
            .args([
                "-c",
                "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], method='PUT', headers={\
                'Authorization': f'AWS4-HMAC-SHA256 Credential={sys.argv[2]}/20260602/us-east-1/s3/aws4_request'}))",
            ])
            .args([&format!("{}/tidewater-trail", self.moto.url), credentials.access_key_id()])
            .status()
            .unwrap();
        assert!(bucket.success());
        let cloudtrail = aws_sdk_cloudtrail::Client::new(&self.prod);
        cloudtrail
            .create_trail()
            .name("all")
            .s3_bucket_name("tidewater-trail")
            .is_multi_region_trail(true)
            .include_global_service_events(true)
            .send()
            .await
            .unwrap();
        cloudtrail.start_logging().name("all").send().await.unwrap();
        self.select(ReadWriteType::All).await;
    }

    async fn protect(&self, protected: bool) {
        let client = aws_sdk_dynamodb::Client::new(&self.config);
        client.update_table().table_name(TABLE).deletion_protection_enabled(protected).send().await.unwrap();
    }

    async fn recover(&self, enabled: bool) {
        let wanted = PointInTimeRecoverySpecification::builder()
            .point_in_time_recovery_enabled(enabled)
            .build()
            .unwrap();
        let client = aws_sdk_dynamodb::Client::new(&self.config);
        let update = client.update_continuous_backups().table_name(TABLE);
        update.point_in_time_recovery_specification(wanted).send().await.unwrap();
    }

    async fn expire(&self, enabled: bool) {
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

    async fn put_rule(&self, config: &SdkConfig, name: &str, bus: Option<&str>, enabled: bool) {
        let state = if enabled { RuleState::Enabled } else { RuleState::Disabled };
        aws_sdk_eventbridge::Client::new(config)
            .put_rule()
            .name(name)
            .set_event_bus_name(bus.map(str::to_owned))
            .event_pattern(json!({"source": ["aws.iam"]}).to_string())
            .state(state)
            .send()
            .await
            .unwrap();
    }

    /// The target of a rule of the member's; without the role, the bus would refuse what it sends.
    async fn put_target(&self, rule: &str, with_role: bool) {
        let target = Target::builder()
            .id("security-account")
            .arn(format!("arn:aws:events:us-east-1:{SECURITY}:event-bus/keytide"))
            .set_role_arn(with_role.then(|| format!("arn:aws:iam::{PROD}:role/keytide-forwarder")));
        let events = aws_sdk_eventbridge::Client::new(&self.prod);
        let put = events.put_targets().rule(format!("keytide-{rule}")).targets(target.build().unwrap());
        put.send().await.unwrap();
    }

    async fn put_role(&self, role: &str, wanted: bool) {
        let (iam, name) = (aws_sdk_iam::Client::new(&self.prod), format!("keytide-{role}"));
        if wanted {
            iam.create_role().role_name(name).assume_role_policy_document("{}").send().await.unwrap();
        } else {
            iam.delete_role().role_name(name).send().await.unwrap();
        }
    }

    async fn select(&self, kind: ReadWriteType) {
        let selector = EventSelector::builder().include_management_events(true).read_write_type(kind).build();
        let cloudtrail = aws_sdk_cloudtrail::Client::new(&self.prod);
        cloudtrail.put_event_selectors().trail_name("all").event_selectors(selector).send().await.unwrap();
    }

    async fn delete_item(
        &self,
        partition: &str,
        sort: &str,
    ) -> Option<aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput> {
        use aws_sdk_dynamodb::types::{AttributeValue::S, ReturnValue};
        let client = aws_sdk_dynamodb::Client::new(&self.config);
        let deleting = client.delete_item().table_name(TABLE).return_values(ReturnValue::AllOld);
        deleting.key("pk", S(partition.to_owned())).key("sk", S(sort.to_owned())).send().await.ok()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let program = build::program("keytide", "dev").unwrap();
        let mut command = Command::new(program);
        command.args(arguments).env_clear().current_dir(Path::new(env!("CARGO_TARGET_TMPDIR")));
        command.env("HOME", env!("CARGO_TARGET_TMPDIR")).env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_ENDPOINT_URL", &self.moto.url).env("AWS_ACCESS_KEY_ID", "moto");
        command.env("AWS_SECRET_ACCESS_KEY", "moto").env("KEYTIDE_SLACK_URL", format!("{}/api/", self.slack));
        command.stdin(std::process::Stdio::null());
        command
    }

    async fn run(mut command: Command) -> (i32, String) {
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let (out, error) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
        assert!(!out.contains(TOKEN) && !error.contains(TOKEN), "the token is never shown");
        assert!(!error.contains("this is a bug"), "{error}");
        let code = ran.status.code().unwrap();
        (code, if out.is_empty() { error } else { out })
    }

    /// The doctor's words, with this in its environment.
    async fn examined(&self, channel: &str, format: &str, environment: &[(&str, &str)]) -> (i32, String) {
        let ledger = format!("dynamodb:{TABLE}");
        let mut all = vec!["doctor", "--ledger", &ledger, "--account", PROD, "--channel", channel];
        all.extend(["--role", "SecurityAudit", "--format", format]);
        let mut command = self.command(&all);
        command.envs(environment.iter().copied());
        Self::run(command).await
    }

    /// There is exactly one finding, and it says so.
    async fn finds(&self, words: &str, environment: &[(&str, &str)]) {
        let (code, said) = self.examined("C0INFRA001", "json", environment).await;
        let said: Value = serde_json::from_str(&said).expect(&said);
        let findings = said.get("findings").and_then(Value::as_array).unwrap();
        assert_eq!((code, findings.len()), (1, 1), "{words}: {said:#}");
        let text = |name: &str| said.pointer(&format!("/findings/0/{name}")).and_then(Value::as_str).unwrap();
        assert!(text("what").contains(words), "{words}: {said:#}");
        assert!(!text("mend").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_each_defect_that_is_sown() {
    let installed = Installed::new().await;
    let (code, said) = installed.examined("C0INFRA001", "table", &[]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("All is well"), "{said}");

    installed.protect(false).await;
    installed.finds("may be deleted", &[]).await;
    installed.protect(true).await;
    installed.recover(false).await;
    installed.finds("cannot be restored to a point in time", &[]).await;
    installed.recover(true).await;
    installed.expire(false).await;
    installed.finds("never expire", &[]).await;
    installed.expire(true).await;

    let sqs = aws_sdk_sqs::Client::new(&installed.config);
    let dead = sqs.get_queue_url().queue_name("keytide-accounts-dead").send().await.unwrap();
    let dead = dead.queue_url().unwrap().to_owned();
    sqs.send_message().queue_url(&dead).message_body("given up").send().await.unwrap();
    installed.finds("1 given up in keytide-accounts-dead", &[]).await;
    sqs.purge_queue().queue_url(&dead).send().await.unwrap();

    installed.put_rule(&installed.config, "keytide-key-events-in", Some("keytide"), false).await;
    installed.finds("the rule keytide-key-events-in is disabled", &[]).await;
    installed.put_rule(&installed.config, "keytide-key-events-in", Some("keytide"), true).await;
    installed.put_rule(&installed.prod, "keytide-key-events", None, false).await;
    installed.finds("the rule keytide-key-events is disabled", &[]).await;
    installed.put_rule(&installed.prod, "keytide-key-events", None, true).await;
    installed.put_target("own-role-events", false).await;
    installed.finds("does not send by the role", &[]).await;
    installed.put_target("own-role-events", true).await;

    for (role, words) in [
        ("reader", "the role keytide-reader is not there"),
        ("forwarder", "the role keytide-forwarder is not there"),
        ("disabler", "in enforce, and the role keytide-disabler is not there"),
    ] {
        installed.put_role(role, false).await;
        installed.finds(words, &[]).await;
        installed.put_role(role, true).await;
    }

    installed.select(ReadWriteType::ReadOnly).await;
    installed.finds("does not record management events that write", &[]).await;
    installed.select(ReadWriteType::WriteOnly).await;
    let cloudtrail = aws_sdk_cloudtrail::Client::new(&installed.prod);
    cloudtrail.stop_logging().name("all").send().await.unwrap();
    installed.finds("is stopped", &[]).await;
    cloudtrail.start_logging().name("all").send().await.unwrap();

    // Slack: a scope too many and one too few are two findings; a channel that the bot is not in is one.
    let greedy = format!("{}/api/", installed.greedy_slack);
    let (_, said) = installed.examined("C0INFRA001", "json", &[("KEYTIDE_SLACK_URL", greedy.as_str())]).await;
    assert!(said.contains("lacks the scope im:write") && said.contains("has the scope files:read"), "{said}");
    let (_, said) = installed.examined("C0ELSEWHERE", "json", &[]).await;
    assert!(said.contains("not in the channel"), "{said}");

    // What may not be looked at is said as such, and is never well.
    installed
        .finds("scheduler:GetSchedule", &[("AWS_ENDPOINT_URL_SCHEDULER", installed.slack.as_str())])
        .await;
    installed
        .finds("AccessDeniedException", &[("AWS_ENDPOINT_URL_SCHEDULER", installed.slack.as_str())])
        .await;

    // Last, what is not put back.
    let scheduler = aws_sdk_scheduler::Client::new(&installed.config);
    let known = scheduler.get_schedule().name("keytide-sweep").send().await.unwrap();
    scheduler
        .update_schedule()
        .name("keytide-sweep")
        .state(ScheduleState::Disabled)
        .set_flexible_time_window(known.flexible_time_window.clone())
        .set_schedule_expression(known.schedule_expression.clone())
        .set_target(known.target.clone())
        .send()
        .await
        .unwrap();
    installed.finds("the schedule keytide-sweep is disabled", &[]).await;
    scheduler.delete_schedule().name("keytide-sweep").send().await.unwrap();
    installed.finds("the schedule keytide-sweep is not there", &[]).await;
    installed.delete_item("ACCEPTED", "ACCEPTED").await.unwrap();
    let (_, said) = installed.examined("C0INFRA001", "json", &[]).await;
    assert!(said.contains("nobody has accepted it yet"), "{said}");
    let secrets = aws_sdk_secretsmanager::Client::new(&installed.config);
    let deleting = secrets.delete_secret().secret_id("keytide/slack").force_delete_without_recovery(true);
    deleting.send().await.unwrap();
    let (_, said) = installed.examined("C0INFRA001", "json", &[]).await;
    assert!(said.contains("the secret with Slack's token is not there"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_shown_and_sent_back() {
    let installed = Installed::new().await;
    let sqs = aws_sdk_sqs::Client::new(&installed.config);
    let url = async |name: &str| {
        let found = sqs.get_queue_url().queue_name(name).send().await.unwrap();
        found.queue_url().unwrap().to_owned()
    };
    let (dead, events) = (url("keytide-events-dead").await, url("keytide-events").await);
    let event = |number: usize| {
        json!({"id": "envelope", "detail": {"eventID": format!("e-{number}"), "eventName": "CreateAccessKey",
            "recipientAccountId": PROD, "eventTime": "2026-06-02T08:58:14Z"}})
    };
    for number in 0..12 {
        sqs.send_message().queue_url(&dead).message_body(event(number).to_string()).send().await.unwrap();
    }
    sqs.send_message().queue_url(&dead).message_body("no event\u{1b}[31m").send().await.unwrap();
    let (code, said) = Installed::run(installed.command(&["redrive"])).await;
    assert_eq!(code, 3, "{said}");
    for words in
        ["e-0", "e-11", "CreateAccessKey", PROD, "2026-06-02T08:58:14Z", "13 events given up", "not readable"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains('\u{1b}'), "{said:?}");
    let (code, said) = Installed::run(installed.command(&["redrive", "--yes"])).await;
    assert_eq!(code, 0, "what was left is there at once: {said}");
    assert!(said.contains("13 events sent back to keytide-events"), "{said}");
    let mut back = Vec::new();
    loop {
        let received =
            sqs.receive_message().queue_url(&events).max_number_of_messages(10).send().await.unwrap();
        if received.messages().is_empty() {
            break;
        }
        back.extend(received.messages().iter().map(|message| message.body().unwrap().to_owned()));
    }
    assert_eq!(back.len(), 13);
    assert!(back.contains(&event(11).to_string()), "as it was: {back:?}");
    let (code, said) = Installed::run(installed.command(&["redrive", "--yes"])).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("Nothing waits"), "{said}");
}

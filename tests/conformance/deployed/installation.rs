//! keytide, installed: an organization of two accounts, the stacks in both, the functions, a Slack.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use jiff::Timestamp;
use keytide_tests::build;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::packages::packages;
use crate::counterparts::{EmulateSlack, MiniStack, start_emulate_slack, templates_in_long_form};

/// The security account, which is the management account of this organization as well.
pub(super) const SECURITY: &str = "999988887777";
pub(super) const EXTERNAL_ID: &str = "tidewater-7";
/// Whose people may look into the accounts.
pub(super) const OPERATOR: &str = "arn:aws:iam::999988887777:role/on-call";
/// When every story begins: between the day's two schedules and those of the next.
pub(super) const BEGIN: &str = "2026-06-02T09:30:00Z";
/// What the digest says of a run that missed none of the two accounts.
pub(super) const WHOLE: &str = "very account (2) was swept";
/// Longer than anything takes here, also on a machine with too much to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is not as it stands in `infra/`: a place in a template, what stands there instead (null: nothing), and why.
const CHANGES: [(&str, &str, &str, &str); 3] = [
    ("security-account.yaml", "/Resources/EventBusPolicy", "null", "MiniStack does not have this type"),
    ("security-account.yaml", "/Resources/EventsFailing", "null", "MiniStack takes no alarm over a query"),
    (
        "security-account.yaml",
        "/Resources/SweeperAccounts/Properties/ScalingConfig/MaximumConcurrency",
        "5",
        "MiniStack hands a parameter's number on as a text, and then cannot compare it; CloudFormation makes it one",
    ),
];

/// keytide in an organization.
pub(super) struct Installation {
    pub(super) aws: MiniStack,
    pub(super) slack: EmulateSlack,
    /// The organization's other account.
    pub(super) prod: String,
    pub(super) organization: String,
    member_template: Value,
    enforced_template: Value,
}

/// An access key, as IAM gave it.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) user: String,
    pub(super) key_id: String,
    pub(super) at: Timestamp,
}

/// The command line, built once for all stories, if it is not up to date.
pub(super) fn command_line() -> &'static Path {
    static COMMAND_LINE: OnceLock<PathBuf> = OnceLock::new();
    COMMAND_LINE.get_or_init(|| build::program("keytide", "dev").unwrap())
}

impl Installation {
    /// Everything from nothing, in the order of infra/README.md.
    pub(super) async fn new() -> Self {
        let packages = packages();
        let slack = start_emulate_slack();
        let slack_url = format!("{}/api/", slack.url);
        let at = BEGIN.parse().unwrap();
        let mut aws = MiniStack::start(at, &[("KEYTIDE_SLACK_URL", &slack_url)]);
        let organization = aws.call(SECURITY, "organizations", "describe_organization", json!({})).unwrap();
        let account = json!({"AccountName": "prod", "Email": "aws+prod@tidewater.example"});
        let made = aws.call(SECURITY, "organizations", "create_account", account).unwrap();
        let [security_template, member_template, enforced_template] = templates();
        let mut keytide = Self {
            aws,
            slack,
            prod: text(&made["CreateAccountStatus"]["AccountId"]),
            organization: text(&organization["Organization"]["Id"]),
            member_template,
            enforced_template,
        };

        let secret = json!({"Name": "keytide/slack", "SecretString": keytide.slack.token});
        keytide.call(SECURITY, "secretsmanager", "create_secret", secret);
        keytide.call(SECURITY, "s3", "create_bucket", json!({"Bucket": "tidewater-artifacts"}));
        for (key, zip) in [("watcher.zip", &packages.watcher), ("sweeper.zip", &packages.sweeper)] {
            let object = json!({"Bucket": "tidewater-artifacts", "Key": key, "Body": {"file": zip}});
            keytide.call(SECURITY, "s3", "put_object", object);
        }
        let parameters = json!({
            "OrganizationId": keytide.organization,
            "ExternalId": EXTERNAL_ID,
            "SlackChannel": keytide.slack.channels["access-keys"],
            "AlarmEmail": "security@tidewater.example",
            "CodeBucket": "tidewater-artifacts",
            "WatcherPackage": "watcher.zip",
            "SweeperPackage": "sweeper.zip",
            "Architecture": packages.architecture,
            "AccountNames": format!("{}=prod,{SECURITY}=security", keytide.prod),
        });
        keytide.deploy(SECURITY, "keytide", &security_template, &parameters).await;
        keytide.enter(SECURITY).await;
        let prod = keytide.prod.clone();
        keytide.enter(&prod).await;
        keytide.enforce(&prod).await;
        keytide.keytide(&["ledger", "accept", "--reason", "first installation", "--yes"]);
        keytide
    }

    /// Deploys an account's part.
    pub(super) async fn enter(&mut self, account: &str) {
        let template = self.member_template.clone();
        let mut parameters = self.of_a_member();
        parameters["Operators"] = json!(OPERATOR);
        self.deploy(account, "keytide-member", &template, &parameters).await;
    }

    /// Deploys what an account in `enforce` has besides.
    pub(super) async fn enforce(&mut self, account: &str) {
        let template = self.enforced_template.clone();
        let parameters = self.of_a_member();
        self.deploy(account, "keytide-enforced", &template, &parameters).await;
    }

    fn of_a_member(&self) -> Value {
        json!({
            "SecurityAccountId": SECURITY,
            "OrganizationId": self.organization,
            "ExternalId": EXTERNAL_ID,
        })
    }

    async fn deploy(&mut self, account: &str, stack: &str, template: &Value, parameters: &Value) {
        let parameters = parameters.as_object().unwrap().iter();
        let parameters: Vec<Value> =
            parameters.map(|(name, value)| json!({"ParameterKey": name, "ParameterValue": value})).collect();
        let asked = json!({
            "StackName": stack,
            "TemplateBody": template.to_string(),
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
            "Parameters": parameters,
        });
        self.call(account, "cloudformation", "create_stack", asked);
        let of_stack = json!({"StackName": stack});
        let status = self
            .eventually(&format!("{stack} in {account} is made"), |keytide| {
                let said = keytide.call(account, "cloudformation", "describe_stacks", of_stack.clone());
                let status = text(&said["Stacks"][0]["StackStatus"]);
                (!status.ends_with("_IN_PROGRESS")).then_some(status)
            })
            .await;
        if status != "CREATE_COMPLETE" {
            let events = self.call(account, "cloudformation", "describe_stack_events", of_stack);
            panic!("{stack} in {account}: {status}: {events:#}");
        }
    }

    /// A call as root of an account that has to succeed.
    pub(super) fn call(&mut self, account: &str, service: &str, method: &str, arguments: Value) -> Value {
        let answer = self.aws.call(account, service, method, arguments);
        answer.unwrap_or_else(|refused| panic!("{service} {method} in {account}: {refused:?}"))
    }

    /// The command line, as root of the security account, with the deployed ledger; says what it said.
    pub(super) fn keytide(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(command_line());
        command.args(arguments).args(["--ledger", "dynamodb:keytide-ledger"]);
        let output = command.envs(self.aws.environment(SECURITY)).output().unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
        assert!(output.status.success(), "keytide {arguments:?}: {said}");
        said
    }

    /// The command line with a session of somebody's, whatever it ends with.
    pub(super) fn keytide_as(&self, session: &Value, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(command_line());
        command.args(arguments).args(["--ledger", "dynamodb:keytide-ledger"]);
        command.envs(self.aws.environment(SECURITY));
        for (variable, name) in [
            ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
            ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
            ("AWS_SESSION_TOKEN", "SessionToken"),
        ] {
            command.env(variable, text(&session[name]));
        }
        command.env("KEYTIDE_SLACK_URL", format!("{}/api/", self.slack.url));
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
        (output.status.code(), if said[0].is_empty() { said[1].clone() } else { said[0].clone() })
    }

    /// An IAM user, whose Slack id is that of the person of this name if there is one, with an access key.
    pub(super) fn user_with_key(&mut self, account: &str, user: &str) -> Made {
        let tags: Vec<Value> = self
            .slack
            .users
            .get(user)
            .map(|id| json!({"Key": "slack-id", "Value": id}))
            .into_iter()
            .collect();
        self.call(account, "iam", "create_user", json!({"UserName": user, "Tags": tags}));
        let made = self.call(account, "iam", "create_access_key", json!({"UserName": user}));
        let key = &made["AccessKey"];
        let at = text(&key["CreateDate"]).parse().unwrap();
        Made { user: user.to_owned(), key_id: text(&key["AccessKeyId"]), at }
    }

    /// What CloudTrail says when a user has made a key for themselves: the sample, with this key.
    pub(super) fn created(&mut self, account: &str, made: &Made) {
        let mut detail = creation();
        detail["eventID"] = json!(format!("d9204e1d-f30d-5f63-a1d9-{}", &made.key_id[8..]).to_lowercase());
        detail["eventTime"] = json!(made.at.to_string());
        detail["recipientAccountId"] = json!(account);
        let caller = &mut detail["userIdentity"];
        caller["accountId"] = json!(account);
        caller["arn"] = json!(format!("arn:aws:iam::{account}:user/{}", made.user));
        caller["userName"] = json!(made.user);
        detail["requestParameters"]["userName"] = json!(made.user);
        let key = &mut detail["responseElements"]["accessKey"];
        key["userName"] = json!(made.user);
        key["accessKeyId"] = json!(made.key_id);
        key["createDate"] = json!(made.at.strftime("%b %-d, %Y, %-I:%M:%S %p").to_string());
        self.aws.event(account, &detail);
    }

    /// The texts in the channel, the oldest first.
    pub(super) fn channel(&mut self) -> Vec<String> {
        let id = self.slack.channels["access-keys"].clone();
        texts_of(&self.slack.channel(&id))
    }

    /// The texts that a person got, the oldest first.
    pub(super) fn direct(&mut self, name: &str) -> Vec<String> {
        let id = self.slack.users[name].clone();
        texts_of(&self.slack.direct(&id))
    }

    /// Those of the channel's texts that name a key.
    pub(super) fn told_of(&mut self, made: &Made) -> Vec<String> {
        let mut told = self.channel();
        told.retain(|text| text.contains(&made.key_id));
        told
    }

    /// Waits for the channel to hold a text with all these parts.
    pub(super) async fn hears(&mut self, parts: &[&str]) -> String {
        self.eventually(&format!("the channel hears {parts:?}"), |keytide| {
            keytide.channel().into_iter().find(|text| parts.iter().all(|part| text.contains(part)))
        })
        .await
    }

    /// Lets time pass until so many days after a moment, 06:00, when the schedule begins a run, and waits for its digest.
    pub(super) async fn sweep_after(&mut self, days: i64, since: Timestamp) -> String {
        let digests = |keytide: &mut Self| -> Vec<String> {
            let mut texts = keytide.channel();
            texts.retain(|text| text.contains("Keys disabled: "));
            texts
        };
        let before = digests(self).len();
        let date = since.to_zoned(jiff::tz::TimeZone::UTC).date();
        let date = date.checked_add(jiff::SignedDuration::from_hours(24 * days)).unwrap();
        self.aws.set_clock(format!("{date}T06:00:01Z").parse().unwrap());
        self.eventually(&format!("the digest of {date}"), |it| digests(it).get(before).cloned()).await
    }

    /// Waits for a queue to be empty.
    pub(super) async fn is_done(&mut self, queue: &str) {
        self.eventually(&format!("{queue} is empty"), |it| (it.on_queue(queue) == 0).then_some(())).await;
    }

    /// A key's status in IAM itself.
    pub(super) fn status(&mut self, account: &str, made: &Made) -> String {
        let listed = self.call(account, "iam", "list_access_keys", json!({"UserName": made.user}));
        let keys = listed["AccessKeyMetadata"].as_array().unwrap();
        let key = keys.iter().find(|key| key["AccessKeyId"] == json!(made.key_id));
        text(&key.unwrap_or_else(|| panic!("{} is gone", made.key_id))["Status"])
    }

    /// All items of a key in the ledger, by their sort keys.
    pub(super) fn items(&mut self, account: &str, made: &Made) -> Vec<(String, Value)> {
        let partition = format!("KEY#{account}#{}", made.key_id);
        let asked = json!({
            "TableName": "keytide-ledger",
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": partition}},
            "ConsistentRead": true,
        });
        let found = self.call(SECURITY, "dynamodb", "query", asked);
        let items = found["Items"].as_array().unwrap().iter();
        items.map(|item| (text(&item["sk"]["S"]), item.clone())).collect()
    }

    /// How many messages are on a queue, those at work or waiting out a pause included.
    pub(super) fn on_queue(&mut self, queue: &str) -> u64 {
        let url = self.call(SECURITY, "sqs", "get_queue_url", json!({"QueueName": queue}));
        let asked = json!({"QueueUrl": url["QueueUrl"], "AttributeNames": ["All"]});
        let found = self.call(SECURITY, "sqs", "get_queue_attributes", asked);
        [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ]
        .map(|name| text(&found["Attributes"][name]).parse::<u64>().unwrap())
        .iter()
        .sum()
    }

    /// What a function has logged, line by line.
    pub(super) fn log(&mut self, function: &str) -> Vec<Value> {
        let asked = json!({"logGroupName": format!("/aws/lambda/{function}")});
        let found = self.call(SECURITY, "logs", "filter_log_events", asked);
        let events = found["events"].as_array().unwrap().iter();
        // Lambda's own lines, which are no JSON, besides.
        events.filter_map(|event| serde_json::from_str(event["message"].as_str()?).ok()).collect()
    }

    /// Waits until something is so.
    pub(super) async fn eventually<T: Debug>(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = is_so(self) {
                return found;
            }
            assert!(
                Instant::now() <= deadline,
                "not within {PATIENCE:?}: {what}\n{}",
                self.account_of_itself()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// What there is to see of it, for whoever has to find out why something did not come about.
    fn account_of_itself(&mut self) -> String {
        let mut all = format!("the channel:\n{:#?}", self.channel());
        for function in ["keytide-watcher", "keytide-sweeper"] {
            let asked = json!({"logGroupName": format!("/aws/lambda/{function}")});
            let found = self.aws.call(SECURITY, "logs", "filter_log_events", asked).unwrap_or_default();
            let lines = found["events"].as_array().into_iter().flatten();
            let lines: Vec<&str> = lines.filter_map(|line| line["message"].as_str()).collect();
            all.extend(["\n", function, ":\n", &lines.join("\n")]);
        }
        all
    }
}

/// The accounts' templates, in long form, with [`CHANGES`] made.
fn templates() -> [Value; 3] {
    static TEMPLATES: OnceLock<[Value; 3]> = OnceLock::new();
    let names = ["security-account.yaml", "member-account.yaml", "enforced-account.yaml"];
    let templates = TEMPLATES.get_or_init(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra");
        let texts = names.map(|name| {
            (name.to_owned(), json!(std::fs::read_to_string(format!("{folder}/{name}")).unwrap()))
        });
        let mut templates: [Value; 3] = templates_in_long_form(&texts).try_into().unwrap();
        for (name, pointer, instead, _) in CHANGES {
            let template = &mut templates[names.iter().position(|known| *known == name).unwrap()];
            let (parent, last) = pointer.rsplit_once('/').unwrap();
            let parent = template.pointer_mut(parent).and_then(Value::as_object_mut);
            let parent = parent.unwrap_or_else(|| panic!("{name} has no {pointer} to be changed"));
            let was = match serde_json::from_str(instead).unwrap() {
                Value::Null => parent.remove(last),
                instead => parent.insert(last.to_owned(), instead),
            };
            assert!(was.is_some(), "{name} has no {pointer} to be changed");
        }
        templates
    });
    templates.clone()
}

/// The bus's policy's one statement, as the template has it for this organization.
pub(super) fn bus_statement(organization: &str) -> Value {
    let text = include_str!("../../../infra/security-account.yaml").to_owned();
    let template = templates_in_long_form(&[("security-account.yaml".to_owned(), json!(text))]).remove(0);
    let statement = &template["Resources"]["EventBusPolicy"]["Properties"]["Statement"];
    let mut statement = statement.clone();
    statement["Sid"] = json!("forwarders-of-the-organization");
    statement["Resource"] = json!(format!("arn:aws:events:us-east-1:{SECURITY}:event-bus/keytide"));
    statement["Condition"]["StringEquals"]["aws:PrincipalOrgID"] = json!(organization);
    let forwarder = &mut statement["Condition"]["ArnLike"]["aws:PrincipalArn"];
    let named = forwarder["Fn::Sub"].as_str().unwrap();
    *forwarder = json!(named.replace("${AWS::Partition}", "aws").replace("${Prefix}", "keytide"));
    statement
}

fn creation() -> Value {
    let sample = include_str!("../../../events/cloudtrail/create-own.json");
    serde_json::from_str::<Value>(sample).unwrap()["detail"].take()
}

fn texts_of(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| text(&message["text"])).collect()
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

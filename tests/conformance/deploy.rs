//! `infra/deploy.sh`, by the real AWS CLI against moto: two accounts, and what each run leaves in them.
//!
//! moto makes neither all that is in our templates nor a `StackSet` of one. So what is deployed here are the
//! templates' parameters, as they are, over resources that moto knows; what the templates themselves hold is judged in
//! `infrastructure`.
#![expect(clippy::indexing_slicing, reason = "a test says so by failing")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::counterparts::{Moto, aws_cli, problems_by_shellcheck, start_moto};

const SECURITY: &str = "111122223333";
/// Where moto's organization is made.
const MANAGEMENT: &str = "123456789012";

/// What stands for the security account's resources: what stays, and what goes.
const SECURITY_RESOURCES: &str = r#"
Resources:
  Ledger:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: Retain
    Properties:
      TableName: !Sub "${Prefix}-ledger"
      KeySchema: [{AttributeName: pk, KeyType: HASH}]
      AttributeDefinitions: [{AttributeName: pk, AttributeType: S}]
      BillingMode: PAY_PER_REQUEST
  Alarms:
    Type: AWS::SNS::Topic
    Properties: {TopicName: !Sub "${Prefix}-alarms"}
"#;
const ORGANIZATION_RESOURCES: &str = r#"
Resources:
  StandIn:
    Type: AWS::SQS::Queue
    Properties: {QueueName: !Sub "${Prefix}-stand-in"}
"#;

/// A setting, the parameter that it becomes, and a value that is not the default.
const SETTINGS: [(&str, &str, &str); 19] = [
    ("ORGANIZATIONAL_UNIT_IDS", "OrganizationalUnitIds", "ou-abcd-11112222,ou-abcd-33334444"),
    ("SLACK_CHANNEL", "SlackChannel", "C0123456789"),
    ("SLACK_SECRET_NAME", "SlackSecretName", "tidewater/slack"),
    ("ALARM_EMAIL", "AlarmEmail", "security@tidewater.example"),
    ("ENFORCED_ACCOUNT_IDS", "EnforcedAccountIds", "444455556666,777788889999"),
    ("DISABLER_IN_MANAGEMENT_ACCOUNT", "DisablerInManagementAccount", "present"),
    ("OPERATORS", "Operators", "arn:aws:iam::111122223333:role/one,arn:aws:iam::111122223333:role/two"),
    ("ACCOUNTS", "Accounts", "444455556666,777788889999"),
    ("INCLUDE_ACCOUNTS", "IncludeAccounts", "444455556666"),
    ("EXCLUDE_ACCOUNTS", "ExcludeAccounts", "777788889999"),
    ("ACCOUNT_NAMES", "AccountNames", "444455556666=prod east,777788889999=staging"),
    ("FAILED_ATTEMPTS", "FailedAttempts", "always"),
    ("PREFIX", "Prefix", "tidewater-keys"),
    ("EXTERNAL_ID", "ExternalId", "tidewater-7"),
    ("ARCHITECTURE", "Architecture", "x86_64"),
    ("SWEEP_HOURS", "SweepHours", "7,10"),
    ("SWEEP_CONCURRENCY", "SweepConcurrency", "12"),
    ("LOG_LEVEL", "LogLevel", "warn"),
    ("LOG_RETENTION_DAYS", "LogRetentionDays", "731"),
];

fn infra(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra").join(name)
}

/// A folder with the script, what it deploys, and who deploys it.
struct Installer {
    folder: TempDir,
    settings: BTreeMap<String, String>,
    /// Where its programs are looked for first.
    programs: PathBuf,
    /// More of the script's environment.
    environment: Vec<(String, String)>,
}

/// What a run came to.
struct Run {
    succeeded: bool,
    said: String,
}

impl Installer {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["deploy.sh", "deployment.env.example", "member-account.yaml"] {
            fs::copy(infra(name), at(name)).unwrap();
        }
        for (name, resources) in
            [("security-account.yaml", SECURITY_RESOURCES), ("organization.yaml", ORGANIZATION_RESOURCES)]
        {
            let template = fs::read_to_string(infra(name)).unwrap();
            let head = template.split("\nConditions:").next().unwrap().split("\nResources:").next().unwrap();
            fs::write(at(name), format!("{head}\n{resources}")).unwrap();
        }
        fs::create_dir(at("packages")).unwrap();
        for package in ["watcher-x86_64-0.1.0-aaaa", "sweeper-x86_64-0.1.0-bbbb"] {
            fs::write(at(&format!("packages/keytide-{package}.zip")), package).unwrap();
        }
        let settings = SETTINGS.map(|(name, _, value)| (name.to_owned(), value.to_owned()));
        let programs = aws_cli().with_file_name("");
        Self { folder, settings: settings.into(), programs, environment: Vec::new() }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    /// Runs the script, with `typed` on its standard input.
    fn run(&self, command: &str, how: &[(&str, &str)], typed: &str) -> Run {
        let at = |name: &str| self.folder.path().join(name);
        let mut settings = "# A deployment of Tidewater's.\n\n".to_owned();
        for (name, value) in &self.settings {
            writeln!(settings, "{name}={value}").unwrap();
        }
        fs::write(at("deployment.env"), settings).unwrap();
        let mut script = Command::new("bash")
            .args(["-c", r#"PATH="$0:$PATH" exec bash "$@""#])
            .arg(&self.programs)
            .arg(at("deploy.sh"))
            .arg(command)
            .env("PACKAGES", at("packages"))
            .env_remove("DEPLOYMENT")
            .env_remove("YES")
            .env_remove("DRY")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(how.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It need not read it.
        let _ = script.stdin.take().unwrap().write_all(typed.as_bytes());
        let output = script.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        Run { succeeded: output.status.success(), said: String::from_utf8(said).unwrap() }
    }

    /// Asks the AWS CLI, by words.
    fn aws(&self, profile: &str, words: &str) -> Value {
        let output = Command::new(aws_cli())
            .args(["--region", "us-east-1", "--output", "json", "--profile", profile])
            .args(words.split_whitespace())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "aws {words}: {}", String::from_utf8_lossy(&output.stderr));
        if said.trim().is_empty() { Value::Null } else { serde_json::from_str(&said).unwrap() }
    }

    /// What a run of the script may change, in both accounts.
    fn state(&self) -> BTreeMap<&'static str, Value> {
        let stacks = "cloudformation describe-stacks --query Stacks[].[StackName,StackStatus,Parameters]";
        let buckets = self.aws("security", "s3api list-buckets --query Buckets[].Name");
        let versions = match buckets.as_array().and_then(|buckets| buckets.first()) {
            None => Value::Null,
            Some(bucket) => self.aws(
                "security",
                &format!(
                    "s3api list-object-versions --bucket {} --query Versions[].[Key,VersionId]",
                    bucket.as_str().unwrap()
                ),
            ),
        };
        [
            ("buckets", buckets),
            ("versions", versions),
            ("security", self.aws("security", stacks)),
            ("organization", self.aws("organization", stacks)),
            ("tables", self.aws("security", "dynamodb list-tables --query TableNames")),
        ]
        .into()
    }
}

/// moto with an organization, and profiles of the AWS CLI for two of its accounts.
struct Aws {
    /// Held, since it ends with this.
    _moto: Moto,
    organization: String,
}

impl Aws {
    /// The organization's id goes into the installer's settings, and who it deploys as.
    fn new(installer: &mut Installer) -> Self {
        let moto = start_moto();
        let at = |name: &str| installer.folder.path().join(name);
        let role = |profile: &str, account: &str| {
            format!(
                "[profile {profile}]\nrole_arn = arn:aws:iam::{account}:role/deployer\nsource_profile = root\n"
            )
        };
        // Of another region than everything of ours: the script may not depend on what a profile says.
        let config = format!(
            "[profile root]\nregion = eu-west-1\n{}{}",
            role("security", SECURITY),
            role("organization", MANAGEMENT)
        );
        fs::write(at("config"), config).unwrap();
        fs::write(at("credentials"), "[root]\naws_access_key_id = moto\naws_secret_access_key = moto\n")
            .unwrap();
        for (name, value) in [
            ("AWS_ENDPOINT_URL", moto.url.clone()),
            ("AWS_CONFIG_FILE", at("config").display().to_string()),
            ("AWS_SHARED_CREDENTIALS_FILE", at("credentials").display().to_string()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            // Sessions are kept there, and those of an earlier moto mean nothing to this one.
            ("HOME", installer.folder.path().display().to_string()),
        ] {
            installer.environment.push((name.to_owned(), value));
        }
        let made = installer.aws("root", "organizations create-organization");
        let aws = Self { _moto: moto, organization: made["Organization"]["Id"].as_str().unwrap().to_owned() };
        for (name, value) in [
            ("SECURITY_ACCOUNT_ID", SECURITY),
            ("SECURITY_PROFILE", "security"),
            ("ORGANIZATION_ACCOUNT_ID", MANAGEMENT),
            ("ORGANIZATION_PROFILE", "organization"),
            ("ORGANIZATION_ID", &aws.organization),
        ] {
            installer.set(name, value);
        }
        aws
    }

    /// What has to be there before: Slack's secret, and the way of `StackSets` into the accounts.
    fn prepare(installer: &Installer) {
        installer.aws(
            "security",
            "secretsmanager create-secret --name tidewater/slack --secret-string xoxb-of-a-test",
        );
        installer.aws(
            "organization",
            "organizations enable-aws-service-access \
             --service-principal member.org.stacksets.cloudformation.amazonaws.com",
        );
    }
}

/// The parameters of the only stack of a list.
fn parameters(stacks: &Value) -> BTreeMap<&str, &str> {
    let text = |value: &Value, name: &str| value[name].as_str().map(str::to_owned);
    assert_eq!(stacks.as_array().unwrap().len(), 1, "{stacks}");
    let parameters = stacks[0][2].as_array().unwrap();
    assert!(parameters.iter().all(|given| text(given, "ParameterKey").is_some()));
    parameters
        .iter()
        .map(|given| {
            (given["ParameterKey"].as_str().unwrap(), given["ParameterValue"].as_str().unwrap_or(""))
        })
        .collect()
}

#[test]
fn the_script_gives_shellcheck_nothing_to_say() {
    assert_eq!(problems_by_shellcheck(&infra("deploy.sh")), [""; 0]);
    let folder = tempfile::tempdir().unwrap();
    let spoilt = folder.path().join("deploy.sh");
    let script = fs::read_to_string(infra("deploy.sh")).unwrap();
    let defect = script.replace("rm -f \"$errors\"", "rm -f $errors");
    assert_ne!(script, defect);
    fs::write(&spoilt, defect).unwrap();
    let problems = problems_by_shellcheck(&spoilt);
    assert!(problems.len() == 1 && problems[0].contains("SC2086"), "{problems:?}");
}

/// What a script asks of a shell or of its regular expressions that macOS does not have: bash 3.2, and a library that
/// repeats nothing more than 255 times.
fn problems_on_macos(script: &str) -> Vec<String> {
    const LATER: [(&str, &str); 14] = [
        ("mapfile", "bash 4"),
        ("readarray", "bash 4"),
        ("declare -A", "bash 4"),
        ("local -A", "bash 4"),
        ("declare -n", "bash 4.3"),
        ("local -n", "bash 4.3"),
        (",,}", "bash 4"),
        ("^^}", "bash 4"),
        ("@Q}", "bash 4.4"),
        ("&>>", "bash 4"),
        ("|&", "bash 4"),
        ("wait -n", "bash 4.3"),
        ("[[ -v ", "bash 4.2"),
        ("printf '%(", "bash 4.2"),
    ];
    let mut problems = Vec::new();
    for (number, line) in script.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#')) {
        for (words, since) in LATER {
            if line.contains(words) {
                problems.push(format!("line {}: `{words}` needs {since}", number + 1));
            }
        }
        let intervals = line.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
        let bounds = intervals.flat_map(|(interval, _)| interval.split(','));
        for bound in bounds.filter_map(|bound| bound.parse::<u32>().ok()).filter(|bound| *bound > 255) {
            problems.push(format!("line {}: {bound} times", number + 1));
        }
    }
    problems
}

#[test]
fn the_script_asks_for_nothing_that_macos_lacks() {
    let script = fs::read_to_string(infra("deploy.sh")).unwrap();
    assert_eq!(problems_on_macos(&script), [""; 0]);
    for (sound, unsound) in [
        ("'[A-Za-z0-9/_+=.@-]+'", "'[A-Za-z0-9/_+=.@-]{1,512}'"),
        ("${line:0:60}", "${line,,}"),
        ("read -r id management", "mapfile -t ids"),
    ] {
        let spoilt = script.replace(sound, unsound);
        assert_ne!(script, spoilt, "{sound}");
        assert_eq!(problems_on_macos(&spoilt).len(), 1, "{unsound}");
    }
}

#[test]
fn whatever_is_wrong_with_the_settings_is_named_at_once_and_aws_is_not_asked() {
    let mut installer = Installer::new();
    // Whoever asks AWS here leaves a trace.
    let asked = installer.folder.path().join("asked");
    installer.environment.push(("AWS_ENDPOINT_URL".to_owned(), "http://127.0.0.1:9".to_owned()));
    fs::create_dir(installer.folder.path().join("bin")).unwrap();
    let shim = installer.folder.path().join("bin/aws");
    fs::write(&shim, format!("#!/bin/sh\ntouch {}\nexit 1\n", asked.display())).unwrap();
    Command::new("chmod").arg("+x").arg(&shim).status().unwrap();
    installer.programs = shim.with_file_name("");
    let how = [("YES", "1")];

    installer.settings.clear();
    installer.set("SWEEP_HOURS", "six");
    installer.set("SLACK_CHANEL", "C0123456789");
    let run = installer.run("deploy", &how, "");
    assert!(!run.succeeded);
    let problems: Vec<&str> = run.said.lines().filter_map(|line| line.strip_prefix("- ")).collect();
    for (problem, begins) in problems.iter().zip([
        "", // The line of the name that there is not: by the file's path.
        "SECURITY_ACCOUNT_ID is not set: expected an account id",
        "ORGANIZATION_ACCOUNT_ID is not set",
        "ORGANIZATION_ID is not set",
        "ORGANIZATIONAL_UNIT_IDS is not set",
        "SLACK_CHANNEL is not set",
        "ALARM_EMAIL is not set",
        "EXTERNAL_ID is not set",
        "SWEEP_HOURS is six: expected two hours",
        "there is no keytide-watcher for arm64",
        "there is no keytide-sweeper for arm64",
    ]) {
        assert!(problem.starts_with(begins), "{problem:?} is not {begins:?} of\n{}", run.said);
    }
    assert_eq!(problems.len(), 11, "{}", run.said);
    assert!(problems[0].contains("deployment.env, line 3: no such setting: SLACK_CHANEL"), "{}", run.said);
    assert!(!asked.exists());
}

#[test]
fn a_package_that_was_changed_is_not_deployed() {
    let mut installer = Installer::new();
    for name in ["SECURITY_ACCOUNT_ID", "ORGANIZATION_ACCOUNT_ID"] {
        installer.set(name, SECURITY);
    }
    installer.set("ORGANIZATION_ID", "o-a1b2c3d4e5");
    let sums = "0000000000000000000000000000000000000000000000000000000000000000  \
                keytide-watcher-x86_64-0.1.0-aaaa.zip\n";
    fs::write(installer.folder.path().join("packages/SHA256SUMS"), sums).unwrap();
    let run = installer.run("deploy", &[("YES", "1")], "");
    assert!(!run.succeeded && run.said.contains("is not the one that was packaged"), "{}", run.said);
}

#[test]
fn with_another_accounts_credentials_nothing_is_done() {
    let mut installer = Installer::new();
    let _aws = Aws::new(&mut installer);
    Aws::prepare(&installer);
    let before = installer.state();
    installer.set("SECURITY_PROFILE", "organization");
    for command in ["deploy", "destroy"] {
        let run = installer.run(command, &[("YES", "1")], "");
        let expected = format!(
            "the credentials of profile organization are account {MANAGEMENT}'s; expected {SECURITY}"
        );
        assert!(!run.succeeded && run.said.contains(&expected), "{}", run.said);
        assert_eq!(run.said.lines().filter(|line| line.starts_with("- ")).count(), 1, "{}", run.said);
    }
    assert_eq!(installer.state(), before);
}

#[test]
fn what_is_missing_in_aws_is_named_at_once_and_nothing_is_done() {
    let mut installer = Installer::new();
    let aws = Aws::new(&mut installer);
    let before = installer.state();
    installer.set("ORGANIZATION_ID", "o-another0123");
    // Of the other account.
    installer.aws("organization", "s3api create-bucket --bucket taken");
    installer.set("PACKAGES_BUCKET", "taken");
    let run = installer.run("deploy", &[("YES", "1")], "");
    assert!(!run.succeeded);
    assert!(run.said.contains("expected o-another0123"), "{}", run.said);

    installer.set("ORGANIZATION_ID", &aws.organization.clone());
    let run = installer.run("deploy", &[("YES", "1")], "");
    assert!(!run.succeeded);
    for expected in [
        "bucket taken: ",
        "secret tidewater/slack in account 111122223333: ",
        "StackSets may not reach the organization's accounts: run aws cloudformation activate-organizations-access",
    ] {
        assert!(run.said.contains(&format!("\n- {expected}")), "{expected:?} in\n{}", run.said);
    }
    assert_eq!(installer.state(), before);
}

#[test]
fn deployed_twice_is_deployed_once_and_what_is_destroyed_leaves_the_ledger() {
    let mut installer = Installer::new();
    let aws = Aws::new(&mut installer);
    Aws::prepare(&installer);
    let nothing = installer.state();
    let yes = [("YES", "1")];

    // A dry run looks, and whoever types another account's id has second thoughts.
    let run = installer.run("deploy", &[("DRY", "1")], "");
    assert!(run.succeeded && run.said.ends_with("Nothing was done.\n"), "{}", run.said);
    for command in ["s3api create-bucket", "s3api put-object", "cloudformation deploy"] {
        assert!(run.said.contains(command), "{command} in\n{}", run.said);
    }
    let run = installer.run("deploy", &[], "123456789012\n");
    assert!(!run.succeeded && run.said.contains("nothing was done"), "{}", run.said);
    assert_eq!(installer.state(), nothing);

    let run = installer.run("deploy", &[], "111122223333\n");
    assert!(run.succeeded, "{}", run.said);
    assert!(run.said.contains("security@tidewater.example has to confirm"), "{}", run.said);
    let deployed = installer.state();
    let bucket = "tidewater-keys-packages-111122223333";
    assert_eq!(deployed["buckets"], serde_json::json!([bucket]));
    let keys: Vec<&str> =
        deployed["versions"].as_array().unwrap().iter().map(|version| version[0].as_str().unwrap()).collect();
    let template = keys.iter().find(|key| key.starts_with("templates/member-account-")).unwrap();
    assert_eq!(keys.len(), 3, "{keys:?}");
    let derived = [
        ("OrganizationId", aws.organization.clone()),
        ("SecurityAccountId", SECURITY.to_owned()),
        ("CallAs", "SELF".to_owned()),
        ("CodeBucket", bucket.to_owned()),
        ("WatcherPackage", "functions/keytide-watcher-x86_64-0.1.0-aaaa.zip".to_owned()),
        ("SweeperPackage", "functions/keytide-sweeper-x86_64-0.1.0-bbbb.zip".to_owned()),
        ("MemberTemplateUrl", format!("https://{bucket}.s3.us-east-1.amazonaws.com/{template}")),
    ];
    let given: BTreeMap<&str, &str> = SETTINGS
        .iter()
        .map(|&(_, parameter, value)| (parameter, value))
        .chain(derived.iter().map(|(parameter, value)| (*parameter, value.as_str())))
        .collect();
    let mut used = Vec::new();
    for account in ["security", "organization"] {
        for (name, value) in parameters(&deployed[account]) {
            // moto shows a list as Python does.
            let value = value.replace("', '", ",").replace("['", "").replace("']", "");
            assert_eq!(given.get(name), Some(&value.as_str()), "{name} of the {account}'s stack");
            used.push(name.to_owned());
        }
    }
    let unused: Vec<_> = given.keys().filter(|name| !used.iter().any(|used| used == *name)).collect();
    assert!(unused.is_empty(), "no template has {unused:?}");

    let run = installer.run("deploy", &yes, "");
    assert!(run.succeeded, "{}", run.said);
    assert_eq!(installer.state(), deployed, "the second time");

    let run = installer.run("destroy", &yes, "");
    assert!(!run.succeeded, "{}", run.said);
    assert!(run.said.contains("the role that disables is still in ") && run.said.contains("777788889999"));
    assert!(run.said.contains("the role that disables is still in the management account"), "{}", run.said);
    assert_eq!(installer.state(), deployed, "while accounts are in enforce");

    installer.set("ENFORCED_ACCOUNT_IDS", "");
    installer.set("DISABLER_IN_MANAGEMENT_ACCOUNT", "absent");
    assert!(installer.run("deploy", &yes, "").succeeded);
    let run = installer.run("destroy", &yes, "");
    assert!(run.succeeded && run.said.contains("the ledger, the logs, the packages"), "{}", run.said);
    let left = installer.state();
    assert_eq!((&left["security"], &left["organization"]), (&nothing["security"], &nothing["organization"]));
    assert_eq!(left["tables"], serde_json::json!(["tidewater-keys-ledger"]));
    assert_eq!(left["versions"], deployed["versions"]);

    let run = installer.run("destroy", &yes, "");
    assert!(run.succeeded && run.said.contains("nothing is left to do"), "{}", run.said);
    // CloudFormation would find it in the middle.
    let run = installer.run("deploy", &yes, "");
    assert!(!run.succeeded && run.said.contains("its table tidewater-keys-ledger is there"), "{}", run.said);
}

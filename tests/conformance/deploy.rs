//! `infra/deploy.sh`, by the real AWS CLI against moto: two accounts, and what each run leaves in them.
//!
//! moto makes neither all that is in our templates nor a `StackSet` of one. So what is deployed here are the
//! templates' parameters, as they are, over resources that moto knows; what the templates themselves hold is judged in
//! `infrastructure`. What moto does not do as AWS does is put right in `serve_moto.py`: what a delegated administrator sees of
//! the organization, and whether `StackSets` may reach it.
#![expect(clippy::indexing_slicing, clippy::panic, reason = "a test says so by failing")]

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

/// Where nobody is asked. In moto it is an account that moto makes, by an id of its choice.
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
  Look:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      ManagedPolicyName: !Sub "${Prefix}-look"
      PolicyDocument:
        Version: "2012-10-17"
        Statement: [{Effect: Allow, Action: "dynamodb:Query", Resource: "*"}]
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
        // Its path has a space in it, as a person's may.
        let folder = tempfile::Builder::new().prefix("deploy it ").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [
            "deploy.sh",
            "deploy-checks.sh",
            "deployment.env.example",
            "member-account.yaml",
            "enforced-account.yaml",
        ] {
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
        let installer = Self { folder, settings: settings.into(), programs, environment: Vec::new() };
        installer.seal();
        installer
    }

    /// Writes down what the packages are, as `make package` does.
    fn seal(&self) {
        let seal = "if command -v sha256sum; then sha256sum *.zip; else shasum -a 256 *.zip; fi >sums && \
                    grep zip sums >SHA256SUMS && rm sums";
        let packages = self.folder.path().join("packages");
        assert!(Command::new("sh").args(["-c", seal]).current_dir(packages).status().unwrap().success());
    }

    /// From now on an `aws` whose words hold these says that, and fails; all else goes to the real one.
    fn refuse(&mut self, words: &str, saying: &str) {
        let folder = self.folder.path().join("refusing");
        fs::create_dir_all(&folder).unwrap();
        let shim = folder.join("aws");
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *'{words}'*) printf %s '{saying}' >&2; exit 254;; esac\nexec '{}' \"$@\"\n",
            aws_cli().display()
        );
        fs::write(&shim, script).unwrap();
        Command::new("chmod").arg("+x").arg(&shim).status().unwrap();
        self.programs = folder;
    }

    /// What a run that has to fail names, each without its dash.
    fn problems(&self, command: &str) -> Vec<String> {
        let run = self.run(command, &[("YES", "1")], "");
        assert!(!run.succeeded, "{}", run.said);
        run.said.lines().filter_map(|line| line.strip_prefix("- ")).map(str::to_owned).collect()
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
    moto: Moto,
    organization: String,
    security: String,
    /// Accounts whose keys keytide disables.
    products: [String; 2],
    /// The unit with the security account, and the one with the others.
    units: [String; 2],
}

impl Aws {
    /// The organization's ids go into the installer's settings, and who it deploys as.
    fn new(installer: &mut Installer) -> Self {
        let moto = start_moto();
        let at = |name: &str| installer.folder.path().join(name);
        let (config, credentials) = (at("config"), at("credentials"));
        fs::write(&config, "[profile root]\nregion = eu-west-1\n").unwrap();
        fs::write(&credentials, "[root]\naws_access_key_id = moto\naws_secret_access_key = moto\n").unwrap();
        for (name, value) in [
            ("AWS_ENDPOINT_URL", moto.url.clone()),
            ("AWS_CONFIG_FILE", config.display().to_string()),
            ("AWS_SHARED_CREDENTIALS_FILE", credentials.display().to_string()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            // Sessions are kept there, and those of an earlier moto mean nothing to this one.
            ("HOME", installer.folder.path().display().to_string()),
        ] {
            installer.environment.push((name.to_owned(), value));
        }
        let ask = |words: &str| {
            let said = installer.aws("root", words);
            said.as_str().unwrap_or_else(|| panic!("{words}: {said}")).to_owned()
        };
        let organization = ask("organizations create-organization --query Organization.Id");
        let root = ask("organizations list-roots --query Roots[0].Id");
        let unit = |name: &str| {
            ask(&format!(
                "organizations create-organizational-unit --parent-id {root} --name {name} \
                 --query OrganizationalUnit.Id"
            ))
        };
        let units = [unit("security"), unit("products")];
        let account = |name: &str, unit: &str| {
            let id = ask(&format!(
                "organizations create-account --account-name {name} --email {name}@tidewater.example \
                 --query CreateAccountStatus.AccountId"
            ));
            let moved = format!("--source-parent-id {root} --destination-parent-id {unit}");
            installer.aws("root", &format!("organizations move-account --account-id {id} {moved}"));
            id
        };
        let security = account("security", &units[0]);
        let products = [account("prod", &units[1]), account("staging", &units[1])];
        let role = |profile: &str, account: &str| {
            format!(
                "[profile {profile}]\nrole_arn = arn:aws:iam::{account}:role/deployer\nsource_profile = root\n"
            )
        };
        // Of another region than everything of ours: the script may not depend on what a profile says.
        let profiles = format!(
            "[profile root]\nregion = eu-west-1\n{}{}",
            role("security", &security),
            role("organization", MANAGEMENT)
        );
        fs::write(config, profiles).unwrap();
        for (name, value) in [
            ("SECURITY_ACCOUNT_ID", security.as_str()),
            ("SECURITY_PROFILE", "security"),
            ("ORGANIZATION_ACCOUNT_ID", MANAGEMENT),
            ("ORGANIZATION_PROFILE", "organization"),
            ("ORGANIZATION_ID", &organization),
            ("ORGANIZATIONAL_UNIT_IDS", &units.join(",")),
            ("ENFORCED_ACCOUNT_IDS", &products.join(",")),
        ] {
            installer.set(name, value);
        }
        let operators = installer.settings["OPERATORS"].replace(SECURITY, &security);
        installer.set("OPERATORS", &operators);
        Self { moto, organization, security, products, units }
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

    /// Makes the security account a delegated administrator of a service.
    fn delegate(&self, installer: &Installer, service: &str) {
        installer.aws(
            "organization",
            &format!(
                "organizations register-delegated-administrator --account-id {} --service-principal {service}",
                self.security
            ),
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
    for (name, sound, unsound) in [
        ("deploy.sh", "rm -f \"$errors\"", "rm -f $errors"),
        ("deploy-checks.sh", "cut -c 67- \"$packages/SHA256SUMS\"", "cut -c 67- $packages/SHA256SUMS"),
    ] {
        for name in ["deploy.sh", "deploy-checks.sh"] {
            fs::copy(infra(name), folder.path().join(name)).unwrap();
        }
        let script = fs::read_to_string(infra(name)).unwrap();
        let defect = script.replace(sound, unsound);
        assert_ne!(script, defect);
        fs::write(folder.path().join(name), defect).unwrap();
        let problems = problems_by_shellcheck(&folder.path().join("deploy.sh"));
        assert!(problems.len() == 1 && problems[0].contains("SC2086"), "{problems:?}");
    }
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
    let script =
        ["deploy.sh", "deploy-checks.sh"].map(|name| fs::read_to_string(infra(name)).unwrap()).concat();
    assert_eq!(problems_on_macos(&script), [""; 0]);
    for (sound, unsound) in [
        ("'[A-Za-z0-9/_+=.@-]+'", "'[A-Za-z0-9/_+=.@-]{1,512}'"),
        ("${line:0:60}", "${line,,}"),
        ("read -r id management_account", "mapfile -t ids"),
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
    // As a shell would have it.
    installer.set("ALARM_EMAIL", "\"security@tidewater.example\"");
    installer.set("SLACK_CHANEL", "C0123456789");
    // Which would be a pattern of a name that there is.
    installer.set("SWEEP_HOUR.", "6,9");
    let run = installer.run("deploy", &how, "");
    assert!(!run.succeeded);
    let problems: Vec<&str> = run.said.lines().filter_map(|line| line.strip_prefix("- ")).collect();
    for (problem, begins) in problems.iter().zip([
        // The lines of names that there are not: by the file's path.
        "",
        "",
        "SECURITY_ACCOUNT_ID is not set: expected an account id",
        "ORGANIZATION_ACCOUNT_ID is not set",
        "ORGANIZATION_ID is not set",
        "ORGANIZATIONAL_UNIT_IDS is not set",
        "SLACK_CHANNEL is not set",
        "ALARM_EMAIL is \"security@tidewater.example\": expected an e-mail address",
        "EXTERNAL_ID is not set",
        "SWEEP_HOURS is six: expected two hours",
        "there is no keytide-watcher for arm64",
        "there is no keytide-sweeper for arm64",
    ]) {
        assert!(problem.starts_with(begins), "{problem:?} is not {begins:?} of\n{}", run.said);
    }
    assert_eq!(problems.len(), 12, "{}", run.said);
    assert!(problems[0].contains("deployment.env, line 4: no such setting: SLACK_CHANEL"), "{}", run.said);
    assert!(problems[1].contains("deployment.env, line 5: no such setting: SWEEP_HOUR."), "{}", run.said);
    assert!(!asked.exists());
}

#[test]
fn people_who_may_look_are_roles_of_the_security_account() {
    let mut installer = Installer::new();
    installer.set("SECURITY_ACCOUNT_ID", SECURITY);
    // As deployment.env.example and the template give it.
    let permission_set = "role/aws-reserved/sso.amazonaws.com/*AWSReservedSSO_Security_*";
    let mut problems = |operators: &str| {
        installer.set("OPERATORS", operators);
        let mut problems = installer.problems("deploy");
        problems.retain(|problem| problem.starts_with("OPERATORS is "));
        problems
    };
    let role = |name: &str| format!("arn:aws:iam::{SECURITY}:{name}");
    for sound in [
        String::new(),
        role("role/security/engineers"),
        [role(permission_set), role("role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_A_0123")].join(","),
    ] {
        assert_eq!(problems(&sound), [""; 0]);
    }
    for unsound in [
        "*".to_owned(),
        role("role/*"),
        role("role/security*"),
        role("root"),
        role("user/alice"),
        role("role/aws-reserved/sso.amazonaws.com/*"),
        role("role/aws-reserved/sso.amazonaws.com/*AWSReservedSSO_*"),
        role(permission_set).replace(SECURITY, "*"),
        role(permission_set).replace(SECURITY, MANAGEMENT),
    ] {
        assert_eq!(problems(&unsound).len(), 1, "{unsound}");
    }
}

#[test]
fn lists_that_cloudformation_or_lambda_would_not_take_are_refused_before() {
    let ids = |many: usize| vec!["111122223333"; many].join(",");
    let mut installer = Installer::new();
    for name in ["SECURITY_ACCOUNT_ID", "ORGANIZATION_ACCOUNT_ID"] {
        installer.set(name, SECURITY);
    }
    // The organization's id is missing, so that AWS is never asked.
    let problems = |installer: &Installer| -> Vec<String> {
        let run = installer.run("destroy", &[("YES", "1")], "");
        assert!(!run.succeeded, "{}", run.said);
        run.said.lines().filter(|line| line.contains(": longer than ")).map(str::to_owned).collect()
    };
    installer.set("ENFORCED_ACCOUNT_IDS", &ids(315));
    assert_eq!(problems(&installer), [""; 0]);
    installer.set("ENFORCED_ACCOUNT_IDS", &ids(316));
    installer.set("INCLUDE_ACCOUNTS", &ids(250));
    let found = problems(&installer);
    assert!(found.len() == 2 && found[0].contains("315 accounts at most, or all"), "{found:?}");
    assert!(found[1].contains("EXCLUDE_ACCOUNTS and ACCOUNT_NAMES together"), "{found:?}");
}

#[test]
fn only_what_was_packaged_is_deployed() {
    let installer = Installer::new();
    let sums = installer.folder.path().join("packages/SHA256SUMS");
    let sound = fs::read_to_string(&sums).unwrap();
    let problems = |sums_now: Option<&str>| {
        match sums_now {
            Some(text) => fs::write(&sums, text).unwrap(),
            None => fs::remove_file(&sums).unwrap(),
        }
        let mut problems = installer.problems("deploy");
        problems.retain(|problem| problem.contains("packages"));
        problems
    };
    assert_eq!(problems(Some(&sound)), [""; 0]);
    let changed = sound.replace(sound.split(' ').next().unwrap(), &"0".repeat(64));
    assert!(problems(Some(&changed)).concat().contains("is not the one that was packaged"));
    let [first, second] = sound.lines().collect::<Vec<_>>()[..] else { panic!("{sound}") };
    for one in [first, second] {
        assert!(problems(Some(&format!("{one}\n"))).concat().contains("SHA256SUMS does not name keytide-"));
    }
    assert!(problems(None).concat().contains("there is no SHA256SUMS"));
}

#[test]
fn with_another_accounts_credentials_nothing_is_done() {
    let mut installer = Installer::new();
    let aws = Aws::new(&mut installer);
    Aws::prepare(&installer);
    let before = installer.state();
    installer.set("SECURITY_PROFILE", "organization");
    for command in ["deploy", "destroy"] {
        let run = installer.run(command, &[("YES", "1")], "");
        let expected = format!(
            "the credentials of profile organization are account {MANAGEMENT}'s; expected {}",
            aws.security
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
    assert!(installer.problems("deploy").concat().contains("expected o-another0123"));

    installer.set("ORGANIZATION_ID", &aws.organization);
    installer.set("ACCOUNTS", "");
    // Of the other account.
    installer.aws("organization", "s3api create-bucket --bucket taken");
    installer.set("PACKAGES_BUCKET", "taken");
    installer.set("ORGANIZATIONAL_UNIT_IDS", &format!("{},ou-abcd-11112222,r-abcd", aws.units[0]));
    installer.set("ENFORCED_ACCOUNT_IDS", &format!("444455556666,{MANAGEMENT}"));
    let problems = installer.problems("deploy");
    let security = &aws.security;
    for (problem, begins) in problems.iter().zip([
        format!("ENFORCED_ACCOUNT_IDS names the management account {MANAGEMENT}"),
        format!("StackSets may not reach the organization's accounts (DISABLED): as {MANAGEMENT} run aws --region us-east-1 cloudformation activate-organizations-access"),
        "ORGANIZATIONAL_UNIT_IDS: there is no ou-abcd-11112222 in organization".to_owned(),
        "ORGANIZATIONAL_UNIT_IDS: there is no r-abcd in organization".to_owned(),
        format!("account {security} may not list the organization's accounts (An error occurred (AccessDenied"),
        "bucket taken: ".to_owned(),
        format!("secret tidewater/slack in account {security}: "),
    ]) {
        assert!(problem.starts_with(&begins), "{problem:?} is not {begins:?}");
    }
    assert_eq!(problems.len(), 7, "{problems:#?}");

    // Below these units are prod and staging, and neither the security account nor one of another organization.
    let unit = &aws.units[1];
    let [prod, staging] = &aws.products;
    installer.set("ORGANIZATIONAL_UNIT_IDS", unit);
    installer.set("ENFORCED_ACCOUNT_IDS", &format!("{prod},{security},{staging},444455556666,{MANAGEMENT}"));
    Aws::prepare(&installer);
    // Of another service: it may list the accounts, and reach none.
    aws.delegate(&installer, "guardduty.amazonaws.com");
    let problems = installer.problems("deploy");
    for (problem, begins) in problems.iter().zip([
        format!("ENFORCED_ACCOUNT_IDS names the management account {MANAGEMENT}"),
        format!("account {security} is not below {unit}, and needs its part"),
        format!("ENFORCED_ACCOUNT_IDS: {security} is not below {unit}"),
        format!("ENFORCED_ACCOUNT_IDS: 444455556666 is not below {unit} (An error occurred"),
        "bucket taken: ".to_owned(),
    ]) {
        assert!(problem.starts_with(&begins), "{problem:?} is not {begins:?}");
    }
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert_eq!(installer.state(), before);
}

#[test]
fn what_is_about_to_be_done_names_the_management_account_and_whom_to_sweep() {
    let mut installer = Installer::new();
    let aws = Aws::new(&mut installer);
    Aws::prepare(&installer);
    aws.delegate(&installer, "member.org.stacksets.cloudformation.amazonaws.com");
    let look = |installer: &Installer| {
        let run = installer.run("deploy", &[("DRY", "1")], "");
        assert!(run.succeeded, "{}", run.said);
        run.said
    };
    let part = format!("among them, and into the management account {MANAGEMENT}.\n");
    let everybody =
        "Every account of the organization will be swept: name those below these units in INCLUDE_ACCOUNTS";
    let said = look(&installer);
    assert!(said.contains(&part) && !said.contains(everybody), "{said}");
    for list in ["ACCOUNTS", "INCLUDE_ACCOUNTS", "EXCLUDE_ACCOUNTS"] {
        installer.set(list, "");
    }
    let with_it = format!("{everybody}, and the management account, which gets its part too.\n");
    assert!(look(&installer).contains(&with_it), "{}", look(&installer));
    // All enforced is a word and no account; from a delegated administrator's the management account is not reached.
    installer.set("ENFORCED_ACCOUNT_IDS", "all");
    installer.set("ORGANIZATION_ACCOUNT_ID", &aws.security);
    installer.set("ORGANIZATION_PROFILE", "security");
    installer.set("DISABLER_IN_MANAGEMENT_ACCOUNT", "absent");
    let said = look(&installer);
    assert!(said.contains("those that join later among them.\n"), "{said}");
    assert!(said.contains(&format!("{everybody}.\n")), "{said}");
}

#[test]
fn what_cannot_be_looked_at_is_not_taken_for_missing() {
    let mut installer = Installer::new();
    let _aws = Aws::new(&mut installer);
    Aws::prepare(&installer);
    let before = installer.state();
    for (words, saying, expected) in [
        (
            "dynamodb describe-table",
            "An error occurred (AccessDeniedException)",
            "table tidewater-keys-ledger: An error",
        ),
        ("dynamodb describe-table", "", "table tidewater-keys-ledger: it ended with 254 and said nothing"),
        ("s3api head-bucket", "An error occurred (403) of request 404404", "-: An error occurred (403)"),
        ("logs describe-log-groups", "", "log group /aws/lambda/tidewater-keys-watcher: it ended with 254"),
    ] {
        installer.refuse(words, saying);
        let problems = installer.problems("deploy");
        let expected = expected.trim_start_matches('-');
        assert!(problems[0].contains(expected), "{words}: {problems:#?}");
    }
    assert_eq!(installer.state(), before);
}

/// What the bucket is like: who reaches it, what it keeps, how it is encrypted, what its policy says.
fn bucket_as_it_is(installer: &Installer, name: &str) -> [Value; 4] {
    ["get-public-access-block", "get-bucket-versioning", "get-bucket-encryption", "get-bucket-policy"]
        .map(|question| installer.aws("security", &format!("s3api {question} --bucket {name}")))
}

#[test]
fn a_bucket_of_somebodys_is_not_made_keytides() {
    let mut installer = Installer::new();
    let aws = Aws::new(&mut installer);
    Aws::prepare(&installer);
    let foreign = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"Theirs","Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{}:root"}},"Action":"s3:GetObject","Resource":"arn:aws:s3:::theirs/*"}}]}}"#,
        aws.security
    );
    for words in [
        "s3api create-bucket --bucket theirs".to_owned(),
        format!("s3api put-bucket-policy --bucket theirs --policy {foreign}"),
        "s3api create-bucket --bucket full".to_owned(),
        "s3api put-object --bucket full --key something".to_owned(),
        "s3api create-bucket --bucket far --create-bucket-configuration LocationConstraint=eu-west-1 --region eu-west-1"
            .to_owned(),
    ] {
        installer.aws("security", &words);
    }
    let before = installer.state();
    for (bucket, expected) in [
        ("theirs", "bucket theirs has a policy that is not keytide's"),
        ("full", "bucket full has something in it, and no policy of keytide's"),
        ("far", "bucket far is in eu-west-1; the functions' code has to be in us-east-1"),
    ] {
        installer.set("PACKAGES_BUCKET", bucket);
        let problems = installer.problems("deploy");
        assert!(problems.len() == 1 && problems[0].starts_with(expected), "{problems:#?}");
    }
    assert_eq!(installer.state(), before);
}

#[test]
fn what_failed_in_aws_is_named_with_the_one_command_that_helps() {
    let mut installer = Installer::new();
    let mut aws = Aws::new(&mut installer);
    Aws::prepare(&installer);
    assert!(installer.run("deploy", &[("YES", "1")], "").succeeded);
    let security = aws.security.clone();
    let stacks = [
        (security.as_str(), "tidewater-keys", "security"),
        (MANAGEMENT, "tidewater-keys-organization", "organization"),
    ];
    let mut with = |account: &str, stack: &str, status: &str, command: &str| {
        aws.moto.set_stack(account, stack, status);
        let problems = installer.problems(command);
        aws.moto.set_stack(account, stack, "CREATE_COMPLETE");
        problems
    };
    for (account, stack, profile) in stacks {
        for status in ["ROLLBACK_COMPLETE", "DELETE_FAILED"] {
            let problems = with(account, stack, status, "deploy");
            let delete = format!(
                "aws --region us-east-1 --profile {profile} cloudformation delete-stack --stack-name {stack}, and"
            );
            assert!(problems.len() == 1 && problems[0].contains(&delete), "{status}: {problems:#?}");
            assert!(!problems[0].contains("make destroy"), "{problems:#?}");
        }
    }
    let (account, stack, profile) = stacks[0];
    for command in ["deploy", "destroy"] {
        let problems = with(account, stack, "UPDATE_IN_PROGRESS", command);
        assert!(problems[0].starts_with(&format!("stack {stack} is being changed")), "{problems:#?}");
        let problems = with(account, stack, "UPDATE_ROLLBACK_FAILED", command);
        let go_on =
            format!("--profile {profile} cloudformation continue-update-rollback --stack-name {stack}, and");
        assert!(problems[0].contains(&go_on), "{problems:#?}");
    }

    // What could not be made holds no role that disables; what could be does. Nor does a policy go that somebody has.
    let stack = "tidewater-keys-organization";
    installer.aws("security", "iam create-group --group-name engineers");
    let attached =
        format!("--group-name engineers --policy-arn arn:aws:iam::{security}:policy/tidewater-keys-look");
    installer.aws("security", &format!("iam attach-group-policy {attached}"));
    let problems = installer.problems("destroy");
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(problems[2].starts_with("policy tidewater-keys-look is attached to engineers"), "{problems:#?}");
    installer.aws("security", &format!("iam detach-group-policy {attached}"));
    aws.moto.set_stack(MANAGEMENT, stack, "ROLLBACK_COMPLETE");
    let run = installer.run("destroy", &[("YES", "1")], "");
    assert!(run.succeeded, "{}", run.said);

    // The stacks are gone; of another installation's logs nothing is said, of ours it is.
    installer.aws("security", "dynamodb delete-table --table-name tidewater-keys-ledger");
    for group in ["tidewater-keys-watcher-of-old", "tidewater-keys-dev-sweeper", "tidewater-keys-sweeper"] {
        installer.aws("security", &format!("logs create-log-group --log-group-name /aws/lambda/{group}"));
    }
    let problems = installer.problems("deploy");
    assert!(
        problems.len() == 1
            && problems[0].contains("its log group /aws/lambda/tidewater-keys-sweeper is there:"),
        "{problems:#?}"
    );
}

#[test]
fn a_delegated_administrator_deploys_and_the_management_account_is_left_to_its_people() {
    let mut installer = Installer::new();
    let aws = Aws::new(&mut installer);
    Aws::prepare(&installer);
    installer.set("ORGANIZATION_ACCOUNT_ID", &aws.security);
    installer.set("ORGANIZATION_PROFILE", "security");
    installer.set("DISABLER_IN_MANAGEMENT_ACCOUNT", "absent");
    let problems = installer.problems("deploy");
    let register = format!(
        "as {MANAGEMENT} run aws organizations register-delegated-administrator --account-id {} --service-principal \
         member.org.stacksets.cloudformation.amazonaws.com",
        aws.security
    );
    assert!(problems.len() == 1 && problems[0].ends_with(&register), "{problems:#?}");

    aws.delegate(&installer, "member.org.stacksets.cloudformation.amazonaws.com");
    installer.set("DISABLER_IN_MANAGEMENT_ACCOUNT", "present");
    assert!(installer.problems("deploy").concat().starts_with("DISABLER_IN_MANAGEMENT_ACCOUNT is present"));
    installer.set("DISABLER_IN_MANAGEMENT_ACCOUNT", "absent");
    // It may list them now.
    installer.set("ACCOUNTS", "");
    let run = installer.run("deploy", &[("YES", "1")], "");
    assert!(run.succeeded, "{}", run.said);
    let by_hand =
        format!("the management account {MANAGEMENT}, which no StackSet reaches, needs member-account.yaml");
    assert!(run.said.contains(&by_hand), "{}", run.said);
    assert!(run.said.contains("enforced-account.yaml by itself before it enters enforce"), "{}", run.said);
    let call_as = "cloudformation describe-stacks --stack-name tidewater-keys-organization \
                   --query Stacks[0].Parameters[?ParameterKey=='CallAs'].ParameterValue";
    assert_eq!(installer.aws("security", call_as), serde_json::json!(["DELEGATED_ADMIN"]));

    installer.set("ENFORCED_ACCOUNT_IDS", "");
    assert!(installer.run("deploy", &[("YES", "1")], "").succeeded);
    let run = installer.run("destroy", &[("YES", "1")], "");
    assert!(run.succeeded, "{}", run.said);
    let by_hand = format!(
        "In the management account {MANAGEMENT}, delete what was deployed by hand: the stacks tidewater-keys-enforced and \
         tidewater-keys-member, in that order.\n"
    );
    assert!(run.said.ends_with(&by_hand), "{}", run.said);
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

    // A bucket that was just made, as a run that was cut short leaves it; and one that fails at the last stack.
    let bucket = &format!("tidewater-keys-packages-{}", aws.security);
    installer.aws("security", &format!("s3api create-bucket --bucket {bucket}"));
    installer.refuse("cloudformation deploy --stack-name tidewater-keys-organization", "no such thing");
    let run = installer.run("deploy", &yes, "");
    assert!(!run.succeeded && run.said.contains("no such thing"), "{}", run.said);
    assert!(!run.said.contains("keytide is deployed"), "{}", run.said);
    // It may be a wait that was given up as well: where to look, and that it may still go on.
    let events = "  aws --region us-east-1 --profile organization cloudformation describe-stack-events --stack-name \
                  tidewater-keys-organization --max-items 50\n";
    assert!(
        run.said.contains("or the AWS CLI gave up waiting after an hour") && run.said.contains(events),
        "{}",
        run.said
    );
    assert!(run.said.ends_with("nothing is wrong: run this again at its end.\n"), "{}", run.said);
    let half = installer.state();
    assert_eq!(half["organization"], nothing["organization"]);
    installer.programs = aws_cli().with_file_name("");

    let run = installer.run("deploy", &[], &format!("{}\n", aws.security));
    assert!(run.succeeded, "{}", run.said);
    assert!(run.said.contains("security@tidewater.example has to confirm"), "{}", run.said);
    let deployed = installer.state();
    assert_eq!(
        (&deployed["security"], &deployed["versions"]),
        (&half["security"], &half["versions"]),
        "what was there"
    );
    assert_eq!(deployed["buckets"], serde_json::json!([bucket]));
    let [access, kept, encryption, policy] = bucket_as_it_is(&installer, bucket);
    for blocked in ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"] {
        assert_eq!(access["PublicAccessBlockConfiguration"][blocked], true, "{access}");
    }
    assert_eq!(kept["Status"], "Enabled", "{kept}");
    let rule = &encryption["ServerSideEncryptionConfiguration"]["Rules"][0];
    assert_eq!(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256", "{encryption}");
    let policy: Value = serde_json::from_str(policy["Policy"].as_str().unwrap()).unwrap();
    let [read, unencrypted] = &policy["Statement"].as_array().unwrap()[..] else { panic!("{policy}") };
    assert_eq!(read["Principal"]["AWS"], format!("arn:aws:iam::{MANAGEMENT}:root"));
    assert_eq!((&read["Effect"], &read["Action"]), (&"Allow".into(), &"s3:GetObject".into()));
    assert_eq!(read["Resource"], format!("arn:aws:s3:::{bucket}/templates/*"));
    assert_eq!((&unencrypted["Effect"], &unencrypted["Principal"]), (&"Deny".into(), &"*".into()));
    assert_eq!(unencrypted["Condition"]["Bool"]["aws:SecureTransport"], "false");
    let keys: Vec<&str> =
        deployed["versions"].as_array().unwrap().iter().map(|version| version[0].as_str().unwrap()).collect();
    let template = |name: &str| {
        let key = keys.iter().find(|key| key.starts_with(&format!("templates/{name}-"))).unwrap();
        format!("https://{bucket}.s3.us-east-1.amazonaws.com/{key}")
    };
    assert_eq!(keys.len(), 4, "{keys:?}");
    let derived = [
        ("OrganizationId", aws.organization.clone()),
        ("SecurityAccountId", aws.security.clone()),
        ("CallAs", "SELF".to_owned()),
        ("CodeBucket", bucket.to_owned()),
        ("WatcherPackage", "functions/keytide-watcher-x86_64-0.1.0-aaaa.zip".to_owned()),
        ("SweeperPackage", "functions/keytide-sweeper-x86_64-0.1.0-bbbb.zip".to_owned()),
        ("MemberTemplateUrl", template("member-account")),
        ("EnforcedTemplateUrl", template("enforced-account")),
    ];
    let given: BTreeMap<&str, &str> = SETTINGS
        .iter()
        .map(|&(name, parameter, _)| (parameter, installer.settings[name].as_str()))
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

    let topic = format!("arn:aws:sns:us-east-1:{}:tidewater-keys-alarms", aws.security);
    let subscription = "--protocol email --notification-endpoint security@tidewater.example";
    installer.aws("security", &format!("sns subscribe --topic-arn {topic} {subscription}"));
    let run = installer.run("deploy", &yes, "");
    assert!(run.succeeded && !run.said.contains("has to confirm"), "{}", run.said);
    assert_eq!(installer.state(), deployed, "the second time");

    // Something else by a package's name: it is put right, and nothing besides.
    let package = "functions/keytide-watcher-x86_64-0.1.0-aaaa.zip";
    installer.aws("security", &format!("s3api put-object --bucket {bucket} --key {package}"));
    let run = installer.run("deploy", &yes, "");
    assert!(run.succeeded && !run.said.contains(&format!("{package} is there already")), "{}", run.said);
    let length = format!("s3api head-object --bucket {bucket} --key {package} --query ContentLength");
    assert_eq!(installer.aws("security", &length), "watcher-x86_64-0.1.0-aaaa".len());
    let deployed = installer.state();
    assert_eq!(deployed["versions"].as_array().unwrap().len(), 6, "{}", deployed["versions"]);

    let run = installer.run("destroy", &yes, "");
    assert!(!run.succeeded, "{}", run.said);
    assert!(run.said.contains("the role that disables is still in ") && run.said.contains(&aws.products[1]));
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

/// The commands of the AWS CLI in a guide: whole lines of indented code, those that go on joined.
fn commands(guide: &str) -> Vec<String> {
    let code: Vec<&str> = guide
        .lines()
        .filter(|line| line.starts_with("    "))
        .map(|line| line.trim().split_once("=$(").map_or(line.trim(), |(_, command)| command))
        .collect();
    let joined = code.join("\n").replace("\\\n", " ");
    // What writes a profile asks nobody.
    let lines =
        joined.lines().filter(|line| line.starts_with("aws ") && !line.starts_with("aws configure set "));
    // A bucket's policy goes on over lines: any will do.
    lines
        .map(|line| match line.split_once(" --policy '{") {
            Some((command, _)) => format!("{command} --policy {{}}"),
            None => line.trim_end_matches(')').to_owned(),
        })
        .collect()
}

/// What the AWS CLI says against a command, which it checks before it calls anybody: here nobody answers.
fn unknown(command: &str) -> Option<String> {
    let command = command.replace("--profile management", "").replace("--profile security", "");
    let output = Command::new("bash")
        .args(["-c", &format!("aws() {{ \"$0\" \"$@\"; }}; echo token | {}", command.replace('$', "x"))])
        .arg(aws_cli())
        // Where the guide's files lie.
        .current_dir(infra(".."))
        .envs([("AWS_ENDPOINT_URL", "http://127.0.0.1:9"), ("AWS_MAX_ATTEMPTS", "1")])
        .envs([
            ("AWS_ACCESS_KEY_ID", "none"),
            ("AWS_SECRET_ACCESS_KEY", "none"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ])
        .envs([("AWS_CONFIG_FILE", "/dev/null"), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (!said.contains("Could not connect to the endpoint URL")).then_some(said)
}

#[test]
fn every_aws_command_of_the_guide_is_one_that_there_is() {
    let guide = fs::read_to_string(infra("DEPLOY.md")).unwrap();
    let commands = commands(&guide);
    assert!(commands.len() > 15, "{commands:#?}");
    for command in &commands {
        assert_eq!(unknown(command), None, "{command}");
    }
    for wrong in [
        "aws organizations create-organization --features ALL",
        "aws dynamodb delete-tables --table-name keytide-ledger",
        "aws dynamodb delete-table",
    ] {
        assert!(unknown(wrong).is_some(), "{wrong}");
    }
}

//! What the templates say twice, because the code says it too: names, numbers and lists are compared with the code's own.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use keytide_core::{
    alert::OwnRoles,
    cloudtrail::{self, Outcome},
};
use quamina::Quamina;
use serde_json::{Value, json};

use super::{
    doctor::the_expected_patterns,
    file,
    template::{Deployed, SECURITY, enforced, member, organization, security, spoilt},
};
use crate::counterparts::{matches_by_moto, templates_in_long_form};

/// The texts in double quotes of a source file, its tests and its comments aside.
fn quoted(path: &str) -> Vec<String> {
    let text = file(path);
    let code = text.split("#[cfg(test)]").next().unwrap();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    code.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn the_table_is_the_one_that_the_ledger_is_made_of() {
    the_table(&security());
}

fn the_table(deployed: &Deployed) {
    let definition: Value = serde_json::from_str(&file("infra/ledger-table.json")).unwrap();
    let table = deployed.properties("Ledger");
    for (name, defined) in definition.as_object().unwrap() {
        assert_eq!(&table[name], defined, "{name}");
    }
    let own: BTreeSet<&str> = table.as_object().unwrap().keys().map(String::as_str).collect();
    let defined: BTreeSet<&str> = definition.as_object().unwrap().keys().map(String::as_str).collect();
    let deployed =
        ["DeletionProtectionEnabled", "PointInTimeRecoverySpecification", "SSESpecification", "TableName"];
    assert_eq!(
        own.difference(&defined).copied().collect::<Vec<_>>(),
        deployed,
        "what only a deployed table has"
    );
}

/// What the code reads of its environment: all of it, and what it refuses to start without.
fn environment(config: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let settings = "crates/function/src/settings.rs";
    let all = [settings, config].into_iter().flat_map(quoted).filter(|text| text.starts_with("KEYTIDE_"));
    let code = file(settings);
    let code = code.split("#[cfg(test)]").next().unwrap();
    let required =
        code.split("env.required(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    (all.collect(), required.filter(|name| name.starts_with("KEYTIDE_")).collect())
}

#[test]
fn each_function_is_told_what_it_reads_and_nothing_else() {
    the_environment(&security());
}

fn the_environment(deployed: &Deployed) {
    // A token has no place there; Slack is elsewhere in tests alone; and two seconds are right for everybody.
    let left_out = ["KEYTIDE_SLACK_TOKEN", "KEYTIDE_SLACK_URL", "KEYTIDE_OWNER_LOOKUP_MS"];
    for (function, config) in
        [("Watcher", "crates/watcher/src/config.rs"), ("Sweeper", "crates/sweeper/src/config.rs")]
    {
        let variables = deployed.properties(function)["Environment"]["Variables"].clone();
        let told: BTreeSet<String> = variables.as_object().unwrap().keys().cloned().collect();
        let (all, required) = environment(config);
        assert_eq!(required.len(), 5, "{required:?}");
        assert!(required.is_subset(&told), "{function} starts only with {required:?}");
        let read: BTreeSet<String> =
            all.into_iter().filter(|name| !left_out.contains(&name.as_str())).collect();
        assert_eq!(told, read, "{function}");
    }
}

#[test]
fn each_function_is_told_its_own_queue_and_the_roles_by_their_names() {
    let security = security();
    let variable = |function: &str, name: &str| {
        security.properties(function)["Environment"]["Variables"][name].as_str().unwrap().to_owned()
    };
    assert!(variable("Watcher", "KEYTIDE_QUEUE_URL").ends_with("/keytide-events"));
    assert!(variable("Sweeper", "KEYTIDE_QUEUE_URL").ends_with("/keytide-accounts"));
    let (member, enforced) = (member(&[]), enforced());
    let defaults = OwnRoles::default();
    for function in ["Watcher", "Sweeper"] {
        assert_eq!(variable(function, "KEYTIDE_READER_ROLE"), member.name("ReaderRole"));
        assert_eq!(variable(function, "KEYTIDE_DISABLER_ROLE"), enforced.name("DisablerRole"));
        // By hand nobody has to name the roles of an installation that has the usual prefix.
        assert_eq!(variable(function, "KEYTIDE_READER_ROLE"), defaults.reader);
        assert_eq!(variable(function, "KEYTIDE_DISABLER_ROLE"), defaults.disabler);
        let functions = [security.name("WatcherRole"), security.name("SweeperRole")];
        assert_eq!(variable(function, "KEYTIDE_FUNCTION_ROLES"), functions.join(","));
        assert_eq!(defaults.functions, functions);
        assert_eq!(variable(function, "KEYTIDE_TABLE"), security.name("Ledger"));
        assert_eq!(variable(function, "KEYTIDE_SECURITY_ACCOUNT"), SECURITY);
    }
}

#[test]
fn the_accounts_name_each_other_rightly() {
    the_names(&member(&[]));
    the_disablers_names(&enforced());
}

fn the_names(member: &Deployed) {
    let security = security();
    let trusted = trusted(member, "ReaderRole");
    assert_eq!(trusted, json!([security.arn("WatcherRole"), security.arn("SweeperRole")]));
    for rule in member.ids("AWS::Events::Rule") {
        assert_eq!(member.properties(rule)["Targets"][0]["Arn"], json!(security.arn("EventBus")), "{rule}");
    }
    let admitted = security.properties("EventBusPolicy")["Statement"]["Condition"]["ArnLike"].clone();
    let forwarder = member.arn("ForwarderRole").replace("111122223333", "*");
    assert_eq!(admitted["aws:PrincipalArn"], json!(forwarder));
    for name in ["ReaderRole", "ForwarderRole", "ForwardKeyEvents", "ForwardOwnRoleEvents"] {
        is_protected(member, name);
    }
    assert_eq!(member.ids("AWS::IAM::Role"), ["ForwarderRole", "ReaderRole"], "no disabler is among them");
}

fn the_disablers_names(enforced: &Deployed) {
    assert_eq!(trusted(enforced, "DisablerRole"), json!(security().arn("SweeperRole")));
    is_protected(enforced, "DisablerRole");
}

/// The roles that a role's trust names.
fn trusted(deployed: &Deployed, role: &str) -> Value {
    let trust = deployed.properties(role)["AssumeRolePolicyDocument"].clone();
    trust["Statement"][0]["Condition"]["ArnEquals"]["aws:PrincipalArn"].clone()
}

/// The service control policy protects what the templates make, by the usual prefix.
fn is_protected(deployed: &Deployed, id: &str) {
    let scp = file("infra/policies/scp-protect-keytide.json");
    assert!(scp.contains(&format!("/{}\"", deployed.name(id))), "{id}");
}

#[test]
fn the_organization_gives_each_account_what_its_template_asks_for() {
    let names =
        |members: &Value| -> BTreeSet<String> { members.as_object().unwrap().keys().cloned().collect() };
    let given = |parameters: &Value| -> BTreeSet<String> {
        let each = parameters.as_array().unwrap().iter();
        each.map(|parameter| parameter["ParameterKey"].as_str().unwrap().to_owned()).collect()
    };
    let organization = organization(&[
        ("EnforcedAccountIds", "111122223333,444455556666"),
        ("DisablerInManagementAccount", "present"),
    ]);
    for (template, stack_set, stack, url) in [
        ("member-account.yaml", "MemberAccounts", "ManagementAccount", "MemberTemplateUrl"),
        ("enforced-account.yaml", "EnforcedAccounts", "EnforcedManagementAccount", "EnforcedTemplateUrl"),
    ] {
        let asked =
            templates_in_long_form(&[(template.to_owned(), json!(file(&format!("infra/{template}"))))]);
        let asked = names(&asked[0]["Parameters"]);
        let (stack_set, stack) = (organization.properties(stack_set), organization.properties(stack));
        assert_eq!(given(&stack_set["Parameters"]), asked);
        assert_eq!(names(&stack["Parameters"]), asked);
        for of in [stack_set, stack] {
            assert!(of["TemplateURL"].as_str().unwrap().ends_with(template), "{url}");
        }
    }
}

/// The groups of instances of a `StackSet`, if it is deployed.
fn groups(organization: &Deployed, stack_set: &str) -> Option<Value> {
    let is_there = organization.ids("AWS::CloudFormation::StackSet").contains(&stack_set);
    is_there.then(|| organization.properties(stack_set)["StackInstancesGroup"].clone())
}

#[test]
fn only_accounts_that_are_named_get_the_role_that_disables() {
    let in_units =
        json!([{"Regions": ["us-east-1"], "DeploymentTargets": {"OrganizationalUnitIds": ["r-tide"]}}]);
    let some = organization(&[("EnforcedAccountIds", "111122223333,444455556666")]);
    let nobody = organization(&[("CallAs", "DELEGATED_ADMIN")]);
    let all = organization(&[("EnforcedAccountIds", "all")]);
    for organization in [&some, &nobody, &all] {
        // One group, whoever is enforced: CloudFormation refuses a second one of the same units, and a group that changes
        // would take the rules away meanwhile.
        assert_eq!(groups(organization, "MemberAccounts").unwrap(), in_units);
    }
    assert_eq!(groups(&nobody, "EnforcedAccounts"), None);
    assert_eq!(groups(&all, "EnforcedAccounts").unwrap(), in_units);
    let of_some = groups(&some, "EnforcedAccounts").unwrap();
    assert_eq!(of_some.as_array().unwrap().len(), 1);
    assert_eq!(
        of_some[0]["DeploymentTargets"],
        json!({
            "OrganizationalUnitIds": ["r-tide"], "AccountFilterType": "INTERSECTION",
            "Accounts": ["111122223333", "444455556666"],
        })
    );
    // An account that joins is enforced unasked only where all are.
    let joins = |organization: &Deployed, stack_set: &str| {
        organization.properties(stack_set)["AutoDeployment"]["Enabled"].clone()
    };
    assert_eq!(joins(&some, "EnforcedAccounts"), false);
    assert_eq!(joins(&all, "EnforcedAccounts"), true);
    assert_eq!(joins(&some, "MemberAccounts"), true);

    let stacks = |organization: &Deployed| organization.ids("AWS::CloudFormation::Stack");
    assert_eq!(stacks(&some), ["ManagementAccount"]);
    assert!(stacks(&nobody).is_empty(), "from there it cannot be reached");
    let cannot = organization(&[("CallAs", "DELEGATED_ADMIN"), ("DisablerInManagementAccount", "present")]);
    assert!(stacks(&cannot).is_empty(), "nor enforced");
}

/// The metrics that the code counts, by name.
fn counted() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in ["crates/watcher/src/observe.rs", "crates/sweeper/src/observe.rs"] {
        let texts = quoted(path);
        for pair in texts.windows(2) {
            if let [name, unit] = pair
                && ["Count", "Seconds", "None"].contains(&unit.as_str())
            {
                names.insert(name.clone());
            }
        }
    }
    // Those that have a dimension: their names stand beside it, and their unit further down.
    names.extend(["Events", "Failures"].map(str::to_owned));
    names
}

#[test]
fn alarms_and_dashboard_name_metrics_that_the_code_counts() {
    the_metrics(&security());
}

fn the_metrics(deployed: &Deployed) {
    let counted = counted();
    assert!(quoted("crates/function/src/metrics.rs").contains(&"Keytide".to_owned()), "the namespace");
    let mut alarmed = BTreeSet::new();
    for alarm in deployed.ids("AWS::CloudWatch::Alarm") {
        let properties = deployed.properties(alarm);
        if properties["Namespace"] == "Keytide" {
            assert_eq!(properties.get("Dimensions"), None, "{alarm}: what it names has none");
            alarmed.insert(properties["MetricName"].as_str().unwrap().to_owned());
        }
    }
    assert!(alarmed.len() >= 7, "{alarmed:?}");
    let dashboard = deployed.properties("Dashboard")["DashboardBody"].as_str().unwrap().to_owned();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut drawn = BTreeSet::new();
    for widget in dashboard["widgets"].as_array().unwrap() {
        let mut namespace = "";
        for metric in widget["properties"]["metrics"].as_array().unwrap() {
            let (first, second) = (metric[0].as_str().unwrap(), metric[1].as_str());
            namespace = if first.starts_with('.') { namespace } else { first };
            if namespace == "Keytide" && first != "..." {
                drawn.insert(second.unwrap().to_owned());
            }
        }
    }
    assert!(drawn.len() >= 10, "{drawn:?}");
    for name in alarmed.union(&drawn) {
        assert!(counted.contains(name), "{name} is counted nowhere; counted is {counted:?}");
    }
}

/// What each alarm looks at, and when it rings. Of AWS's own metrics nothing else says it.
const ALARMS: [&str; 16] = [
    "sweep-overdue: Minimum of Keytide OldestSweepAgeHours > 26 in 26 of 26 times 3600 s, missing: breaching",
    "account-overdue: Maximum of Keytide OldestSweepAgeHours > 26 in 1 of 1 times 3600 s, missing: ignore",
    "accounts-missing: Maximum of Keytide AccountsMissing > 0 in 1 of 1 times 3600 s, missing: ignore",
    "keys-unheard: Sum of Keytide KeysUnheard > 0 in 1 of 1 times 3600 s, missing: notBreaching",
    "caps-reached: Sum of Keytide DisablesOverCap > 0 in 1 of 1 times 3600 s, missing: notBreaching",
    "halted: Maximum of Keytide HaltSet > 0 in 1 of 1 times 3600 s, missing: ignore",
    "runs-failed: Sum of Keytide RunsFailed > 0 in 1 of 1 times 3600 s, missing: notBreaching",
    "digests-failed: Sum of Keytide DigestsFailed > 0 in 1 of 1 times 3600 s, missing: notBreaching",
    "events-waiting: Maximum of AWS/SQS ApproximateAgeOfOldestMessage of keytide-events \
     > 900 in 2 of 2 times 300 s, missing: notBreaching",
    "events-unfinished: Minimum of AWS/SQS ApproximateNumberOfMessagesNotVisible of keytide-events \
     > 0 in 13 of 15 times 60 s, missing: notBreaching",
    "events-given-up: Maximum of AWS/SQS ApproximateNumberOfMessagesVisible of keytide-events-dead \
     > 0 in 1 of 1 times 300 s, missing: notBreaching",
    "accounts-given-up: Maximum of AWS/SQS ApproximateNumberOfMessagesVisible of keytide-accounts-dead \
     > 0 in 1 of 1 times 300 s, missing: notBreaching",
    "begins-given-up: Maximum of AWS/SQS ApproximateNumberOfMessagesVisible of keytide-begins-dead \
     > 0 in 1 of 1 times 300 s, missing: notBreaching",
    "watcher-errors: Sum of AWS/Lambda Errors of keytide-watcher > 0 in 1 of 1 times 300 s, missing: notBreaching",
    "sweeper-errors: Sum of AWS/Lambda Errors of keytide-sweeper > 0 in 1 of 1 times 300 s, missing: notBreaching",
    "events-failing: a query > 0 in 3 of 3 times 300 s, missing: notBreaching",
];

#[test]
fn each_alarm_looks_at_what_its_name_says() {
    the_alarms(&security());
}

fn the_alarms(deployed: &Deployed) {
    let said = |id: &str| {
        let alarm = deployed.properties(id);
        let text = |name: &str| alarm[name].as_str().unwrap_or_else(|| panic!("{id}: {name}")).to_owned();
        let dimensions = alarm["Dimensions"].as_array().cloned().unwrap_or_default();
        let of: Vec<&str> = dimensions.iter().map(|one| one["Value"].as_str().unwrap()).collect();
        // What the query is, `the_query` holds.
        let (what, period) = if let Some(metrics) = alarm["Metrics"].as_array() {
            ("a query".to_owned(), metrics[0]["Period"].clone())
        } else {
            let (namespace, metric) = (text("Namespace"), text("MetricName"));
            let of = if of.is_empty() { String::new() } else { format!(" of {}", of.join(" of ")) };
            (format!("{} of {namespace} {metric}{of}", text("Statistic")), alarm["Period"].clone())
        };
        assert_eq!(text("ComparisonOperator"), "GreaterThanThreshold", "{id}");
        let times = &alarm["EvaluationPeriods"];
        let at_least = alarm.get("DatapointsToAlarm").unwrap_or(times);
        let (name, missing) = (text("AlarmName"), text("TreatMissingData"));
        let name = name.strip_prefix("keytide-").unwrap().to_owned();
        let threshold = &alarm["Threshold"];
        format!("{name}: {what} > {threshold} in {at_least} of {times} times {period} s, missing: {missing}")
    };
    let found: BTreeSet<String> = deployed.ids("AWS::CloudWatch::Alarm").into_iter().map(said).collect();
    let expected: BTreeSet<String> = ALARMS.map(str::to_owned).into();
    assert_eq!(found, expected);
}

#[test]
fn the_query_of_failures_leaves_out_what_the_watcher_calls_passing() {
    the_query(&security());
}

fn the_query(deployed: &Deployed) {
    let query = deployed.properties("EventsFailing")["Metrics"][0]["Expression"].as_str().unwrap().to_owned();
    assert!(query.starts_with("SELECT SUM(Failures) FROM SCHEMA(\"Keytide\", Cause) WHERE"), "{query}");
    let observe = file("crates/watcher/src/observe.rs");
    assert!(observe.contains("(\"Failures\", \"Cause\", causes)"), "so the code counts them");
    let passing = observe.split("const PASSING").nth(1).unwrap().split('[').nth(2).unwrap();
    let passing: BTreeSet<&str> = passing.split(']').next().unwrap().split('"').skip(1).step_by(2).collect();
    let left_out: BTreeSet<&str> =
        query.split("Cause != '").skip(1).map(|rest| rest.split('\'').next().unwrap()).collect();
    assert_eq!(left_out, passing);
}

#[test]
fn the_schedule_says_what_the_sweeper_understands_twice_on_one_date() {
    the_schedule(&security());
}

fn the_schedule(deployed: &Deployed) {
    let schedule = deployed.properties("Schedule");
    assert_eq!(schedule["Target"]["Input"], r#"{"keytide":"begin"}"#);
    assert!(
        file("crates/sweeper/src/records.rs").contains(r#"json!({"keytide": "begin"})), Ok(Asked::Begin)"#)
    );
    let expression = schedule["ScheduleExpression"].as_str().unwrap();
    let hours = expression.strip_prefix("cron(0 ").unwrap().strip_suffix(" * * ? *)").unwrap();
    let hours: Vec<u32> = hours.split(',').map(|hour| hour.parse().unwrap()).collect();
    assert_eq!(hours.len(), 2);
    assert_eq!(hours[1] - hours[0], 3, "as crates/sweeper/src/main.rs has it");
}

#[test]
fn queues_outlast_the_functions_that_work_on_them() {
    the_queues(&security());
}

fn the_queues(deployed: &Deployed) {
    let number =
        |id: &str, path: &str| deployed.properties(id).pointer(path).and_then(Value::as_u64).unwrap();
    for (queue, function, source) in
        [("Events", "Watcher", "WatcherEvents"), ("AccountsToSweep", "Sweeper", "SweeperAccounts")]
    {
        assert!(number(queue, "/VisibilityTimeout") > number(function, "/Timeout"), "{queue}");
        assert_eq!(deployed.properties(source)["EventSourceArn"], json!(deployed.arn(queue)));
        // What is given up at the end of its tries still has a week in the dead letters, which count from its birth.
        let longest = number(queue, "/RedrivePolicy/maxReceiveCount") * 18 * 60;
        assert!(longest + 7 * 86_400 < 1_209_600, "{queue}: given up after {longest} s");
    }
    assert_eq!(
        number("Events", "/VisibilityTimeout"),
        6 * number("Watcher", "/Timeout"),
        "as Lambda wants it"
    );
    // A new AWS account runs ten at once, and one is for what begins a run.
    let at_once =
        ["WatcherEvents", "SweeperAccounts"].map(|id| number(id, "/ScalingConfig/MaximumConcurrency"));
    assert!(at_once.iter().sum::<u64>() < 10, "{at_once:?}");
    // What `crates/sweeper/src/main.rs` asks for.
    assert_eq!(number("Sweeper", "/Timeout"), 15 * 60);
    assert_eq!(number("AccountsToSweep", "/VisibilityTimeout"), 20 * 60);
    assert_eq!(number("AccountsToSweep", "/RedrivePolicy/maxReceiveCount"), 20);
    assert_eq!(number("SweeperAccounts", "/BatchSize"), 1);
}

/// The calls that core reads, as it names them.
fn watched() -> BTreeSet<String> {
    let text = file("crates/core/src/cloudtrail/read.rs");
    let named = text.split("fn named(event_name").nth(1).unwrap().split("_ => return None").next().unwrap();
    named.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether patterns match events, by two matchers that others wrote and that have to agree.
fn matches(questions: &[(String, Value)]) -> Vec<Value> {
    let answers = matches_by_moto(questions);
    for ((name, question), answer) in questions.iter().zip(&answers) {
        let mut quamina = Quamina::new();
        quamina.add_pattern((), &question["pattern"].to_string()).unwrap();
        let found = quamina.matches_for_event(question["event"].to_string().as_bytes()).unwrap();
        assert_eq!(json!(!found.is_empty()), *answer, "{name}: quamina, and moto");
    }
    answers
}

pub(super) fn pattern(deployed: &Deployed, rule: &str) -> Value {
    deployed.properties(rule)["EventPattern"].clone()
}

#[test]
fn the_rules_forward_the_calls_that_core_reads() {
    the_calls_forwarded(&member(&[]));
}

fn the_calls_forwarded(deployed: &Deployed) {
    let named = |list: &Value| -> BTreeSet<String> { texts(list).into_iter().map(str::to_owned).collect() };
    let watched = watched();
    assert!(watched.len() >= 7, "{watched:?}");
    let key_events = pattern(deployed, "ForwardKeyEvents");
    assert_eq!(named(&key_events["detail"]["eventName"]), watched);
    let own_roles = pattern(deployed, "ForwardOwnRoleEvents");
    let mut left_out = watched;
    // Every sweep's first call. Its name begins with none of those of which EventBridge tells nobody.
    left_out.insert("GenerateCredentialReport".to_owned());
    assert_eq!(named(&own_roles["detail"]["eventName"][0]["anything-but"]), left_out);
    let OwnRoles { reader, disabler, functions, .. } = OwnRoles::default();
    let issuers = &own_roles["detail"]["userIdentity"]["sessionContext"]["sessionIssuer"]["userName"];
    assert_eq!(issuers, &json!([vec![reader, disabler], functions].concat()));
}

/// The sample events that EventBridge could bring, by their files' names.
fn sample_events() -> Vec<(String, Value)> {
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let mut samples = Vec::new();
    for entry in
        ["cloudtrail", "story"].into_iter().flat_map(|folder| fs::read_dir(events.join(folder)).unwrap())
    {
        let path = entry.unwrap().path();
        let Ok(event) = serde_json::from_slice::<Value>(&fs::read(&path).unwrap()) else { continue };
        // A bare record of a log file comes over no rule.
        if event.get("detail-type").is_some() && event.get("source").is_some() {
            samples.push((path.file_name().unwrap().to_string_lossy().into_owned(), event));
        }
    }
    samples
}

#[test]
fn every_sample_event_takes_the_way_that_core_would_have_it_take() {
    the_ways(&member(&[]), &security());
    // And what is sown between is found, by the matchers themselves.
    let (security_yaml, member_yaml) = ("security-account.yaml", "member-account.yaml");
    for (template, good, bad) in [
        (member_yaml, "eventSource: [iam.amazonaws.com]", "eventSource: [sts.amazonaws.com]"),
        (member_yaml, "detail-type: [AWS API Call via CloudTrail]", "detail-type: [AWS API Call]"),
        (security_yaml, "detail: {eventSource: [iam.amazonaws.com]}", "detail: {eventSource: [iam]}"),
        (security_yaml, "source: [aws.iam]", "source: [aws.sts]"),
    ] {
        let defect = spoilt(&[(template, good, bad)]).remove(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            if template == member_yaml {
                the_ways(&defect, &security());
            } else {
                the_ways(&member(&[]), &defect);
            }
        }));
        assert!(caught.is_err(), "{bad:?} in place of {good:?} was not seen");
    }
}

fn the_ways(member: &Deployed, security: &Deployed) {
    let rules = [
        ("keys", pattern(member, "ForwardKeyEvents")),
        ("own roles", pattern(member, "ForwardOwnRoleEvents")),
        ("in", pattern(security, "KeyEventsRule")),
    ];
    let (mut questions, mut expected) = (Vec::new(), Vec::new());
    for (name, event) in sample_events() {
        let watched = event["detail"]["eventName"].as_str().is_some_and(|called| watched().contains(called));
        let (keys, own_roles) = match cloudtrail::read(event.to_string().as_bytes()) {
            Outcome::Key(_) | Outcome::Failed(_) | Outcome::Owner(_) => (true, false),
            // What keytide's roles do besides comes by the rule of its own.
            Outcome::NotOurs(_) => (false, name == "attach-policy-by-keytide-disabler.json"),
            // It may be one for what a rule asks for: the call, and whose it is.
            Outcome::Unreadable(_) => (watched && event["source"] == "aws.iam", false),
        };
        for (rule, pattern) in &rules {
            questions.push((format!("{rule}: {name}"), json!({"pattern": pattern, "event": event})));
        }
        expected.push((name, keys, own_roles));
    }
    assert!(expected.iter().filter(|(_, keys, _)| *keys).count() >= 25, "{}", expected.len());
    assert!(expected.iter().any(|(_, keys, _)| !keys));
    assert!(expected.iter().any(|(.., own_roles)| *own_roles));
    let answers = matches(&questions);
    for ((name, keys, own_roles), answers) in expected.iter().zip(answers.chunks(rules.len())) {
        assert_eq!(answers[0], json!(keys), "{name}: forwarded as an event of keys");
        assert_eq!(answers[1], json!(own_roles), "{name}: forwarded as a call of our own roles");
        assert!(!(*keys || *own_roles) || answers[2] == json!(true), "{name}: let in");
    }
}

#[test]
fn a_call_by_our_own_role_that_keytide_never_makes_is_forwarded() {
    let member = member(&[]);
    let call = |name: &str, role: &str| {
        json!({
            "source": "aws.iam", "detail-type": "AWS API Call via CloudTrail",
            "detail": {
                "eventSource": "iam.amazonaws.com", "eventName": name,
                "userIdentity": {
                    "type": "AssumedRole", "sessionContext": {"sessionIssuer": {"type": "Role", "userName": role}},
                },
            },
        })
    };
    let cases = [
        ("AttachUserPolicy", "keytide-disabler", [false, true]),
        ("CreateUser", "keytide-reader", [false, true]),
        ("CreateUser", "keytide-watcher", [false, true]),
        ("GenerateServiceLastAccessedDetails", "keytide-reader", [false, true]),
        ("GenerateCredentialReport", "keytide-reader", [false, false]),
        ("UpdateAccessKey", "keytide-disabler", [true, false]),
        ("AttachUserPolicy", "administrator", [false, false]),
    ];
    let rules = ["ForwardKeyEvents", "ForwardOwnRoleEvents"];
    let mut questions = Vec::new();
    for (name, role, _) in cases {
        for rule in rules {
            let question = json!({"pattern": pattern(&member, rule), "event": call(name, role)});
            questions.push((format!("{rule}: {name} by {role}"), question));
        }
    }
    let answers = matches(&questions);
    let expected: Vec<Value> = cases.iter().flat_map(|(.., expected)| expected.map(|is| json!(is))).collect();
    assert_eq!(answers, expected);
}

#[test]
fn the_slack_app_asks_for_the_scopes_that_the_calls_need() {
    // Slack's reference of each method.
    let needed = [("chat.postMessage", "chat:write"), ("conversations.open", "im:write")];
    let called: BTreeSet<String> = quoted("crates/slack/src/client.rs")
        .into_iter()
        .filter(|text| {
            text.split_once('.').is_some_and(|(family, method)| {
                let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic());
                is_word(family) && is_word(method)
            })
        })
        .collect();
    assert_eq!(called.iter().map(String::as_str).collect::<Vec<_>>(), needed.map(|(method, _)| method));
    let manifest = file("infra/slack-app.yaml");
    let scopes = manifest.split("    bot:\n").nth(1).unwrap().split("settings:").next().unwrap();
    let scopes: Vec<&str> = scopes.lines().filter_map(|line| line.trim().strip_prefix("- ")).collect();
    assert_eq!(scopes, needed.map(|(_, scope)| scope));
    // emulate holds tokens to their scopes: the messages are judged with these, and what reads them back.
    let serve = file("tests/counterparts/serve_slack.mjs");
    let seeded = serve.split("token, type: \"bot\"").nth(1).unwrap().split("scopes: [").nth(1).unwrap();
    let seeded = seeded.split(']').next().unwrap().split('"').skip(1).step_by(2);
    let beyond: Vec<&str> = seeded.filter(|scope| !scope.ends_with(":history")).collect();
    assert_eq!(beyond, scopes);
}

#[test]
fn each_tie_finds_what_is_sown_for_it() {
    type Tie = fn(&Deployed);
    let (security, member, enforced) =
        ("security-account.yaml", "member-account.yaml", "enforced-account.yaml");
    let cases: [(Tie, &str, &str, &str); 27] = [
        (the_table, security, "[account, key_id, holder,", "[account, holder,"),
        (the_table, security, "AttributeName: expires_at", "AttributeName: expires"),
        (
            the_table,
            security,
            "{AttributeName: created_at, KeyType: RANGE}",
            "{AttributeName: sk, KeyType: RANGE}",
        ),
        (the_environment, security, "          KEYTIDE_EXTERNAL_ID: !Ref ExternalId\n", ""),
        (the_environment, security, "KEYTIDE_FAILED_ATTEMPTS", "KEYTIDE_FAILED_ATTEMPT"),
        (the_environment, security, "          KEYTIDE_EXCLUDE_ACCOUNTS: !Ref ExcludeAccounts\n", ""),
        (the_metrics, security, "MetricName: KeysUnheard", "MetricName: KeysNotHeard"),
        (the_metrics, security, "[\".\", \"EarlyAlerts\"]", "[\".\", \"EarlyAlert\"]"),
        (the_alarms, security, "MetricName: HaltSet", "MetricName: RunsStarted"),
        (
            the_alarms,
            security,
            "MetricName: ApproximateNumberOfMessagesNotVisible",
            "MetricName: ApproximateNumberOfMessagesDelayed",
        ),
        (the_alarms, security, "Value: !GetAtt EventsDead.QueueName", "Value: !GetAtt Events.QueueName"),
        (the_alarms, security, "Value: !Ref Watcher}", "Value: !Ref Sweeper}"),
        (the_alarms, security, "Threshold: 900", "Threshold: 9000"),
        (the_alarms, security, "DatapointsToAlarm: 13", "DatapointsToAlarm: 1"),
        (the_query, security, " AND Cause != 'no-time-left'", ""),
        (the_schedule, security, "{\"keytide\":\"begin\"}'", "{\"keytide\":\"start\"}'"),
        (the_schedule, security, "Default: \"6,9\"", "Default: \"6,7\""),
        (the_queues, security, "Timeout: 900", "Timeout: 1200"),
        (the_queues, security, "MaximumConcurrency: 3", "MaximumConcurrency: 30"),
        (the_queues, security, "maxReceiveCount: 300", "maxReceiveCount: 1000"),
        (the_calls_forwarded, member, "UpdateUser, DeleteUser]", "UpdateUser]"),
        (
            the_calls_forwarded,
            member,
            "                  - !Sub \"${Prefix}-reader\"",
            "                  - !Sub \"${Prefix}-readers\"",
        ),
        (the_expected_patterns, member, "UpdateUser, DeleteUser]", "UpdateUser]"),
        (the_expected_patterns, security, "detail: {eventSource: [iam.amazonaws.com]}", "detail: {}"),
        (the_names, member, ":role/${Prefix}-sweeper", ":role/${Prefix}-sweep"),
        (the_disablers_names, enforced, ":role/${Prefix}-sweeper", ":role/${Prefix}-watcher"),
        (the_names, member, "RoleName: !Sub \"${Prefix}-forwarder\"", "RoleName: !Sub \"${Prefix}-forward\""),
    ];
    let defects = cases.map(|(_, template, good, bad)| (template, good, bad));
    for ((tie, _, good, bad), spoilt) in cases.into_iter().zip(spoilt(&defects)) {
        let caught = catch_unwind(AssertUnwindSafe(|| tie(&spoilt))).is_err();
        assert!(caught, "{bad:?} in place of {good:?} was not seen");
    }
}

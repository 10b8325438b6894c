//! What each role may do, by iam-simulate: out of every action that IAM knows, exactly those that its code calls.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    doctor::{asked_by_the_doctor, asked_in_members},
    file,
    template::{
        Deployed, EXTERNAL_ID, ORGANIZATION, PROD, SECURITY, enforced, member, member_with, security,
    },
};
use crate::counterparts::permissions;

/// AWS refuses this to nobody.
const EVERYBODY_MAY: &str = "sts:GetCallerIdentity";

/// Everything that the roles' conditions ask for.
pub(super) fn context() -> Value {
    json!({
        "dynamodb:LeadingKeys": ["KEY#111122223333#AKIATIDEWATERALICE01"],
        "aws:ResourceOrgID": ORGANIZATION,
        "sts:ExternalId": EXTERNAL_ID,
    })
}

/// One resource for each that the policies name, their wildcards filled in.
fn resources(policies: &[Value]) -> BTreeSet<String> {
    let mut resources = BTreeSet::new();
    for statement in policies.iter().flat_map(|policy| policy["Statement"].as_array().unwrap()) {
        let named = match &statement["Resource"] {
            Value::Array(named) => named.clone(),
            one => vec![one.clone()],
        };
        for name in named {
            let name = name.as_str().unwrap();
            let filled = match name.strip_suffix(":*") {
                // A log group's ARN ends so, for the streams in it.
                Some(group) => format!("{group}:log-stream:2026"),
                None => name
                    .replace("::*:", &format!("::{PROD}:"))
                    .replace("??????", "a1B2c3")
                    .replace("/*", "/alice"),
            };
            resources.insert(filled.clone());
            if let Some((group, _)) = filled.split_once(":log-stream:") {
                resources.insert(group.to_owned());
            }
        }
    }
    resources.remove("*");
    resources
}

/// What a role may do, out of all that there is, whatever its conditions ask for: they could be such as always hold.
fn every_action(deployed: &Deployed, account: &str, role: &str) -> (String, Value) {
    let mut policies = deployed.policies(role);
    let resources = resources(&policies);
    for statement in policies.iter_mut().flat_map(|policy| policy["Statement"].as_array_mut().unwrap()) {
        statement.as_object_mut().unwrap().remove("Condition");
    }
    let question = json!({
        "principal": format!("arn:aws:sts::{account}:assumed-role/{}/a-session", deployed.name(role)),
        "account": account, "resources": resources, "policies": policies, "context": {},
    });
    (role.to_owned(), question)
}

/// What of these actions a role may do where its conditions hold.
fn these_actions(deployed: &Deployed, account: &str, role: &str, actions: &[&str]) -> (String, Value) {
    let (name, mut question) = every_action(deployed, account, role);
    question["policies"] = json!(deployed.policies(role));
    question["context"] = context();
    question["actions"] = json!(actions);
    (name, question)
}

/// The actions of an answer.
fn listed(answer: &Value) -> BTreeSet<String> {
    answer.as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_role_may_do_what_its_code_calls_and_nothing_else() {
    let (security, member, enforced) = (security(), member(&[]), enforced());
    let queue =
        ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];
    let both = [
        "dynamodb:BatchGetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "secretsmanager:GetSecretValue",
        "sts:AssumeRole",
    ];
    let watcher = [&queue[..], &both, &["dynamodb:ConditionCheckItem"]].concat();
    let sweeper =
        [&queue[..], &both, &["dynamodb:DescribeTable", "organizations:ListAccounts", "sqs:SendMessage"]]
            .concat();
    let reader = [
        "cloudtrail:DescribeTrails",
        "cloudtrail:GetEventSelectors",
        "cloudtrail:GetTrailStatus",
        "events:DescribeRule",
        "events:ListTargetsByRule",
        "iam:GenerateCredentialReport",
        "iam:GetAccessKeyLastUsed",
        "iam:GetCredentialReport",
        "iam:GetRole",
        "iam:GetUser",
        "iam:ListAccessKeys",
        "iam:ListUsers",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
    ];
    let expected: [(&Deployed, &str, &str, Vec<&str>); 6] = [
        (&security, SECURITY, "WatcherRole", watcher),
        (&security, SECURITY, "SweeperRole", sweeper),
        (&security, SECURITY, "ScheduleRole", vec!["lambda:InvokeFunction", "sqs:SendMessage"]),
        (&member, PROD, "ReaderRole", reader.to_vec()),
        (&enforced, PROD, "DisablerRole", vec!["iam:ListAccessKeys", "iam:UpdateAccessKey"]),
        (&member, PROD, "ForwarderRole", vec!["events:PutEvents"]),
    ];
    let roles = [&security, &member, &enforced].map(|deployed| deployed.ids("AWS::IAM::Role").len());
    assert_eq!(roles.iter().sum::<usize>(), expected.len(), "every role is asked about");
    let mut questions: Vec<(String, Value)> =
        expected.iter().map(|(deployed, account, role, _)| every_action(deployed, account, role)).collect();
    questions.extend(
        expected
            .iter()
            .map(|(deployed, account, role, actions)| these_actions(deployed, account, role, actions)),
    );
    let answers = permissions(&questions);
    let (at_most, at_least) = answers.split_at(expected.len());
    for (((_, _, role, actions), at_most), at_least) in expected.iter().zip(at_most).zip(at_least) {
        let mut actions: BTreeSet<String> = actions.iter().map(|action| (*action).to_owned()).collect();
        assert_eq!(listed(at_least), actions, "{role}, where its conditions hold");
        actions.insert(EVERYBODY_MAY.to_owned());
        assert_eq!(listed(at_most), actions, "{role}");
    }
}

#[test]
fn a_right_too_many_is_seen_among_all_that_there_are() {
    let (name, mut question) = every_action(&enforced(), PROD, "DisablerRole");
    question["policies"][0]["Statement"][0]["Action"] = json!(["iam:*AccessKey*"]);
    let answer = &permissions(&[(name, question)])[0];
    let expected = [
        "iam:CreateAccessKey",
        "iam:DeleteAccessKey",
        "iam:GetAccessKeyLastUsed",
        "iam:ListAccessKeys",
        "iam:UpdateAccessKey",
        EVERYBODY_MAY,
    ];
    assert_eq!(*answer, json!(expected));
    // Nor is it hidden by a condition, such as always holds.
    let mut member = member(&[]);
    member.grant(
        "ReaderRole",
        &json!({
            "Effect": "Allow", "Action": "iam:DeleteUser", "Resource": "*",
            "Condition": {"StringEquals": {"aws:RequestedRegion": "us-east-1"}},
        }),
    );
    let answer = permissions(&[every_action(&member, PROD, "ReaderRole")]);
    assert!(listed(&answer[0]).contains("iam:DeleteUser"));
}

/// The operations in accounts that the code names where it counts its calls, out of these files.
fn called(paths: &[&str]) -> BTreeSet<String> {
    let mut operations = BTreeSet::new();
    for path in paths {
        let text = file(path);
        for (_, rest) in text.match_indices(".call(\"").map(|(at, opening)| text.split_at(at + opening.len()))
        {
            operations.insert(format!("iam:{}", rest.split('"').next().unwrap()));
        }
    }
    operations
}

/// What a policy's statements grant.
pub(super) fn actions(policy: &Value) -> BTreeSet<String> {
    let mut granted = BTreeSet::new();
    for statement in policy["Statement"].as_array().unwrap() {
        match &statement["Action"] {
            Value::Array(actions) => {
                granted.extend(actions.iter().map(|action| action.as_str().unwrap().to_owned()));
            }
            action => drop(granted.insert(action.as_str().unwrap().to_owned())),
        }
    }
    granted
}

#[test]
fn members_roles_are_granted_what_the_adapters_call() {
    let granted = |role: &str| -> BTreeSet<String> {
        member_with(role).policies(role).iter().flat_map(actions).collect()
    };
    let users = "crates/aws/src/users.rs";
    let reading = called(&[users, "crates/aws/src/inventory.rs", "crates/aws/src/directory.rs"]);
    assert!(reading.len() >= 6, "{reading:?}");
    // The sweep's and the watcher's calls, and the doctor's.
    let by_doctor = asked_in_members();
    assert_eq!(granted("ReaderRole"), reading.union(&by_doctor).cloned().collect());
    // Before and after the one call that changes anything the disabler lists the user's keys.
    let mut disabling = called(&["crates/aws/src/disabler.rs"]);
    disabling.insert("iam:ListAccessKeys".to_owned());
    assert_eq!(granted("DisablerRole"), disabling);
    // And the stories run with a reader who may do exactly this.
    let world = file("tests/e2e/world.rs");
    let may = world.split("READER_MAY: [&str; 6] = [").nth(1).unwrap().split(']').next().unwrap();
    let may: BTreeSet<String> = may.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(may, reading);
}

/// What the SDK's clients are asked for in our adapters, by the method, and the actions that allow it.
const CLIENT_CALLS: [(&str, &[&str]); 17] = [
    ("batch_get_item", &["dynamodb:BatchGetItem"]),
    ("change_message_visibility", &["sqs:ChangeMessageVisibility"]),
    ("delete_item", &["dynamodb:DeleteItem"]),
    ("delete_message", &["sqs:DeleteMessage"]),
    ("describe_table", &["dynamodb:DescribeTable"]),
    ("get_queue_attributes", &["sqs:GetQueueAttributes"]),
    ("get_queue_url", &["sqs:GetQueueUrl"]),
    ("get_secret_value", &["secretsmanager:GetSecretValue"]),
    ("list_accounts", &["organizations:ListAccounts"]),
    ("put_item", &["dynamodb:PutItem"]),
    ("query", &["dynamodb:Query"]),
    ("receive_message", &["sqs:ReceiveMessage"]),
    ("scan", &["dynamodb:Scan"]),
    ("send_message", &["sqs:SendMessage"]),
    ("send_message_batch", &["sqs:SendMessage"]),
    ("transact_write_items", &["dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:ConditionCheckItem"]),
    ("update_item", &["dynamodb:UpdateItem"]),
];
/// What Lambda and the schedule call by these roles, and not our code; and the assuming of roles, which is no client's
/// of ours but the SDK's.
const NOT_OUR_CLIENTS: [&str; 4] =
    ["lambda:InvokeFunction", "logs:CreateLogStream", "logs:PutLogEvents", "sts:AssumeRole"];

#[test]
fn the_security_accounts_rights_are_those_that_the_clients_are_asked_for() {
    let files = [
        "crates/aws/src/accounts.rs",
        "crates/aws/src/ledger/accept.rs",
        "crates/aws/src/ledger/control.rs",
        "crates/aws/src/ledger/decide.rs",
        "crates/aws/src/ledger/mod.rs",
        "crates/aws/src/ledger/renames.rs",
        "crates/aws/src/queue.rs",
        "crates/aws/src/secrets.rs",
        "crates/watcher/src/handler.rs",
    ];
    let mut called = BTreeSet::new();
    for path in files {
        let text: String = file(path).split_whitespace().collect();
        for rest in text.split("self.client.").skip(1) {
            let method = rest.split('(').next().unwrap();
            // A clone of the client is handed on, and asked for nothing itself.
            if method != "clone" {
                called.insert(method.to_owned());
            }
        }
    }
    let known: BTreeSet<String> = CLIENT_CALLS.iter().map(|(method, _)| (*method).to_owned()).collect();
    assert_eq!(called, known);

    let security = security();
    let roles = security.ids("AWS::IAM::Role").into_iter().flat_map(|role| security.policies(role));
    let people = security.ids("AWS::IAM::ManagedPolicy").into_iter();
    let people = people.map(|id| security.properties(id)["PolicyDocument"].clone());
    let granted: BTreeSet<String> = roles.chain(people).flat_map(|policy| actions(&policy)).collect();
    let needed = CLIENT_CALLS.iter().flat_map(|(_, actions)| *actions).chain(&NOT_OUR_CLIENTS);
    let needed = needed.map(|action| (*action).to_owned()).chain(asked_by_the_doctor());
    assert_eq!(granted, needed.collect::<BTreeSet<_>>());
}

/// People's policies, and the partitions of the ledger that each writes and deletes in; but `look`, which reads, and
/// `redrive`, which has nothing to do with the ledger.
const DECIDERS: [(&str, &str, &[&str], &[&str]); 5] = [
    ("halt", "HaltPolicy", &["HALT", "ORGANIZATION"], &["HALT"]),
    ("approve", "ApprovePolicy", &["APPROVAL#111122223333", "DECISION#111122223333"], &[]),
    (
        "exempt",
        "ExemptPolicy",
        &["EXEMPTION#111122223333", "DECISION#111122223333#AKIATIDEWATERALICE01"],
        &[],
    ),
    ("accept", "AcceptPolicy", &["ACCEPTED", "ORGANIZATION"], &[]),
    ("policy", "PolicyPolicy", &["POLICY", "ORGANIZATION"], &[]),
];

/// A question about a person with these policies and no others, given the ledger's partition.
fn by_person(security: &Deployed, policies: &[&str], partition: &str, about: &Value) -> Value {
    let documents: Vec<Value> =
        policies.iter().map(|id| security.properties(id)["PolicyDocument"].clone()).collect();
    let mut question = json!({
        "principal": format!("arn:aws:sts::{SECURITY}:assumed-role/on-call/vera"),
        "account": SECURITY,
        "policies": documents,
        "context": {"dynamodb:LeadingKeys": [partition]},
    });
    question.as_object_mut().unwrap().extend(about.as_object().unwrap().clone());
    question
}

/// What the stories saw each of a person's rights call, by the real program: `tests/e2e/rights.rs`. A transaction of a
/// decision is as many rights as it has kinds of writes, which `crates/aws/src/ledger/decide.rs` tells.
fn calls_of(right: &str) -> BTreeSet<String> {
    let text: String = file("tests/e2e/rights.rs").split_whitespace().collect();
    let of_right = text.split(&format!("(\"{right}\",&[")).nth(1).unwrap().split(']').next().unwrap();
    let called: BTreeSet<String> = of_right.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(!called.is_empty(), "{right}");
    let decides = file("crates/aws/src/ledger/decide.rs");
    for kind in [".update(", ".condition_check("] {
        assert!(!decides.contains(kind), "{kind}");
    }
    let lifts = ["Delete::builder()", "Change::Resume => writes.push(self.halt_delete"];
    assert!(lifts.iter().all(|once| decides.matches(once).count() == 1), "only the halt's end deletes");
    let mut actions = BTreeSet::new();
    for call in called {
        if call != "dynamodb:TransactWriteItems" {
            actions.insert(call);
            continue;
        }
        actions.insert("dynamodb:PutItem".to_owned());
        if right == "halt" {
            actions.insert("dynamodb:DeleteItem".to_owned());
        }
    }
    actions
}

/// People's policies, each with a partition that its conditions ask for.
fn peoples_policies() -> Vec<(&'static str, &'static str, &'static str)> {
    let deciders = DECIDERS.iter().map(|(right, policy, writes, _)| (*right, *policy, writes[0]));
    deciders.chain([("look", "LookPolicy", "HALT"), ("redrive", "RedrivePolicy", "HALT")]).collect()
}

#[test]
fn each_of_peoples_policies_alone_gives_what_its_commands_call_and_nothing_else() {
    let security = security();
    let policies = peoples_policies();
    let mut known: BTreeSet<&str> = policies.iter().map(|(_, policy, _)| *policy).collect();
    known.insert("DoctorPolicy");
    assert_eq!(security.ids("AWS::IAM::ManagedPolicy").into_iter().collect::<BTreeSet<_>>(), known);
    let questions: Vec<(String, Value)> = policies
        .iter()
        .map(|(right, policy, partition)| {
            let document = security.properties(policy)["PolicyDocument"].clone();
            let about = json!({"resources": resources(&[document])});
            ((*right).to_owned(), by_person(&security, &[policy], partition, &about))
        })
        .collect();
    let looked = calls_of("look");
    for ((right, _, _), answer) in policies.iter().zip(permissions(&questions)) {
        let allowed: BTreeSet<String> =
            answer.as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned()).collect();
        let called = calls_of(right);
        // Of what a decision's commands call, `look` gives what they read.
        let own =
            called.iter().filter(|action| ["look", "redrive"].contains(right) || !looked.contains(*action));
        let mut own: BTreeSet<String> = own.cloned().collect();
        own.insert(EVERYBODY_MAY.to_owned());
        assert_eq!(allowed, own, "{right}");
    }
}

#[test]
fn each_of_peoples_policies_reaches_what_it_is_for_and_no_further() {
    let security = security();
    let (table, reader) = (security.arn("Ledger"), format!("arn:aws:iam::{PROD}:role/keytide-reader"));
    let index = format!("{table}/index/by-account");
    let (dead, events) = (security.arn("EventsDead"), security.arn("Events"));
    let mut asked: Vec<(String, Value, bool)> = Vec::new();
    let mut ask = |policies: &[&str], action: &str, resource: &str, partition: &str, is_allowed: bool| {
        let about = json!({"action": action, "resource": resource});
        let name = format!("{policies:?}: {action} on {resource} in {partition}");
        asked.push((name, by_person(&security, policies, partition, &about), is_allowed));
    };
    for (right, policy, writes, deletes) in DECIDERS {
        for partition in writes.iter().chain(&["KEY#111122223333#AKIATIDEWATERALICE01", "SWEEP#111122223333"])
        {
            ask(&[policy], "dynamodb:PutItem", &table, partition, writes.contains(partition));
            ask(&[policy], "dynamodb:DeleteItem", &table, partition, deletes.contains(partition));
        }
        // With `look` beside it, all that its commands call.
        for action in calls_of(right) {
            let resource = if action == "sts:AssumeRole" { &reader } else { &table };
            ask(&["LookPolicy", policy], &action, resource, writes[0], true);
        }
    }
    for action in calls_of("look") {
        let is_role = action == "sts:AssumeRole";
        ask(&["LookPolicy"], &action, if is_role { &reader } else { &table }, "HALT", true);
        if !is_role && action != "dynamodb:DescribeTable" {
            ask(&["LookPolicy"], &action, &index, "HALT", true);
        }
    }
    ask(&["LookPolicy"], "sts:AssumeRole", &reader.replace("reader", "disabler"), "HALT", false);
    for action in calls_of("redrive") {
        let is_address = action == "sqs:GetQueueUrl";
        let is_sent = action == "sqs:SendMessage";
        ask(&["RedrivePolicy"], &action, &events, "HALT", is_sent || is_address);
        ask(&["RedrivePolicy"], &action, &dead, "HALT", !is_sent);
    }
    let questions: Vec<(String, Value)> =
        asked.iter().map(|(name, question, _)| (name.clone(), question.clone())).collect();
    for ((name, _, is_allowed), answer) in asked.iter().zip(permissions(&questions)) {
        assert_eq!(answer == "Allowed", *is_allowed, "{name}: {answer}");
    }
}

#[test]
fn a_session_narrowed_to_one_user_reaches_no_other() {
    let enforced = enforced();
    let user = |name: &str| format!("arn:aws:iam::{PROD}:user/engineering/{name}");
    // As `crates/aws/src/disabler.rs` narrows it, and proves so.
    let session = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": ["iam:UpdateAccessKey", "iam:ListAccessKeys"], "Resource": user("alice"),
    }]});
    let cases = [
        ("iam:UpdateAccessKey", user("alice"), true),
        ("iam:ListAccessKeys", user("alice"), true),
        ("iam:UpdateAccessKey", user("bruno"), false),
        ("iam:DeleteAccessKey", user("alice"), false),
        ("iam:UpdateAccessKey", format!("arn:aws:iam::{PROD}:user/alice"), false),
    ];
    let questions = cases.each_ref().map(|(action, resource, _)| {
        let question = json!({
            "principal": format!("arn:aws:sts::{PROD}:assumed-role/keytide-disabler/a-session"),
            "account": PROD, "action": action, "resource": resource, "session": session,
            "policies": enforced.policies("DisablerRole"),
        });
        (format!("{action} of {resource}"), question)
    });
    for ((action, resource, allowed), answer) in cases.iter().zip(permissions(&questions)) {
        assert_eq!(answer == "Allowed", *allowed, "{action} of {resource}: {answer}");
    }
    // And out of all that there is, on that user, on another, and on a role.
    let role = format!("arn:aws:iam::{PROD}:role/alice");
    let of_all = |session: &Value, resources: &[&String]| {
        let (name, mut question) = every_action(&enforced, PROD, "DisablerRole");
        question["session"] = session.clone();
        question["resources"] = json!(resources);
        question["exactly"] = json!(true);
        (name, question)
    };
    let mut wide = session.clone();
    wide["Statement"][0]["Resource"] = json!(format!("arn:aws:iam::{PROD}:user/*"));
    let (alice, bruno) = (user("alice"), user("bruno"));
    let answers = permissions(&[
        of_all(&session, &[&alice, &bruno, &role]),
        of_all(&session, &[&bruno, &role]),
        of_all(&wide, &[&bruno, &role]),
    ]);
    let two = ["iam:ListAccessKeys", "iam:UpdateAccessKey"].map(str::to_owned);
    assert_eq!(listed(&answers[0]), BTreeSet::from(two.clone()));
    assert_eq!(listed(&answers[1]), BTreeSet::new());
    assert_eq!(listed(&answers[2]), BTreeSet::from(two), "a session that is not narrowed is seen");
}

/// The ledger's partitions, and who may write each: the two functions, and people by right.
const PARTITIONS: [(&str, &[&str]); 18] = [
    ("KEY#111122223333#AKIATIDEWATERALICE01", &["WatcherRole", "SweeperRole"]),
    ("USER#111122223333#alice", &["WatcherRole", "SweeperRole"]),
    ("ACCOUNT#111122223333", &["WatcherRole", "SweeperRole"]),
    ("DECISION#111122223333", &["SweeperRole", "ApprovePolicy"]),
    ("DECISION#111122223333#AKIATIDEWATERALICE01", &["SweeperRole", "ExemptPolicy"]),
    ("STRAY#e-1", &["WatcherRole", "SweeperRole"]),
    ("RATE#111122223333", &["WatcherRole", "SweeperRole"]),
    ("ORGANIZATION", &["SweeperRole", "HaltPolicy", "AcceptPolicy", "PolicyPolicy"]),
    ("SWEEP#111122223333", &["SweeperRole"]),
    ("RUN", &["SweeperRole"]),
    ("RUN#2026-06-02", &["SweeperRole"]),
    ("CAP", &["SweeperRole"]),
    ("CAP#111122223333", &["SweeperRole"]),
    ("EXEMPTION#111122223333", &["ExemptPolicy"]),
    ("APPROVAL#111122223333", &["ApprovePolicy"]),
    ("HALT", &["HaltPolicy"]),
    ("POLICY", &["PolicyPolicy"]),
    ("ACCEPTED", &["AcceptPolicy"]),
];
/// What begins a sort key in the ledger, and so is no partition.
const SORTS: [&str; 10] =
    ["KEY", "EVENT", "OUT", "MINUTE", "RECORD", "DATE", "CURRENT", "APPLIED", "DONE", "HALT"];

#[test]
fn who_may_write_which_part_of_the_ledger() {
    let security = security();
    let table = security.arn("Ledger");
    let writers = [
        "WatcherRole",
        "SweeperRole",
        "HaltPolicy",
        "ApprovePolicy",
        "ExemptPolicy",
        "AcceptPolicy",
        "PolicyPolicy",
        "LookPolicy",
    ];
    let mut questions = Vec::new();
    let mut expected = Vec::new();
    for writer in writers {
        let policies = if writer.ends_with("Role") {
            security.policies(writer)
        } else {
            vec![security.properties(writer)["PolicyDocument"].clone()]
        };
        for (partition, by) in PARTITIONS {
            let question = json!({
                "principal": format!("arn:aws:sts::{SECURITY}:assumed-role/{writer}/a-session"),
                "account": SECURITY, "action": "dynamodb:PutItem", "resource": table, "policies": policies,
                "context": {"dynamodb:LeadingKeys": [partition]},
            });
            questions.push((format!("{writer} {partition}"), question));
            expected.push(by.contains(&writer));
        }
    }
    let answers = permissions(&questions);
    for (((name, _), answer), allowed) in questions.iter().zip(answers).zip(expected) {
        assert_eq!(answer == "Allowed", allowed, "{name}: {answer}");
    }
}

#[test]
fn no_partition_of_the_code_is_left_out() {
    let known: BTreeSet<&str> =
        PARTITIONS.iter().map(|(partition, _)| partition.split('#').next().unwrap()).chain(SORTS).collect();
    let mut found = BTreeSet::new();
    for name in ["items", "accept", "control", "decide"] {
        let text = file(&format!("crates/aws/src/ledger/{name}.rs"));
        let code = text.split("#[cfg(test)]").next().unwrap();
        for quoted in code.split('"').skip(1).step_by(2) {
            let word: String = quoted.chars().take_while(char::is_ascii_uppercase).collect();
            let rest = &quoted[word.len()..];
            if word.len() > 1 && (rest.is_empty() || rest.starts_with('#')) {
                assert!(known.contains(word.as_str()), "{quoted:?} of {name}.rs: who may write it?");
                found.insert(word);
            }
        }
    }
    for partition in PARTITIONS.iter().map(|(partition, _)| partition.split('#').next().unwrap()) {
        assert!(found.contains(partition), "{partition} is in no code");
    }
}

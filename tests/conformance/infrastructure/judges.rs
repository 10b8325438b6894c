//! cfn-lint, CloudFormation Guard and parliament: what stands in `infra/` passes, and a defect that is sown does not.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    POLICIES, TEMPLATES, file, policy_text,
    template::{enforced, member, security},
    template_text,
};
use crate::counterparts::{problems_by_cfn_lint, problems_by_guard, problems_by_parliament};

const SECURITY: &str = "security-account.yaml";
const MEMBER: &str = "member-account.yaml";
const ENFORCED: &str = "enforced-account.yaml";
const ORGANIZATION: &str = "organization.yaml";
/// A template that is handed to CloudFormation as it is may have so many bytes; a larger one has to lie in S3.
const LARGEST_TEMPLATE: usize = 51_200;
/// A service control policy may have so many (AWS Organizations' quotas), its spaces among them.
const LARGEST_SCP: usize = 5_120;

fn templates() -> Vec<(String, Value)> {
    TEMPLATES.iter().map(|name| ((*name).to_owned(), json!(template_text(name)))).collect()
}

/// A file with a defect: the first place where `good` stands has `bad` instead.
fn sown(text: &str, good: &str, bad: &str) -> Value {
    assert!(text.contains(good), "there is no {good:?} to be spoilt");
    json!(text.replacen(good, bad, 1))
}

/// Asserts that each case has a problem, in which its word stands, and that no other problem is found.
fn each_is_found(cases: &[(String, Value)], words: &[&str], problems: &[String]) {
    for ((name, _), word) in cases.iter().zip(words) {
        let prefix = format!("{name}: ");
        let said: Vec<&String> = problems.iter().filter(|problem| problem.starts_with(&prefix)).collect();
        assert!(said.iter().any(|problem| problem.contains(word)), "{name}: expected {word:?} in {said:?}");
    }
}

#[test]
fn no_judge_finds_anything() {
    let templates = templates();
    assert_eq!(problems_by_cfn_lint(&templates), [""; 0]);
    assert_eq!(problems_by_guard(&templates), [""; 0]);
    for (name, text) in &templates {
        assert!(text.as_str().unwrap().len() <= LARGEST_TEMPLATE, "{name} can only be deployed from S3");
    }
    for name in POLICIES.into_iter().filter(|name| name.starts_with("scp-")) {
        assert!(policy_text(name).len() <= LARGEST_SCP, "{name} is more than Organizations takes");
    }
}

#[test]
fn cfn_lint_finds_what_is_sown_for_it() {
    let cases = [
        (
            "a property that is not there",
            SECURITY,
            "VisibilityTimeout: 1200",
            "VisibilityTimeOut: 1200",
            "VisibilityTimeOut",
        ),
        ("a reference to nothing", SECURITY, "!GetAtt EventsDead.Arn", "!GetAtt EventDead.Arn", "EventDead"),
        (
            "a value that is none",
            SECURITY,
            "Runtime: provided.al2023",
            "Runtime: provided.al2032",
            "provided.al2032",
        ),
        ("a type", MEMBER, "MessageRetentionPeriod: 1209600", "MessageRetentionPeriod: ages", "ages"),
        (
            "a retention that there is not",
            SECURITY,
            "[30, 90, 180, 365, 400, 731]",
            "[30, 91, 400]",
            "LogRetentionDays",
        ),
        ("an attribute that there is not", MEMBER, "ForwarderRole.Arn", "ForwarderRole.Name", "Name"),
        (
            "a condition that is missing",
            ORGANIZATION,
            "    Condition: HasEnforcedAccounts\n",
            "    Condition: Enforces\n",
            "Enforces",
        ),
        ("a StackSet's model", ORGANIZATION, "SERVICE_MANAGED", "SERVICE", "SERVICE"),
    ];
    let sown: Vec<(String, Value)> = cases
        .iter()
        .map(|(name, template, good, bad, _)| ((*name).to_owned(), sown(&template_text(template), good, bad)))
        .collect();
    each_is_found(&sown, &cases.map(|(.., word)| word), &problems_by_cfn_lint(&sown));
}

/// Rule of `promises.guard`, template, what is replaced, by what.
const PROMISES_BROKEN: [(&str, &str, &str, &str); 46] = [
    ("roles_have_names", MEMBER, "      RoleName: !Sub \"${Prefix}-reader\"\n", ""),
    ("trust_across_accounts_is_conditioned", MEMBER, "                sts:ExternalId: !Ref ExternalId\n", ""),
    (
        "trust_across_accounts_is_conditioned",
        MEMBER,
        "                aws:PrincipalOrgID: !Ref OrganizationId\n",
        "",
    ),
    (
        "trust_across_accounts_is_conditioned",
        MEMBER,
        "                  sts:ExternalId: !Ref ExternalId\n",
        "",
    ),
    (
        "trust_across_accounts_is_conditioned",
        MEMBER,
        "                ArnLike: {aws:PrincipalArn: !Ref Operators}\n",
        "",
    ),
    (
        "trust_across_accounts_is_conditioned",
        ENFORCED,
        "              ArnEquals:\n                aws:PrincipalArn: !Sub",
        "              ArnEquals:\n                aws:SourceArn: !Sub",
    ),
    (
        "trust_across_accounts_is_conditioned",
        MEMBER,
        "Principal: {AWS: !Sub \"arn:${AWS::Partition}:iam::${SecurityAccountId}:root\"}",
        "Principal: {AWS: \"*\"}",
    ),
    (
        "trust_in_services_is_conditioned",
        MEMBER,
        "              StringEquals: {aws:SourceAccount: !Ref AWS::AccountId}\n              ArnLike:",
        "              ArnLike:",
    ),
    (
        "trust_across_accounts_is_conditioned",
        ENFORCED,
        "Principal: {AWS: !Sub \"arn:${AWS::Partition}:iam::${SecurityAccountId}:root\"}",
        "Principal: \"*\"",
    ),
    (
        "trust_across_accounts_is_conditioned",
        ENFORCED,
        "Principal: {AWS: !Sub \"arn:${AWS::Partition}:iam::${SecurityAccountId}:root\"}",
        "Principal: {Federated: accounts.google.com}",
    ),
    (
        "trust_across_accounts_is_conditioned",
        MEMBER,
        "              Principal: {AWS: !Sub \"arn:${AWS::Partition}:iam::${SecurityAccountId}:root\"}",
        "              Principal: {AWS: \"*\"}",
    ),
    (
        "trust_across_accounts_is_conditioned",
        MEMBER,
        "                  aws:PrincipalOrgID: !Ref OrganizationId\n",
        "",
    ),
    (
        "trust_in_services_is_conditioned",
        MEMBER,
        "                aws:SourceArn: !Sub",
        "                aws:PrincipalArn: !Sub",
    ),
    (
        "actions_are_listed",
        ENFORCED,
        "[iam:UpdateAccessKey, iam:ListAccessKeys]",
        "[iam:UpdateAccessKey, \"iam:List*\"]",
    ),
    ("actions_are_listed", MEMBER, "Action: events:PutEvents", "Action: events:*"),
    ("actions_are_listed", SECURITY, "Action: lambda:InvokeFunction", "NotAction: lambda:DeleteFunction"),
    (
        "ledger_writes_name_partitions",
        SECURITY,
        "dynamodb:LeadingKeys: [\"KEY#*\", \"USER#*\", \"ACCOUNT#*\", \"STRAY#*\", \"RATE#*\"]",
        "dynamodb:LeadingKeys: [\"*\"]",
    ),
    (
        "ledger_writes_name_partitions",
        SECURITY,
        "                      - \"CAP#*\"",
        "                      - \"HALT\"",
    ),
    (
        "ledger_writes_name_partitions",
        SECURITY,
        "            Condition: {\"ForAllValues:StringLike\": {\"dynamodb:LeadingKeys\": [\"EXEMPTION#*\", \"DECISION#????????????#*\"]}}\n",
        "",
    ),
    (
        "targets_retry_and_give_up_visibly",
        MEMBER,
        "          DeadLetterConfig: {Arn: !GetAtt UndeliveredEvents.Arn}\n",
        "",
    ),
    (
        "targets_retry_and_give_up_visibly",
        SECURITY,
        "          RetryPolicy: {MaximumRetryAttempts: 185, MaximumEventAgeInSeconds: 86400}\n",
        "",
    ),
    (
        "schedules_retry_and_give_up_visibly",
        SECURITY,
        "        DeadLetterConfig: {Arn: !GetAtt BeginsDead.Arn}\n",
        "",
    ),
    ("schedules_retry_and_give_up_visibly", SECURITY, "AWS::Lambda::EventInvokeConfig", "AWS::Lambda::Alias"),
    ("begins_retry_and_give_up_visibly", SECURITY, "MaximumRetryAttempts: 2\n", "MaximumRetryAttempts: 0\n"),
    (
        "begins_retry_and_give_up_visibly",
        SECURITY,
        "      DestinationConfig: {OnFailure: {Destination: !GetAtt BeginsDead.Arn}}\n",
        "",
    ),
    ("event_rules_pin_their_source", SECURITY, "        source: [aws.iam]\n", ""),
    ("event_rules_pin_their_source", MEMBER, "source: [aws.iam]", "source: [aws.iam, tidewater]"),
    (
        "the_bus_admits_forwarders_of_the_organization",
        SECURITY,
        "          ArnLike: {aws:PrincipalArn: !Sub \"arn:${AWS::Partition}:iam::*:role/${Prefix}-forwarder\"}\n",
        "",
    ),
    ("queues_are_encrypted_and_keep_for_days", SECURITY, "      SqsManagedSseEnabled: true\n", ""),
    ("queues_give_up_visibly", SECURITY, "maxReceiveCount: 20", "maxReceiveCount: 3"),
    (
        "queues_take_nothing_unencrypted",
        SECURITY,
        "              ArnEquals: {aws:SourceArn: !GetAtt KeyEventsRule.Arn}\n",
        "",
    ),
    (
        "queues_take_nothing_unencrypted",
        SECURITY,
        "aws:SecureTransport: \"false\"",
        "aws:SecureTransport: \"true\"",
    ),
    (
        "the_ledger_is_protected",
        SECURITY,
        "    DeletionPolicy: Retain\n    UpdateReplacePolicy: Retain\n    Properties:\n      TableName",
        "    DeletionPolicy: Delete\n    UpdateReplacePolicy: Retain\n    Properties:\n      TableName",
    ),
    ("the_ledger_is_protected", SECURITY, "      DeletionProtectionEnabled: true\n", ""),
    (
        "the_ledger_is_protected",
        SECURITY,
        "PointInTimeRecoveryEnabled: true",
        "PointInTimeRecoveryEnabled: false",
    ),
    (
        "functions_run_as_they_were_measured",
        SECURITY,
        "          KEYTIDE_LOG: !Ref LogLevel",
        "          KEYTIDE_SLACK_TOKEN: nothing-good",
    ),
    (
        "sources_hand_back_what_failed",
        SECURITY,
        "      FunctionResponseTypes: [ReportBatchItemFailures]\n",
        "",
    ),
    ("logs_are_kept_and_end", SECURITY, "      RetentionInDays: !Ref LogRetentionDays\n", ""),
    (
        "alarms_reach_a_person",
        SECURITY,
        "      ComparisonOperator: GreaterThanThreshold\n",
        "      ComparisonOperator: LessThanThreshold\n",
    ),
    ("alarms_reach_a_person", SECURITY, "      EvaluationPeriods: 26\n", "      EvaluationPeriods: 100\n"),
    (
        "alarms_reach_a_person",
        SECURITY,
        "      AlarmActions: [!Ref Alarms]\n",
        "      AlarmActions: [!Ref Alarms]\n      ActionsEnabled: false\n",
    ),
    ("alarms_reach_a_person", SECURITY, "TreatMissingData: breaching", "TreatMissingData: notBreaching"),
    ("alarms_reach_a_person", SECURITY, "      AlarmActions: [!Ref Alarms]\n", ""),
    ("alarms_reach_a_person", SECURITY, "Protocol: email", "Protocol: https"),
    (
        "new_accounts_are_watched",
        ORGANIZATION,
        "AutoDeployment: {Enabled: true",
        "AutoDeployment: {Enabled: false",
    ),
    ("new_accounts_are_watched", ORGANIZATION, "        - {Enabled: false}\n", "        - {Enabled: true}\n"),
];

#[test]
fn each_promise_is_a_rule_that_finds_its_breach_and_no_other() {
    let cases: Vec<(String, Value)> = PROMISES_BROKEN
        .iter()
        .enumerate()
        .map(|(number, (rule, template, good, bad))| {
            (format!("{number} {rule}"), sown(&template_text(template), good, bad))
        })
        .collect();
    let problems = problems_by_guard(&cases);
    for (name, _) in &cases {
        let rule = name.split_once(' ').unwrap().1;
        let prefix = format!("{name}: ");
        let said: Vec<&str> = problems.iter().filter_map(|problem| problem.strip_prefix(&prefix)).collect();
        assert!(said.len() == 1 && said[0].starts_with(&format!("{rule}: ")), "{name}: {said:?}");
    }
    let rules = file("infra/guard/promises.guard");
    let rules: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.strip_prefix("rule ")?.split_whitespace().next()).collect();
    let broken: BTreeSet<&str> = PROMISES_BROKEN.iter().map(|(rule, ..)| *rule).collect();
    assert_eq!(rules, broken, "every rule has a defect sown for it");
}

/// Every policy of IAM's: the roles', people's, and those of `infra/policies/`.
fn policies() -> Vec<(String, Value)> {
    let mut policies: Vec<(String, Value)> =
        POLICIES.iter().map(|name| ((*name).to_owned(), json!(policy_text(name)))).collect();
    for deployed in [security(), member(&[]), enforced()] {
        for role in deployed.ids("AWS::IAM::Role") {
            for policy in deployed.policies(role) {
                policies.push((role.to_owned(), json!(policy.to_string())));
            }
        }
        for id in deployed.ids("AWS::IAM::ManagedPolicy") {
            policies.push((id.to_owned(), json!(deployed.properties(id)["PolicyDocument"].to_string())));
        }
    }
    policies
}

#[test]
fn parliament_knows_every_action_condition_and_resource() {
    let policies = policies();
    assert!(policies.len() >= 16, "{}", policies.len());
    assert_eq!(problems_by_parliament(&policies), [""; 0]);
}

#[test]
fn parliament_finds_what_is_sown_for_it() {
    let of = |name: &str| {
        let (_, text) = policies().into_iter().find(|(candidate, _)| candidate == name).unwrap();
        text.as_str().unwrap().to_owned()
    };
    let cases = [
        ("an action", sown(&of("ReaderRole"), "iam:ListUsers", "iam:ListUser"), "UNKNOWN_ACTION"),
        (
            "a condition",
            sown(&of("WatcherRole"), "dynamodb:LeadingKeys", "dynamodb:LeadingKey"),
            "UNKNOWN_CONDITION",
        ),
        ("a resource", sown(&of("DisablerRole"), ":user/*", ":group/*"), "RESOURCE_MISMATCH"),
        (
            "a service",
            sown(&of("scp-no-root-keys"), "iam:CreateAccessKey", "iams:CreateAccessKey"),
            "UNKNOWN_PREFIX",
        ),
    ];
    let sown: Vec<(String, Value)> =
        cases.iter().map(|(name, text, _)| ((*name).to_owned(), text.clone())).collect();
    let words: Vec<&str> = cases.iter().map(|(.., word)| *word).collect();
    each_is_found(&sown, &words, &problems_by_parliament(&sown));
}

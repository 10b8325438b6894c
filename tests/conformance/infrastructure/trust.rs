//! Who may enter an account, who may send events, and what the organization's policies refuse, by iam-simulate.

use serde_json::{Value, json};

use super::{
    policy,
    template::{EXTERNAL_ID, ORGANIZATION, PROD, SECURITY, enforced, member, security},
};
use crate::counterparts::permissions;

/// A request, a word about it, and whether it is allowed.
struct Case {
    about: String,
    question: Value,
    is_allowed: bool,
}

fn hold(cases: &[Case]) {
    let questions: Vec<(String, Value)> =
        cases.iter().map(|case| (case.about.clone(), case.question.clone())).collect();
    for (case, answer) in cases.iter().zip(permissions(&questions)) {
        assert_eq!(answer == "Allowed", case.is_allowed, "{}: {answer}", case.about);
    }
}

/// A session that may do everything as far as its own account is concerned.
fn may_everything() -> Value {
    json!([{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}])
}

/// Somebody who asks to be let into a role of prod.
#[derive(Clone, Copy)]
struct Visitor {
    account: &'static str,
    role: &'static str,
    organization: &'static str,
    external_id: Option<&'static str>,
}

const WATCHER: Visitor = Visitor {
    account: SECURITY,
    role: "keytide-watcher",
    organization: ORGANIZATION,
    external_id: Some(EXTERNAL_ID),
};
const SWEEPER: Visitor = Visitor { role: "keytide-sweeper", ..WATCHER };
const VERA: Visitor =
    Visitor { role: "aws-reserved/sso.amazonaws.com/AWSReservedSSO_Security_0a1b", ..WATCHER };
const OPERATORS: &str =
    "arn:aws:iam::999988887777:role/aws-reserved/sso.amazonaws.com/*AWSReservedSSO_Security_*";

fn assumes(about: &str, visitor: Visitor, role: &str, besides: &[(&str, &str)], is_allowed: bool) -> Case {
    let member = if role == "DisablerRole" { enforced() } else { member(besides) };
    let Visitor { account, role: own, organization, external_id } = visitor;
    let mut context = json!({
        "aws:PrincipalOrgID": organization,
        "aws:PrincipalArn": format!("arn:aws:iam::{account}:role/{own}"),
    });
    if let Some(external_id) = external_id {
        context["sts:ExternalId"] = json!(external_id);
    }
    let last = own.rsplit('/').next().unwrap();
    let question = json!({
        "principal": format!("arn:aws:sts::{account}:assumed-role/{last}/a-session"),
        "account": PROD,
        "action": "sts:AssumeRole",
        "resource": member.arn(role),
        "policies": may_everything(),
        "trust": member.properties(role)["AssumeRolePolicyDocument"],
        "context": context,
    });
    Case { about: format!("{about} to the {role}"), question, is_allowed }
}

#[test]
fn an_account_is_entered_by_the_right_role_of_the_right_organization_with_the_external_id() {
    let mut cases = vec![
        assumes("the watcher", WATCHER, "ReaderRole", &[], true),
        assumes("the sweeper", SWEEPER, "ReaderRole", &[], true),
        assumes("the sweeper", SWEEPER, "DisablerRole", &[], true),
        assumes("the watcher, which reads what strangers wrote,", WATCHER, "DisablerRole", &[], false),
        assumes("an operator nobody named", VERA, "ReaderRole", &[], false),
        assumes("an operator", VERA, "ReaderRole", &[("Operators", OPERATORS)], true),
        assumes("an operator", VERA, "DisablerRole", &[("Operators", OPERATORS)], false),
        assumes(
            "an operator without the external id",
            Visitor { external_id: None, ..VERA },
            "ReaderRole",
            &[("Operators", OPERATORS)],
            false,
        ),
    ];
    for role in ["ReaderRole", "DisablerRole"] {
        for (about, stranger) in [
            ("another organization", Visitor { organization: "o-stranger01", ..SWEEPER }),
            ("another external id", Visitor { external_id: Some("tidewater-8"), ..SWEEPER }),
            ("no external id", Visitor { external_id: None, ..SWEEPER }),
            ("another role", Visitor { role: "administrator", ..SWEEPER }),
            ("a role with the name for its beginning", Visitor { role: "keytide-sweeper-2", ..SWEEPER }),
            ("the role's name in another account", Visitor { account: "444455556666", ..SWEEPER }),
        ] {
            cases.push(assumes(about, stranger, role, &[("Operators", OPERATORS)], false));
        }
    }
    hold(&cases);
}

#[test]
fn each_condition_of_a_trust_keeps_somebody_out() {
    let strangers = [
        ("sts:ExternalId", Visitor { external_id: Some("tidewater-8"), ..SWEEPER }),
        ("aws:PrincipalOrgID", Visitor { organization: "o-stranger01", ..SWEEPER }),
        ("aws:PrincipalArn", WATCHER),
    ];
    let mut cases = Vec::new();
    for (condition, stranger) in strangers {
        let mut case = assumes(condition, stranger, "DisablerRole", &[], true);
        for operator in ["StringEquals", "ArnEquals"] {
            let conditions = &mut case.question["trust"]["Statement"][0]["Condition"][operator];
            conditions.as_object_mut().unwrap().remove(condition);
        }
        // Without its condition the stranger is in: it was this one, and no other, that kept them out.
        cases.push(case);
        cases.push(assumes(condition, stranger, "DisablerRole", &[], false));
    }
    hold(&cases);
}

#[test]
fn the_bus_takes_events_from_forwarders_of_the_organization_alone() {
    let security = security();
    let bus = security.arn("EventBus");
    let statement = security.properties("EventBusPolicy")["Statement"].clone();
    let puts = |about: &str, account: &str, role: &str, organization: &str, is_allowed| {
        let question = json!({
            "principal": format!("arn:aws:sts::{account}:assumed-role/{role}/a-session"),
            "account": SECURITY, "action": "events:PutEvents", "resource": bus, "policies": may_everything(),
            "trust": {"Version": "2012-10-17", "Statement": [statement]},
            "context": {
                "aws:PrincipalOrgID": organization,
                "aws:PrincipalArn": format!("arn:aws:iam::{account}:role/{role}"),
            },
        });
        Case { about: about.to_owned(), question, is_allowed }
    };
    hold(&[
        puts("prod's forwarder", PROD, "keytide-forwarder", ORGANIZATION, true),
        puts("another role of prod", PROD, "administrator", ORGANIZATION, false),
        puts(
            "a forwarder of another organization",
            "222233334444",
            "keytide-forwarder",
            "o-stranger01",
            false,
        ),
    ]);
}

/// A request in prod by an administrator who may do everything that the organization's policy lets through.
fn under(
    scp: &str,
    about: &str,
    arn: &str,
    action: &str,
    resource: &str,
    context: &Value,
    is_allowed: bool,
) -> Case {
    let mut context = context.clone();
    context["aws:PrincipalArn"] = json!(arn);
    let question = json!({
        "principal": arn, "account": PROD, "action": action, "resource": resource, "policies": may_everything(),
        "scps": [policy(scp)], "context": context,
    });
    Case { about: format!("{about}: {action} of {resource}"), question, is_allowed }
}

const ADMINISTRATOR: &str = "arn:aws:iam::111122223333:role/administrator";
const APPROVER: &str = "arn:aws:iam::111122223333:role/access-key-approvers";
const STACK_SETS: &str = "arn:aws:iam::111122223333:role/stacksets-exec-0a1b2c3d";
/// A role of a path that only begins so.
const UNDER_THE_STACK_SETS: &str = "arn:aws:iam::111122223333:role/stacksets-exec-0a1b2c3d/approver";
const ROOT: &str = "arn:aws:iam::111122223333:root";
const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
const ALICE_UNDER_A_PATH: &str = "arn:aws:iam::111122223333:user/engineering/alice";

#[test]
fn the_organizations_policies_refuse_what_their_pages_say() {
    let none = json!({});
    let root = "scp-no-root-keys";
    let approved = "scp-keys-only-for-approved-users";
    let own = "scp-protect-keytide";
    let tagged = |value: &str| json!({"aws:ResourceTag/access-keys": value});
    let keys = |key: &str| json!({"aws:TagKeys": [key], "aws:username": "alice"});
    let role_of = |name: &str| format!("arn:aws:iam::111122223333:role/{name}");
    let events_rule = |name: &str| format!("arn:aws:events:us-east-1:111122223333:rule/{name}");
    let mut cases = vec![
        under(root, "root", ROOT, "iam:CreateAccessKey", ALICE, &none, false),
        under(root, "an administrator", ADMINISTRATOR, "iam:CreateAccessKey", ALICE, &none, true),
        under(root, "root deletes what there is", ROOT, "iam:DeleteAccessKey", ALICE, &none, true),
        under(approved, "a user without the tag", ADMINISTRATOR, "iam:CreateAccessKey", ALICE, &none, false),
        under(
            approved,
            "a user with another value",
            ADMINISTRATOR,
            "iam:CreateAccessKey",
            ALICE,
            &tagged("yes"),
            false,
        ),
        under(
            approved,
            "a user who is approved",
            ADMINISTRATOR,
            "iam:CreateAccessKey",
            ALICE,
            &tagged("approved"),
            true,
        ),
        under(approved, "keytide disables", ADMINISTRATOR, "iam:UpdateAccessKey", ALICE, &none, true),
        under(approved, "oneself", ALICE, "iam:TagUser", ALICE, &keys("access-keys"), false),
        under(approved, "an administrator", ADMINISTRATOR, "iam:TagUser", ALICE, &keys("access-keys"), false),
        under(approved, "in another case", ADMINISTRATOR, "iam:TagUser", ALICE, &keys("Access-Keys"), false),
        under(
            approved,
            "when the user is made",
            ADMINISTRATOR,
            "iam:CreateUser",
            ALICE,
            &keys("access-keys"),
            false,
        ),
        under(approved, "another tag", ADMINISTRATOR, "iam:TagUser", ALICE, &keys("team"), true),
        under(approved, "an approver", APPROVER, "iam:TagUser", ALICE, &keys("access-keys"), true),
        under(
            approved,
            "who would become one",
            ADMINISTRATOR,
            "iam:UpdateAssumeRolePolicy",
            &role_of("access-key-approvers"),
            &none,
            false,
        ),
        under(own, "one's own notices", ALICE, "iam:TagUser", ALICE, &keys("slack-id"), false),
        under(
            own,
            "one's own, under a path",
            ALICE,
            "iam:TagUser",
            ALICE_UNDER_A_PATH,
            &keys("slack-id"),
            false,
        ),
        under(
            own,
            "who takes a role's name first, under a path",
            ADMINISTRATOR,
            "iam:CreateRole",
            &role_of("x/keytide-disabler"),
            &none,
            false,
        ),
        under(own, "one's own other tags", ALICE, "iam:TagUser", ALICE, &keys("team"), true),
        under(
            own,
            "a role of somebody else's",
            ADMINISTRATOR,
            "iam:DeleteRole",
            &role_of("web"),
            &none,
            true,
        ),
        under(
            own,
            "a rule of somebody else's",
            ADMINISTRATOR,
            "events:DisableRule",
            &events_rule("nightly"),
            &none,
            true,
        ),
        under(
            own,
            "one who would pass for a StackSet",
            ADMINISTRATOR,
            "iam:CreateRole",
            STACK_SETS,
            &none,
            false,
        ),
        under(
            own,
            "passing the forwarder",
            ADMINISTRATOR,
            "iam:PassRole",
            &role_of("keytide-forwarder"),
            &none,
            false,
        ),
    ];
    for (who, is_allowed) in [(ADMINISTRATOR, false), (ROOT, false), (STACK_SETS, true)] {
        for name in ["keytide-reader", "keytide-disabler", "keytide-forwarder"] {
            for action in
                ["iam:CreateRole", "iam:DeleteRole", "iam:UpdateAssumeRolePolicy", "iam:PutRolePolicy"]
            {
                cases.push(under(own, who, who, action, &role_of(name), &none, is_allowed));
            }
        }
        for name in ["keytide-key-events", "keytide-own-role-events"] {
            for action in
                ["events:DisableRule", "events:DeleteRule", "events:PutRule", "events:RemoveTargets"]
            {
                cases.push(under(own, who, who, action, &events_rule(name), &none, is_allowed));
            }
        }
    }
    hold(&cases);
}

/// What each statement of a service control policy refuses: its actions, what they are asked of, and the tags that they
/// would set.
type Refusal =
    (&'static str, &'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

/// What changes a role.
const ROLE_ACTIONS: [&str; 13] = [
    "iam:AttachRolePolicy",
    "iam:CreateRole",
    "iam:DeleteRole",
    "iam:DeleteRolePermissionsBoundary",
    "iam:DeleteRolePolicy",
    "iam:DetachRolePolicy",
    "iam:PutRolePermissionsBoundary",
    "iam:PutRolePolicy",
    "iam:TagRole",
    "iam:UntagRole",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateRole",
    "iam:UpdateRoleDescription",
];
const REFUSALS: [Refusal; 12] = [
    ("scp-no-root-keys", "RootMakesNoKeys", &["iam:CreateAccessKey"], &[ALICE], &[]),
    (
        "scp-keys-only-for-approved-users",
        "KeysOnlyForApprovedUsers",
        &["iam:CreateAccessKey"],
        &[ALICE, ALICE_UNDER_A_PATH],
        &[],
    ),
    (
        "scp-keys-only-for-approved-users",
        "OnlyApproversSetTheTag",
        &["iam:CreateUser", "iam:TagUser", "iam:UntagUser"],
        &[ALICE, ALICE_UNDER_A_PATH],
        &["access-keys", "ACCESS-KEYS"],
    ),
    ("scp-keys-only-for-approved-users", "NobodyBecomesAnApprover", &ROLE_ACTIONS, &[APPROVER], &[]),
    (
        "scp-keys-only-for-approved-users",
        "NobodyPassesForTheStackSets",
        &ROLE_ACTIONS,
        &[STACK_SETS, UNDER_THE_STACK_SETS],
        &[],
    ),
    (
        "scp-protect-keytide",
        "KeytidesRolesStay",
        &ROLE_ACTIONS,
        &[
            "arn:aws:iam::111122223333:role/keytide-reader",
            "arn:aws:iam::111122223333:role/keytide-disabler",
            "arn:aws:iam::111122223333:role/keytide-forwarder",
            "arn:aws:iam::111122223333:role/x/keytide-reader",
            "arn:aws:iam::111122223333:role/x/keytide-disabler",
            "arn:aws:iam::111122223333:role/x/y/keytide-forwarder",
        ],
        &[],
    ),
    (
        "scp-protect-keytide",
        "TheForwarderIsPassedToNothingElse",
        &["iam:PassRole"],
        &["arn:aws:iam::111122223333:role/keytide-forwarder"],
        &[],
    ),
    (
        "scp-protect-keytide",
        "KeytidesRulesStay",
        &[
            "events:DeleteRule",
            "events:DisableRule",
            "events:PutRule",
            "events:PutTargets",
            "events:RemoveTargets",
        ],
        &[
            "arn:aws:events:us-east-1:111122223333:rule/keytide-key-events",
            "arn:aws:events:us-east-1:111122223333:rule/keytide-own-role-events",
        ],
        &[],
    ),
    (
        "scp-protect-keytide",
        "KeytidesStacksStay",
        &[
            "cloudformation:CancelUpdateStack",
            "cloudformation:ContinueUpdateRollback",
            "cloudformation:CreateChangeSet",
            "cloudformation:DeleteStack",
            "cloudformation:ExecuteChangeSet",
            "cloudformation:RollbackStack",
            "cloudformation:SetStackPolicy",
            "cloudformation:UpdateStack",
        ],
        &[
            "arn:aws:cloudformation:us-east-1:111122223333:stack/StackSet-keytide-member-0a1b/9f",
            "arn:aws:cloudformation:us-east-1:111122223333:stack/StackSet-keytide-enforced-0a1b/9f",
        ],
        &[],
    ),
    (
        "scp-protect-keytide",
        "TheQueueOfTheUndeliveredStays",
        &["sqs:AddPermission", "sqs:DeleteQueue", "sqs:RemovePermission", "sqs:SetQueueAttributes"],
        &["arn:aws:sqs:us-east-1:111122223333:keytide-undelivered"],
        &[],
    ),
    (
        "scp-protect-keytide",
        "NobodyPassesForTheStackSets",
        &ROLE_ACTIONS,
        &[STACK_SETS, UNDER_THE_STACK_SETS],
        &[],
    ),
    (
        "scp-protect-keytide",
        "NobodySetsTheirOwnOwner",
        &["iam:TagUser", "iam:UntagUser"],
        &[ALICE, ALICE_UNDER_A_PATH],
        &["type", "slack-id", "key-max-age-days"],
    ),
];

#[test]
fn each_action_of_the_organizations_policies_is_refused_of_whatever_it_is_about() {
    let mut cases = Vec::new();
    for (scp, statement, actions, resources, tags) in REFUSALS {
        let found = policy(scp)["Statement"].as_array().unwrap().clone();
        let found = found.into_iter().find(|one| one["Sid"] == statement).unwrap();
        let listed =
            if found["Action"].is_array() { found["Action"].clone() } else { json!([found["Action"]]) };
        assert_eq!(listed, json!(actions), "{statement}");
        let contexts: Vec<Value> = if tags.is_empty() {
            vec![json!({})]
        } else {
            tags.iter().map(|tag| json!({"aws:TagKeys": [tag], "aws:username": "alice"})).collect()
        };
        let askers: &[&str] = match statement {
            "RootMakesNoKeys" => &[ROOT],
            "NobodySetsTheirOwnOwner" => &[ALICE],
            _ => &[ADMINISTRATOR, ROOT, ALICE],
        };
        for asker in askers {
            for action in actions {
                for resource in resources {
                    for context in &contexts {
                        cases.push(under(scp, statement, asker, action, resource, context, false));
                    }
                }
            }
        }
    }
    assert!(cases.len() > 300, "{}", cases.len());
    hold(&cases);
}

#[test]
fn each_statement_of_the_organizations_policies_refuses_something() {
    let none = json!({});
    let keys = |key: &str| json!({"aws:TagKeys": [key], "aws:username": "alice"});
    let approvers = "arn:aws:iam::111122223333:role/access-key-approvers";
    let reader = "arn:aws:iam::111122223333:role/keytide-reader";
    let forwarder = "arn:aws:iam::111122223333:role/keytide-forwarder";
    let rule = "arn:aws:events:us-east-1:111122223333:rule/keytide-key-events";
    let stack = "arn:aws:cloudformation:us-east-1:111122223333:stack/StackSet-keytide-member-0a1b/9f";
    let undelivered = "arn:aws:sqs:us-east-1:111122223333:keytide-undelivered";
    let approved = "scp-keys-only-for-approved-users";
    let own = "scp-protect-keytide";
    let refused = [
        ("scp-no-root-keys", "RootMakesNoKeys", ROOT, "iam:CreateAccessKey", ALICE, &none),
        (approved, "KeysOnlyForApprovedUsers", ADMINISTRATOR, "iam:CreateAccessKey", ALICE, &none),
        (approved, "OnlyApproversSetTheTag", ALICE, "iam:TagUser", ALICE, &keys("access-keys")),
        (approved, "NobodyBecomesAnApprover", ADMINISTRATOR, "iam:CreateRole", approvers, &none),
        (approved, "NobodyPassesForTheStackSets", ADMINISTRATOR, "iam:CreateRole", STACK_SETS, &none),
        (own, "KeytidesRolesStay", ADMINISTRATOR, "iam:DeleteRole", reader, &none),
        (own, "TheForwarderIsPassedToNothingElse", ADMINISTRATOR, "iam:PassRole", forwarder, &none),
        (own, "KeytidesRulesStay", ADMINISTRATOR, "events:DisableRule", rule, &none),
        (own, "KeytidesStacksStay", ADMINISTRATOR, "cloudformation:DeleteStack", stack, &none),
        (own, "TheQueueOfTheUndeliveredStays", ADMINISTRATOR, "sqs:DeleteQueue", undelivered, &none),
        (own, "NobodyPassesForTheStackSets", ADMINISTRATOR, "iam:CreateRole", STACK_SETS, &none),
        (own, "NobodySetsTheirOwnOwner", ALICE, "iam:TagUser", ALICE, &keys("slack-id")),
    ];
    let all =
        ["scp-no-root-keys", approved, own].map(|scp| policy(scp)["Statement"].as_array().unwrap().len());
    assert_eq!(refused.len(), all.iter().sum::<usize>(), "a case for every statement");
    let mut cases = Vec::new();
    for (scp, statement, arn, action, resource, context) in refused {
        cases.push(under(scp, statement, arn, action, resource, context, false));
        // Without the statement it is allowed: it was this one, and no other, that refused it.
        let mut without = under(scp, statement, arn, action, resource, context, true);
        let list = without.question["scps"][0]["Statement"].as_array_mut().unwrap();
        list.retain(|one| one["Sid"] != statement);
        if list.is_empty() {
            without.question["scps"] = json!([]);
        }
        cases.push(without);
    }
    hold(&cases);
}

#[test]
fn people_look_after_themselves_and_assume_roles_with_mfa() {
    let asks = |about: &str, action: &str, resource: &str, mfa: Option<&str>, is_allowed| {
        let mut context = json!({"aws:username": "alice"});
        if let Some(mfa) = mfa {
            context["aws:MultiFactorAuthPresent"] = json!(mfa);
        }
        let roles = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"},
        ]});
        let question = json!({
            "principal": ALICE, "account": PROD, "action": action, "resource": resource,
            "policies": [policy("self-manage-only"), policy("no-role-without-mfa"), roles], "context": context,
        });
        Case { about: format!("{about}: {action} of {resource}"), question, is_allowed }
    };
    let bruno = "arn:aws:iam::111122223333:user/bruno";
    let role = "arn:aws:iam::111122223333:role/deploy";
    hold(&[
        asks("with MFA", "iam:CreateAccessKey", ALICE, Some("true"), true),
        asks("without MFA", "iam:CreateAccessKey", ALICE, Some("false"), false),
        asks("by a key alone", "iam:CreateAccessKey", ALICE, None, false),
        asks("for somebody else", "iam:CreateAccessKey", bruno, Some("true"), false),
        asks("with MFA, under a path", "iam:CreateAccessKey", ALICE_UNDER_A_PATH, Some("true"), true),
        asks("oneself", "iam:ChangePassword", ALICE, None, true),
        asks("oneself, under a path", "iam:ChangePassword", ALICE_UNDER_A_PATH, None, true),
        asks("from the console", "iam:EnableMFADevice", ALICE, Some("false"), true),
        asks("by a key alone", "iam:EnableMFADevice", ALICE, None, false),
        asks("somebody else", "iam:ChangePassword", bruno, Some("true"), false),
        asks("with MFA", "sts:AssumeRole", role, Some("true"), true),
        asks("without MFA", "sts:AssumeRole", role, Some("false"), false),
        asks("by a key alone", "sts:AssumeRole", role, None, false),
        asks("more than oneself", "iam:AttachUserPolicy", ALICE, Some("true"), false),
    ]);
}

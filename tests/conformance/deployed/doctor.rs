//! `keytide doctor` of an installation that was deployed by the templates, by somebody who has `keytide-doctor` and
//! `keytide-look` and nothing else, with IAM enforced in both accounts.

use serde_json::{Value, json};

use super::installation::{EXTERNAL_ID, Installation, OPERATOR, SECURITY, bus_statement};

/// Somebody of those on call, with the doctor's rights.
fn on_call(keytide: &mut Installation) -> Value {
    let role = OPERATOR.rsplit('/').next().unwrap();
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"AWS": format!("arn:aws:iam::{SECURITY}:root")}, "Action": "sts:AssumeRole"}]});
    keytide.call(
        SECURITY,
        "iam",
        "create_role",
        json!({"RoleName": role, "AssumeRolePolicyDocument": trust.to_string()}),
    );
    for policy in ["keytide-doctor", "keytide-look"] {
        let arn = format!("arn:aws:iam::{SECURITY}:policy/{policy}");
        keytide.call(SECURITY, "iam", "attach_role_policy", json!({"RoleName": role, "PolicyArn": arn}));
    }
    session(keytide)
}

/// An hour of theirs.
fn session(keytide: &mut Installation) -> Value {
    let begun = json!({"RoleArn": OPERATOR, "RoleSessionName": "vera"});
    keytide.call(SECURITY, "sts", "assume_role", begun)["Credentials"].take()
}

fn findings(keytide: &Installation, session: &Value, external_id: &str) -> Vec<(String, String)> {
    let channel = keytide.slack.channels["access-keys"].clone();
    let arguments = ["doctor", "--external-id", external_id, "--channel", &channel, "--format", "json"];
    let (_, said) = keytide.keytide_as(session, &arguments);
    let said: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(said["accounts"], 2, "{said:#}");
    let findings = said["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| {
            let account = finding["account"].as_str().unwrap_or("installation").to_owned();
            (account, finding["what"].as_str().unwrap().to_owned())
        })
        .collect()
}

/// What the templates do not make: a trail, and the bus's policy, which MiniStack's CloudFormation does not know.
fn besides(keytide: &mut Installation) {
    let policy = json!({"Version": "2012-10-17", "Statement": [bus_statement(&keytide.organization)]});
    keytide.call(
        SECURITY,
        "events",
        "put_permission",
        json!({"EventBusName": "keytide", "Policy": policy.to_string()}),
    );
    let trail = json!({"Name": "all", "S3BucketName": "tidewater-artifacts", "IsMultiRegionTrail": true,
        "IsOrganizationTrail": true, "IncludeGlobalServiceEvents": true});
    keytide.call(SECURITY, "cloudtrail", "create_trail", trail);
    keytide.call(SECURITY, "cloudtrail", "start_logging", json!({"Name": "all"}));
}

/// What is found only since MiniStack and emulate are not AWS and Slack: of whom, how it begins, and why.
const OF_THE_STAND_INS: [(&str, &str, &str); 4] = [
    ("installation", "Slack did not say which scopes", "emulate sends no x-oauth-scopes"),
    ("installation", "old rows of the ledger never expire", "MiniStack takes no expiry from a template"),
    ("installation", "the ledger's table cannot be restored", "nor a table's recovery"),
    ("prod", "no trail records IAM's calls", "it shows the organization's trail in its own account alone"),
];

/// The findings that are not the stand-ins'; each of those has to be there, or it has learnt something.
fn own(keytide: &Installation, findings: Vec<(String, String)>, entered: bool) -> Vec<(String, String)> {
    let is_of = |account: &str, of: &str| match of {
        "account" => account != "installation",
        "prod" => account == keytide.prod,
        of => account == of,
    };
    for (of, begins, why) in OF_THE_STAND_INS {
        let is_found = findings.iter().any(|(account, what)| is_of(account, of) && what.starts_with(begins));
        assert!(is_found || (of == "prod" && !entered), "no longer so: {why}");
    }
    let mut findings = findings;
    findings.retain(|(account, what)| {
        !OF_THE_STAND_INS.iter().any(|(of, begins, _)| is_of(account, of) && what.starts_with(begins))
    });
    findings
}

#[tokio::test]
async fn the_doctor_finds_in_what_the_templates_deploy_only_what_is_still_to_be_done() {
    let mut keytide = Installation::new().await;
    let vera = on_call(&mut keytide);
    besides(&mut keytide);
    let prod = keytide.prod.clone();
    let of = |account: &str, what: &str| (account.to_owned(), what.to_owned());
    let disabler = of(&prod, "the role keytide-disabler is there, and the account is in observe");
    let never = |account: &str| of(account, "it was never swept with success");

    let found = findings(&keytide, &vera, EXTERNAL_ID);
    let found = own(&keytide, found, true);
    // With keytide's own scopes Slack says nothing of a channel; that a digest stands in it does.
    let unseen = "whether the bot is in the channel could not be looked at (missing_scope), and no digest was posted of late";
    let to_do = [
        of("installation", "no run has ever begun"),
        of("installation", unseen),
        never(&prod),
        disabler.clone(),
        never(SECURITY),
    ];
    assert_eq!(found, to_do);

    // With another external id the other account lets nobody in, and that is said once.
    let found = findings(&keytide, &vera, "another");
    let found = own(&keytide, found, false);
    let refused: Vec<&str> =
        found.iter().filter(|(account, _)| *account == prod).map(|(_, what)| what.as_str()).collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(
        refused[1].starts_with("it could not be entered") && refused[1].contains("sts:AssumeRole"),
        "{refused:?}"
    );

    keytide.sweep_after(1, super::installation::BEGIN.parse().unwrap()).await;
    // The digest is posted before the last message is taken from its queue.
    keytide.is_done("keytide-accounts").await;
    let vera = session(&mut keytide);
    let found = findings(&keytide, &vera, EXTERNAL_ID);
    assert_eq!(own(&keytide, found, true), [disabler]);
}

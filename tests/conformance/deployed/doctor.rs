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

#[tokio::test]
async fn the_doctor_is_content_with_what_the_templates_deploy() {
    let mut keytide = Installation::new().await;
    let session = on_call(&mut keytide);
    besides(&mut keytide);
    println!("new {:#?}", findings(&keytide, &session, EXTERNAL_ID));
    println!("wrong {:#?}", findings(&keytide, &session, "another"));
    keytide.sweep_after(1, super::installation::BEGIN.parse().unwrap()).await;
    println!("swept {:#?}", findings(&keytide, &session, EXTERNAL_ID));
    panic!();
}

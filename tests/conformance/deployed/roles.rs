//! The roles as they are deployed are those that iam-simulate has judged in `infrastructure::permissions`.

use serde_json::{Value, json};

use super::installation::{Installation, OPERATOR, SECURITY};
use crate::infrastructure::template::{self, Deployed};

/// What the judge's organization and account are called.
const JUDGED: [&str; 2] = [template::ORGANIZATION, template::PROD];

/// A role's trust and its policies, as IAM says that they are.
fn read_back(keytide: &mut Installation, account: &str, role: &str) -> (Value, Vec<Value>) {
    let of_role = json!({"RoleName": role});
    let trust = keytide.call(account, "iam", "get_role", of_role.clone());
    let names = keytide.call(account, "iam", "list_role_policies", of_role.clone());
    let attached = keytide.call(account, "iam", "list_attached_role_policies", of_role);
    assert_eq!(attached["AttachedPolicies"], json!([]), "{role}");
    let policies = names["PolicyNames"].as_array().unwrap().iter().map(|name| {
        let asked = json!({"RoleName": role, "PolicyName": name});
        keytide.call(account, "iam", "get_role_policy", asked)["PolicyDocument"].take()
    });
    let policies = policies.collect();
    (trust["Role"]["AssumeRolePolicyDocument"].clone(), policies)
}

#[tokio::test]
async fn the_roles_that_are_deployed_are_those_that_were_judged() {
    let mut keytide = Installation::new().await;
    let (organization, prod) = (keytide.organization.clone(), keytide.prod.clone());
    let here = |judged: &Value| -> Value {
        let text = judged.to_string().replace(JUDGED[0], &organization).replace(JUDGED[1], &prod);
        serde_json::from_str(&text).unwrap()
    };
    let stacks: [(&str, Deployed); 3] = [
        (SECURITY, template::security()),
        (&prod, template::member(&[("Operators", OPERATOR)])),
        (&prod, template::enforced()),
    ];
    let mut roles = 0;
    for (account, judged) in &stacks {
        for id in judged.ids("AWS::IAM::Role") {
            let (trust, policies) = read_back(&mut keytide, account, &judged.name(id));
            assert_eq!(trust, here(&judged.properties(id)["AssumeRolePolicyDocument"]), "{id}");
            assert_eq!(policies, judged.policies(id).iter().map(here).collect::<Vec<_>>(), "{id}");
            roles += 1;
        }
    }
    assert_eq!(roles, 6);
}

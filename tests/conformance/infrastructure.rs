//! The templates of `infra/`, proven before they are deployed: by judges that others wrote, each shown to find a defect
//! that is sown for it, and by ties to the code that runs in what they describe.
#![expect(clippy::indexing_slicing, clippy::panic, reason = "a test says so by failing")]

mod doctor;
mod judges;
mod permissions;
mod runbook;
pub(crate) mod template;
mod ties;
mod trust;

use std::{fs, path::Path};

use serde_json::Value;

/// Every template, by its file's name.
const TEMPLATES: [&str; 4] =
    ["security-account.yaml", "member-account.yaml", "enforced-account.yaml", "organization.yaml"];
/// The policies of `infra/policies/`, by their files' names; the password policy is none of IAM's.
const POLICIES: [&str; 5] = [
    "self-manage-only",
    "no-role-without-mfa",
    "scp-no-root-keys",
    "scp-keys-only-for-approved-users",
    "scp-protect-keytide",
];

/// A file of the project, by its path from the root.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn template_text(name: &str) -> String {
    file(&format!("infra/{name}"))
}

fn policy_text(name: &str) -> String {
    file(&format!("infra/policies/{name}.json"))
}

fn policy(name: &str) -> Value {
    serde_json::from_str(&policy_text(name)).unwrap()
}

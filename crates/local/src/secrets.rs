//! Secrets Manager: secrets that are read.

use serde::Deserialize;

use crate::LocalAws;
use crate::answer::{Answer, JSON_1_1};
use crate::error::LocalError;
use crate::world::{Caller, Refusal};

pub(crate) const OPERATIONS: &[&str] = &["GetSecretValue"];

/// The present version of a secret.
pub(crate) struct SecretVersion {
    value: String,
    number: u64,
    created_second: i64,
}

/// Without the value, which must not end up in a log.
impl std::fmt::Debug for SecretVersion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SecretVersion {}", self.number)
    }
}

/// The secrets of a [`LocalAws`].
#[derive(Debug, Clone, Copy)]
pub struct Secrets<'aws> {
    aws: &'aws LocalAws,
}

impl<'aws> Secrets<'aws> {
    pub(crate) fn of(aws: &'aws LocalAws) -> Self {
        Self { aws }
    }

    /// Puts a secret into the home account, or a new version of it, and gives its ARN.
    pub fn put(self, name: &str, value: &str) -> Result<String, LocalError> {
        self.put_in(crate::HOME_ACCOUNT, name, value)
    }

    /// Puts a secret into an account, or a new version of it, and gives its ARN.
    pub fn put_in(self, account: &str, name: &str, value: &str) -> Result<String, LocalError> {
        let created_second = self.aws.now().as_second();
        let mut world = self.aws.world();
        if world.account(account).is_none() {
            return Err(LocalError::Absent { kind: "account", name: account.to_owned() });
        }
        let place = (account.to_owned(), name.to_owned());
        let number = world.secrets.get(&place).map_or(1, |old| old.number + 1);
        world.secrets.insert(place, SecretVersion { value: value.to_owned(), number, created_second });
        Ok(arn_of(account, name))
    }
}

#[derive(Deserialize)]
struct GetSecretValue {
    #[serde(rename = "SecretId")]
    secret_id: String,
}

pub(crate) fn serve(aws: &LocalAws, operation: &'static str, caller: &Caller, body: &[u8]) -> Answer {
    let refuse =
        |code, message: &str| Refusal::new(400, code, message).answer(crate::Service::SecretsManager);
    if operation != "GetSecretValue" {
        return refuse("UnknownOperationException", "");
    }
    let Ok(request) = serde_json::from_slice::<GetSecretValue>(body) else {
        return refuse("InvalidParameterException", "SecretId is required and must be a text.");
    };
    let world = aws.world();
    let found = world.secrets.iter().find(|((account, name), _)| {
        *account == caller.account
            && (*name == request.secret_id || arn_of(account, name) == request.secret_id)
    });
    let Some(((account, name), secret)) = found else {
        return refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret.");
    };
    Answer::json(
        JSON_1_1,
        serde_json::json!({
            "ARN": arn_of(account, name),
            "Name": name,
            "VersionId": format!("00000000-0000-4000-8000-{:012}", secret.number),
            "VersionStages": ["AWSCURRENT"],
            "SecretString": secret.value,
            "CreatedDate": secret.created_second,
        })
        .to_string(),
    )
}

/// AWS adds six characters of its own choice to the name.
fn arn_of(account: &str, name: &str) -> String {
    format!("arn:aws:secretsmanager:us-east-1:{account}:secret:{name}-LoCaL1")
}

//! The policy that narrows one session of a role (STS's API reference, `AssumeRole`, `Policy`).
//!
//! As much of IAM's policy language as a session needs that may do a few things to one user. What
//! is not understood is refused, and never ignored: a simulation that reads a policy more widely
//! than AWS would prove nothing.

use serde::Deserialize;

use crate::world::{Refusal, is_account_id};

/// The longest policy, in characters (STS's API reference).
const LONGEST: usize = 2_048;

/// A session's own policy: it allows what one of its statements does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionPolicy {
    statements: Vec<Statement>,
    /// How much of the room for policies it takes, in percent.
    pub(crate) packed_percent: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    #[serde(rename = "Sid", default)]
    _sid: Option<String>,
    effect: Effect,
    action: OneOrMore<String>,
    resource: OneOrMore<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    #[serde(rename = "Version", default)]
    _version: Option<Version>,
    #[serde(rename = "Id", default)]
    _id: Option<String>,
    statement: OneOrMore<Statement>,
}

#[derive(Deserialize)]
enum Version {
    #[serde(rename = "2012-10-17")]
    Present,
    #[serde(rename = "2008-10-17")]
    Former,
}

/// A policy may write a list of one without the list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

impl SessionPolicy {
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let length = text.chars().count();
        if !(1..=LONGEST).contains(&length) {
            return Err(Refusal::new(
                400,
                "ValidationError",
                format!(
                    "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must \
                     have length between 1 and {LONGEST}"
                ),
            ));
        }
        let document: Document = serde_json::from_str(text).map_err(|error| {
            malformed(&format!("{error}; only Allow statements of actions on users are known"))
        })?;
        let statements = document.statement.as_slice().to_vec();
        if statements.is_empty() {
            return Err(malformed("Statement is empty"));
        }
        for statement in &statements {
            statement.check()?;
        }
        Ok(Self { statements, packed_percent: (length * 100).div_ceil(LONGEST) })
    }

    /// Whether a statement allows the action on that resource. What concerns no user, or one that is
    /// not known, has no resource here: only `*` covers it.
    pub(crate) fn permits(&self, action: &str, resource: Option<&str>) -> bool {
        self.statements.iter().any(|statement| {
            let actions = statement.action.as_slice();
            let resources = statement.resource.as_slice();
            actions.iter().any(|pattern| covers(pattern, action))
                && resources.iter().any(|allowed| allowed == "*" || Some(allowed.as_str()) == resource)
        })
    }
}

impl Statement {
    fn check(&self) -> Result<(), Refusal> {
        let Effect::Allow = self.effect;
        let (actions, resources) = (self.action.as_slice(), self.resource.as_slice());
        if actions.is_empty() || resources.is_empty() {
            return Err(malformed("a statement needs an Action and a Resource"));
        }
        for action in actions {
            let name = action.strip_suffix('*').unwrap_or(action);
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-".contains(&byte));
            // `*` alone is every action; all others name their service.
            if !plain || (action != "*" && !name.contains(':')) {
                return Err(malformed(&format!(
                    "Action {action:?}: expected a service, a colon and a name, with a * at most at its end"
                )));
            }
        }
        match resources.iter().find(|resource| *resource != "*" && !is_user_arn(resource)) {
            Some(other) => Err(malformed(&format!("Resource {other:?}: expected * or one user's ARN"))),
            None => Ok(()),
        }
    }
}

/// Actions are compared without regard to case (IAM's reference of policy elements, `Action`).
fn covers(pattern: &str, action: &str) -> bool {
    match pattern.strip_suffix('*') {
        None => pattern.eq_ignore_ascii_case(action),
        Some(beginning) => {
            action.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
        }
    }
}

/// `arn:aws:iam::111122223333:user/path/name`, without wildcards.
fn is_user_arn(resource: &str) -> bool {
    let parts = resource.strip_prefix("arn:aws:iam::").and_then(|rest| rest.split_once(":user/"));
    parts.is_some_and(|(account, path_and_name)| {
        is_account_id(account) && !path_and_name.is_empty() && !path_and_name.contains(['*', '?', '$'])
    })
}

fn malformed(why: &str) -> Refusal {
    Refusal::new(400, "MalformedPolicyDocument", format!("Syntax errors in policy. {why}"))
}

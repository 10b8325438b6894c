//! Rules of EventBridge: there, enabled, asking for what the templates ask for, sending it on unchanged.

use serde_json::Value;

use super::{Findings, REGION};

/// What the templates declare; a test in `tests/conformance` holds it to them.
const EXPECTED: &str = include_str!("../expected.json");

/// A rule that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Rule {
    pub(in super::super) is_enabled: bool,
    /// Null where the rule has none.
    pub(in super::super) pattern: Value,
    pub(in super::super) targets: Vec<Target>,
}

/// Where a rule sends to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Target {
    pub(in super::super) arn: String,
    /// The role that sends.
    pub(in super::super) role: Option<String>,
    /// Whether it sends something else than the event.
    pub(in super::super) is_rewritten: bool,
    /// Where it puts what cannot be delivered.
    pub(in super::super) dead_letters: Option<String>,
}

/// A rule as it should be.
pub(super) struct Wanted<'a> {
    /// Its name without the prefix, as `expected.json` has it.
    pub(super) name: &'a str,
    pub(super) prefix: &'a str,
    pub(super) bus: Option<&'a str>,
    pub(super) target: String,
    pub(super) role: Option<String>,
    pub(super) dead_letters: String,
    /// The account that it is in.
    pub(super) account: &'a str,
    /// What brings it back where it was deleted or changed.
    pub(super) mend: &'a str,
}

/// A rule's pattern, as the templates declare it.
pub(super) fn pattern(name: &str, prefix: &str) -> Value {
    let expected = EXPECTED.replace("${Prefix}", prefix);
    let mut expected: Value = serde_json::from_str(&expected).unwrap_or_default();
    expected.pointer_mut(&format!("/patterns/{name}")).map(Value::take).unwrap_or_default()
}

/// A pattern with its lists in one order: of alternatives the order says nothing.
fn in_order(pattern: &Value) -> Value {
    match pattern {
        Value::Array(values) => {
            let mut values: Vec<Value> = values.iter().map(in_order).collect();
            values.sort_by_key(Value::to_string);
            Value::Array(values)
        }
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), in_order(value))).collect()
        }
        plain => plain.clone(),
    }
}

pub(super) fn rule_is(found: &mut Findings<'_>, wanted: &Wanted<'_>, rule: Option<&Rule>) {
    let (name, mend) = (format!("{}-{}", wanted.prefix, wanted.name), wanted.mend);
    let Some(rule) = rule else {
        found.broken(format!("the rule {name} is not there: events do not arrive"), mend);
        return;
    };
    if !rule.is_enabled {
        let bus = wanted.bus.map(|bus| format!(" --event-bus-name {bus}")).unwrap_or_default();
        // In members the service control policy leaves that to the StackSet.
        found.broken(
            format!("the rule {name} is disabled: events do not arrive"),
            format!(
                "in {}, `aws events enable-rule --name {name}{bus} --region {REGION}`; where a service control policy forbids \
                 it: {mend}",
                wanted.account
            ),
        );
    }
    if in_order(&rule.pattern) != in_order(&pattern(wanted.name, wanted.prefix)) {
        found.broken(
            format!(
                "the rule {name} asks for other events than keytide's templates have it: {}",
                rule.pattern
            ),
            format!("if the templates are newer than what is deployed: `make deploy`; else {mend}"),
        );
    }
    let Some(target) = rule.targets.iter().find(|target| target.arn == wanted.target) else {
        found.broken(format!("the rule {name} does not send to {}", wanted.target), mend);
        return;
    };
    if target.role != wanted.role {
        let sender = wanted.role.as_deref().unwrap_or("no role at all");
        found.broken(format!("the rule {name} does not send by {sender}: what it sends is refused"), mend);
    }
    if target.is_rewritten {
        found.broken(
            format!(
                "the rule {name} sends something else than the event (Input, InputPath or InputTransformer)"
            ),
            mend,
        );
    }
    if target.dead_letters.as_deref() != Some(wanted.dead_letters.as_str()) {
        found.weak(
            format!(
                "the rule {name} does not put into {} what cannot be delivered: it is lost",
                wanted.dead_letters
            ),
            mend,
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_pattern_is_there_and_names_the_prefix() {
        for name in ["key-events-in", "key-events", "own-role-events"] {
            assert_eq!(pattern(name, "tide")["source"], json!(["aws.iam"]), "{name}");
        }
        let own = pattern("own-role-events", "tide").to_string();
        assert!(own.contains("\"tide-reader\"") && !own.contains("Prefix"), "{own}");
    }

    #[test]
    fn the_order_of_alternatives_says_nothing() {
        let one = json!({"a": ["x", {"anything-but": ["1", "2"]}]});
        assert_eq!(in_order(&one), in_order(&json!({"a": [{"anything-but": ["2", "1"]}, "x"]})));
        assert_ne!(in_order(&one), in_order(&json!({"a": ["x", {"anything-but": ["1"]}]})));
    }
}

//! What policy documents say, read leniently: that whoever has to pass may pass, and that the door has its locks.
//!
//! IAM's whole grammar is not evaluated here. A statement counts for what it grants; of its conditions those are read that
//! keytide's own templates set. Whatever else somebody put there is theirs.

use serde_json::Value;

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Whoever has to pass may not.
    Shut(String),
    /// More may pass than have to.
    Wide(String),
}

/// A statement, of which the parts are asked for.
struct Statement<'v>(&'v Value);

impl<'v> Statement<'v> {
    fn all(document: &'v Value) -> Vec<Self> {
        listed(document.get("Statement")).into_iter().map(Self).collect()
    }

    fn is(&self, effect: &str) -> bool {
        self.0.get("Effect").and_then(Value::as_str) == Some(effect)
    }

    fn covers(&self, action: &str) -> bool {
        let named = texts(self.0.get("Action"));
        named.iter().any(|named| is_like(&named.to_lowercase(), &action.to_lowercase()))
    }

    /// Whom it names by this kind, such as `AWS` or `Service`; `*` is everybody.
    fn names(&self, kind: &str) -> Vec<&'v str> {
        match self.0.get("Principal") {
            Some(Value::String(everybody)) => vec![everybody],
            Some(principal) => texts(principal.get(kind)),
            None => Vec::new(),
        }
    }

    /// What a condition of this key asks for, whichever operator it stands under; none where there is no such condition.
    /// What an operator forbids (`…Not…`) or only allows to be missing (`Null`) asks for nothing.
    fn asks(&self, key: &str) -> Option<Vec<&'v str>> {
        let operators = self.0.get("Condition")?.as_object()?;
        let asking =
            operators.iter().filter(|(operator, _)| !operator.contains("Not") && *operator != "Null");
        let mut asked = None;
        for keys in asking.filter_map(|(_, keys)| keys.as_object()) {
            for (_, values) in keys.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key)) {
                asked.get_or_insert_with(Vec::new).extend(texts(Some(values)));
            }
        }
        asked
    }

    /// Whether a condition of this key, if there is one, lets this pass.
    fn lets(&self, key: &str, value: &str) -> bool {
        self.asks(key).is_none_or(|asked| asked.iter().any(|asked| is_like(asked, value)))
    }

    /// A refusal without any condition: nobody passes, whatever else is granted.
    fn refuses(&self, action: &str) -> bool {
        self.is("Deny") && self.0.get("Condition").is_none() && self.covers(action)
    }
}

/// The granting statements of a document; none at all where it refuses outright.
fn granting<'v>(document: &'v Value, action: &str) -> Vec<Statement<'v>> {
    let all = Statement::all(document);
    if all.iter().any(|statement| statement.refuses(action)) {
        return Vec::new();
    }
    all.into_iter().filter(|statement| statement.is("Allow") && statement.covers(action)).collect()
}

/// Whether EventBridge may do this in the name of that rule of this account: a role's trust, or a queue's policy.
pub(super) fn lets_event_bridge(document: &Value, action: &str, rule_arn: &str, account: &str) -> bool {
    granting(document, action).iter().any(|statement| {
        statement.names("Service").iter().any(|service| is_like(service, "events.amazonaws.com"))
            && statement.lets("aws:SourceArn", rule_arn)
            && statement.lets("aws:SourceAccount", account)
    })
}

/// A role that is entered from the security account, by these roles of it.
pub(super) fn trust(document: &Value, security: &str, roles: &[String]) -> Vec<Fault> {
    let admitting = granting(document, "sts:AssumeRole");
    let of_security =
        |named: &&str| *named == "*" || *named == security || named.contains(&format!("::{security}:"));
    let admitting: Vec<Statement<'_>> =
        admitting.into_iter().filter(|statement| statement.names("AWS").iter().any(&of_security)).collect();
    let mut faults = Vec::new();
    for role in roles {
        let enters = |statement: &&Statement<'_>| {
            let named = statement.names("AWS");
            let is_named = named.iter().any(|named| !named.contains(":role/") || *named == role);
            is_named && statement.lets("aws:PrincipalArn", role)
        };
        match admitting.iter().find(enters) {
            None => faults.push(Fault::Shut(format!("does not let {role} in"))),
            Some(statement) if statement.asks("sts:ExternalId").is_none() => {
                faults.push(Fault::Wide(format!("lets {role} in without an external id")));
            }
            Some(statement)
                if statement.asks("aws:PrincipalArn").is_none()
                    && statement.names("AWS").iter().all(|named| !named.contains(":role/")) =>
            {
                faults.push(Fault::Wide("lets everybody in the security account in".to_owned()));
            }
            Some(_) => {}
        }
    }
    faults.dedup();
    faults
}

/// The bus: open for the forwarders of the organization, and for nobody else.
pub(super) fn bus(document: &Value, forwarder: &str) -> Vec<Fault> {
    let granting = granting(document, "events:PutEvents");
    let for_everybody = |statement: &&Statement<'_>| {
        statement.names("AWS").contains(&"*") && statement.lets("aws:PrincipalArn", forwarder)
    };
    let Some(statement) = granting.iter().find(for_everybody) else {
        return vec![Fault::Shut("lets no forwarder of the organization in".to_owned())];
    };
    let mut faults = Vec::new();
    if statement.asks("aws:PrincipalOrgID").is_none() {
        faults.push(Fault::Wide("lets other organizations in".to_owned()));
    }
    if statement.asks("aws:PrincipalArn").is_none() {
        faults.push(Fault::Wide("lets everybody in, not the forwarders alone".to_owned()));
    }
    faults
}

/// A value that is a text or a list of them.
fn texts(value: Option<&Value>) -> Vec<&str> {
    listed(value).into_iter().filter_map(Value::as_str).collect()
}

fn listed(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(values)) => values.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    }
}

/// Whether a text is as a pattern with `*` and `?` says.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Which prefixes of the pattern match what was read of the text.
    let mut reached = vec![true];
    reached.extend(pattern.iter().scan(true, |still, c| {
        *still &= *c == '*';
        Some(*still)
    }));
    for letter in text {
        let mut next = vec![false];
        for (index, c) in pattern.iter().enumerate() {
            let at = |from: &[bool], index: usize| from.get(index).copied().unwrap_or_default();
            next.push(match c {
                '*' => at(&next, index) || at(&reached, index + 1) || at(&reached, index),
                '?' => at(&reached, index),
                c => *c == letter && at(&reached, index),
            });
        }
        reached = next;
    }
    reached.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::tests::{MEMBER, SECURITY},
        *,
    };

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("arn:*:role/k-*", "arn:aws:iam::1:role/k-forwarder", true),
            ("arn:*:role/k-*", "arn:aws:iam::1:user/k-forwarder", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("**c", "abc", true),
            ("abc", "abcd", false),
            ("a*b*", "a-b", true),
        ] {
            assert_eq!(is_like(pattern, text), is, "{pattern} {text}");
        }
    }

    fn reader() -> Value {
        json!({"Statement": [{
            "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{SECURITY}:root")}, "Action": "sts:AssumeRole",
            "Condition": {
                "StringEquals": {"sts:ExternalId": "x-1", "aws:PrincipalOrgID": "o-1"},
                "ArnEquals": {"aws:PrincipalArn": [role("watcher"), role("sweeper")]},
            },
        }]})
    }

    fn role(name: &str) -> String {
        format!("arn:aws:iam::{SECURITY}:role/keytide-{name}")
    }

    #[test]
    fn a_role_lets_in_whom_it_has_to_and_asks_for_the_external_id() {
        let roles = [role("watcher"), role("sweeper")];
        let judged = |change: &dyn Fn(&mut Value)| {
            let mut document = reader();
            change(&mut document["Statement"][0]);
            trust(&document, SECURITY, &roles)
        };
        assert_eq!(judged(&|_| {}), []);
        let shut = |name: &str| Fault::Shut(format!("does not let {} in", role(name)));
        assert_eq!(
            judged(&|one| one["Principal"] = json!({"AWS": "arn:aws:iam::123456789012:root"})).len(),
            2
        );
        assert_eq!(
            judged(&|one| one["Condition"]["ArnEquals"] = json!({"aws:PrincipalArn": role("sweeper")})),
            [shut("watcher")]
        );
        // Other spellings of the same are as good: an id alone, a wildcard, another operator.
        assert_eq!(judged(&|one| one["Principal"] = json!({"AWS": [SECURITY]})), []);
        assert_eq!(judged(&|one| one["Condition"]["ArnEquals"] = json!({"aws:principalarn": role("*")})), []);
        assert!(matches!(
            judged(&|one| one["Condition"]["StringEquals"] = json!({}))[..],
            [Fault::Wide(_), Fault::Wide(_)]
        ));
        assert_eq!(
            judged(&|one| drop(one["Condition"].as_object_mut().unwrap().remove("ArnEquals"))),
            [Fault::Wide("lets everybody in the security account in".to_owned())]
        );
        assert_eq!(judged(&|one| one["Effect"] = json!("Deny")).len(), 2);
        assert_eq!(trust(&json!({}), SECURITY, &roles).len(), 2);
    }

    #[test]
    fn a_queue_and_a_role_let_event_bridge_do_it_for_this_rule() {
        let rule = format!("arn:aws:events:us-east-1:{MEMBER}:rule/keytide-key-events");
        let may = |condition: Value, besides: Value| {
            let document = json!({"Statement": [
                {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage",
                    "Resource": "*", "Condition": condition},
                besides,
            ]});
            lets_event_bridge(&document, "sqs:SendMessage", &rule, MEMBER)
        };
        let encrypted = json!({"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}}});
        let mut nobody = encrypted.clone();
        nobody.as_object_mut().unwrap().remove("Condition");
        let named =
            json!({"ArnEquals": {"aws:SourceArn": rule}, "StringEquals": {"aws:SourceAccount": MEMBER}});
        assert!(may(named.clone(), encrypted.clone()));
        assert!(may(json!({}), encrypted.clone()));
        assert!(!may(
            json!({"ArnEquals": {"aws:SourceArn": "arn:aws:events:us-east-1:1:rule/x"}}),
            encrypted.clone()
        ));
        assert!(!may(json!({"StringEquals": {"aws:SourceAccount": SECURITY}}), encrypted));
        assert!(!may(named, nobody), "what is refused to everybody is refused");
    }

    #[test]
    fn the_bus_is_open_for_forwarders_alone() {
        let forwarder = format!("arn:aws:iam::{MEMBER}:role/keytide-forwarder");
        let judged = |condition: Value| {
            let one = json!({"Effect": "Allow", "Principal": "*", "Action": "events:PutEvents", "Resource": "r",
                "Condition": condition});
            bus(&json!({"Statement": one}), &forwarder)
        };
        let organization = json!({"aws:PrincipalOrgID": "o-1"});
        let forwarders = json!({"aws:PrincipalArn": "arn:aws:iam::*:role/keytide-forwarder"});
        assert_eq!(judged(json!({"StringEquals": organization, "ArnLike": forwarders})), []);
        assert!(matches!(judged(json!({"ArnLike": forwarders}))[..], [Fault::Wide(_)]));
        assert!(matches!(judged(json!({"StringEquals": organization}))[..], [Fault::Wide(_)]));
        let others = json!({"aws:PrincipalArn": "arn:aws:iam::*:role/others-forwarder"});
        assert!(matches!(
            judged(json!({"StringEquals": organization, "ArnLike": others}))[..],
            [Fault::Shut(_)]
        ));
        assert!(matches!(bus(&Value::Null, &forwarder)[..], [Fault::Shut(_)]));
    }
}

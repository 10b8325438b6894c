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
        let has = |member: &str| {
            let named = texts(self.0.get(member));
            named.iter().any(|named| is_like(&named.to_lowercase(), &action.to_lowercase()))
        };
        has("Action") || (self.0.get("NotAction").is_some() && !has("NotAction"))
    }

    /// Whom it names, each with its kind, such as `AWS` or `Service`; `*` is everybody.
    fn principals(&self) -> Vec<(&'v str, &'v str)> {
        // Everybody but some.
        if self.0.get("NotPrincipal").is_some() {
            return vec![("AWS", "*")];
        }
        match self.0.get("Principal") {
            Some(Value::String(everybody)) => vec![("AWS", everybody)],
            Some(Value::Object(kinds)) => {
                let named = kinds.iter().map(|(kind, names)| (kind.as_str(), texts(Some(names))));
                named.flat_map(|(kind, names)| names.into_iter().map(move |name| (kind, name))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whom it names by this kind; everybody is of every kind.
    fn names(&self, kind: &str) -> Vec<&'v str> {
        let everybody = matches!(self.0.get("Principal"), Some(Value::String(_)));
        let named = self.principals().into_iter();
        named.filter(|(of, _)| *of == kind || everybody).map(|(_, name)| name).collect()
    }

    /// The conditions of this key that ask for a value, each with its operator. What an operator forbids (`…Not…`) or only
    /// allows to be missing (`Null`) asks for nothing.
    fn asks(&self, key: &str) -> Vec<(&'v str, Vec<&'v str>)> {
        let Some(operators) = self.0.get("Condition").and_then(Value::as_object) else { return Vec::new() };
        let mut asked = Vec::new();
        for (operator, keys) in operators {
            let keys = keys.as_object().into_iter().flatten();
            for (_, values) in keys.filter(|(name, _)| name.eq_ignore_ascii_case(key)) {
                if !operator.contains("Not") && operator != "Null" {
                    asked.push((operator.as_str(), texts(Some(values))));
                }
            }
        }
        asked
    }

    /// Whether the conditions of this key, if there are any, let this pass.
    fn lets(&self, key: &str, value: &str) -> bool {
        self.asks(key).iter().all(|(operator, asked)| {
            // Only these two know patterns; to the others a star is a star.
            let is_pattern = operator.contains("Like") || operator.contains("Arn");
            asked.iter().any(|asked| if is_pattern { is_like(asked, value) } else { *asked == value })
        })
    }

    /// Whether only what is meant passes a condition of this key. A condition that holds where the key is missing
    /// (`…IfExists`, `ForAllValues:…`) keeps nobody out.
    fn holds_to(&self, key: &str, is_meant: impl Fn(&str) -> bool) -> bool {
        let asked = self.asks(key).into_iter();
        let mut binding = asked.filter(|(operator, _)| {
            !operator.ends_with("IfExists") && !operator.starts_with("ForAllValues:")
        });
        binding.any(|(_, asked)| asked.iter().all(|asked| is_meant(asked)))
    }

    /// A refusal without any condition: whom it names, or everybody, does not pass, whatever else is granted.
    fn refuses(&self, action: &str, is_whom: impl Fn(&str) -> bool) -> bool {
        let names_whom = || self.principals().iter().any(|(_, named)| *named == "*" || is_whom(named));
        self.is("Deny") && self.0.get("Condition").is_none() && self.covers(action) && names_whom()
    }
}

/// The statements of a document that allow one of these.
fn allowing<'v>(document: &'v Value, actions: &[&str]) -> Vec<Statement<'v>> {
    let mut all = Statement::all(document);
    all.retain(|statement| statement.is("Allow") && actions.iter().any(|action| statement.covers(action)));
    all
}

/// Those by which somebody may do it; none at all where the document refuses it outright to whoever has to.
fn granting<'v>(document: &'v Value, action: &str, is_whom: impl Fn(&str) -> bool) -> Vec<Statement<'v>> {
    if Statement::all(document).iter().any(|statement| statement.refuses(action, &is_whom)) {
        return Vec::new();
    }
    allowing(document, &[action])
}

/// Whether EventBridge may do this in the name of that rule of this account: a role's trust, or a queue's policy.
pub(super) fn lets_event_bridge(document: &Value, action: &str, rule_arn: &str, account: &str) -> bool {
    let is_event_bridge = |named: &str| is_like(named, "events.amazonaws.com");
    granting(document, action, is_event_bridge).iter().any(|statement| {
        statement.names("Service").into_iter().any(is_event_bridge)
            && statement.lets("aws:SourceArn", rule_arn)
            && statement.lets("aws:SourceAccount", account)
    })
}

/// The calls by which somebody enters a role.
const ENTERING: [&str; 3] = ["sts:AssumeRole", "sts:AssumeRoleWithSAML", "sts:AssumeRoleWithWebIdentity"];

/// Whom a role lets in: roles of the security account.
pub(super) struct Entry<'a> {
    pub(super) security: &'a str,
    /// The roles that have to enter, by their ARNs.
    pub(super) roles: &'a [String],
    /// Whether people may be named besides.
    pub(super) takes_operators: bool,
}

impl Entry<'_> {
    /// Whether who passes this ARN, which may be a pattern, is somebody who is meant.
    fn is_meant(&self, arn: &str) -> bool {
        if !self.takes_operators {
            return self.roles.iter().any(|role| role == arn);
        }
        // An operator is any role that is told apart from the others, in the security account.
        let is_everybody = ["role/somebody", "role/of/somebody", "user/somebody"]
            .iter()
            .any(|of| is_like(arn, &format!("arn:aws:iam::{}:{of}", self.security)));
        account_of(arn) == Some(self.security) && !is_everybody
    }
}

/// The account of a principal: an ARN, or an account's id alone.
fn account_of(principal: &str) -> Option<&str> {
    let is_id = principal.len() == 12 && principal.bytes().all(|byte| byte.is_ascii_digit());
    if is_id { Some(principal) } else { principal.split(':').nth(4) }
}

/// Whether a principal is an account as a whole: whoever its own policies allow.
fn is_account(principal: &str) -> bool {
    principal == "*" || !principal.contains(':') || principal.ends_with(":root")
}

/// A role that is entered from the security account: by those who have to, by every statement that lets somebody in, and by
/// nobody else.
pub(super) fn trust(document: &Value, entry: &Entry<'_>) -> Vec<Fault> {
    let is_of_security = |named: &str| named == "*" || account_of(named) == Some(entry.security);
    let is_shut = |role: &&String| {
        let is_whom = |named: &str| is_of_security(named) && (is_account(named) || named == **role);
        !granting(document, "sts:AssumeRole", is_whom).iter().any(|statement| {
            statement.names("AWS").into_iter().any(is_whom) && statement.lets("aws:PrincipalArn", role)
        })
    };
    let mut faults: Vec<Fault> = entry
        .roles
        .iter()
        .filter(is_shut)
        .map(|role| Fault::Shut(format!("does not let {role} in")))
        .collect();
    // Whatever is refused besides, and to whom: a door is told of.
    faults.extend(allowing(document, &ENTERING).iter().flat_map(|statement| wide(statement, entry)));
    once(faults)
}

/// What a statement that lets somebody into a role lets in besides.
fn wide(statement: &Statement<'_>, entry: &Entry<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (kind, named) in statement.principals() {
        let what = match kind {
            "AWS" if named == "*" => Some("lets in everybody, of any account".to_owned()),
            "AWS" if account_of(named) != Some(entry.security) => {
                Some(format!("lets in {named}, which is not of the security account"))
            }
            "AWS" if is_account(named) => {
                let is_held = statement.holds_to("aws:PrincipalArn", |arn| entry.is_meant(arn));
                let what = if entry.takes_operators {
                    "lets everybody in the security account in".to_owned()
                } else {
                    format!("lets others in the security account in than {}", entry.roles.join(", "))
                };
                (!is_held).then_some(what)
            }
            "AWS" => (!entry.is_meant(named)).then(|| format!("lets in {named}")),
            kind => Some(format!("lets in {named} ({kind})")),
        };
        faults.extend(what.map(Fault::Wide));
        let is_one = |id: &str| id.chars().any(|letter| letter != '*');
        if kind == "AWS" && !statement.holds_to("sts:ExternalId", is_one) {
            faults.push(Fault::Wide(format!("lets {named} in without an external id")));
        }
    }
    faults
}

/// The bus: open for the forwarders of the organization, by every statement that lets somebody in, and for nobody else.
pub(super) fn bus(document: &Value, forwarder: &str) -> Vec<Fault> {
    let for_everybody = |statement: &Statement<'_>| {
        statement.names("AWS").contains(&"*") && statement.lets("aws:PrincipalArn", forwarder)
    };
    let mut faults = Vec::new();
    // Which accounts have to pass, no document says.
    let nobody_by_name = |_: &str| false;
    if !granting(document, "events:PutEvents", nobody_by_name).iter().any(for_everybody) {
        faults.push(Fault::Shut("lets no forwarder of the organization in".to_owned()));
    }
    // Of which account it is, the organization's condition says.
    let role = |arn: &str| arn.split(':').nth(5).map(str::to_owned);
    let is_forwarder = |arn: &str| role(arn) == role(forwarder);
    let is_one = |id: &str| !id.contains('*');
    for statement in allowing(document, &["events:PutEvents"]) {
        for (kind, named) in statement.principals() {
            if kind != "AWS" {
                faults.push(Fault::Wide(format!("lets in {named} ({kind})")));
                continue;
            }
            if !statement.holds_to("aws:PrincipalOrgID", is_one) {
                faults.push(Fault::Wide(format!("lets {named} in, other organizations' too")));
            }
            if !statement.holds_to("aws:PrincipalArn", is_forwarder) {
                faults.push(Fault::Wide(format!("lets {named} in, not the forwarders alone")));
            }
        }
    }
    once(faults)
}

/// Each once: more than one statement may have the same fault.
fn once(faults: Vec<Fault>) -> Vec<Fault> {
    let mut told = Vec::new();
    for fault in faults {
        if !told.contains(&fault) {
            told.push(fault);
        }
    }
    told
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
    use std::slice::from_ref;

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

    fn of_reader(document: &Value) -> Vec<Fault> {
        let roles = [role("watcher"), role("sweeper")];
        trust(document, &Entry { security: SECURITY, roles: &roles, takes_operators: true })
    }

    fn of_disabler(document: &Value) -> Vec<Fault> {
        trust(document, &Entry { security: SECURITY, roles: &[role("sweeper")], takes_operators: false })
    }

    fn wide_of(what: &str) -> Fault {
        Fault::Wide(what.to_owned())
    }

    #[test]
    fn a_role_lets_in_whom_it_has_to_and_asks_for_the_external_id() {
        let judged = |change: &dyn Fn(&mut Value)| {
            let mut document = reader();
            change(&mut document["Statement"][0]);
            of_reader(&document)
        };
        assert_eq!(judged(&|_| {}), []);
        let shut = |name: &str| Fault::Shut(format!("does not let {} in", role(name)));
        assert_eq!(
            judged(&|one| one["Principal"] = json!({"AWS": "arn:aws:iam::123456789012:root"})),
            [
                shut("watcher"),
                shut("sweeper"),
                wide_of("lets in arn:aws:iam::123456789012:root, which is not of the security account")
            ]
        );
        assert_eq!(
            judged(&|one| one["Condition"]["ArnEquals"] = json!({"aws:PrincipalArn": role("sweeper")})),
            [shut("watcher")]
        );
        // Other spellings of the same are as good: an id alone, a wildcard, another operator.
        assert_eq!(judged(&|one| one["Principal"] = json!({"AWS": [SECURITY]})), []);
        assert_eq!(judged(&|one| one["Condition"]["ArnEquals"] = json!({"aws:principalarn": role("*")})), []);
        // A star that is none: who compares texts lets in nobody.
        let compared = judged(&|one| {
            one["Condition"] =
                json!({"StringEquals": {"sts:ExternalId": "x-1", "aws:PrincipalArn": role("*")}});
        });
        assert_eq!(compared, [shut("watcher"), shut("sweeper")]);
        let root = format!("arn:aws:iam::{SECURITY}:root");
        for condition in [
            json!({}),
            json!({"StringLike": {"sts:ExternalId": "*"}}),
            json!({"StringEqualsIfExists": {"sts:ExternalId": "x-1"}}),
            json!({"ForAllValues:StringEquals": {"sts:ExternalId": "x-1"}}),
        ] {
            let found = judged(&|one| {
                one["Condition"] = condition.clone();
                one["Condition"]["ArnEquals"] = json!({"aws:PrincipalArn": role("*")});
            });
            assert_eq!(found, [wide_of(&format!("lets {root} in without an external id"))], "{condition}");
        }
        assert_eq!(
            judged(&|one| drop(one["Condition"].as_object_mut().unwrap().remove("ArnEquals"))),
            [wide_of("lets everybody in the security account in")]
        );
        assert_eq!(judged(&|one| one["Effect"] = json!("Deny")).len(), 2);
        assert_eq!(of_reader(&json!({})).len(), 2);
    }

    /// The statement of `infra/member-account.yaml` for people.
    #[test]
    fn the_reader_lets_operators_in_and_the_disabler_does_not() {
        let mut with_operators = reader();
        let mut operators = with_operators["Statement"][0].clone();
        let arn =
            format!("arn:aws:iam::{SECURITY}:role/aws-reserved/sso.amazonaws.com/*AWSReservedSSO_Security_*");
        operators["Condition"]["ArnLike"] = json!({"aws:PrincipalArn": [arn]});
        drop(operators["Condition"].as_object_mut().unwrap().remove("ArnEquals"));
        with_operators["Statement"].as_array_mut().unwrap().push(operators.clone());
        assert_eq!(of_reader(&with_operators), []);
        for everybody in [
            format!("arn:aws:iam::{SECURITY}:role/*"),
            format!("arn:aws:iam::{SECURITY}:*"),
            "arn:aws:iam::*:role/keytide-sweeper".to_owned(),
            "*".to_owned(),
        ] {
            with_operators["Statement"][1]["Condition"]["ArnLike"]["aws:PrincipalArn"] = json!(everybody);
            let found = of_reader(&with_operators);
            assert_eq!(found, [wide_of("lets everybody in the security account in")], "{everybody}");
        }
        // Two conditions hold both: who asks for anybody besides asks for no more.
        let both = &mut with_operators["Statement"][1]["Condition"];
        both["ArnEquals"] = json!({"aws:PrincipalArn": role("sweeper")});
        assert_eq!(of_reader(&with_operators), []);

        let mut disabler = reader();
        disabler["Statement"][0]["Condition"]["ArnEquals"]["aws:PrincipalArn"] = json!(role("sweeper"));
        assert_eq!(of_disabler(&disabler), []);
        let others = wide_of(&format!("lets others in the security account in than {}", role("sweeper")));
        disabler["Statement"].as_array_mut().unwrap().push(operators);
        assert_eq!(of_disabler(&disabler), from_ref(&others));
        assert_eq!(of_disabler(&reader()), [others]);
        disabler["Statement"][1]["Principal"] = json!({"AWS": role("watcher")});
        assert_eq!(of_disabler(&disabler), [wide_of(&format!("lets in {}", role("watcher")))]);
    }

    #[test]
    fn a_back_door_beside_the_right_one_is_found_wherever_it_stands() {
        let mut disabler = reader()["Statement"][0].take();
        disabler["Condition"]["ArnEquals"]["aws:PrincipalArn"] = json!(role("sweeper"));
        let door =
            |principal: Value| json!({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"});
        let without = |action: &str, principal: Value| {
            let mut door = door(principal);
            door["Action"] = json!(action);
            door
        };
        let root = format!("arn:aws:iam::{SECURITY}:root");
        let elsewhere = "arn:aws:iam::666666666666:root";
        let oidc = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com";
        let mut but_some = door(Value::Null);
        but_some["NotPrincipal"] = json!({"AWS": root});
        but_some["NotAction"] = json!("sts:GetCallerIdentity");
        for member in ["Principal", "Action"] {
            drop(but_some.as_object_mut().unwrap().remove(member));
        }
        for (door, words) in [
            (door(json!({"AWS": elsewhere})), format!("lets in {elsewhere}, which is not of the security")),
            (
                door(json!({"AWS": [role("sweeper"), elsewhere]})),
                format!("lets in {elsewhere}, which is not"),
            ),
            (door(json!({"AWS": "666666666666"})), "lets in 666666666666, which is not".to_owned()),
            (
                door(json!({"AWS": format!("arn:aws:iam::666666666666:role/::{SECURITY}:")})),
                "which is not".to_owned(),
            ),
            (door(json!({"AWS": root})), "lets others in the security account in than".to_owned()),
            (door(json!({"AWS": root})), format!("lets {root} in without an external id")),
            (door(json!("*")), "lets in everybody, of any account".to_owned()),
            (door(json!({"AWS": "*"})), "lets in everybody, of any account".to_owned()),
            (but_some, "lets in everybody, of any account".to_owned()),
            (door(json!({"Service": "ec2.amazonaws.com"})), "lets in ec2.amazonaws.com (Service)".to_owned()),
            (
                without("sts:AssumeRoleWithWebIdentity", json!({"Federated": oidc})),
                format!("lets in {oidc} (Federated)"),
            ),
            (
                without("sts:AssumeRoleWithSAML", json!({"Federated": "arn:aws:iam::1:saml-provider/x"})),
                "lets in arn:aws:iam::1:saml-provider/x (Federated)".to_owned(),
            ),
            (without("sts:*", json!({"AWS": elsewhere})), "which is not of the security account".to_owned()),
        ] {
            for statements in [[&disabler, &door], [&door, &disabler]] {
                let found = of_disabler(&json!({"Statement": statements}));
                let is_said = |fault: &Fault| matches!(fault, Fault::Wide(what) if what.contains(&words));
                assert!(found.iter().any(is_said), "{words}: {found:?}");
                assert!(!found.iter().any(|fault| matches!(fault, Fault::Shut(_))), "{found:?}");
            }
        }
    }

    /// A refusal keeps out whom it names, and hides nobody else.
    #[test]
    fn a_door_is_found_behind_a_refusal_too() {
        let door = "arn:aws:iam::111122223333:saml-provider/x";
        let document = json!({"Statement": [
            {"Effect": "Deny", "Principal": {"AWS": "666666666666"}, "Action": "sts:*"},
            {"Effect": "Allow", "Principal": {"Federated": door}, "Action": "sts:AssumeRoleWithSAML"},
        ]});
        let fault = wide_of(&format!("lets in {door} (Federated)"));
        assert!(of_disabler(&document).contains(&fault), "{:?}", of_disabler(&document));
    }

    /// Whom a refusal names is kept out, and nobody else.
    #[test]
    fn a_refusal_shuts_out_whom_it_names() {
        let mut document = reader();
        let shut_by = |document: &mut Value, principal: Value| {
            let refusal = json!({"Effect": "Deny", "Principal": principal, "Action": "sts:AssumeRole"});
            document["Statement"] = json!([reader()["Statement"][0], refusal]);
            of_reader(document).iter().filter(|fault| matches!(fault, Fault::Shut(_))).count()
        };
        let root = format!("arn:aws:iam::{SECURITY}:root");
        for (principal, shut) in [
            (json!({"AWS": "arn:aws:iam::666666666666:root"}), 0),
            (json!({"Federated": "arn:aws:iam::111122223333:saml-provider/x"}), 0),
            (json!({"AWS": format!("arn:aws:iam::{SECURITY}:role/administrator")}), 0),
            (json!({"AWS": role("watcher")}), 1),
            (json!({"AWS": root}), 2),
            (json!({"AWS": SECURITY}), 2),
            (json!({"AWS": "*"}), 2),
            (json!("*"), 2),
        ] {
            assert_eq!(shut_by(&mut document, principal.clone()), shut, "{principal}");
        }
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
        let of_others = wide_of("lets * in, other organizations' too");
        let not_alone = wide_of("lets * in, not the forwarders alone");
        assert_eq!(judged(json!({"ArnLike": forwarders})), from_ref(&of_others));
        assert_eq!(judged(json!({"StringEquals": organization})), from_ref(&not_alone));
        let any = json!({"aws:PrincipalArn": "*"});
        assert_eq!(judged(json!({"StringEquals": organization, "ArnLike": any})), from_ref(&not_alone));
        let any = json!({"aws:PrincipalOrgID": "*"});
        assert_eq!(judged(json!({"StringLike": any, "ArnLike": forwarders})), from_ref(&of_others));
        let others = json!({"aws:PrincipalArn": "arn:aws:iam::*:role/others-forwarder"});
        let shut = Fault::Shut("lets no forwarder of the organization in".to_owned());
        assert_eq!(
            judged(json!({"StringEquals": organization, "ArnLike": others})),
            [shut.clone(), not_alone.clone()]
        );
        assert_eq!(bus(&Value::Null, &forwarder), [shut]);

        let right = json!({"Effect": "Allow", "Principal": "*", "Action": "events:PutEvents",
            "Condition": {"StringEquals": organization, "ArnLike": forwarders}});
        let door = |principal: Value| json!({"Effect": "Allow", "Principal": principal, "Action": "events:PutEvents"});
        let service = wide_of("lets in s3.amazonaws.com (Service)");
        for (door, words) in [
            (door(json!("*")), vec![of_others, not_alone]),
            (
                door(json!({"AWS": "666666666666"})),
                vec![
                    wide_of("lets 666666666666 in, other organizations' too"),
                    wide_of("lets 666666666666 in, not the forwarders alone"),
                ],
            ),
            (door(json!({"Service": "s3.amazonaws.com"})), vec![service]),
        ] {
            for statements in [[&right, &door], [&door, &right]] {
                assert_eq!(bus(&json!({"Statement": statements}), &forwarder), words);
            }
        }
    }
}

//! A template as it is once deployed: its parameters given, its intrinsic functions replaced by what they stand for.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Map, Value, json};

use super::{TEMPLATES, template_text};
use crate::counterparts::templates_in_long_form;

pub(crate) const SECURITY: &str = "999988887777";
pub(crate) const PROD: &str = "111122223333";
pub(crate) const ORGANIZATION: &str = "o-tidewater1";
pub(super) const EXTERNAL_ID: &str = "tidewater-7";
const REGION: &str = "us-east-1";

static IN_LONG_FORM: LazyLock<BTreeMap<&str, Value>> = LazyLock::new(|| {
    let texts = TEMPLATES.map(|name| (name.to_owned(), json!(template_text(name))));
    TEMPLATES.into_iter().zip(templates_in_long_form(&texts)).collect()
});

/// A template with what its parameters are given, in one account.
pub(crate) struct Deployed {
    template: &'static Value,
    account: &'static str,
    parameters: Map<String, Value>,
    /// Statements that a test adds to a role, by its logical id.
    sown: BTreeMap<String, Value>,
}

const SECURITY_IS_GIVEN: [(&str, &str); 7] = [
    ("OrganizationId", ORGANIZATION),
    ("ExternalId", EXTERNAL_ID),
    ("SlackChannel", "C0123456789"),
    ("AlarmEmail", "security@tidewater.example"),
    ("CodeBucket", "tidewater-artifacts"),
    ("WatcherPackage", "watcher.zip"),
    ("SweeperPackage", "sweeper.zip"),
];
const MEMBER_IS_GIVEN: [(&str, &str); 3] =
    [("SecurityAccountId", SECURITY), ("OrganizationId", ORGANIZATION), ("ExternalId", EXTERNAL_ID)];

/// The security account's stack, all that is left out at its default.
pub(crate) fn security() -> Deployed {
    Deployed::new(&IN_LONG_FORM["security-account.yaml"], SECURITY, &SECURITY_IS_GIVEN)
}

/// A member's stack, with these parameters besides.
pub(crate) fn member(besides: &[(&str, &str)]) -> Deployed {
    let given = [&MEMBER_IS_GIVEN[..], besides].concat();
    Deployed::new(&IN_LONG_FORM["member-account.yaml"], PROD, &given)
}

/// What an account in `enforce` has besides.
pub(crate) fn enforced() -> Deployed {
    Deployed::new(&IN_LONG_FORM["enforced-account.yaml"], PROD, &MEMBER_IS_GIVEN)
}

/// The stack of a member that has this role, and nothing besides.
pub(crate) fn member_with(role: &str) -> Deployed {
    if role == "DisablerRole" { enforced() } else { member(&[]) }
}

/// One of these with a defect: the first place where a text stands has another instead.
pub(super) fn spoilt(defects: &[(&str, &str, &str)]) -> Vec<Deployed> {
    let texts: Vec<(String, Value)> = defects
        .iter()
        .map(|(name, good, bad)| {
            let text = template_text(name);
            assert!(text.contains(good), "there is no {good:?} to be spoilt in {name}");
            ((*name).to_owned(), json!(text.replacen(good, bad, 1)))
        })
        .collect();
    let templates = templates_in_long_form(&texts).into_iter();
    let spoilt = templates.zip(defects).map(|(template, (name, ..))| {
        // As long as the tests run.
        let template: &'static Value = Box::leak(Box::new(template));
        if *name == "security-account.yaml" {
            Deployed::new(template, SECURITY, &SECURITY_IS_GIVEN)
        } else {
            Deployed::new(template, PROD, &MEMBER_IS_GIVEN)
        }
    });
    spoilt.collect()
}

/// The organization's stack, with these parameters besides.
pub(super) fn organization(besides: &[(&str, &str)]) -> Deployed {
    let mut given = vec![
        ("SecurityAccountId", SECURITY),
        ("OrganizationId", ORGANIZATION),
        ("ExternalId", EXTERNAL_ID),
        ("OrganizationalUnitIds", "r-tide"),
        ("MemberTemplateUrl", "https://tidewater-artifacts.s3.amazonaws.com/member-account.yaml"),
        ("EnforcedTemplateUrl", "https://tidewater-artifacts.s3.amazonaws.com/enforced-account.yaml"),
    ];
    given.extend(besides);
    Deployed::new(&IN_LONG_FORM["organization.yaml"], "555566667777", &given)
}

impl Deployed {
    fn new(template: &'static Value, account: &'static str, given: &[(&str, &str)]) -> Self {
        let given: BTreeMap<&str, &str> = given.iter().copied().collect();
        let declared = template["Parameters"].as_object().unwrap();
        for name in given.keys() {
            assert!(declared.contains_key(*name), "{name} is no parameter");
        }
        let parameters = declared.iter().map(|(name, parameter)| {
            let text = given
                .get(name.as_str())
                .map(|text| json!(text))
                .or_else(|| parameter.get("Default").cloned());
            let text = text.unwrap_or_else(|| panic!("the parameter {name} is not given"));
            let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
            let value = match parameter["Type"].as_str().unwrap() {
                "CommaDelimitedList" => json!(text.split(',').collect::<Vec<_>>()),
                "Number" => json!(text.parse::<u64>().unwrap()),
                _ => json!(text),
            };
            (name.clone(), value)
        });
        Self { template, account, parameters: parameters.collect(), sown: BTreeMap::new() }
    }

    /// The logical ids of the resources of a type that are deployed.
    pub(crate) fn ids(&self, of_type: &str) -> Vec<&'static str> {
        let resources = self.template["Resources"].as_object().unwrap().iter();
        resources
            .filter(|(_, resource)| resource["Type"] == of_type)
            .filter(|(_, resource)| resource["Condition"].as_str().is_none_or(|name| self.condition(name)))
            .map(|(id, _)| id.as_str())
            .collect()
    }

    /// A resource's properties.
    pub(crate) fn properties(&self, id: &str) -> Value {
        self.value(&self.resource(id)["Properties"]).unwrap()
    }

    /// A role's policies.
    pub(crate) fn policies(&self, role: &str) -> Vec<Value> {
        let policies = self.properties(role)["Policies"].as_array().unwrap().clone();
        let mut policies: Vec<Value> =
            policies.into_iter().map(|policy| policy["PolicyDocument"].clone()).collect();
        if let Some(statement) = self.sown.get(role) {
            policies[0]["Statement"].as_array_mut().unwrap().push(statement.clone());
        }
        policies
    }

    /// Adds a statement to a role's policy, to be found.
    pub(super) fn grant(&mut self, role: &str, statement: &Value) {
        self.sown.insert(role.to_owned(), statement.clone());
    }

    /// The ARN of a resource.
    pub(super) fn arn(&self, id: &str) -> String {
        let (account, name) = (self.account, self.name(id));
        let in_region = |service: &str, rest: &str| format!("arn:aws:{service}:{REGION}:{account}:{rest}");
        match self.resource(id)["Type"].as_str().unwrap() {
            "AWS::IAM::Role" => format!("arn:aws:iam::{account}:role/{name}"),
            "AWS::SQS::Queue" => in_region("sqs", &name),
            "AWS::SNS::Topic" => in_region("sns", &name),
            "AWS::DynamoDB::Table" => in_region("dynamodb", &format!("table/{name}")),
            "AWS::Lambda::Function" => in_region("lambda", &format!("function:{name}")),
            "AWS::Logs::LogGroup" => in_region("logs", &format!("log-group:{name}:*")),
            "AWS::Events::EventBus" => in_region("events", &format!("event-bus/{name}")),
            "AWS::Events::Rule" => match self.properties(id)["EventBusName"].as_str() {
                Some(bus) => in_region("events", &format!("rule/{bus}/{name}")),
                None => in_region("events", &format!("rule/{name}")),
            },
            other => panic!("the ARN of {id}, an {other}, is not known here"),
        }
    }

    /// The name that a resource is given.
    pub(crate) fn name(&self, id: &str) -> String {
        let properties = &self.resource(id)["Properties"];
        let names = [
            "RoleName",
            "QueueName",
            "TopicName",
            "TableName",
            "FunctionName",
            "LogGroupName",
            "StackSetName",
            "Name",
        ];
        let name = names.into_iter().find_map(|name| properties.get(name));
        let name = self.value(name.unwrap_or_else(|| panic!("{id} has no name"))).unwrap();
        name.as_str().unwrap().to_owned()
    }

    fn resource(&self, id: &str) -> &'static Value {
        self.template["Resources"].get(id).unwrap_or_else(|| panic!("there is no resource {id}"))
    }

    /// What `Ref` gives.
    fn reference(&self, name: &str) -> Value {
        if let Some(value) = self.parameters.get(name) {
            return value.clone();
        }
        match name {
            "AWS::Partition" => json!("aws"),
            "AWS::Region" => json!(REGION),
            "AWS::AccountId" => json!(self.account),
            _ => match self.resource(name)["Type"].as_str().unwrap() {
                "AWS::SQS::Queue" => {
                    json!(format!("https://sqs.{REGION}.amazonaws.com/{}/{}", self.account, self.name(name)))
                }
                "AWS::SNS::Topic" => json!(self.arn(name)),
                _ => json!(self.name(name)),
            },
        }
    }

    fn attribute(&self, id: &str, attribute: &str) -> String {
        match attribute {
            "Arn" => self.arn(id),
            "QueueName" => self.name(id),
            other => panic!("the attribute {other} of {id} is not known here"),
        }
    }

    fn condition(&self, name: &str) -> bool {
        self.holds(&self.template["Conditions"][name])
    }

    fn holds(&self, condition: &Value) -> bool {
        let (function, arguments) = condition.as_object().unwrap().iter().next().unwrap();
        match function.as_str() {
            "Fn::Equals" => self.value(&arguments[0]) == self.value(&arguments[1]),
            "Fn::Not" => !self.holds(&arguments[0]),
            "Fn::And" => arguments.as_array().unwrap().iter().all(|each| self.holds(each)),
            "Condition" => self.condition(arguments.as_str().unwrap()),
            other => panic!("{other} is not known here"),
        }
    }

    /// What a value stands for; `None` where it is left out.
    fn value(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Array(values) => Some(values.iter().filter_map(|value| self.value(value)).collect()),
            Value::Object(members) => {
                let only = members.iter().next().filter(|_| members.len() == 1);
                match only.map(|(name, argument)| (name.as_str(), argument)) {
                    Some(("Ref", name)) => {
                        let name = name.as_str().unwrap();
                        (name != "AWS::NoValue").then(|| self.reference(name))
                    }
                    Some(("Fn::GetAtt", path)) => {
                        Some(json!(self.attribute(path[0].as_str().unwrap(), path[1].as_str().unwrap())))
                    }
                    Some(("Fn::Sub", text)) => Some(json!(self.substituted(text.as_str().unwrap()))),
                    Some(("Fn::Join", parts)) => {
                        let values = self.value(&parts[1]).unwrap();
                        let values: Vec<&str> =
                            values.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
                        Some(json!(values.join(parts[0].as_str().unwrap())))
                    }
                    Some(("Fn::If", parts)) => {
                        let holds = self.condition(parts[0].as_str().unwrap());
                        self.value(&parts[if holds { 1 } else { 2 }])
                    }
                    Some((name, _)) if name.starts_with("Fn::") => panic!("{name} is not known here"),
                    _ => {
                        let resolved = members
                            .iter()
                            .filter_map(|(name, value)| Some((name.clone(), self.value(value)?)));
                        Some(Value::Object(resolved.collect()))
                    }
                }
            }
            plain => Some(plain.clone()),
        }
    }

    fn substituted(&self, text: &str) -> String {
        let mut parts = text.split("${");
        let mut substituted = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').unwrap();
            match name.split_once('.') {
                Some((id, attribute)) => substituted += &self.attribute(id, attribute),
                None => substituted += self.reference(name).as_str().unwrap(),
            }
            substituted += rest;
        }
        substituted
    }
}

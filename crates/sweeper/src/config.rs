//! The function's configuration: environment variables, read once, all of them judged before anything is said.
//!
//! | variable | what it is | without it |
//! |---|---|---|
//! | `KEYTIDE_TABLE` | the ledger's table | refused |
//! | `KEYTIDE_CHANNEL` | the id of the Slack channel that is told (`C…`) | refused |
//! | `KEYTIDE_SLACK_SECRET` | name or ARN of the secret that holds Slack's bot token | refused |
//! | `KEYTIDE_QUEUE_URL` | the queue of the accounts to sweep | refused |
//! | `KEYTIDE_EXTERNAL_ID` | the external id that the roles' trust policies demand | refused |
//! | `KEYTIDE_READER_ROLE` | the role, in every account, that looks | `keytide-reader` |
//! | `KEYTIDE_DISABLER_ROLE` | the role, in accounts in `enforce`, that disables | `keytide-disabler` |
//! | `KEYTIDE_PARTITION` | AWS's partition | `aws` |
//! | `KEYTIDE_ACCOUNTS` | the accounts: `111122223333,444455556666` | those of the organization |
//! | `KEYTIDE_INCLUDE_ACCOUNTS` | only these of them | all |
//! | `KEYTIDE_EXCLUDE_ACCOUNTS` | all of them but these | none |
//! | `KEYTIDE_ACCOUNT_NAMES` | what people call the accounts: `111122223333=prod,444455556666=staging` | as the organization has them |
//! | `KEYTIDE_SLACK_URL` | where Slack is, for tests | `https://slack.com/api/` |
//! | `KEYTIDE_LOG` | `error`, `warn` or `info`, for keytide's own lines | `info` |
//!
//! Lambda itself sets `AWS_REGION`, `AWS_LAMBDA_RUNTIME_API`, `AWS_LAMBDA_FUNCTION_NAME`,
//! `AWS_LAMBDA_FUNCTION_MEMORY_SIZE` and `AWS_LAMBDA_FUNCTION_VERSION`; without the last four there is no
//! Lambda around us. A variable that is set to nothing counts as not set: that is how a template leaves an
//! optional one out.
//!
//! No secret is read from here. Whoever may read a function's configuration sees its environment, so a
//! token in it is refused.

use std::{collections::BTreeSet, fmt};

use keytide_core::{AccountId, AccountNames, alert::OwnRoles};
use keytide_slack::WebApi;
use tracing::level_filters::LevelFilter;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// The ledger's table.
    pub(crate) table: String,
    /// The channel that is told.
    pub(crate) channel: String,
    /// Name or ARN of the secret with the bot token.
    pub(crate) slack_secret: String,
    /// The queue of the accounts to sweep.
    pub(crate) queue_url: String,
    /// What the roles' trust policies demand.
    pub(crate) external_id: String,
    /// AWS's partition.
    pub(crate) partition: String,
    /// The names of our own roles.
    pub(crate) roles: OwnRoles,
    /// The accounts; empty: those of the organization.
    pub(crate) listed: BTreeSet<AccountId>,
    /// Only these, unless empty.
    pub(crate) include: BTreeSet<AccountId>,
    /// All but these.
    pub(crate) exclude: BTreeSet<AccountId>,
    /// What people call the accounts.
    pub(crate) names: AccountNames,
    /// Where Slack is.
    pub(crate) slack_url: String,
    /// How much is logged.
    pub(crate) log_level: LevelFilter,
    /// The region, as Lambda gives it.
    pub(crate) region: String,
}

/// One thing that is wrong with the environment: the variable, what is wrong, what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    name: &'static str,
    found: Found,
    expected: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Nothing,
    Text(String),
    /// Something that must not be shown.
    Concealed,
}

/// Everything that is wrong with the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problems(Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, found, expected } = self;
        match found {
            Found::Nothing => write!(formatter, "{name} is not set: expected {expected}"),
            Found::Text(text) => write!(formatter, "{name} is {text:?}: expected {expected}"),
            Found::Concealed => write!(formatter, "{name} is set to what is not shown here: {expected}"),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the configuration has {} problem(s)", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(formatter, "; {problem}"))
    }
}

impl std::error::Error for Problems {}

/// The shape of a value: whether a text has it, and how it is called in an error.
struct Shape {
    holds: fn(&str) -> bool,
    expected: &'static str,
}

const TABLE: Shape = Shape {
    // DynamoDB's naming rules.
    holds: |text| (3..=255).contains(&text.len()) && has_only(text, "_.-"),
    expected: "the name of the ledger's table: 3 to 255 letters, digits, `_`, `.` and `-`",
};
const CHANNEL: Shape = Shape {
    holds: |text| {
        let id = text.strip_prefix(['C', 'G']).unwrap_or_default();
        (5..=20).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    },
    expected: "a Slack channel's id such as C0123456789 (at the end of the channel's details); names change",
};
const SECRET: Shape = Shape {
    // Secrets Manager's naming rules, and the colons of an ARN.
    holds: |text| (1..=2_048).contains(&text.len()) && has_only(text, "/_+=.@-:"),
    expected: "the name or ARN of a secret in Secrets Manager",
};
const QUEUE: Shape = Shape {
    holds: |text| is_https(text) && text.matches('/').count() >= 4,
    expected: "the queue's URL, such as https://sqs.us-east-1.amazonaws.com/999988887777/keytide-accounts",
};
const EXTERNAL_ID: Shape = Shape {
    // `ExternalId` in STS's API reference.
    holds: |text| (2..=1_224).contains(&text.len()) && has_only(text, "_+=,.@:/-"),
    expected: "the external id of the roles' trust policies: 2 to 1,224 letters, digits and any of _+=,.@:/-",
};
const ROLE: Shape = Shape {
    // `RoleName` in IAM's API reference.
    holds: |text| (1..=64).contains(&text.len()) && has_only(text, "_+=,.@-"),
    expected: "a role's name, without its path: 1 to 64 letters, digits and any of _+=,.@-",
};
const PARTITION: Shape = Shape {
    holds: |text| {
        text == "aws" || text.strip_prefix("aws-").is_some_and(|rest| !rest.is_empty() && has_only(rest, "-"))
    },
    expected: "a partition: aws, aws-cn or aws-us-gov",
};
const REGION: Shape = Shape {
    holds: |text| text.len() <= 32 && text.contains('-') && has_only(text, "-"),
    expected: "a region, such as us-east-1",
};
const SLACK_URL: Shape = Shape {
    // No `@`: it could hide another host behind a user name.
    holds: |text| {
        let loopback = text.strip_prefix("http://127.0.0.1").is_some_and(|rest| rest.starts_with([':', '/']));
        (is_https(text) || loopback) && !text.contains('@')
    },
    expected: "an address that begins with https://, or http://127.0.0.1 for tests: the token is sent there",
};
const ANY: Shape =
    Shape { holds: |_| true, expected: "what Lambda sets: this program runs as a function only" };
const MEMORY: Shape = Shape {
    holds: |text| text.parse::<i32>().is_ok(),
    expected: "what Lambda sets, a number of megabytes: this program runs as a function only",
};

fn has_only(text: &str, besides_letters_and_digits: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || besides_letters_and_digits.contains(c))
}

fn is_https(text: &str) -> bool {
    text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

/// Whether a text looks like, or holds, one of Slack's tokens (`xoxb-…`, `xoxp-…`, `xapp-…`).
fn is_token(text: &str) -> bool {
    ["xoxb-", "xoxp-", "xoxa-", "xoxe-", "xoxe.", "xapp-"].iter().any(|start| text.contains(start))
}

/// The environment, and what was found wrong with it so far.
struct Reader<Read> {
    read: Read,
    problems: Vec<Problem>,
}

impl<Read: Fn(&str) -> Option<String>> Reader<Read> {
    fn text(&self, name: &str) -> Option<String> {
        (self.read)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn refuse(&mut self, name: &'static str, found: Found, expected: &'static str) {
        self.problems.push(Problem { name, found, expected });
    }

    fn refuse_text(&mut self, name: &'static str, text: &str, expected: &'static str) {
        if is_token(text) {
            let expected = "it looks like a Slack token, which belongs into Secrets Manager; name its secret \
                            in KEYTIDE_SLACK_SECRET, and let Slack revoke the token that was shown here";
            self.refuse(name, Found::Concealed, expected);
        } else {
            self.refuse(name, Found::Text(text.chars().take(200).collect()), expected);
        }
    }

    fn required(&mut self, name: &'static str, shape: &Shape) -> String {
        if let Some(text) = self.text(name) {
            return self.judged(name, text, shape);
        }
        self.refuse(name, Found::Nothing, shape.expected);
        String::new()
    }

    fn or_default(&mut self, name: &'static str, shape: &Shape, default: &str) -> String {
        match self.text(name) {
            Some(text) => self.judged(name, text, shape),
            None => default.to_owned(),
        }
    }

    fn judged(&mut self, name: &'static str, text: String, shape: &Shape) -> String {
        if is_token(&text) || !(shape.holds)(&text) {
            self.refuse_text(name, &text, shape.expected);
        }
        text
    }

    /// A text that another reader makes something of; the default where there is none.
    fn parsed<T: Default>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        let Some(text) = self.text(name) else { return T::default() };
        parse(&text).unwrap_or_else(|| {
            self.refuse_text(name, &text, expected);
            T::default()
        })
    }

    /// A list of accounts. One that is wrong refuses the whole list: what it left out would not be swept.
    fn accounts(&mut self, name: &'static str) -> BTreeSet<AccountId> {
        let expected = "a list of account ids of twelve digits, such as 111122223333,444455556666";
        self.parsed(name, expected, |text| {
            let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
            let ids: BTreeSet<AccountId> = ids.map(|id| AccountId::parse(id).ok()).collect::<Option<_>>()?;
            (!ids.is_empty()).then_some(ids)
        })
    }
}

impl Config {
    /// Reads the environment through `read`, and says everything that is wrong with it at once.
    pub(crate) fn from_env(read: impl Fn(&str) -> Option<String>) -> Result<Self, Problems> {
        let mut env = Reader { read, problems: Vec::new() };
        let config = Self {
            table: env.required("KEYTIDE_TABLE", &TABLE),
            channel: env.required("KEYTIDE_CHANNEL", &CHANNEL),
            slack_secret: env.required("KEYTIDE_SLACK_SECRET", &SECRET),
            queue_url: env.required("KEYTIDE_QUEUE_URL", &QUEUE),
            external_id: env.required("KEYTIDE_EXTERNAL_ID", &EXTERNAL_ID),
            roles: OwnRoles {
                reader: env.or_default("KEYTIDE_READER_ROLE", &ROLE, "keytide-reader"),
                disabler: env.or_default("KEYTIDE_DISABLER_ROLE", &ROLE, "keytide-disabler"),
            },
            partition: env.or_default("KEYTIDE_PARTITION", &PARTITION, "aws"),
            listed: env.accounts("KEYTIDE_ACCOUNTS"),
            include: env.accounts("KEYTIDE_INCLUDE_ACCOUNTS"),
            exclude: env.accounts("KEYTIDE_EXCLUDE_ACCOUNTS"),
            names: env.parsed(
                "KEYTIDE_ACCOUNT_NAMES",
                "a list such as 111122223333=prod,444455556666=staging",
                |text| AccountNames::parse(text).ok(),
            ),
            slack_url: env.or_default("KEYTIDE_SLACK_URL", &SLACK_URL, WebApi::BASE),
            log_level: env
                .parsed("KEYTIDE_LOG", "error, warn or info", |text| {
                    // What says less is not compiled in: see `tracing` in the workspace's Cargo.toml.
                    let levels = [LevelFilter::ERROR, LevelFilter::WARN, LevelFilter::INFO];
                    text.parse().ok().filter(|level| levels.contains(level)).map(Some)
                })
                .unwrap_or(LevelFilter::INFO),
            region: env.or_default("AWS_REGION", &REGION, "us-east-1"),
        };
        // Whatever is in there: not even its shape is told.
        if env.text("KEYTIDE_SLACK_TOKEN").is_some() {
            let expected = "a token has no place in a function's environment, which everybody sees who may read \
                            its configuration; put it into Secrets Manager, name its secret in \
                            KEYTIDE_SLACK_SECRET, and let Slack revoke this one";
            env.refuse("KEYTIDE_SLACK_TOKEN", Found::Concealed, expected);
        }
        // The runtime's own library reads these, and panics without them.
        for name in ["AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION"] {
            env.required(name, &ANY);
        }
        env.required("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &MEMORY);
        if env.problems.is_empty() { Ok(config) } else { Err(Problems(env.problems)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 9] = [
        ("KEYTIDE_TABLE", "keytide"),
        ("KEYTIDE_CHANNEL", "C0123456789"),
        ("KEYTIDE_SLACK_SECRET", "keytide/slack"),
        ("KEYTIDE_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/999988887777/keytide-accounts"),
        ("KEYTIDE_EXTERNAL_ID", "tidewater-keytide"),
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
        ("AWS_LAMBDA_FUNCTION_NAME", "keytide-sweeper"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ];

    /// The good environment with some variables replaced or added.
    fn with(changes: &[(&str, &str)]) -> Result<Config, Problems> {
        Config::from_env(|name| {
            let found = changes.iter().chain(&GOOD).find(|(candidate, _)| *candidate == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn said(changes: &[(&str, &str)]) -> String {
        with(changes).unwrap_err().to_string()
    }

    #[test]
    fn what_is_left_out_has_its_default_and_empty_counts_as_left_out() {
        let config = with(&[("KEYTIDE_READER_ROLE", " "), ("KEYTIDE_ACCOUNTS", "")]).unwrap();
        assert_eq!(config.roles, OwnRoles::default());
        assert!(config.listed.is_empty() && config.include.is_empty() && config.exclude.is_empty());
        assert_eq!((config.partition.as_str(), config.region.as_str()), ("aws", "us-east-1"));
        assert_eq!(config.slack_url, "https://slack.com/api/");
        assert_eq!(config.log_level, LevelFilter::INFO);
    }

    #[test]
    fn what_is_given_is_taken() {
        let config = with(&[
            ("KEYTIDE_ACCOUNTS", "111122223333, 444455556666"),
            ("KEYTIDE_INCLUDE_ACCOUNTS", "111122223333"),
            ("KEYTIDE_EXCLUDE_ACCOUNTS", "444455556666,"),
            ("KEYTIDE_DISABLER_ROLE", "audit-disabler"),
        ])
        .unwrap();
        let ids = |ids: &[&str]| ids.iter().map(|id| AccountId::parse(id).unwrap()).collect::<BTreeSet<_>>();
        assert_eq!(config.listed, ids(&["111122223333", "444455556666"]));
        assert_eq!(config.include, ids(&["111122223333"]));
        assert_eq!(config.exclude, ids(&["444455556666"]));
        assert_eq!(config.roles.disabler, "audit-disabler");
    }

    #[test]
    fn all_problems_are_told_at_once_with_name_finding_and_expectation() {
        let nothing = Config::from_env(|_| None).unwrap_err().to_string();
        assert!(nothing.contains("9 problem(s)"), "{nothing}");
        for (name, _) in GOOD {
            assert!(nothing.contains(&format!("{name} is not set: expected ")), "{name} in {nothing}");
        }
        let wrong = [
            ("KEYTIDE_TABLE", "a table"),
            ("KEYTIDE_CHANNEL", "#alerts"),
            ("KEYTIDE_SLACK_SECRET", "not a secret"),
            ("KEYTIDE_QUEUE_URL", "keytide-accounts"),
            ("KEYTIDE_EXTERNAL_ID", "?"),
            ("KEYTIDE_READER_ROLE", "path/reader"),
            ("KEYTIDE_DISABLER_ROLE", "arn:aws:iam::111122223333:role/x"),
            ("KEYTIDE_PARTITION", "amazon"),
            ("KEYTIDE_ACCOUNTS", "prod"),
            ("KEYTIDE_INCLUDE_ACCOUNTS", "111122223333,11112222333"),
            ("KEYTIDE_EXCLUDE_ACCOUNTS", ","),
            ("KEYTIDE_ACCOUNT_NAMES", "prod=111122223333"),
            ("KEYTIDE_SLACK_URL", "http://slack.com/api/"),
            ("KEYTIDE_LOG", "debug"),
            ("AWS_REGION", "here"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "much"),
        ];
        let all = said(&wrong);
        assert!(all.contains("16 problem(s)"), "{all}");
        for (name, found) in wrong {
            assert!(all.contains(&format!("{name} is {found:?}: expected ")), "{name} in {all}");
        }
    }

    #[test]
    fn a_token_is_refused_wherever_it_is_put_and_never_shown() {
        for name in ["KEYTIDE_SLACK_TOKEN", "KEYTIDE_SLACK_SECRET", "KEYTIDE_CHANNEL", "KEYTIDE_ACCOUNTS"] {
            let said = said(&[(name, "xoxb-1234-secret")]);
            assert!(said.contains(&format!("{name} is set to what is not shown here: ")), "{said}");
            assert!(said.contains("1 problem(s)") && said.contains("Secrets Manager"), "{said}");
            assert!(!said.contains("1234"), "{said}");
        }
    }

    #[test]
    fn the_token_goes_nowhere_but_over_https_or_to_this_machine() {
        for good in ["https://slack.com/api/", "http://127.0.0.1:1/", "http://127.0.0.1/x"] {
            assert!(with(&[("KEYTIDE_SLACK_URL", good)]).is_ok(), "{good}");
        }
        for bad in ["http://slack.com/", "http://127.0.0.1.example.org/", "http://127.0.0.1:80@example.org/"]
        {
            assert!(with(&[("KEYTIDE_SLACK_URL", bad)]).is_err(), "{bad}");
        }
    }
}

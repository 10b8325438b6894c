//! What every function is told.
//!
//! | variable | what it is | without it |
//! |---|---|---|
//! | `KEYTIDE_TABLE` | the ledger's table | refused |
//! | `KEYTIDE_CHANNEL` | the id of the Slack channel that is told (`C…`) | refused |
//! | `KEYTIDE_SLACK_SECRET` | name or ARN of the secret that holds Slack's bot token | refused |
//! | `KEYTIDE_QUEUE_URL` | the queue that invokes the function, to have a failed message wait longer | refused |
//! | `KEYTIDE_EXTERNAL_ID` | the external id that the roles' trust policies demand | refused |
//! | `KEYTIDE_READER_ROLE` | the role, in every account, that looks | `keytide-reader` |
//! | `KEYTIDE_DISABLER_ROLE` | the role, in accounts in `enforce`, that disables: told from strangers by its name | `keytide-disabler` |
//! | `KEYTIDE_FUNCTION_ROLES` | the roles that the functions run under: whatever they do to IAM is critical | `keytide-watcher,keytide-sweeper` |
//! | `KEYTIDE_SECURITY_ACCOUNT` | the account where the functions are; elsewhere a role of such a name is not theirs | in any account they are theirs |
//! | `KEYTIDE_PARTITION` | AWS's partition | `aws` |
//! | `KEYTIDE_ACCOUNT_NAMES` | what people call the accounts: `111122223333=prod,444455556666=staging` | ids are shown, or the organization's names |
//! | `KEYTIDE_SLACK_URL` | where Slack is, for tests | `https://slack.com/api/` |
//! | `KEYTIDE_LOG` | `error`, `warn` or `info`, for keytide's own lines | `info` |
//!
//! The SDK's own `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT`, `AWS_ENDPOINT_URL` and
//! `AWS_ENDPOINT_URL_<SERVICE>` count as they do everywhere.
//!
//! Lambda itself sets the role's credentials, `AWS_REGION`, `AWS_LAMBDA_RUNTIME_API`, `AWS_LAMBDA_FUNCTION_NAME`,
//! `AWS_LAMBDA_FUNCTION_MEMORY_SIZE` and `AWS_LAMBDA_FUNCTION_VERSION`; without the last four there is no
//! Lambda around us. A variable that is set to nothing counts as not set: that is how a template leaves an
//! optional one out.

use keytide_core::{AccountId, AccountNames, alert::OwnRoles};
use keytide_slack::WebApi;
use tracing::level_filters::LevelFilter;

use crate::environment::{Environment, Problems, Shape};

/// What every function is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The ledger's table.
    pub table: String,
    /// The channel that is told.
    pub channel: String,
    /// Name or ARN of the secret with the bot token.
    pub slack_secret: String,
    /// The queue that invokes the function.
    pub queue_url: String,
    /// What the roles' trust policies demand.
    pub external_id: String,
    /// The names of our own roles.
    pub roles: OwnRoles,
    /// AWS's partition.
    pub partition: String,
    /// What people call the accounts.
    pub names: AccountNames,
    /// Where Slack is.
    pub slack_url: String,
    /// How much is logged.
    pub log_level: LevelFilter,
    /// The region, as Lambda gives it.
    pub region: String,
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
    expected: "the queue's URL, such as https://sqs.us-east-1.amazonaws.com/999988887777/keytide-events",
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
const ROLES: Shape = Shape {
    holds: |text| text.split(',').all(|name| (ROLE.holds)(name)),
    expected: "roles' names without their paths, such as keytide-watcher,keytide-sweeper",
};
const PARTITION: Shape = Shape {
    holds: |text| {
        text == "aws" || text.strip_prefix("aws-").is_some_and(|rest| !rest.is_empty() && has_only(rest, "-"))
    },
    expected: "a partition: aws, aws-cn or aws-us-gov",
};
const REGION: Shape = Shape {
    holds: |text| text.len() <= 32 && text.contains('-') && has_only(text, "-"),
    expected: "a region, such as us-east-1, where IAM's events are",
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

impl Settings {
    /// Reads the environment through `read`, with what one function takes `besides`, and says everything that is
    /// wrong with it at once.
    pub(crate) fn read<Own>(
        read: impl Fn(&str) -> Option<String>,
        besides: impl FnOnce(&mut Environment<'_>) -> Own,
    ) -> Result<(Self, Own), Problems> {
        let mut env = Environment::new(&read);
        let settings = Self {
            table: env.required("KEYTIDE_TABLE", &TABLE),
            channel: env.required("KEYTIDE_CHANNEL", &CHANNEL),
            slack_secret: env.required("KEYTIDE_SLACK_SECRET", &SECRET),
            queue_url: env.required("KEYTIDE_QUEUE_URL", &QUEUE),
            external_id: env.required("KEYTIDE_EXTERNAL_ID", &EXTERNAL_ID),
            roles: OwnRoles {
                reader: env.or_default("KEYTIDE_READER_ROLE", &ROLE, "keytide-reader"),
                disabler: env.or_default("KEYTIDE_DISABLER_ROLE", &ROLE, "keytide-disabler"),
                functions: env
                    .or_default("KEYTIDE_FUNCTION_ROLES", &ROLES, &OwnRoles::FUNCTIONS.join(","))
                    .split(',')
                    .map(str::to_owned)
                    .collect(),
                functions_in: env.parsed(
                    "KEYTIDE_SECURITY_ACCOUNT",
                    "an account id of twelve digits",
                    |text| AccountId::parse(text).ok().map(Some),
                ),
            },
            partition: env.or_default("KEYTIDE_PARTITION", &PARTITION, "aws"),
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
        let own = besides(&mut env);
        env.banned(
            "KEYTIDE_SLACK_TOKEN",
            "a token has no place in a function's environment, which everybody sees who may read its \
             configuration; put it into Secrets Manager, name its secret in KEYTIDE_SLACK_SECRET, and let Slack \
             revoke this one",
        );
        // The runtime's own library reads these, and panics without them.
        for name in ["AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION"] {
            env.required(name, &ANY);
        }
        env.required("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &MEMORY);
        env.judge((settings, own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 9] = [
        ("KEYTIDE_TABLE", "keytide"),
        ("KEYTIDE_CHANNEL", "C0123456789"),
        ("KEYTIDE_SLACK_SECRET", "keytide/slack"),
        ("KEYTIDE_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/999988887777/keytide-events"),
        ("KEYTIDE_EXTERNAL_ID", "tidewater-keytide"),
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
        ("AWS_LAMBDA_FUNCTION_NAME", "keytide-watcher"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ];

    /// The good environment with some variables replaced or added.
    fn with(changes: &[(&str, &str)]) -> Result<Settings, Problems> {
        let read = |name: &str| {
            let found = changes.iter().chain(&GOOD).find(|(candidate, _)| *candidate == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::read(read, |_| ()).map(|(settings, ())| settings)
    }

    fn said(changes: &[(&str, &str)]) -> String {
        with(changes).unwrap_err().to_string()
    }

    #[test]
    fn what_is_left_out_has_its_default_and_empty_counts_as_left_out() {
        let settings = with(&[("KEYTIDE_READER_ROLE", " "), ("KEYTIDE_ACCOUNT_NAMES", "")]).unwrap();
        assert_eq!(settings.roles, OwnRoles::default());
        assert_eq!(settings.names, AccountNames::default());
        assert_eq!(settings.partition, "aws");
        assert_eq!(settings.slack_url, "https://slack.com/api/");
        assert_eq!(settings.log_level, LevelFilter::INFO);
        assert_eq!(settings.region, "us-east-1");
    }

    #[test]
    fn what_is_given_is_taken() {
        let settings = with(&[
            ("KEYTIDE_READER_ROLE", "audit-reader"),
            ("KEYTIDE_DISABLER_ROLE", "audit-disabler"),
            ("KEYTIDE_FUNCTION_ROLES", "audit-watcher"),
            ("KEYTIDE_SECURITY_ACCOUNT", "999988887777"),
            ("KEYTIDE_PARTITION", "aws-us-gov"),
            ("KEYTIDE_ACCOUNT_NAMES", "111122223333=prod"),
            ("KEYTIDE_SLACK_URL", "http://127.0.0.1:4000/slack/api/"),
            ("KEYTIDE_LOG", "warn"),
        ])
        .unwrap();
        assert_eq!(settings.roles.reader, "audit-reader");
        assert_eq!(settings.roles.disabler, "audit-disabler");
        assert_eq!(settings.roles.functions, ["audit-watcher"]);
        assert_eq!(settings.roles.functions_in, Some("999988887777".parse().unwrap()));
        assert_eq!(settings.partition, "aws-us-gov");
        assert_eq!(settings.names, AccountNames::parse("111122223333=prod").unwrap());
        assert_eq!(settings.slack_url, "http://127.0.0.1:4000/slack/api/");
        assert_eq!(settings.log_level, LevelFilter::WARN);
    }

    #[test]
    fn all_problems_are_told_at_once_with_name_finding_and_expectation() {
        let nothing = Settings::read(|_| None, |_| ()).unwrap_err().to_string();
        assert!(nothing.contains("9 problem(s)"), "{nothing}");
        for (name, _) in GOOD {
            assert!(nothing.contains(&format!("{name} is not set: expected ")), "{name} in {nothing}");
        }
        let wrong = [
            ("KEYTIDE_TABLE", "a table"),
            ("KEYTIDE_CHANNEL", "#alerts"),
            ("KEYTIDE_SLACK_SECRET", "not a secret"),
            ("KEYTIDE_QUEUE_URL", "keytide-events"),
            ("KEYTIDE_EXTERNAL_ID", "?"),
            ("KEYTIDE_READER_ROLE", "path/reader"),
            ("KEYTIDE_DISABLER_ROLE", "arn:aws:iam::111122223333:role/x"),
            ("KEYTIDE_FUNCTION_ROLES", "keytide-watcher, keytide-sweeper"),
            ("KEYTIDE_SECURITY_ACCOUNT", "security"),
            ("KEYTIDE_PARTITION", "amazon"),
            ("KEYTIDE_ACCOUNT_NAMES", "prod=111122223333"),
            ("KEYTIDE_SLACK_URL", "http://slack.com/api/"),
            ("KEYTIDE_LOG", "debug"),
            ("AWS_REGION", "here"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "much"),
        ];
        let all = said(&wrong);
        assert!(all.contains("15 problem(s)"), "{all}");
        for (name, found) in wrong {
            assert!(all.contains(&format!("{name} is {found:?}: expected ")), "{name} in {all}");
        }
    }

    #[test]
    fn what_one_function_takes_besides_is_judged_with_the_rest() {
        let read = |name: &str| (name == "KEYTIDE_PACE").then(|| "fast".to_owned());
        let both = Settings::read(read, |env| {
            env.parsed("KEYTIDE_PACE", "a number", |text| text.parse::<u32>().ok())
        });
        let said = both.unwrap_err().to_string();
        assert!(said.contains("10 problem(s)"), "{said}");
        assert!(said.contains("KEYTIDE_PACE is \"fast\": expected a number"), "{said}");
    }

    #[test]
    fn a_token_is_refused_wherever_it_is_put_and_never_shown() {
        let token = "xoxb-1234-secret";
        for name in ["KEYTIDE_SLACK_TOKEN", "KEYTIDE_SLACK_SECRET", "KEYTIDE_CHANNEL", "KEYTIDE_LOG"] {
            let said = said(&[(name, token)]);
            assert!(said.contains(&format!("{name} is set to what is not shown here: ")), "{said}");
            assert!(said.contains("1 problem(s)") && said.contains("Secrets Manager"), "{said}");
            assert!(!said.contains("1234"), "{said}");
        }
        let odd = said(&[("KEYTIDE_SLACK_TOKEN", "hunter2")]);
        assert!(odd.contains("KEYTIDE_SLACK_TOKEN") && !odd.contains("hunter2"), "{odd}");
    }

    #[test]
    fn the_token_goes_nowhere_but_over_https_or_to_this_machine() {
        for good in ["https://slack.com/api/", "http://127.0.0.1:1/", "http://127.0.0.1/x"] {
            assert!(with(&[("KEYTIDE_SLACK_URL", good)]).is_ok(), "{good}");
        }
        for bad in [
            "http://slack.com/api/",
            "http://127.0.0.1.example.org/",
            "http://127.0.0.1:80@example.org/",
            "http://127.0.0.1@example.org/",
            "https://slack.com@example.org/",
            "https://",
            "ftp://127.0.0.1/",
        ] {
            assert!(with(&[("KEYTIDE_SLACK_URL", bad)]).is_err(), "{bad}");
        }
    }
}

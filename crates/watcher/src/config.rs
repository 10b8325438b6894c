//! What the watcher is told besides what every function is ([`keytide_function::Settings`]):
//!
//! | variable | what it is | without it |
//! |---|---|---|
//! | `KEYTIDE_FAILED_ATTEMPTS` | which refused attempts are posted: `never`, `root-and-others`, `always` | `root-and-others` |
//! | `KEYTIDE_OWNER_LOOKUP_MS` | how long finding out about an owner may take, in milliseconds | `2000` |

use std::time::Duration;

use keytide_core::alert::FailedAttempts;
use keytide_function::Environment;

/// What the watcher alone is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// Which refused attempts are posted.
    pub(crate) failed_attempts: FailedAttempts,
    /// How long finding out about an owner may take.
    pub(crate) owner_lookup: Duration,
}

impl Config {
    /// Reads it.
    pub(crate) fn read(env: &mut Environment<'_>) -> Self {
        Self {
            failed_attempts: env.parsed(
                "KEYTIDE_FAILED_ATTEMPTS",
                "never, root-and-others or always",
                failed_attempts,
            ),
            owner_lookup: env
                .parsed("KEYTIDE_OWNER_LOOKUP_MS", "a number of milliseconds from 100 to 10000", |text| {
                    text.parse().ok().filter(|ms| (100..=10_000).contains(ms)).map(Some)
                })
                .map_or(OWNER_LOOKUP, Duration::from_millis),
        }
    }
}

/// An alert waits no longer for what it says about the owner.
const OWNER_LOOKUP: Duration = Duration::from_secs(2);

fn failed_attempts(text: &str) -> Option<FailedAttempts> {
    match text {
        "never" => Some(FailedAttempts::Never),
        "root-and-others" => Some(FailedAttempts::RootAndOthers),
        "always" => Some(FailedAttempts::Always),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use keytide_function::Problems;

    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Config, Problems> {
        let read = |name: &str| {
            let found = variables.iter().find(|(candidate, _)| *candidate == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let mut env = Environment::new(&read);
        let config = Config::read(&mut env);
        env.judge(config)
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let config = with(&[]).unwrap();
        assert_eq!(config.failed_attempts, FailedAttempts::RootAndOthers);
        assert_eq!(config.owner_lookup, Duration::from_secs(2));
    }

    #[test]
    fn what_is_given_is_taken() {
        let config =
            with(&[("KEYTIDE_FAILED_ATTEMPTS", "always"), ("KEYTIDE_OWNER_LOOKUP_MS", "750")]).unwrap();
        assert_eq!(config.failed_attempts, FailedAttempts::Always);
        assert_eq!(config.owner_lookup, Duration::from_millis(750));
    }

    #[test]
    fn what_is_wrong_is_told_with_name_finding_and_expectation() {
        let wrong = [("KEYTIDE_FAILED_ATTEMPTS", "sometimes"), ("KEYTIDE_OWNER_LOOKUP_MS", "2s")];
        let all = with(&wrong).unwrap_err().to_string();
        assert!(all.contains("2 problem(s)"), "{all}");
        for (name, found) in wrong {
            assert!(all.contains(&format!("{name} is {found:?}: expected ")), "{name} in {all}");
        }
    }
}

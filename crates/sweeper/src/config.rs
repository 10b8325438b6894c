//! What the sweeper is told besides what every function is ([`keytide_function::Settings`]):
//!
//! | variable | what it is | without it |
//! |---|---|---|
//! | `KEYTIDE_ACCOUNTS` | the accounts: `111122223333,444455556666` | those of the organization |
//! | `KEYTIDE_INCLUDE_ACCOUNTS` | only these of them | all |
//! | `KEYTIDE_EXCLUDE_ACCOUNTS` | all of them but these | none |

use std::collections::BTreeSet;

use keytide_core::AccountId;
use keytide_function::Environment;

/// What the sweeper alone is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// The accounts; empty: those of the organization.
    pub(crate) listed: BTreeSet<AccountId>,
    /// Only these, unless empty.
    pub(crate) include: BTreeSet<AccountId>,
    /// All but these.
    pub(crate) exclude: BTreeSet<AccountId>,
}

impl Config {
    /// Reads it.
    pub(crate) fn read(env: &mut Environment<'_>) -> Self {
        let mut accounts = |name| {
            env.parsed(name, "a list of account ids of twelve digits, such as 111122223333,444455556666", ids)
        };
        Self {
            listed: accounts("KEYTIDE_ACCOUNTS"),
            include: accounts("KEYTIDE_INCLUDE_ACCOUNTS"),
            exclude: accounts("KEYTIDE_EXCLUDE_ACCOUNTS"),
        }
    }
}

/// A list of accounts. One that is wrong refuses the whole list: what it left out would not be swept.
fn ids(text: &str) -> Option<BTreeSet<AccountId>> {
    let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
    let ids: BTreeSet<AccountId> = ids.map(|id| AccountId::parse(id).ok()).collect::<Option<_>>()?;
    (!ids.is_empty()).then_some(ids)
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
    fn what_is_left_out_is_empty() {
        let config = with(&[("KEYTIDE_ACCOUNTS", "")]).unwrap();
        assert!(config.listed.is_empty() && config.include.is_empty() && config.exclude.is_empty());
    }

    #[test]
    fn what_is_given_is_taken() {
        let config = with(&[
            ("KEYTIDE_ACCOUNTS", "111122223333, 444455556666"),
            ("KEYTIDE_INCLUDE_ACCOUNTS", "111122223333"),
            ("KEYTIDE_EXCLUDE_ACCOUNTS", "444455556666,"),
        ])
        .unwrap();
        let ids = |ids: &[&str]| ids.iter().map(|id| AccountId::parse(id).unwrap()).collect::<BTreeSet<_>>();
        assert_eq!(config.listed, ids(&["111122223333", "444455556666"]));
        assert_eq!(config.include, ids(&["111122223333"]));
        assert_eq!(config.exclude, ids(&["444455556666"]));
    }

    #[test]
    fn a_list_with_one_wrong_id_is_refused_whole() {
        let wrong = [
            ("KEYTIDE_ACCOUNTS", "prod"),
            ("KEYTIDE_INCLUDE_ACCOUNTS", "111122223333,11112222333"),
            ("KEYTIDE_EXCLUDE_ACCOUNTS", ","),
        ];
        let all = with(&wrong).unwrap_err().to_string();
        assert!(all.contains("3 problem(s)"), "{all}");
        for (name, found) in wrong {
            assert!(all.contains(&format!("{name} is {found:?}: expected ")), "{name} in {all}");
        }
    }

    #[test]
    fn a_token_among_accounts_is_not_shown() {
        let said = with(&[("KEYTIDE_ACCOUNTS", "xoxb-1234-secret")]).unwrap_err().to_string();
        assert!(said.contains("KEYTIDE_ACCOUNTS is set to what is not shown here: "), "{said}");
        assert!(said.contains("1 problem(s)") && !said.contains("1234"), "{said}");
    }
}

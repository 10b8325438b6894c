//! What there is: accounts with users, keys and roles, and who a request's credentials are.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::answer::{Answer, JSON_1_0, JSON_1_1};
use crate::calls::Service;
use crate::secrets::SecretVersion;
use crate::sqs::Queue;

/// IAM hands out so many entries in a page if it is not asked for another number (its API
/// reference, `MaxItems`).
const PAGE_SIZE: usize = 100;

/// The state of an access key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyStatus {
    /// Calls may be signed with it.
    Active,
    /// It is disabled.
    Inactive,
    /// The third value of IAM's enum.
    Expired,
}

impl KeyStatus {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Inactive => "Inactive",
            Self::Expired => "Expired",
        }
    }
}

impl fmt::Display for KeyStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct LastUse {
    pub(crate) at: Timestamp,
    pub(crate) service: String,
    pub(crate) region: String,
}

#[derive(Debug, Clone)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) status: KeyStatus,
    pub(crate) created: Timestamp,
    pub(crate) last_used: Option<LastUse>,
}

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) path: String,
    pub(crate) created: Timestamp,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) keys: Vec<AccessKey>,
}

impl User {
    pub(crate) fn arn(&self, account: &str) -> String {
        format!("arn:aws:iam::{account}:user{}{}", self.path, self.name)
    }
}

pub(crate) type Users = BTreeMap<String, User>;

#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) id: String,
    pub(crate) external_id: Option<String>,
    pub(crate) actions: Vec<String>,
}

impl Role {
    fn permits(&self, action: &str) -> bool {
        self.actions.iter().any(|pattern| {
            pattern.strip_suffix('*').map_or(pattern == action, |beginning| action.starts_with(beginning))
        })
    }
}

/// One account. Its users have versions, each seen from some moment on.
#[derive(Debug)]
pub(crate) struct Account {
    versions: VecDeque<(Timestamp, Users)>,
    pub(crate) roles: BTreeMap<String, Role>,
}

impl Account {
    fn new() -> Self {
        Self { versions: VecDeque::from([(Timestamp::MIN, Users::new())]), roles: BTreeMap::new() }
    }

    /// The users as a reader sees them now.
    pub(crate) fn seen(&self, now: Timestamp) -> impl Iterator<Item = &User> {
        self.version(now).values()
    }

    pub(crate) fn seen_user(&self, now: Timestamp, name: &str) -> Option<&User> {
        self.version(now).get(name)
    }

    fn version(&self, now: Timestamp) -> &Users {
        static NOBODY: Users = Users::new();
        self.versions
            .iter()
            .rev()
            .find(|(from, _)| *from <= now)
            .or_else(|| self.versions.front())
            .map_or(&NOBODY, |(_, users)| users)
    }

    /// Changes the users, to be seen after `delay`; a refused change leaves no trace.
    pub(crate) fn change<T, E>(
        &mut self,
        now: Timestamp,
        delay: Duration,
        change: impl FnOnce(&mut Users) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut users = self.versions.back().map(|(_, users)| users.clone()).unwrap_or_default();
        let result = change(&mut users)?;
        if delay.is_zero() {
            self.versions.clear();
            self.versions.push_back((Timestamp::MIN, users));
        } else {
            let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
            let seen_from = now.saturating_add(delay).unwrap_or(Timestamp::MAX);
            // What no reader can see any more goes.
            while self.versions.get(1).is_some_and(|(from, _)| *from <= now) {
                self.versions.pop_front();
            }
            self.versions.push_back((seen_from, users));
        }
        Ok(result)
    }
}

#[derive(Debug, Clone)]
struct Session {
    account: String,
    role: String,
    role_id: String,
    name: String,
    expires: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Principal {
    /// Whoever runs the account, with every right.
    Owner,
    User {
        name: String,
        id: String,
        arn: String,
    },
    Role {
        name: String,
        id: String,
        session: String,
    },
}

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) account: String,
    principal: Principal,
}

impl Caller {
    pub(crate) fn role(&self) -> Option<&str> {
        match &self.principal {
            Principal::Role { name, .. } => Some(name),
            Principal::Owner | Principal::User { .. } => None,
        }
    }

    pub(crate) fn session(&self) -> Option<&str> {
        match &self.principal {
            Principal::Role { session, .. } => Some(session),
            Principal::Owner | Principal::User { .. } => None,
        }
    }

    /// The user whose own key signed, if it was a user's.
    pub(crate) fn user(&self) -> Option<&str> {
        match &self.principal {
            Principal::User { name, .. } => Some(name),
            Principal::Owner | Principal::Role { .. } => None,
        }
    }

    pub(crate) fn arn(&self) -> String {
        let account = &self.account;
        match &self.principal {
            Principal::Owner => format!("arn:aws:iam::{account}:root"),
            Principal::User { arn, .. } => arn.clone(),
            Principal::Role { name, session, .. } => {
                format!("arn:aws:sts::{account}:assumed-role/{name}/{session}")
            }
        }
    }

    /// The unique id that `GetCallerIdentity` gives.
    pub(crate) fn user_id(&self) -> String {
        match &self.principal {
            Principal::Owner => self.account.clone(),
            Principal::User { id, .. } => id.clone(),
            Principal::Role { id, session, .. } => format!("{id}:{session}"),
        }
    }
}

/// Why a service does not do what it is asked, in the words that AWS uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn access_denied(message: impl Into<String>) -> Self {
        Self::new(403, "AccessDenied", message)
    }

    pub(crate) fn answer(&self, service: Service) -> Answer {
        // The JSON services have other names for the same refusals of credentials.
        let json_name = match self.code {
            "AccessDenied" => "AccessDeniedException",
            "InvalidClientTokenId" => "UnrecognizedClientException",
            "ExpiredToken" => "ExpiredTokenException",
            other => other,
        };
        match service {
            Service::Iam | Service::Sts => Answer::xml_error(self.status, self.code, &self.message),
            Service::DynamoDb => Answer::json_error(
                JSON_1_0,
                400,
                &format!("com.amazon.coral.service#{json_name}"),
                &self.message,
            ),
            Service::Sqs => Answer::json_error(
                JSON_1_0,
                self.status,
                &format!("com.amazonaws.sqs#{json_name}"),
                &self.message,
            ),
            Service::SecretsManager => Answer::json_error(JSON_1_1, 400, json_name, &self.message),
        }
    }
}

/// The whole state but for the tables.
#[derive(Debug)]
pub(crate) struct World {
    accounts: BTreeMap<String, Account>,
    sessions: HashMap<String, Session>,
    pub(crate) secrets: BTreeMap<(String, String), SecretVersion>,
    pub(crate) queues: BTreeMap<String, Queue>,
    pub(crate) page_size: usize,
    ids_given: u64,
}

impl World {
    pub(crate) fn new(home_account: &str) -> Self {
        Self {
            accounts: BTreeMap::from([(home_account.to_owned(), Account::new())]),
            sessions: HashMap::new(),
            secrets: BTreeMap::new(),
            queues: BTreeMap::new(),
            page_size: PAGE_SIZE,
            ids_given: 0,
        }
    }

    pub(crate) fn add_account(&mut self, id: &str) -> bool {
        let new = !self.accounts.contains_key(id);
        self.accounts.entry(id.to_owned()).or_insert_with(Account::new);
        new
    }

    pub(crate) fn account(&self, id: &str) -> Option<&Account> {
        self.accounts.get(id)
    }

    pub(crate) fn account_mut(&mut self, id: &str) -> Option<&mut Account> {
        self.accounts.get_mut(id)
    }

    /// A new id as AWS writes them: a prefix that tells the kind, then letters and digits of
    /// base 32. The same world gives the same ids.
    pub(crate) fn new_id(&mut self, prefix: &str, length: usize) -> String {
        const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut state = self.ids_given;
        self.ids_given += 1;
        let mut id = prefix.to_owned();
        for position in 0..length {
            // SplitMix64: spreads a counter over all bits.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15 ^ position as u64);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^= mixed >> 31;
            let digit = DIGITS.get((mixed % 32) as usize).copied().unwrap_or(b'A');
            id.push(char::from(digit));
        }
        id
    }

    /// Begins a session of a role and gives its access key id.
    pub(crate) fn begin_session(
        &mut self,
        account: &str,
        role: &str,
        name: &str,
        expires: Timestamp,
    ) -> Option<(String, Caller)> {
        let role_id = self.account(account)?.roles.get(role)?.id.clone();
        let access_key_id = self.new_id("ASIA", 16);
        let session = Session {
            account: account.to_owned(),
            role: role.to_owned(),
            role_id,
            name: name.to_owned(),
            expires,
        };
        let caller = caller_in(&session);
        self.sessions.insert(access_key_id.clone(), session);
        Some((access_key_id, caller))
    }

    /// Whose credentials these are.
    pub(crate) fn caller(&self, access_key_id: &str, now: Timestamp) -> Result<Caller, Refusal> {
        if let Some(account) = account_of(access_key_id)
            && self.accounts.contains_key(account)
        {
            return Ok(Caller { account: account.to_owned(), principal: Principal::Owner });
        }
        if let Some(session) = self.sessions.get(access_key_id) {
            if session.expires <= now {
                return Err(Refusal::new(
                    403,
                    "ExpiredToken",
                    "The security token included in the request is expired",
                ));
            }
            return Ok(caller_in(session));
        }
        for (id, account) in &self.accounts {
            for user in account.seen(now) {
                let signs = |key: &AccessKey| key.id == access_key_id && key.status == KeyStatus::Active;
                if user.keys.iter().any(signs) {
                    return Ok(Caller {
                        account: id.clone(),
                        principal: Principal::User {
                            name: user.name.clone(),
                            id: user.id.clone(),
                            arn: user.arn(id),
                        },
                    });
                }
            }
        }
        Err(Refusal::new(
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        ))
    }

    /// Whether the caller's role may do that; whoever has no role may do everything.
    pub(crate) fn permit(&self, caller: &Caller, service: Service, operation: &str) -> Result<(), Refusal> {
        let Some(role) = caller.role() else {
            return Ok(());
        };
        // Nobody needs a permission to ask who they are (STS's API reference).
        if service == Service::Sts && operation == "GetCallerIdentity" {
            return Ok(());
        }
        let action = format!("{service}:{operation}");
        let permitted = self
            .account(&caller.account)
            .and_then(|account| account.roles.get(role))
            .is_some_and(|role| role.permits(&action));
        if permitted {
            Ok(())
        } else {
            Err(Refusal::access_denied(format!(
                "User: {} is not authorized to perform: {action} because no identity-based policy \
                 allows the {action} action",
                caller.arn()
            )))
        }
    }
}

fn caller_in(session: &Session) -> Caller {
    Caller {
        account: session.account.clone(),
        principal: Principal::Role {
            name: session.role.clone(),
            id: session.role_id.clone(),
            session: session.name.clone(),
        },
    }
}

/// The access key id of an account's owner: the account's id is its end.
pub(crate) fn access_key_id_of(account: &str) -> String {
    format!("AKIAROOT{account}")
}

/// The account in an owner's access key id; the bare id of an account is one too.
fn account_of(access_key_id: &str) -> Option<&str> {
    let account = access_key_id.strip_prefix("AKIAROOT").unwrap_or(access_key_id);
    is_account_id(account).then_some(account)
}

pub(crate) fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// IAM keeps whole seconds.
pub(crate) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

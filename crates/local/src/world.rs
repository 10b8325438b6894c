//! What there is: accounts with users, keys and roles, and who a request's credentials are.

mod account;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub(crate) use self::account::{AccessKey, Account, Draft, LastUse, Password, Role, User};
use crate::answer::{Answer, JSON_1_0, JSON_1_1};
use crate::calls::Service;
use crate::iam::Target;
use crate::organizations::Organization;
use crate::secrets::SecretVersion;
use crate::session_policy::SessionPolicy;
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
struct Session {
    account: String,
    role: String,
    role_id: String,
    name: String,
    began: Timestamp,
    expires: Timestamp,
    policy: Option<Arc<SessionPolicy>>,
}

/// A session that is asked for.
pub(crate) struct NewSession<'ask> {
    pub(crate) account: &'ask str,
    pub(crate) role: &'ask str,
    pub(crate) name: &'ask str,
    pub(crate) began: Timestamp,
    pub(crate) expires: Timestamp,
    /// What narrows it further than its role does.
    pub(crate) policy: Option<SessionPolicy>,
}

/// What kind of caller it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principal {
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
        began: Timestamp,
        policy: Option<Arc<SessionPolicy>>,
    },
}

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) account: String,
    pub(crate) access_key_id: String,
    pub(crate) principal: Principal,
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

    /// What narrows the caller's session further than its role does.
    fn session_policy(&self) -> Option<&SessionPolicy> {
        match &self.principal {
            Principal::Role { policy, .. } => policy.as_deref(),
            Principal::Owner | Principal::User { .. } => None,
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

    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
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
            Service::SecretsManager | Service::Organizations => {
                Answer::json_error(JSON_1_1, 400, json_name, &self.message)
            }
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
    pub(crate) organization: Organization,
    pub(crate) page_size: usize,
    /// How long the making of a credential report takes.
    pub(crate) report_making: Duration,
    /// How far the services' clocks are ahead of the world's.
    pub(crate) clock_skew: SignedDuration,
    ids_given: u64,
}

impl World {
    pub(crate) fn new(home_account: &str, now: Timestamp) -> Self {
        Self {
            accounts: BTreeMap::from([(home_account.to_owned(), Account::new(now))]),
            sessions: HashMap::new(),
            secrets: BTreeMap::new(),
            queues: BTreeMap::new(),
            organization: Organization::default(),
            page_size: PAGE_SIZE,
            report_making: Duration::ZERO,
            clock_skew: SignedDuration::ZERO,
            ids_given: 0,
        }
    }

    pub(crate) fn add_account(&mut self, id: &str, now: Timestamp) -> bool {
        let new = !self.accounts.contains_key(id);
        self.accounts.entry(id.to_owned()).or_insert_with(|| Account::new(now));
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
        self.new_digits(prefix, length, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
    }

    /// A new id in the form of a UUID.
    pub(crate) fn new_uuid(&mut self) -> String {
        let digits = self.new_digits("", 32, b"0123456789abcdef");
        let part = |range| digits.get(range).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
    }

    fn new_digits(&mut self, prefix: &str, length: usize, digits: &[u8]) -> String {
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
            let digit = digits.iter().cycle().nth((mixed % 32) as usize).copied().unwrap_or(b'A');
            id.push(char::from(digit));
        }
        id
    }

    /// Begins a session of a role and gives its caller.
    pub(crate) fn begin_session(&mut self, new: NewSession<'_>) -> Option<Caller> {
        let role_id = self.account(new.account)?.roles.get(new.role)?.id.clone();
        let access_key_id = self.new_id("ASIA", 16);
        let session = Session {
            account: new.account.to_owned(),
            role: new.role.to_owned(),
            role_id,
            name: new.name.to_owned(),
            began: new.began,
            expires: new.expires,
            policy: new.policy.map(Arc::new),
        };
        let caller = caller_in(&access_key_id, &session);
        self.sessions.insert(access_key_id, session);
        Some(caller)
    }

    /// Whose credentials these are.
    pub(crate) fn caller(&self, access_key_id: &str, now: Timestamp) -> Result<Caller, Refusal> {
        if let Some(account) = account_of(access_key_id)
            && self.accounts.contains_key(account)
        {
            return Ok(Caller {
                account: account.to_owned(),
                access_key_id: access_key_id.to_owned(),
                principal: Principal::Owner,
            });
        }
        if let Some(session) = self.sessions.get(access_key_id) {
            if session.expires <= now {
                return Err(Refusal::new(
                    403,
                    "ExpiredToken",
                    "The security token included in the request is expired",
                ));
            }
            return Ok(caller_in(access_key_id, session));
        }
        for (id, account) in &self.accounts {
            let signs = |key: &AccessKey| key.id == access_key_id && key.status == KeyStatus::Active;
            let holder = account.seen_holder(now, access_key_id);
            if let Some(user) = holder.filter(|user| user.keys.iter().any(signs)) {
                return Ok(Caller {
                    account: id.clone(),
                    access_key_id: access_key_id.to_owned(),
                    principal: Principal::User {
                        name: user.name.clone(),
                        id: user.id.clone(),
                        arn: user.arn(id),
                    },
                });
            }
        }
        Err(Refusal::new(
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        ))
    }

    /// Whether the caller's role may do that, and the session's own policy too where it has one
    /// (STS's API reference, `AssumeRole`, `Policy`: the session may do what both allow); whoever
    /// has no role may do everything.
    pub(crate) fn permit(
        &self,
        caller: &Caller,
        service: Service,
        operation: &str,
        target: Option<&Target>,
    ) -> Result<(), Refusal> {
        let Some(role) = caller.role() else {
            return Ok(());
        };
        // Nobody needs a permission to ask who they are (STS's API reference).
        if service == Service::Sts && operation == "GetCallerIdentity" {
            return Ok(());
        }
        let action = format!("{service}:{operation}");
        let by_role = self
            .account(&caller.account)
            .and_then(|account| account.roles.get(role))
            .is_some_and(|role| role.permits(&action));
        let by_session = caller
            .session_policy()
            .is_none_or(|policy| policy.permits(&action, target.map(|target| target.arn.as_str())));
        let missing = match (by_role, by_session) {
            (true, true) => return Ok(()),
            (false, _) => "identity-based",
            (true, false) => "session",
        };
        let on = target.map_or_else(String::new, |target| format!(" on resource: user {}", target.name));
        Err(Refusal::access_denied(format!(
            "User: {} is not authorized to perform: {action}{on} because no {missing} policy allows the \
             {action} action",
            caller.arn()
        )))
    }
}

fn caller_in(access_key_id: &str, session: &Session) -> Caller {
    Caller {
        account: session.account.clone(),
        access_key_id: access_key_id.to_owned(),
        principal: Principal::Role {
            name: session.role.clone(),
            id: session.role_id.clone(),
            session: session.name.clone(),
            began: session.began,
            policy: session.policy.clone(),
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

//! Organizations: which accounts there are (its API reference, `ListAccounts` and
//! `DescribeOrganization`).

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::LocalAws;
use crate::answer::{Answer, JSON_1_1};
use crate::calls::Service;
use crate::error::LocalError;
use crate::world::{Caller, Refusal, is_account_id, whole_seconds};

pub(crate) const OPERATIONS: &[&str] = &["ListAccounts", "DescribeOrganization"];

/// One page may hold at most so many accounts (`ListAccounts`, `MaxResults`).
const LARGEST_PAGE: usize = 20;

/// 2026-09-09T00:00:00Z: from then on accounts have a `State` and no `Status` any more (the API's
/// model says so of `Account`).
const STATUS_RETIRED_SECOND: i64 = 1_788_912_000;

/// Where an account is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountState {
    /// It was made, and cannot be used yet.
    PendingActivation,
    /// It is in use.
    Active,
    /// AWS suspended it.
    Suspended,
    /// Its closing was asked for.
    PendingClosure,
    /// It was closed, and is kept for 90 days.
    Closed,
}

impl AccountState {
    const fn name(self) -> &'static str {
        match self {
            Self::PendingActivation => "PENDING_ACTIVATION",
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
            Self::PendingClosure => "PENDING_CLOSURE",
            Self::Closed => "CLOSED",
        }
    }

    /// The older field, which knows three of the states; a closed account was a suspended one.
    const fn status(self) -> Option<&'static str> {
        match self {
            Self::PendingActivation => None,
            Self::Closed => Some("SUSPENDED"),
            Self::Active | Self::Suspended | Self::PendingClosure => Some(self.name()),
        }
    }
}

#[derive(Debug)]
struct Member {
    id: String,
    name: String,
    state: AccountState,
    joined: Timestamp,
}

/// The one organization; there is none until an account manages it.
#[derive(Debug, Default)]
pub(crate) struct Organization {
    management: Option<String>,
    delegated: BTreeSet<String>,
    members: Vec<Member>,
    empty_pages: bool,
}

impl Organization {
    const ID: &str = "o-keytidelocal";

    fn position(&self, account: &str) -> Option<usize> {
        self.members.iter().position(|member| member.id == account)
    }

    fn join(&mut self, account: &str, name: &str, now: Timestamp) {
        self.members.push(Member {
            id: account.to_owned(),
            name: name.to_owned(),
            state: AccountState::Active,
            joined: whole_seconds(now),
        });
    }
}

/// The organization of a [`LocalAws`], to be arranged by hand.
#[derive(Debug, Clone, Copy)]
pub struct Organizations<'aws> {
    aws: &'aws LocalAws,
}

impl<'aws> Organizations<'aws> {
    pub(crate) fn of(aws: &'aws LocalAws) -> Self {
        Self { aws }
    }

    /// Makes an account the management account, and a member if it is none yet.
    pub fn set_management_account(self, account: &str) -> Result<(), LocalError> {
        check_account_id(account)?;
        let now = self.aws.now();
        let organization = &mut self.aws.world().organization;
        if organization.position(account).is_none() {
            organization.join(account, "management", now);
        }
        organization.management = Some(account.to_owned());
        Ok(())
    }

    /// Adds an active member. The account need not be in this world: then nobody can enter it.
    pub fn add_member(self, account: &str, name: &str) -> Result<(), LocalError> {
        check_account_id(account)?;
        let now = self.aws.now();
        let organization = &mut self.aws.world().organization;
        if organization.position(account).is_some() {
            return Err(LocalError::Present { kind: "member account", name: account.to_owned() });
        }
        organization.join(account, name, now);
        Ok(())
    }

    /// Lets a member list the accounts, too.
    pub fn add_delegated_administrator(self, account: &str) -> Result<(), LocalError> {
        self.member(account, |_| {})?;
        self.aws.world().organization.delegated.insert(account.to_owned());
        Ok(())
    }

    /// Sets the name that a member is listed with.
    pub fn set_name(self, account: &str, name: &str) -> Result<(), LocalError> {
        self.member(account, |member| name.clone_into(&mut member.name))
    }

    /// Sets a member's state.
    pub fn set_state(self, account: &str, state: AccountState) -> Result<(), LocalError> {
        self.member(account, |member| member.state = state)
    }

    /// Takes a member out of the organization; the account itself stays.
    pub fn leave(self, account: &str) -> Result<(), LocalError> {
        let organization = &mut self.aws.world().organization;
        let position = organization.position(account).ok_or_else(|| no_member(account))?;
        organization.members.remove(position);
        organization.delegated.remove(account);
        if organization.management.as_deref() == Some(account) {
            organization.management = None;
        }
        Ok(())
    }

    /// Before every page with accounts comes an empty one, as now and then in AWS (`ListAccounts`:
    /// "always check the `NextToken`").
    pub fn set_empty_pages(self, empty_pages: bool) {
        self.aws.world().organization.empty_pages = empty_pages;
    }

    fn member(self, account: &str, change: impl FnOnce(&mut Member)) -> Result<(), LocalError> {
        let organization = &mut self.aws.world().organization;
        let found = organization.members.iter_mut().find(|member| member.id == account);
        change(found.ok_or_else(|| no_member(account))?);
        Ok(())
    }
}

fn no_member(account: &str) -> LocalError {
    LocalError::Absent { kind: "member account", name: account.to_owned() }
}

fn check_account_id(id: &str) -> Result<(), LocalError> {
    if is_account_id(id) { Ok(()) } else { Err(LocalError::AccountId { given: id.to_owned() }) }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    next_token: Option<String>,
    max_results: Option<usize>,
}

pub(crate) fn serve(aws: &LocalAws, operation: &'static str, caller: &Caller, body: &[u8]) -> Answer {
    let result = match serde_json::from_slice::<Request>(body) {
        Err(error) => Err(Refusal::new(400, "InvalidInputException", error.to_string())),
        Ok(request) => match operation {
            "ListAccounts" => list_accounts(aws, caller, &request),
            "DescribeOrganization" => describe(aws, caller),
            _ => Err(Refusal::new(400, "UnknownOperationException", "")),
        },
    };
    match result {
        Ok(body) => Answer::json(JSON_1_1, body.to_string()),
        Err(refusal) => refusal.answer(Service::Organizations),
    }
}

fn list_accounts(aws: &LocalAws, caller: &Caller, request: &Request) -> Result<Value, Refusal> {
    let now = aws.now();
    let world = aws.world();
    let organization = &world.organization;
    let management = management_of(organization, caller)?;
    if management != caller.account && !organization.delegated.contains(&caller.account) {
        return Err(Refusal::new(400, "AccessDenied", "You don't have permissions to access this resource."));
    }
    let invalid = |what: String| Refusal::new(400, "InvalidInputException", what);
    let asked = request.max_results.unwrap_or(LARGEST_PAGE);
    if !(1..=LARGEST_PAGE).contains(&asked) {
        return Err(invalid(format!("MaxResults is {asked}: expected 1 to {LARGEST_PAGE}")));
    }
    let (begin, empty) = match &request.next_token {
        None => (0, organization.empty_pages),
        Some(token) => token
            .strip_prefix("from-")
            .map(|number| (number, false))
            .or_else(|| token.strip_prefix("nothing-then-from-").map(|number| (number, true)))
            .and_then(|(number, empty)| Some((number.parse::<usize>().ok()?, empty)))
            .ok_or_else(|| invalid(format!("You provided an invalid NextToken: {token}")))?,
    };
    if empty {
        return Ok(json!({ "Accounts": [], "NextToken": format!("from-{begin}") }));
    }
    let size = asked.min(world.page_size);
    let rest = organization.members.get(begin..).unwrap_or_default();
    let page = rest.get(..size).unwrap_or(rest);
    let status_is_there = now.as_second() < STATUS_RETIRED_SECOND;
    let accounts: Vec<Value> =
        page.iter().map(|member| describe_member(member, management, status_is_there)).collect();
    let mut body = json!({ "Accounts": accounts });
    if page.len() < rest.len()
        && let Some(fields) = body.as_object_mut()
    {
        let prefix = if organization.empty_pages { "nothing-then-from" } else { "from" };
        fields.insert("NextToken".to_owned(), format!("{prefix}-{}", begin + page.len()).into());
    }
    Ok(body)
}

fn describe_member(member: &Member, management: &str, status_is_there: bool) -> Value {
    let id = &member.id;
    let mut account = json!({
        "Id": id,
        "Arn": format!("arn:aws:organizations::{management}:account/{}/{id}", Organization::ID),
        "Email": email_of(id),
        "Name": member.name,
        "State": member.state.name(),
        "JoinedMethod": "CREATED",
        "JoinedTimestamp": member.joined.as_second(),
    });
    if let (true, Some(status), Some(fields)) =
        (status_is_there, member.state.status(), account.as_object_mut())
    {
        fields.insert("Status".to_owned(), status.into());
    }
    account
}

/// Any member may ask for it (`DescribeOrganization`).
fn describe(aws: &LocalAws, caller: &Caller) -> Result<Value, Refusal> {
    let world = aws.world();
    let management = management_of(&world.organization, caller)?;
    let id = Organization::ID;
    Ok(json!({ "Organization": {
        "Id": id,
        "Arn": format!("arn:aws:organizations::{management}:organization/{id}"),
        "FeatureSet": "ALL",
        "MasterAccountId": management,
        "MasterAccountArn": format!("arn:aws:organizations::{management}:account/{id}/{management}"),
        "MasterAccountEmail": email_of(management),
    } }))
}

fn management_of<'world>(
    organization: &'world Organization,
    caller: &Caller,
) -> Result<&'world str, Refusal> {
    let management = organization.management.as_deref();
    management.filter(|_| organization.position(&caller.account).is_some()).ok_or_else(|| {
        Refusal::new(
            400,
            "AWSOrganizationsNotInUseException",
            "Your account is not a member of an organization.",
        )
    })
}

fn email_of(account: &str) -> String {
    format!("aws+{account}@tidewater.example")
}

//! Who made a call: `userIdentity`, which has nine documented types and may be missing.

use serde::{Deserialize, Serialize};

use super::wire::{Identity, Leaf, Node};

/// Who made a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// `userIdentity.type`.
    #[serde(default, skip_serializing_if = "ActorKind::is_missing")]
    pub kind: ActorKind,
    /// A name to show: the user's, `ROLE/SESSION`, the service's, the other account's id. Untrusted text.
    /// `None` for root, whose `userName` is the account's alias and not a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `userIdentity.arn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// The *caller's* account, which may be another than the key's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The role and its session, of an `AssumedRole`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleSession>,
}

/// An assumed role's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleSession {
    /// The role's name, without its path.
    pub role: String,
    /// The account the role stands in, as its session's issuer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The session's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// `userIdentity.type`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ActorKind {
    /// No `userIdentity`, or one without a type.
    #[default]
    Missing,
    /// The account's root user.
    Root,
    /// An IAM user.
    IamUser,
    /// A role's session.
    AssumedRole,
    /// A session of `GetFederationToken`.
    FederatedUser,
    /// A principal of another account.
    AwsAccount,
    /// An AWS service.
    AwsService,
    /// A user of IAM Identity Center.
    IdentityCenterUser,
    /// A user of a web identity provider.
    WebIdentityUser,
    /// A user of a SAML provider.
    SamlUser,
    /// Whatever AWS adds next.
    Other(String),
}

impl ActorKind {
    /// CloudTrail's spelling; `None` where the record has none.
    pub fn as_str(&self) -> Option<&str> {
        Some(match self {
            Self::Missing => return None,
            Self::Root => "Root",
            Self::IamUser => "IAMUser",
            Self::AssumedRole => "AssumedRole",
            Self::FederatedUser => "FederatedUser",
            Self::AwsAccount => "AWSAccount",
            Self::AwsService => "AWSService",
            Self::IdentityCenterUser => "IdentityCenterUser",
            Self::WebIdentityUser => "WebIdentityUser",
            Self::SamlUser => "SAMLUser",
            Self::Other(text) => text,
        })
    }

    fn is_missing(&self) -> bool {
        *self == Self::Missing
    }
}

impl From<String> for ActorKind {
    fn from(text: String) -> Self {
        match text.as_str() {
            "" => Self::Missing,
            "Root" => Self::Root,
            "IAMUser" => Self::IamUser,
            "AssumedRole" => Self::AssumedRole,
            "FederatedUser" => Self::FederatedUser,
            "AWSAccount" => Self::AwsAccount,
            "AWSService" => Self::AwsService,
            "IdentityCenterUser" => Self::IdentityCenterUser,
            "WebIdentityUser" => Self::WebIdentityUser,
            "SAMLUser" => Self::SamlUser,
            _ => Self::Other(text),
        }
    }
}

impl From<ActorKind> for String {
    fn from(kind: ActorKind) -> Self {
        kind.as_str().unwrap_or_default().to_owned()
    }
}

impl Actor {
    /// How the actor is called in a sentence; untrusted text.
    pub fn display_name(&self) -> String {
        match (&self.kind, &self.name) {
            (ActorKind::Root, _) => "root".to_owned(),
            (ActorKind::AwsAccount, Some(account)) => format!("account {account}"),
            (_, Some(name)) => name.clone(),
            (_, None) => self.arn.clone().unwrap_or_else(|| "somebody the event does not name".to_owned()),
        }
    }

    pub(super) fn from_wire(identity: &Node<Identity<'_>>) -> Self {
        let Some(identity) = identity.get() else { return Self::default() };
        let kind = ActorKind::from(identity.kind.text().unwrap_or_default().to_owned());
        let role = (kind == ActorKind::AssumedRole).then(|| role_session(identity)).flatten();
        let name = match kind {
            ActorKind::Root => None,
            ActorKind::AssumedRole => role.as_ref().map(|role| match &role.session {
                Some(session) => format!("{}/{session}", role.role),
                None => role.role.clone(),
            }),
            ActorKind::FederatedUser => {
                last_segment(&identity.arn).or_else(|| after_colon(&identity.principal_id))
            }
            ActorKind::AwsAccount => identity.account_id.owned(),
            ActorKind::AwsService => identity.invoked_by.owned(),
            ActorKind::IdentityCenterUser => {
                identity.on_behalf_of.get().and_then(|user| user.user_id.owned())
            }
            ActorKind::IamUser => identity.user_name.owned().or_else(|| last_segment(&identity.arn)),
            ActorKind::WebIdentityUser | ActorKind::SamlUser | ActorKind::Other(_) | ActorKind::Missing => {
                identity.user_name.owned()
            }
        };
        Self { kind, name, arn: identity.arn.owned(), account: identity.account_id.owned(), role }
    }
}

/// An assumed role has no `userName`: the issuer names the role, the ARN and the principal id end in the
/// session's name.
fn role_session(identity: &Identity<'_>) -> Option<RoleSession> {
    let issuer = identity.session_context.get().and_then(|context| context.session_issuer.get());
    let mut from_arn = identity
        .arn
        .text()
        .and_then(|arn| arn.split_once(":assumed-role/"))
        .map(|(_, rest)| rest.splitn(2, '/'));
    let arn_role = from_arn.as_mut().and_then(Iterator::next).map(str::to_owned);
    let arn_session = from_arn.as_mut().and_then(Iterator::next).map(str::to_owned);
    Some(RoleSession {
        role: issuer.and_then(|issuer| issuer.user_name.owned()).or(arn_role)?,
        account: issuer.and_then(|issuer| issuer.account_id.owned()).or_else(|| identity.account_id.owned()),
        session: arn_session.or_else(|| after_colon(&identity.principal_id)),
    })
}

fn last_segment(arn: &Leaf<'_>) -> Option<String> {
    arn.text()?.rsplit_once('/').map(|(_, name)| name.to_owned()).filter(|name| !name.is_empty())
}

fn after_colon(principal_id: &Leaf<'_>) -> Option<String> {
    principal_id.text()?.split_once(':').map(|(_, name)| name.to_owned()).filter(|name| !name.is_empty())
}

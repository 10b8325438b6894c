//! From bytes to an [`Outcome`].

use jiff::Timestamp;

use super::{
    Actor, ActorKind, Call, FailedCall, KeyChange, KeyEvent, KeyEventKind, Outcome, OwnerChange, OwnerEvent,
    Partial, Status, Subject, dates,
    wire::{AccessKey, Document, Leaf, List, Node, Parameters, Record},
};
use crate::AccountId;

/// The detail-type under which EventBridge delivers CloudTrail's API calls.
const API_CALL: &str = "AWS API Call via CloudTrail";

/// The longest key id that is taken, in bytes: IAM documents 128, the ledger's sort keys hold 1,024.
const LONGEST_KEY_ID: usize = 256;

/// Reads one EventBridge event or one bare CloudTrail record, as JSON.
///
/// Never fails and never panics: what cannot be read is [`Outcome::Unreadable`] with the reason.
pub fn read(json: &[u8]) -> Outcome {
    // A text that was cut in the middle of an emoji ends in half of its escape, which no parser takes.
    let mended;
    let parsed = match serde_json::from_slice::<Document<'_>>(json) {
        Err(error) => match without_lone_surrogates(json) {
            Some(bytes) => {
                mended = bytes;
                serde_json::from_slice(&mended)
            }
            None => Err(error),
        },
        parsed => parsed,
    };
    match parsed {
        Ok(document) => Reading::new(document),
        Err(error) => {
            let reason = format!(
                "the event is not a JSON object that can be read: {error}; expected one EventBridge event or \
                 one CloudTrail record"
            );
            Err(Box::new(Outcome::Unreadable(Partial { reason, ..Partial::default() })))
        }
    }
    .map_or_else(|outcome| *outcome, Reading::outcome)
}

/// The watched calls. All others say nothing about access keys or their owners.
#[derive(Clone, Copy)]
enum Watched {
    Key(KeyEventKind),
    TagUser,
    UntagUser,
    UpdateUser,
    DeleteUser,
}

impl Watched {
    fn named(event_name: &str) -> Option<Self> {
        Some(match event_name {
            "CreateAccessKey" => Self::Key(KeyEventKind::Created),
            "UpdateAccessKey" => Self::Key(KeyEventKind::StatusChanged),
            "DeleteAccessKey" => Self::Key(KeyEventKind::Deleted),
            "TagUser" => Self::TagUser,
            "UntagUser" => Self::UntagUser,
            "UpdateUser" => Self::UpdateUser,
            "DeleteUser" => Self::DeleteUser,
            _ => return None,
        })
    }
}

/// One record on its way to an outcome.
struct Reading<'a> {
    record: Record<'a>,
    envelope_account: Leaf<'a>,
    envelope_time: Leaf<'a>,
    envelope_id: Option<String>,
    detail_type: Option<String>,
    actor: Actor,
    notes: Vec<String>,
}

impl<'a> Reading<'a> {
    fn new(mut document: Document<'a>) -> Result<Self, Box<Outcome>> {
        let detail = std::mem::take(&mut document.detail);
        let envelope_account = std::mem::take(&mut document.account);
        let envelope_time = std::mem::take(&mut document.time);
        let envelope_id = document.id.owned();
        let detail_type = document.detail_type.owned();
        let record = match detail {
            Node::Is(record) => record,
            Node::Absent => document.into_record(),
            Node::Null | Node::Other(_) => {
                let reason = format!("detail: expected a CloudTrail record, found {}", detail.found());
                let account = envelope_account.text().and_then(|text| AccountId::parse(text).ok());
                let partial = Partial { reason, account, envelope_id, ..Partial::default() };
                // A scheduled event or a custom one may well have no record inside.
                return Err(Box::new(match detail_type.as_deref() {
                    Some(other) if other != API_CALL => Outcome::NotOurs(partial),
                    _ => Outcome::Unreadable(partial),
                }));
            }
        };
        let actor = Actor::from_wire(&record.user_identity);
        Ok(Self {
            record,
            envelope_account,
            envelope_time,
            envelope_id,
            detail_type,
            actor,
            notes: Vec::new(),
        })
    }

    fn outcome(mut self) -> Outcome {
        if let Some(detail_type) = &self.detail_type
            && detail_type != API_CALL
        {
            let reason = format!("its detail-type is {detail_type:?}, not {API_CALL:?}");
            return Outcome::NotOurs(self.partial(reason));
        }
        let Some(event_name) = self.record.event_name.owned() else {
            let reason = expected("eventName", "the name of an API call", self.record.event_name.found());
            return Outcome::Unreadable(self.partial(reason));
        };
        match self.record.event_source.text() {
            Some("iam.amazonaws.com") => {}
            Some(other) => {
                let reason = format!("{event_name} is a call of {other}, not of iam.amazonaws.com");
                return Outcome::NotOurs(self.partial(reason));
            }
            None => {
                let reason =
                    expected("eventSource", "\"iam.amazonaws.com\"", self.record.event_source.found());
                return Outcome::Unreadable(self.partial(reason));
            }
        }
        let Some(watched) = Watched::named(&event_name) else {
            let reason = format!("{event_name} changes no access key and no owner");
            return Outcome::NotOurs(self.partial(reason));
        };
        self.watched(watched, event_name).unwrap_or_else(|reason| Outcome::Unreadable(self.partial(reason)))
    }

    fn watched(&mut self, watched: Watched, event_name: String) -> Result<Outcome, String> {
        let account = self.account()?;
        let at = self.event_time()?;
        let error_code = match &self.record.error_code {
            Leaf::Text(code) if !code.is_empty() => Some(code.clone().into_owned()),
            Leaf::Absent | Leaf::Null | Leaf::Text(_) => None,
            other => return Err(expected("errorCode", "a string or null", other.found())),
        };
        if let Some(error_code) = error_code {
            return Ok(Outcome::Failed(self.failed(watched, account, at, event_name, error_code)));
        }
        match watched {
            Watched::Key(kind) => self.key_event(kind, account, at, event_name).map(Outcome::Key),
            Watched::TagUser | Watched::UntagUser | Watched::UpdateUser | Watched::DeleteUser => {
                self.owner_event(watched, account, at, event_name).map(Outcome::Owner)
            }
        }
    }

    fn key_event(
        &mut self,
        kind: KeyEventKind,
        account: AccountId,
        at: Timestamp,
        event_name: String,
    ) -> Result<KeyEvent, String> {
        let (key_id, change) = match kind {
            KeyEventKind::Created => {
                let key = self.created_key()?;
                let key_id = key_id(&key.access_key_id, "responseElements.accessKey.accessKeyId")?;
                let status = key.status.text().map_or(Status::Active, |text| Status::from(text.to_owned()));
                let create_date = key.create_date.text().and_then(dates::parse_create_date);
                let unreadable_date = create_date.is_none().then(|| key.create_date.owned()).flatten();
                let change = KeyChange::Created { status, create_date };
                if let Some(text) = unreadable_date {
                    self.notes.push(format!(
                        "createDate {text:?} is in no spelling known here; the key's birth is eventTime"
                    ));
                }
                (key_id, change)
            }
            KeyEventKind::StatusChanged | KeyEventKind::Deleted => {
                let parameters = self.parameters()?;
                let key_id = key_id(&parameters.access_key_id, "requestParameters.accessKeyId")?;
                let change = if kind == KeyEventKind::Deleted {
                    KeyChange::Deleted
                } else {
                    let Some(to) = parameters.status.owned() else {
                        return Err(expected(
                            "requestParameters.status",
                            "\"Active\" or \"Inactive\"",
                            parameters.status.found(),
                        ));
                    };
                    KeyChange::StatusChanged { to: Status::from(to) }
                };
                (key_id, change)
            }
        };
        let subject = self.subject(Some(&account));
        Ok(KeyEvent { call: self.call(account, at, event_name), key_id, subject, change })
    }

    fn owner_event(
        &mut self,
        watched: Watched,
        account: AccountId,
        at: Timestamp,
        event_name: String,
    ) -> Result<OwnerEvent, String> {
        let parameters = self.parameters()?;
        let Some(user) = parameters.user_name.owned() else {
            return Err(expected(
                "requestParameters.userName",
                "a user's name",
                parameters.user_name.found(),
            ));
        };
        let change = match watched {
            Watched::TagUser => match &parameters.tags {
                List::Is(tags) => OwnerChange::Tagged {
                    tags: tags
                        .iter()
                        .map(|tag| {
                            let tag = tag.get()?;
                            Some((tag.key.owned()?, tag.value.owned().unwrap_or_default()))
                        })
                        .collect::<Option<_>>()
                        .ok_or("requestParameters.tags: expected a list of objects with a key each")?,
                },
                other => return Err(expected("requestParameters.tags", "a list", other.found())),
            },
            Watched::UntagUser => match &parameters.tag_keys {
                List::Is(keys) => OwnerChange::Untagged {
                    tags: keys
                        .iter()
                        .map(Leaf::owned)
                        .collect::<Option<_>>()
                        .ok_or("requestParameters.tagKeys: expected a list of strings")?,
                },
                other => return Err(expected("requestParameters.tagKeys", "a list", other.found())),
            },
            Watched::UpdateUser => OwnerChange::Renamed {
                new_name: parameters.new_user_name.owned(),
                new_path: parameters.new_path.owned(),
            },
            Watched::DeleteUser | Watched::Key(_) => OwnerChange::Deleted,
        };
        Ok(OwnerEvent { call: self.call(account, at, event_name), user, change })
    }

    /// A refused call keeps what is still there; its parameters are often null.
    fn failed(
        &mut self,
        watched: Watched,
        account: AccountId,
        at: Timestamp,
        event_name: String,
        error_code: String,
    ) -> FailedCall {
        let kind = match watched {
            Watched::Key(kind) => Some(kind),
            Watched::TagUser | Watched::UntagUser | Watched::UpdateUser | Watched::DeleteUser => None,
        };
        let error_message = self.record.error_message.owned();
        let told = error_message.as_deref().unwrap_or_default();
        let parameters = self.record.request_parameters.get();
        let key_id = parameters
            .and_then(|parameters| parameters.access_key_id.owned())
            .or_else(|| word_after(told, "Access Key with id "));
        let status = parameters.and_then(|parameters| parameters.status.owned()).map(Status::from);
        let subject = match parameters {
            Some(_) => self.subject(Some(&account)),
            // Null parameters do not mean one's own key here: they were dropped with the refusal.
            None => target_of(told).map_or(Subject::Unknown, Subject::User),
        };
        FailedCall {
            call: self.call(account, at, event_name),
            kind,
            key_id,
            status,
            subject,
            error_code,
            error_message,
        }
    }

    /// The owning account: `recipientAccountId`, which old records lack, else the envelope's. Never the
    /// caller's.
    fn account(&mut self) -> Result<AccountId, String> {
        let recipient = self.record.recipient_account_id.text().map(AccountId::parse);
        let envelope = self.envelope_account.text().map(AccountId::parse);
        match (recipient, envelope) {
            (Some(Ok(recipient)), Some(Ok(envelope))) if recipient != envelope => {
                self.notes.push(format!(
                    "recipientAccountId is {recipient}, but the envelope came from account {envelope}"
                ));
                Ok(recipient)
            }
            (Some(Ok(account)), _) | (None, Some(Ok(account))) => Ok(account),
            (Some(Err(error)), Some(Ok(account))) => {
                self.notes.push(format!("recipientAccountId: {error}; the envelope's account is used"));
                Ok(account)
            }
            (Some(Err(error)), _) => Err(format!("recipientAccountId: {error}")),
            (None, Some(Err(error))) => Err(format!("recipientAccountId is missing, and account: {error}")),
            (None, None) => {
                Err("recipientAccountId: missing, and there is no envelope that names the account: \
                                 whose key this is cannot be told"
                    .to_owned())
            }
        }
    }

    fn event_time(&mut self) -> Result<Timestamp, String> {
        let own = &self.record.event_time;
        if let Some(at) = own.text().and_then(dates::parse_event_time) {
            return Ok(at);
        }
        let reason = match own.text() {
            Some(text) => format!("eventTime: expected a time such as 2026-05-04T09:12:33Z, found {text:?}"),
            None => expected("eventTime", "a time such as 2026-05-04T09:12:33Z", own.found()),
        };
        match self.envelope_time.text().and_then(dates::parse_event_time) {
            Some(at) => {
                self.notes.push(format!("{reason}; the envelope's time is used"));
                Ok(at)
            }
            None => Err(reason),
        }
    }

    fn parameters(&self) -> Result<&Parameters<'a>, String> {
        let parameters = &self.record.request_parameters;
        parameters.get().ok_or_else(|| expected("requestParameters", "an object", parameters.found()))
    }

    fn created_key(&self) -> Result<&AccessKey<'a>, String> {
        let response = &self.record.response_elements;
        let Some(response) = response.get() else {
            return Err(expected("responseElements", "an object with an accessKey", response.found()));
        };
        let key = &response.access_key;
        key.get().ok_or_else(|| expected("responseElements.accessKey", "an object", key.found()))
    }

    /// Whose key: as the response says, else the request, else the caller, but only if the caller is
    /// himself a user (or root) of the owning account. A role's session owns no keys.
    fn subject(&self, account: Option<&AccountId>) -> Subject {
        let response = self.record.response_elements.get().and_then(|response| response.access_key.get());
        let named = response.and_then(|key| key.user_name.owned()).or_else(|| {
            self.record.request_parameters.get().and_then(|parameters| parameters.user_name.owned())
        });
        if let Some(name) = named {
            return Subject::User(name);
        }
        let foreign = |(caller, owner): (&str, &AccountId)| caller != owner.as_str();
        if self.actor.account.as_deref().zip(account).is_some_and(foreign) {
            return Subject::Unknown;
        }
        match (&self.actor.kind, &self.actor.name) {
            (ActorKind::Root, _) => Subject::Root,
            (ActorKind::IamUser, Some(name)) => Subject::User(name.clone()),
            _ => Subject::Unknown,
        }
    }

    fn mfa(&self) -> Option<bool> {
        let context = self.record.user_identity.get()?.session_context.get()?;
        context.attributes.get()?.mfa_authenticated.truth()
    }

    fn call(&mut self, account: AccountId, at: Timestamp, event_name: String) -> Call {
        Call {
            account,
            at,
            event_id: self.record.event_id.owned(),
            event_name,
            actor: std::mem::take(&mut self.actor),
            source: self.record.source_ip_address.owned(),
            user_agent: self.record.user_agent.owned(),
            mfa: self.mfa(),
            notes: std::mem::take(&mut self.notes),
        }
    }

    /// What can be told without the event being readable. What is not ours is not looked into.
    fn partial(&mut self, reason: String) -> Partial {
        let event_name = self.record.event_name.owned();
        let account = self.account().ok();
        let at = self.event_time().ok();
        let mut partial = Partial {
            reason,
            account,
            at,
            event_id: self.record.event_id.owned(),
            envelope_id: self.envelope_id.take(),
            mfa: self.mfa(),
            source: self.record.source_ip_address.owned(),
            user_agent: self.record.user_agent.owned(),
            ..Partial::default()
        };
        if let Some(Watched::Key(kind)) = event_name.as_deref().and_then(Watched::named) {
            let parameters = self.record.request_parameters.get();
            let created = self.created_key().ok();
            let asked = parameters.and_then(|parameters| parameters.status.owned());
            let given = created.and_then(|key| key.status.owned());
            let id = created.and_then(|key| key.access_key_id.owned());
            partial.kind = Some(kind);
            partial.status = given.or(asked).map(Status::from);
            partial.key_id =
                id.or_else(|| parameters.and_then(|parameters| parameters.access_key_id.owned()));
            partial.subject = self.subject(partial.account.as_ref());
        }
        partial.event_name = event_name;
        partial.actor = std::mem::take(&mut self.actor);
        partial
    }
}

/// The JSON with every unpaired surrogate escape (`\ud83d` without its other half) made into U+FFFD's; `None`
/// where there is none.
fn without_lone_surrogates(json: &[u8]) -> Option<Vec<u8>> {
    let unit = |at: usize| {
        let escape = json.get(at..at + 6)?;
        let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut mended = Vec::with_capacity(json.len());
    let (mut at, mut changed) = (0, false);
    while let Some(&byte) = json.get(at) {
        let length = match (byte, unit(at)) {
            (b'\\', Some(0xd800..=0xdbff)) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            (b'\\', Some(0xd800..=0xdfff)) => {
                mended.extend_from_slice(b"\\ufffd");
                changed = true;
                at += 6;
                continue;
            }
            // Any other escape is two bytes at least: `\\` must not be taken for the start of one.
            (b'\\', _) => 2,
            _ => 1,
        };
        mended.extend_from_slice(json.get(at..at + length).unwrap_or(&[byte]));
        at += length;
    }
    changed.then_some(mended)
}

fn expected(field: &str, what: &str, found: &str) -> String {
    format!("{field}: expected {what}, found {found}")
}

fn key_id(leaf: &Leaf<'_>, field: &str) -> Result<String, String> {
    match leaf.text() {
        Some(text) if text.len() > LONGEST_KEY_ID => {
            Err(format!("{field}: expected at most {LONGEST_KEY_ID} bytes, found {}", text.len()))
        }
        Some(text) => Ok(text.to_owned()),
        None => Err(expected(field, "an access key's id", leaf.found())),
    }
}

/// The user that an error message names: `… on resource: user NAME because …`, the same with an ARN, or
/// `The user with name NAME cannot be found.`
fn target_of(message: &str) -> Option<String> {
    if let Some(name) = word_after(message, "on resource: user ") {
        return Some(name);
    }
    if let Some(arn) = word_after(message, "on resource: arn:")
        && let Some((_, path_and_name)) = arn.split_once(":user/")
    {
        return path_and_name.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned);
    }
    word_after(message, "user with name ")
}

fn word_after(message: &str, marker: &str) -> Option<String> {
    let (_, rest) = message.split_once(marker)?;
    let word = rest.split_whitespace().next()?.trim_end_matches(['.', '"', '\'']);
    (!word.is_empty()).then(|| word.to_owned())
}

//! Access keys: listed, made, disabled, deleted, and when they were last used.

use super::{IamCall, invalid, seen_user, user_mut};
use crate::answer::Answer;
use crate::query::Xml;
use crate::trail;
use crate::world::{AccessKey, KeyStatus, Refusal, whole_seconds};

/// At most so many keys for a user (IAM's quotas); a race can make more, and so can a hand-made
/// world.
const KEYS_PER_USER: usize = 2;

impl IamCall<'_> {
    pub(super) fn list_access_keys(&self) -> Result<Answer, Refusal> {
        let name = self.user_name()?;
        self.read(|account| {
            let user = seen_user(account, self.now, name)?;
            let keys: Vec<&AccessKey> = user.keys.iter().collect();
            self.page("AccessKeyMetadata", &keys, |xml, key| {
                write_key(xml, name, key);
            })
        })
    }

    pub(super) fn get_access_key_last_used(&self) -> Result<Answer, Refusal> {
        let key_id = self.required("AccessKeyId")?;
        self.read(|account| {
            let user = account.seen_holder(self.now, key_id).ok_or_else(|| no_such_key(key_id))?;
            let key = user.keys.iter().find(|key| key.id == key_id).ok_or_else(|| no_such_key(key_id))?;
            Ok(self.response(|xml| {
                xml.text("UserName", &user.name);
                xml.inside("AccessKeyLastUsed", |xml| {
                    // A key that was never used has no date, and N/A in the other places.
                    let latest = key.last_used.as_ref();
                    if let Some(latest) = latest {
                        xml.text("LastUsedDate", &latest.at.to_string());
                    }
                    xml.text("ServiceName", latest.map_or("N/A", |latest| &latest.service));
                    xml.text("Region", latest.map_or("N/A", |latest| &latest.region));
                });
            }))
        })
    }

    pub(super) fn create_access_key(&self) -> Result<Answer, Refusal> {
        let name = self.user_name()?;
        let (id, secret) = {
            let mut world = self.aws.world();
            (world.new_id("AKIA", 16), world.new_id("", 40))
        };
        let key = AccessKey::new(&id, KeyStatus::Active, whole_seconds(self.now));
        self.change(|users| {
            let keys = &mut user_mut(users, name)?.keys;
            if keys.len() >= KEYS_PER_USER {
                return Err(Refusal::new(
                    409,
                    "LimitExceeded",
                    format!("Cannot exceed quota for AccessKeysPerUser: {KEYS_PER_USER}"),
                ));
            }
            keys.push(key.clone());
            Ok(())
        })?;
        // Set once: this is the one operation of the call.
        let _ = self.response_elements.set(trail::created_key(&key, self.query));
        Ok(self.response(|xml| {
            xml.inside("AccessKey", |xml| {
                write_key(xml, name, &key);
                xml.text("SecretAccessKey", &secret);
            });
        }))
    }

    pub(super) fn update_access_key(&self) -> Result<Answer, Refusal> {
        let name = self.user_name()?;
        let key_id = self.required("AccessKeyId")?;
        let status = match self.required("Status")? {
            "Active" => KeyStatus::Active,
            "Inactive" => KeyStatus::Inactive,
            other => {
                return Err(invalid(format!(
                    "Value '{other}' at 'status' failed to satisfy constraint: Member must satisfy \
                     enum value set: [Active, Inactive]"
                )));
            }
        };
        self.change(|users| {
            let user = user_mut(users, name)?;
            let key = user.keys.iter_mut().find(|key| key.id == key_id);
            key.ok_or_else(|| no_such_key(key_id))?.set_status(status, whole_seconds(self.now));
            Ok(())
        })?;
        Ok(self.response(|_| {}))
    }

    pub(super) fn delete_access_key(&self) -> Result<Answer, Refusal> {
        let name = self.user_name()?;
        let key_id = self.required("AccessKeyId")?;
        self.change(|users| {
            let keys = &mut user_mut(users, name)?.keys;
            let before = keys.len();
            keys.retain(|key| key.id != key_id);
            if keys.len() == before {
                return Err(no_such_key(key_id));
            }
            Ok(())
        })?;
        Ok(self.response(|_| {}))
    }
}

fn write_key(xml: &mut Xml, user: &str, key: &AccessKey) {
    xml.text("UserName", user);
    xml.text("AccessKeyId", &key.id);
    xml.text("Status", key.status.name());
    xml.text("CreateDate", &key.created.to_string());
}

fn no_such_key(id: &str) -> Refusal {
    let message = format!("The Access Key with id {id} cannot be found.");
    Refusal::new(404, "NoSuchEntity", message)
}

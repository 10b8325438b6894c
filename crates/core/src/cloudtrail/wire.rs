//! The JSON of a record, borrowed and believed in nothing: a field of any type parses.
//!
//! Strict types would turn one odd field into the loss of the whole event, and `serde_json::Value` would
//! build a tree of which nine tenths are thrown away. So every field that is read is a [`Leaf`] or a
//! [`Node`], which keep what was found, and everything else is skipped unbuilt.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// A field that should hold a single value.
#[derive(Debug, Default)]
pub(super) enum Leaf<'a> {
    #[default]
    Absent,
    Null,
    Text(Cow<'a, str>),
    Bool(bool),
    /// A JSON type that does not belong here, in words.
    Other(&'static str),
}

impl Leaf<'_> {
    /// The text, if there is any to speak of.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    pub(super) fn owned(&self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    /// `true`, `"true"` and their opposites: both spellings are on record.
    pub(super) fn truth(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Text(text) if text == "true" => Some(true),
            Self::Text(text) if text == "false" => Some(false),
            _ => None,
        }
    }

    /// What stands there, for a reason such as "expected a string, found null".
    pub(super) fn found(&self) -> &'static str {
        match self {
            Self::Absent => "nothing",
            Self::Null => "null",
            Self::Text(text) => string_found(text),
            Self::Bool(_) => "a boolean",
            Self::Other(what) => what,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Leaf<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LeafVisitor;
        impl<'de> Visitor<'de> for LeafVisitor {
            type Value = Leaf<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any JSON value")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Leaf::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Leaf::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Leaf::Bool(value))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Leaf::Null)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Leaf::Other("a number"))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Leaf::Other("a number"))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Leaf::Other("a number"))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Leaf::Other("a list"))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Leaf::Other("an object"))
            }
        }
        deserializer.deserialize_any(LeafVisitor)
    }
}

/// A string where something else belongs, in words.
fn string_found(text: &str) -> &'static str {
    if text.is_empty() { "an empty string" } else { "a string" }
}

/// A field that should hold an object or a list of `T`'s shape.
#[derive(Debug, Default)]
pub(super) enum Node<T> {
    #[default]
    Absent,
    Null,
    Is(T),
    Other(&'static str),
}

impl<T> Node<T> {
    pub(super) fn get(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn found(&self) -> &'static str {
        match self {
            Self::Absent => "nothing",
            Self::Null => "null",
            Self::Is(_) => "an object",
            Self::Other(what) => what,
        }
    }
}

struct NodeVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NodeVisitor<T> {
    type Value = Node<T>;
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Node::Is)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::Other("a list"))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        // CloudTrail writes "" for an empty responseElements now and then.
        Ok(Node::Other(string_found(text)))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Node::Other("a boolean"))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Node::Other("a number"))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Node::Other("a number"))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Node::Other("a number"))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Node<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor(PhantomData))
    }
}

/// A field that should hold a list; entries of another shape are kept as what they are.
#[derive(Debug, Default)]
pub(super) enum List<T> {
    #[default]
    Absent,
    Is(Vec<T>),
    Other(&'static str),
}

impl<T> List<T> {
    pub(super) fn found(&self) -> &'static str {
        match self {
            Self::Absent => "nothing",
            Self::Is(_) => "a list",
            Self::Other(what) => what,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = List<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any JSON value")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    entries.push(entry);
                }
                Ok(List::Is(entries))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(List::Other("an object"))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(List::Other("null"))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(List::Other(string_found(text)))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(List::Other("a boolean"))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(List::Other("a number"))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(List::Other("a number"))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(List::Other("a number"))
            }
        }
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

/// An EventBridge envelope and a bare record in one: a record has no `detail`, an envelope no `eventName`.
#[derive(Debug, Deserialize)]
pub(super) struct Document<'a> {
    #[serde(borrow, default)]
    pub(super) detail: Node<Record<'a>>,
    #[serde(borrow, default, rename = "detail-type")]
    pub(super) detail_type: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) account: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) id: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) time: Leaf<'a>,

    // The fields of a bare record; serde's `flatten` would buffer the whole document to do the same.
    #[serde(borrow, default, rename = "eventSource")]
    event_source: Leaf<'a>,
    #[serde(borrow, default, rename = "eventName")]
    event_name: Leaf<'a>,
    #[serde(borrow, default, rename = "eventTime")]
    event_time: Leaf<'a>,
    #[serde(borrow, default, rename = "eventID")]
    event_id: Leaf<'a>,
    #[serde(borrow, default, rename = "recipientAccountId")]
    recipient_account_id: Leaf<'a>,
    #[serde(borrow, default, rename = "sourceIPAddress")]
    source_ip_address: Leaf<'a>,
    #[serde(borrow, default, rename = "userAgent")]
    user_agent: Leaf<'a>,
    #[serde(borrow, default, rename = "errorCode")]
    error_code: Leaf<'a>,
    #[serde(borrow, default, rename = "errorMessage")]
    error_message: Leaf<'a>,
    #[serde(borrow, default, rename = "userIdentity")]
    user_identity: Node<Identity<'a>>,
    #[serde(borrow, default, rename = "requestParameters")]
    request_parameters: Node<Parameters<'a>>,
    #[serde(borrow, default, rename = "responseElements")]
    response_elements: Node<Response<'a>>,
}

impl<'a> Document<'a> {
    /// The document read as a bare record.
    pub(super) fn into_record(self) -> Record<'a> {
        Record {
            event_source: self.event_source,
            event_name: self.event_name,
            event_time: self.event_time,
            event_id: self.event_id,
            recipient_account_id: self.recipient_account_id,
            source_ip_address: self.source_ip_address,
            user_agent: self.user_agent,
            error_code: self.error_code,
            error_message: self.error_message,
            user_identity: self.user_identity,
            request_parameters: self.request_parameters,
            response_elements: self.response_elements,
        }
    }
}

/// The fields of a CloudTrail record that keytide reads.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record<'a> {
    #[serde(borrow, default)]
    pub(super) event_source: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) event_name: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) event_time: Leaf<'a>,
    #[serde(borrow, default, rename = "eventID")]
    pub(super) event_id: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) recipient_account_id: Leaf<'a>,
    #[serde(borrow, default, rename = "sourceIPAddress")]
    pub(super) source_ip_address: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) user_agent: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) error_code: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) error_message: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) user_identity: Node<Identity<'a>>,
    #[serde(borrow, default)]
    pub(super) request_parameters: Node<Parameters<'a>>,
    #[serde(borrow, default)]
    pub(super) response_elements: Node<Response<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) principal_id: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) arn: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) account_id: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) user_name: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) invoked_by: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) session_context: Node<SessionContext<'a>>,
    #[serde(borrow, default)]
    pub(super) on_behalf_of: Node<OnBehalfOf<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionContext<'a> {
    #[serde(borrow, default)]
    pub(super) session_issuer: Node<SessionIssuer<'a>>,
    #[serde(borrow, default)]
    pub(super) attributes: Node<SessionAttributes<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionIssuer<'a> {
    #[serde(borrow, default)]
    pub(super) account_id: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) user_name: Leaf<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionAttributes<'a> {
    #[serde(borrow, default)]
    pub(super) mfa_authenticated: Leaf<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OnBehalfOf<'a> {
    #[serde(borrow, default)]
    pub(super) user_id: Leaf<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Parameters<'a> {
    #[serde(borrow, default)]
    pub(super) user_name: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) access_key_id: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) status: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) new_user_name: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) new_path: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) tags: List<Node<Tag<'a>>>,
    #[serde(borrow, default)]
    pub(super) tag_keys: List<Leaf<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tag<'a> {
    #[serde(borrow, default)]
    pub(super) key: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) value: Leaf<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response<'a> {
    #[serde(borrow, default)]
    pub(super) access_key: Node<AccessKey<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccessKey<'a> {
    #[serde(borrow, default)]
    pub(super) access_key_id: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) status: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) user_name: Leaf<'a>,
    #[serde(borrow, default)]
    pub(super) create_date: Leaf<'a>,
}

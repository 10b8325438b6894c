//! The query protocol of IAM and STS: form parameters in, XML out.

use std::collections::BTreeMap;

use crate::answer::{Answer, escape_into};

/// The parameters of one call.
#[derive(Debug, Default)]
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    pub(crate) fn read(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The members of a list, `Tags.member.1.Key` and so on, each given by its prefix.
    pub(crate) fn list<T>(&self, name: &str, read: impl Fn(&Self, &str) -> Option<T>) -> Vec<T> {
        (1..).map_while(|number| read(self, &format!("{name}.member.{number}"))).collect()
    }

    /// The tags that are handed in, in their order.
    pub(crate) fn tags(&self) -> Vec<(String, String)> {
        self.list("Tags", |query, prefix| {
            let key = query.get(&format!("{prefix}.Key"))?;
            let value = query.get(&format!("{prefix}.Value")).unwrap_or_default();
            Some((key.to_owned(), value.to_owned()))
        })
    }

    /// The keys of the tags that are to go.
    pub(crate) fn tag_keys(&self) -> Vec<String> {
        self.list("TagKeys", |query, prefix| query.get(prefix).map(str::to_owned))
    }
}

/// An XML document as it grows.
#[derive(Debug, Default)]
pub(crate) struct Xml(String);

impl Xml {
    /// The whole answer to an operation: `<OperationResponse><OperationResult>…`.
    pub(crate) fn response(operation: &str, write: impl FnOnce(&mut Self)) -> Answer {
        let mut xml = Self::default();
        xml.inside(&format!("{operation}Response"), |xml| {
            xml.inside(&format!("{operation}Result"), write);
        });
        Answer::xml(xml.0)
    }

    pub(crate) fn inside(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push('>');
        write(self);
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.inside(name, |xml| escape_into(&mut xml.0, text));
    }

    /// A list: one `<member>` for each.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        members: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.inside(name, |xml| {
            for member in members {
                xml.inside("member", |xml| write(xml, member));
            }
        });
    }
}

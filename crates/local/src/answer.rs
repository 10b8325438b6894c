//! What a service says back, in the two protocols that keytide's services speak.

use std::fmt::Write as _;

/// One HTTP answer, before it is wrapped for the SDK or for a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
    /// SQS repeats its old error code here (the `awsQueryCompatible` trait of its API model).
    pub(crate) query_error: Option<String>,
}

pub(crate) const JSON_1_0: &str = "application/x-amz-json-1.0";
pub(crate) const JSON_1_1: &str = "application/x-amz-json-1.1";
const XML: &str = "text/xml";

impl Answer {
    pub(crate) fn json(content_type: &'static str, body: String) -> Self {
        Self { status: 200, content_type, body, query_error: None }
    }

    /// An error of a JSON service: `{"__type": …, "message": …}`.
    pub(crate) fn json_error(
        content_type: &'static str,
        status: u16,
        error_type: &str,
        message: &str,
    ) -> Self {
        let body = serde_json::json!({ "__type": error_type, "message": message }).to_string();
        Self { status, content_type, body, query_error: None }
    }

    pub(crate) fn xml(body: String) -> Self {
        Self { status: 200, content_type: XML, body, query_error: None }
    }

    /// An error of a query service: `<ErrorResponse><Error>…`. AWS calls the caller's faults
    /// `Sender` and its own `Receiver`.
    pub(crate) fn xml_error(status: u16, code: &str, message: &str) -> Self {
        let fault_of = if status >= 500 { "Receiver" } else { "Sender" };
        let mut body = String::from("<ErrorResponse><Error><Type>");
        body.push_str(fault_of);
        body.push_str("</Type><Code>");
        escape_into(&mut body, code);
        body.push_str("</Code><Message>");
        escape_into(&mut body, message);
        body.push_str("</Message></Error></ErrorResponse>");
        Self { status, content_type: XML, body, query_error: None }
    }
}

/// Writes `text` so that an XML reader gives it back unchanged.
pub(crate) fn escape_into(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // A reader turns bare control characters into blanks; references keep them.
            control if control.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "&#x{:X};", u32::from(control));
            }
            other => out.push(other),
        }
    }
}

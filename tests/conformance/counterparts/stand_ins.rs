//! The stand-ins for AWS and Slack answer, keep apart what they should, and end when they are dropped.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::{must, start_emulate_slack, start_moto};

/// Posts a body and returns the answer's. HTTP/1.0, so that the answer is neither chunked nor kept alive.
fn post(url: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let host = url.trim_start_matches("http://");
    let mut stream = must(&format!("connect to {url}"), TcpStream::connect(host));
    let headers =
        headers.iter().map(|(name, value)| [*name, ": ", *value, "\r\n"].concat()).collect::<String>();
    let request = format!(
        "POST {path} HTTP/1.0\r\nhost: {host}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    must("send the request", stream.write_all(request.as_bytes()));
    let mut answer = String::new();
    must("read the answer", stream.read_to_string(&mut answer));
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

fn is_served(url: &str) -> bool {
    TcpStream::connect(url.trim_start_matches("http://")).is_ok()
}

/// Calls moto as the holder of an access key. It reads the key and the service off the signature, and checks neither.
fn aws(url: &str, access_key_id: &str, service: &str, body: &str) -> String {
    let signature = format!(
        "AWS4-HMAC-SHA256 Credential={access_key_id}/20260601/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    );
    let headers =
        [("authorization", signature.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    post(url, "/", &headers, body)
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let inner = text.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map(|(inner, _)| inner);
    must(&format!("find {start} in {text}"), inner.ok_or("it is not there"))
}

#[test]
fn moto_keeps_accounts_apart_and_ends_when_dropped() {
    const OURS: &str = "AKIATIDEWATERTESTS22";
    let moto = start_moto();
    let role = "Action=AssumeRole&Version=2011-06-15&RoleSessionName=keytide&ExternalId=tidewater\
        &RoleArn=arn:aws:iam::444455556666:role/keytide-reader";
    let session = aws(&moto.url, OURS, "sts", role);
    let theirs = between(&session, "<AccessKeyId>", "</AccessKeyId>");

    let created = aws(&moto.url, theirs, "iam", "Action=CreateUser&Version=2010-05-08&UserName=alice");
    assert_eq!(between(&created, "<Arn>", "</Arn>"), "arn:aws:iam::444455556666:user/alice");
    let list = "Action=ListUsers&Version=2010-05-08";
    assert!(aws(&moto.url, theirs, "iam", list).contains("<UserName>alice</UserName>"));
    let listed = aws(&moto.url, OURS, "iam", list);
    assert!(listed.contains("ListUsersResponse") && !listed.contains("alice"), "{listed}");

    let url = moto.url.clone();
    drop(moto);
    assert!(!is_served(&url), "moto still answers at {url}");
}

#[test]
fn the_emulated_slack_takes_messages_refuses_for_slacks_reasons_and_ends_when_dropped() {
    let slack = start_emulate_slack();
    let call = |token: &str, method: &str, body: Value| -> Value {
        let bearer = format!("Bearer {token}");
        let headers =
            [("authorization", bearer.as_str()), ("content-type", "application/json; charset=utf-8")];
        must(
            "read Slack's answer",
            serde_json::from_str(&post(&slack.url, &format!("/api/{method}"), &headers, &body.to_string())),
        )
    };
    let id = |ids: &std::collections::BTreeMap<String, String>, name: &str| {
        must(&format!("find {name}"), ids.get(name).cloned().ok_or("it is not there"))
    };
    let message = |channel: &str| json!({ "channel": channel, "text": "A message.", "blocks": [{ "type": "divider" }] });
    let channel = id(&slack.channels, "access-keys");

    let posted = call(&slack.token, "chat.postMessage", message(&channel));
    assert_eq!(posted["ok"], true, "{posted}");
    assert_eq!(posted["channel"], json!(channel), "{posted}");
    assert!(posted["ts"].is_string(), "{posted}");
    let history = call(&slack.token, "conversations.history", json!({ "channel": channel }));
    assert_eq!(history["messages"][0]["blocks"], json!([{ "type": "divider" }]), "{history}");

    let opened = call(&slack.token, "conversations.open", json!({ "users": id(&slack.users, "alice") }));
    let direct = opened["channel"]["id"].as_str().unwrap_or_default();
    assert!(direct.starts_with('D'), "{opened}");
    let posted = call(&slack.token, "chat.postMessage", message(&id(&slack.users, "alice")));
    assert_eq!(posted["channel"], json!(direct), "{posted}");

    let refused =
        |token: &str, channel: &str| call(token, "chat.postMessage", message(channel))["error"].clone();
    assert_eq!(refused(&slack.token, "C0NOSUCH22"), "channel_not_found");
    assert_eq!(refused(&slack.token, &id(&slack.channels, "retired")), "is_archived");
    assert_eq!(refused(&slack.token, &id(&slack.channels, "board-only")), "not_in_channel");
    assert_eq!(refused(&slack.narrow_token, &channel), "missing_scope");
    assert_eq!(call(&slack.token, "chat.postMessage", json!({ "channel": channel }))["error"], "no_text");
    assert_eq!(
        call(&slack.token, "conversations.open", json!({ "users": "U0NOSUCH22" }))["error"],
        "user_not_found"
    );

    let url = slack.url.clone();
    drop(slack);
    assert!(!is_served(&url), "the emulated Slack still answers at {url}");
}

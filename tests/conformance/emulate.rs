//! emulate, a Slack server that others wrote: our client posts to it, and sorts its refusals.

use std::time::Duration;

use keytide_core::owner::SlackId;
use keytide_slack::{Block, ErrorClass, Message, Slack, Token, WebApi, text::Markup};

use crate::counterparts::start_emulate_slack;

const BUDGET: Duration = Duration::from_secs(20);

fn message() -> Message {
    Message::new(
        &Markup::new().say("A new access key was made."),
        vec![Block::header("New access key: alice (prod)")],
    )
}

#[tokio::test]
async fn a_message_reaches_a_channel_and_a_person() {
    let server = start_emulate_slack();
    let slack = Slack::new(WebApi::new(&format!("{}/api/", server.url)).unwrap());
    let token = Token::new(server.token.clone());
    let channel = &server.channels["access-keys"];
    let receipt = slack.post_message(&token, channel, None, &message(), BUDGET).await.unwrap();
    assert_eq!(&receipt.channel, channel);
    assert!(receipt.ts.contains('.'));
    let user = server.users.values().next().unwrap();
    let direct = slack.open_direct(&token, &SlackId::parse(user).unwrap(), BUDGET).await.unwrap();
    assert!(direct.starts_with('D'), "{direct}");
    slack.post_message(&token, &direct, None, &message(), BUDGET).await.unwrap();
}

#[tokio::test]
async fn refusals_are_sorted_by_what_is_to_be_done() {
    let server = start_emulate_slack();
    let slack = Slack::new(WebApi::new(&format!("{}/api/", server.url)).unwrap());
    let token = Token::new(server.token.clone());
    let refused = async |token: &Token, channel: &str| {
        slack.post_message(token, channel, None, &message(), BUDGET).await.unwrap_err()
    };
    let nowhere = refused(&token, "C0NOWHERE1").await;
    assert_eq!((nowhere.class, nowhere.detail.as_str()), (ErrorClass::Recipient, "channel_not_found"));
    let archived = refused(&token, &server.channels["retired"]).await;
    assert!(matches!(archived.class, ErrorClass::Configuration { .. }), "{archived:?}");
    let narrow = Token::new(server.narrow_token.clone());
    let narrow = refused(&narrow, &server.channels["access-keys"]).await;
    assert!(matches!(narrow.class, ErrorClass::Configuration { .. }), "{narrow:?}");
}

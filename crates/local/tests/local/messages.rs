//! Secrets Manager and SQS.

use std::time::Duration;

use aws_sdk_sqs::error::ProvideErrorMetadata as _;
use aws_sdk_sqs::types::MessageSystemAttributeName;
use keytide_local::{HOME_ACCOUNT, LocalAws};

#[tokio::test]
async fn a_secret_is_read_by_name_or_arn_and_a_new_version_replaces_it() {
    let aws = LocalAws::in_memory().unwrap();
    let client = aws_sdk_secretsmanager::Client::new(&aws.sdk_config());
    let read = |id: &str| client.get_secret_value().secret_id(id).send();
    let absent = read("slack").await.unwrap_err();
    assert_eq!(absent.code(), Some("ResourceNotFoundException"));

    let arn = aws.secrets().put("slack", "first").unwrap();
    let first = read("slack").await.unwrap();
    assert_eq!(first.secret_string(), Some("first"));
    aws.secrets().put("slack", "second").unwrap();
    let second = read(&arn).await.unwrap();
    assert_eq!(second.secret_string(), Some("second"));
    assert_ne!(first.version_id(), second.version_id());

    aws.iam().add_account("111122223333").unwrap();
    let elsewhere = aws_sdk_secretsmanager::Client::new(&aws.sdk_config_in("111122223333"))
        .get_secret_value()
        .secret_id("slack")
        .send()
        .await
        .unwrap_err();
    assert_eq!(elsewhere.code(), Some("ResourceNotFoundException"));
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_back_when_its_visibility_ends_until_it_is_deleted() {
    let aws = LocalAws::in_memory().unwrap();
    let url = aws.queues().add(HOME_ACCOUNT, "events", Duration::from_secs(30)).unwrap();
    let client = aws_sdk_sqs::Client::new(&aws.sdk_config());
    client.send_message().queue_url(&url).message_body("{\"a\":1}").send().await.unwrap();
    let receive = || async {
        client
            .receive_message()
            .queue_url(&url)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .max_number_of_messages(10)
            .send()
            .await
            .unwrap()
            .messages()
            .to_vec()
    };
    let first = receive().await;
    assert_eq!(first[0].body(), Some("{\"a\":1}"));
    assert!(receive().await.is_empty(), "hidden");
    client
        .change_message_visibility()
        .queue_url(&url)
        .receipt_handle(first[0].receipt_handle().unwrap())
        .visibility_timeout(120)
        .send()
        .await
        .unwrap();
    tokio::time::advance(Duration::from_mins(1)).await;
    assert!(receive().await.is_empty(), "hidden for longer");
    tokio::time::advance(Duration::from_secs(61)).await;
    let second = receive().await;
    let count = &second[0].attributes().unwrap()[&MessageSystemAttributeName::ApproximateReceiveCount];
    assert_eq!(count, "2");

    let stale = client
        .delete_message()
        .queue_url(&url)
        .receipt_handle(first[0].receipt_handle().unwrap())
        .send()
        .await
        .unwrap_err();
    assert_eq!(stale.code(), Some("ReceiptHandleIsInvalid"));
    client
        .delete_message()
        .queue_url(&url)
        .receipt_handle(second[0].receipt_handle().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(aws.queues().length(&url).unwrap(), 0);

    let absent = client
        .receive_message()
        .queue_url("https://sqs.us-east-1.amazonaws.com/999988887777/nothing")
        .send()
        .await
        .unwrap_err();
    assert!(absent.into_service_error().is_queue_does_not_exist());
}

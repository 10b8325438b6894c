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

#[tokio::test(start_paused = true)]
async fn a_batch_of_up_to_ten_messages_is_sent_and_another_is_refused_whole() {
    use aws_sdk_sqs::types::{SendMessageBatchRequestEntry, SendMessageBatchResultEntry};
    let aws = LocalAws::in_memory().unwrap();
    let url = aws.queues().add(HOME_ACCOUNT, "accounts", Duration::from_secs(30)).unwrap();
    let client = aws_sdk_sqs::Client::new(&aws.sdk_config());
    let batch_of = |ids: Vec<u32>| {
        let entries = ids
            .into_iter()
            .map(|id| {
                SendMessageBatchRequestEntry::builder().id(id.to_string()).message_body(format!("m{id}"))
            })
            .map(|entry| entry.build().unwrap());
        client.send_message_batch().queue_url(&url).set_entries(Some(entries.collect())).send()
    };
    let sent = batch_of((0..10).collect()).await.unwrap();
    let ids: Vec<&str> = sent.successful().iter().map(SendMessageBatchResultEntry::id).collect();
    assert_eq!(ids, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(sent.failed(), []);
    for (ids, code) in [
        (Vec::new(), "AWS.SimpleQueueService.EmptyBatchRequest"),
        ((0..11).collect(), "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"),
        (vec![1, 1], "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"),
    ] {
        assert_eq!(batch_of(ids).await.unwrap_err().code(), Some(code));
    }
    assert_eq!(aws.queues().length(&url).unwrap(), 10);
    let received = client.receive_message().queue_url(&url).max_number_of_messages(10).send().await.unwrap();
    let bodies: Vec<&str> =
        received.messages().iter().filter_map(aws_sdk_sqs::types::Message::body).collect();
    assert_eq!(bodies, ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"]);
}

//! Every fault, as the SDK sees it.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata as _, SdkError};
use keytide_local::{CallInfo, Fault, LocalAws, Service};
use tokio::time::Instant;

use crate::dynamodb::{new_item, table, text};

/// A client without second attempts, so that each fault is seen as it is.
async fn once() -> (LocalAws, Client) {
    let aws = LocalAws::in_memory().unwrap();
    let config = aws_sdk_dynamodb::config::Builder::from(&aws.sdk_config())
        .retry_config(RetryConfig::disabled())
        .build();
    let client = Client::from_conf(config);
    table(&client).await;
    aws.calls().restart();
    (aws, client)
}

async fn is_there(client: &Client, id: &str) -> bool {
    client.get_item().table_name("ledger").key("id", text(id)).send().await.unwrap().item().is_some()
}

#[tokio::test(start_paused = true)]
async fn a_hang_ends_by_the_time_limit_without_waiting_in_reality() {
    for (fault, done) in [(Fault::TimeoutBefore, false), (Fault::TimeoutAfter, true)] {
        let (aws, client) = once().await;
        aws.faults().at_call(1, fault);
        let began = Instant::now();
        let error =
            client.transact_write_items().transact_items(new_item("a", "ann")).send().await.unwrap_err();
        assert!(matches!(error, SdkError::TimeoutError(_)), "{error:?}");
        assert_eq!(began.elapsed().as_secs(), 5, "by tokio's clock");
        assert_eq!(is_there(&client, "a").await, done, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_a_dispatch_failure() {
    for (fault, done) in [(Fault::ConnectionErrorBefore, false), (Fault::ConnectionErrorAfter, true)] {
        let (aws, client) = once().await;
        aws.faults().at_call(1, fault);
        let error =
            client.transact_write_items().transact_items(new_item("a", "ann")).send().await.unwrap_err();
        let SdkError::DispatchFailure(failure) = &error else {
            panic!("expected a dispatch failure, got {error:?}");
        };
        assert!(failure.is_io());
        assert_eq!(is_there(&client, "a").await, done, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_tells_the_harness_and_never_returns() {
    for (fault, done) in [(Fault::CrashBefore, false), (Fault::CrashAfter, true)] {
        let (aws, client) = once().await;
        aws.faults().at_call(1, fault);
        let crash = aws.faults().crash();
        tokio::select! {
            biased;
            answer = client.transact_write_items().transact_items(new_item("a", "ann")).send() => {
                panic!("the invocation lived on: {answer:?}");
            }
            () = crash.notified() => {}
        }
        assert_eq!(is_there(&client, "a").await, done, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_of_dynamodb_have_its_shapes_and_leave_nothing_done() {
    for (fault, code) in [
        (Fault::Throttle, "ThrottlingException"),
        (Fault::ThroughputExceeded, "ProvisionedThroughputExceededException"),
        (Fault::TransactionInProgress, "TransactionInProgressException"),
        (Fault::ServerError, "InternalServerError"),
    ] {
        let (aws, client) = once().await;
        aws.faults().at_call(1, fault);
        let error =
            client.transact_write_items().transact_items(new_item("a", "ann")).send().await.unwrap_err();
        assert_eq!(error.code(), Some(code), "{fault:?}");
        let expected = if fault == Fault::ServerError { 500 } else { 400 };
        assert_eq!(error.raw_response().unwrap().status().as_u16(), expected);
        assert!(!is_there(&client, "a").await, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_ways_a_transaction_is_refused_are_told_apart() {
    use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
    let (aws, client) = once().await;
    client.transact_write_items().transact_items(new_item("a", "ann")).send().await.unwrap();
    aws.calls().restart();
    aws.faults().plan(|call| match call.number {
        2 => Some(Fault::TransactionConflict),
        3 => Some(Fault::TransactionThrottled),
        _ => None,
    });
    let mut seen = Vec::new();
    for _ in 1..=3 {
        let error = client
            .transact_write_items()
            .transact_items(new_item("a", "ann"))
            .transact_items(new_item("b", "bob"))
            .transact_items(new_item("c", "cat"))
            .send()
            .await
            .unwrap_err()
            .into_service_error();
        let TransactWriteItemsError::TransactionCanceledException(cancelled) = error else {
            panic!("expected a cancelled transaction, got {error:?}");
        };
        let codes: Vec<String> =
            cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap().to_owned()).collect();
        seen.push(codes);
    }
    assert_eq!(
        seen,
        [
            ["ConditionalCheckFailed", "None", "None"],
            ["TransactionConflict", "None", "None"],
            ["ThrottlingError", "None", "None"],
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_single_write_in_conflict_has_an_error_of_its_own() {
    let (aws, client) = once().await;
    aws.faults().plan(|_| Some(Fault::TransactionConflict));
    let error = client.put_item().table_name("ledger").item("id", text("a")).send().await.unwrap_err();
    assert_eq!(error.code(), Some("TransactionConflictException"));
    // A plain read meets no conflict in AWS: it is answered, and the log says so.
    assert!(!is_there(&client, "a").await);
    let faults: Vec<_> = aws.calls().list().iter().map(|call| call.fault).collect();
    assert_eq!(faults, [Some(Fault::TransactionConflict), None]);
}

#[tokio::test(start_paused = true)]
async fn the_other_services_refuse_in_their_own_shapes() {
    let aws = LocalAws::in_memory().unwrap();
    let config = aws.sdk_config().to_builder().retry_config(RetryConfig::disabled()).build();
    for (fault, iam, sts, secrets, sqs, organizations) in [
        (
            Fault::Throttle,
            "Throttling",
            "Throttling",
            "ThrottlingException",
            "RequestThrottled",
            "TooManyRequestsException",
        ),
        (
            Fault::ServerError,
            "ServiceFailure",
            "InternalFailure",
            "InternalServiceError",
            "InternalFailure",
            "ServiceException",
        ),
    ] {
        aws.faults().plan(move |_| Some(fault));
        let error = aws_sdk_iam::Client::new(&config).get_user().user_name("ann").send().await.unwrap_err();
        assert_eq!(error.code(), Some(iam));
        let error = aws_sdk_iam::Client::new(&config).generate_credential_report().send().await.unwrap_err();
        assert_eq!(error.code(), Some(iam));
        let error = aws_sdk_iam::Client::new(&config).get_credential_report().send().await.unwrap_err();
        assert_eq!(error.code(), Some(iam));
        let error = aws_sdk_organizations::Client::new(&config).list_accounts().send().await.unwrap_err();
        assert_eq!(error.code(), Some(organizations));
        let error = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await.unwrap_err();
        assert_eq!(error.code(), Some(sts));
        let error = aws_sdk_secretsmanager::Client::new(&config)
            .get_secret_value()
            .secret_id("token")
            .send()
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(secrets));
        let error = aws_sdk_sqs::Client::new(&config)
            .receive_message()
            .queue_url("https://sqs.us-east-1.amazonaws.com/999988887777/events")
            .send()
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(sqs));
    }
}

/// One story: which calls there were, and when by the paused clock.
async fn story(seed: u64) -> (Vec<CallInfo>, Duration) {
    keytide_local::seed(seed);
    let aws = LocalAws::in_memory().unwrap();
    let client = Client::new(&aws.sdk_config());
    table(&client).await;
    let throttled = |call: &CallInfo| (!call.number.is_multiple_of(3)).then_some(Fault::Throttle);
    aws.calls().restart();
    aws.faults().plan(throttled);
    let began = Instant::now();
    for id in ["a", "b", "c"] {
        client.transact_write_items().transact_items(new_item(id, "ann")).send().await.unwrap();
    }
    (aws.calls().list(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_sdk_tries_again_and_one_seed_tells_one_story() {
    let (calls, took) = story(7).await;
    assert_eq!(calls.len(), 9, "two throttled attempts before each success");
    assert!(took > Duration::ZERO);
    assert_eq!(story(7).await, (calls, took));
    assert_ne!(story(8).await.1, took, "the waiting is by chance");
}

#[tokio::test]
async fn calls_are_counted_and_logged_with_their_caller() {
    let (aws, client) = once().await;
    assert!(!is_there(&client, "a").await);
    assert!(!is_there(&client, "b").await);
    assert_eq!(aws.calls().total(), 2);
    assert_eq!(aws.calls().count(Service::DynamoDb, "GetItem"), 2);
    assert_eq!(aws.calls().count(Service::Iam, "GetItem"), 0);
    let log = aws.calls().list();
    assert_eq!(log[1].number, 2);
    assert_eq!(log[1].account, keytide_local::HOME_ACCOUNT);
}

#[tokio::test(start_paused = true)]
async fn latency_is_waited_by_tokios_clock() {
    let (aws, client) = once().await;
    aws.faults().set_latency(Duration::from_secs(2));
    let began = Instant::now();
    assert!(!is_there(&client, "a").await);
    assert_eq!(began.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn iam_answers_so_many_calls_a_second_in_each_account_and_throttles_the_rest() {
    let aws = LocalAws::in_memory().unwrap();
    let client = |account: &str| {
        aws.iam().add_account(account).unwrap();
        let config = aws.sdk_config_in(account).to_builder().retry_config(RetryConfig::disabled()).build();
        aws_sdk_iam::Client::new(&config)
    };
    let (one, other) = (client("111122223333"), client("444455556666"));
    aws.faults().set_iam_rate(Some(20));
    let answered = async |client: &aws_sdk_iam::Client, calls: u32| {
        let mut answered = 0;
        for _ in 0..calls {
            match client.list_users().send().await {
                Ok(_) => answered += 1,
                Err(error) => {
                    assert_eq!(error.code(), Some("Throttling"));
                    assert_eq!(error.raw_response().unwrap().status().as_u16(), 400);
                }
            }
        }
        answered
    };
    // What a second holds at once, each account on its own, and what was refused took nothing.
    assert_eq!(answered(&one, 50).await, 20);
    assert_eq!(aws.calls().list().last().unwrap().fault, Some(Fault::Throttle));
    assert_eq!(aws.calls().faults(), [(Fault::Throttle, 30)].into());
    assert_eq!(answered(&other, 5).await, 5);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(answered(&one, 50).await, 5);
    // However long it rests, no more than a second's calls are there at once.
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(answered(&one, 50).await, 20);
    // Whoever keeps to the rate is never refused, for as long as that goes on.
    tokio::time::sleep(Duration::from_millis(50)).await;
    for _ in 0..100 {
        assert_eq!(answered(&one, 1).await, 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The other services have limits of their own, and a clock set back begins anew.
    assert_eq!(answered(&one, 50).await, 1);
    let config = aws.sdk_config_in("111122223333");
    assert!(aws_sdk_sts::Client::new(&config).get_caller_identity().send().await.is_ok());
    aws.set_now("2025-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(answered(&one, 50).await, 20);
    aws.faults().set_iam_rate(None);
    assert_eq!(answered(&one, 50).await, 50);
}

#[tokio::test(start_paused = true)]
async fn the_sdk_gets_through_where_calls_are_throttled_by_their_rate() {
    keytide_local::seed(7);
    let aws = LocalAws::in_memory().unwrap();
    aws.faults().set_iam_rate(Some(20));
    let attempts =
        RetryConfig::standard().with_max_attempts(9).with_initial_backoff(Duration::from_millis(50));
    let config = aws.sdk_config().to_builder().retry_config(attempts).build();
    let client = aws_sdk_iam::Client::new(&config);
    let began = Instant::now();
    let calls = || aws.calls().counts()[&(Service::Iam, "ListUsers")];
    for _ in 0..40 {
        client.list_users().send().await.unwrap();
    }
    assert!(calls() > 40, "some were throttled, and made again");
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?} for two seconds' calls", began.elapsed());
}

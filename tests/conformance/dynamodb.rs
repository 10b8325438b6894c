//! DynamoDB's contract, held by the local AWS in the process and by dynoxide's own server on
//! loopback: the same requests, the same answers.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop loudly"
)]

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, ConditionCheck, Get, GlobalSecondaryIndex,
    KeySchemaElement, KeyType, KeysAndAttributes, Projection, ProjectionType, Put, PutRequest, ReturnValue,
    ScalarAttributeType, TimeToLiveSpecification, TransactGetItem, TransactWriteItem, Update, WriteRequest,
};
use keytide_local::LocalAws;

const TABLE: &str = "contract";
const INDEX: &str = "by-owner";

/// A contract run in the process and over loopback.
macro_rules! held_by_both {
    ($($contract:ident),+ $(,)?) => {
        mod in_process {
            $(
                #[tokio::test]
                async fn $contract() {
                    let aws = super::LocalAws::in_memory().unwrap();
                    super::$contract(&aws.sdk_config()).await;
                }
            )+
        }
        mod over_loopback {
            $(
                #[tokio::test]
                async fn $contract() {
                    super::$contract(&super::dynoxide_on_loopback().await).await;
                }
            )+
        }
    };
}

held_by_both!(
    a_table_is_made_described_and_not_made_twice,
    time_to_live_is_set_and_described,
    a_put_under_a_condition_is_refused_with_its_name,
    an_update_counts_and_gives_the_new_values,
    a_transaction_is_all_or_nothing_and_gives_its_reasons_in_order,
    a_refused_condition_can_give_the_item_that_refused,
    a_repeated_token_does_nothing_twice,
    transactions_that_cannot_be_are_refused_as_a_whole,
    a_sparse_index_holds_what_has_its_key_and_pages,
    batches_and_transactions_read_back_what_was_written,
    a_deleted_item_is_gone_from_table_and_index,
    mistakes_of_the_caller_carry_their_names,
);

/// The SDK's configuration for a dynoxide server of this test's own.
async fn dynoxide_on_loopback() -> SdkConfig {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let database = dynoxide::Database::memory().unwrap();
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    // Credentials and region as in the process; the client is the SDK's own, over a socket.
    let local = LocalAws::in_memory().unwrap().sdk_config();
    SdkConfig::builder()
        .behavior_version(local.behavior_version().unwrap())
        .region(local.region().cloned())
        .credentials_provider(local.credentials_provider().unwrap())
        .retry_config(RetryConfig::disabled())
        .endpoint_url(format!("http://{address}"))
        .build()
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn key(name: &str, key_type: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(key_type).build().unwrap()
}

async fn create(client: &Client) -> Result<(), String> {
    let attribute = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .unwrap()
    };
    client
        .create_table()
        .table_name(TABLE)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk"))
        .attribute_definitions(attribute("sk"))
        .attribute_definitions(attribute("owner"))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .global_secondary_indexes(
            GlobalSecondaryIndex::builder()
                .index_name(INDEX)
                .key_schema(key("owner", KeyType::Hash))
                .key_schema(key("sk", KeyType::Range))
                .projection(Projection::builder().projection_type(ProjectionType::All).build())
                .build()
                .unwrap(),
        )
        .send()
        .await
        .map(|_| ())
        .map_err(|error| error.code().unwrap_or_default().to_owned())
}

async fn with_table(config: &SdkConfig) -> Client {
    let client = Client::new(config);
    create(&client).await.unwrap();
    client
}

fn put(pk: &str, sk: &str, owner: Option<&str>) -> Put {
    let mut wanted = Put::builder()
        .table_name(TABLE)
        .item("pk", text(pk))
        .item("sk", text(sk))
        .item("number", AttributeValue::N("1".to_owned()))
        .condition_expression("attribute_not_exists(pk)");
    if let Some(owner) = owner {
        wanted = wanted.item("owner", text(owner));
    }
    wanted.build().unwrap()
}

fn new_item(pk: &str, sk: &str, owner: Option<&str>) -> TransactWriteItem {
    TransactWriteItem::builder().put(put(pk, sk, owner)).build()
}

async fn read(
    client: &Client,
    pk: &str,
    sk: &str,
) -> Option<std::collections::HashMap<String, AttributeValue>> {
    client
        .get_item()
        .table_name(TABLE)
        .key("pk", text(pk))
        .key("sk", text(sk))
        .consistent_read(true)
        .send()
        .await
        .unwrap()
        .item
}

pub(crate) async fn a_table_is_made_described_and_not_made_twice(config: &SdkConfig) {
    let client = Client::new(config);
    let described = || client.describe_table().table_name(TABLE).send();
    let absent = described().await.unwrap_err();
    assert_eq!(absent.code(), Some("ResourceNotFoundException"));
    create(&client).await.unwrap();
    assert_eq!(create(&client).await.unwrap_err(), "ResourceInUseException");
    let table = described().await.unwrap().table.unwrap();
    assert_eq!(table.table_name(), Some(TABLE));
    assert_eq!(table.key_schema().len(), 2);
    assert_eq!(table.global_secondary_indexes()[0].index_name(), Some(INDEX));
}

pub(crate) async fn time_to_live_is_set_and_described(config: &SdkConfig) {
    let client = with_table(config).await;
    client
        .update_time_to_live()
        .table_name(TABLE)
        .time_to_live_specification(
            TimeToLiveSpecification::builder().attribute_name("expires").enabled(true).build().unwrap(),
        )
        .send()
        .await
        .unwrap();
    let described = client.describe_time_to_live().table_name(TABLE).send().await.unwrap();
    let description = described.time_to_live_description().unwrap();
    assert_eq!(description.attribute_name(), Some("expires"));
}

pub(crate) async fn a_put_under_a_condition_is_refused_with_its_name(config: &SdkConfig) {
    let client = with_table(config).await;
    let write = || {
        client
            .put_item()
            .table_name(TABLE)
            .item("pk", text("a"))
            .item("sk", text("1"))
            .condition_expression("attribute_not_exists(pk)")
            .send()
    };
    write().await.unwrap();
    let refused = write().await.unwrap_err();
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 400);
    assert_eq!(refused.message(), Some("The conditional request failed"));
    assert!(refused.into_service_error().is_conditional_check_failed_exception());
}

pub(crate) async fn an_update_counts_and_gives_the_new_values(config: &SdkConfig) {
    let client = with_table(config).await;
    for expected in ["1", "2"] {
        let updated = client
            .update_item()
            .table_name(TABLE)
            .key("pk", text("a"))
            .key("sk", text("1"))
            .update_expression("ADD #n :one")
            .expression_attribute_names("#n", "number")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .return_values(ReturnValue::AllNew)
            .send()
            .await
            .unwrap();
        assert_eq!(updated.attributes().unwrap()["number"], AttributeValue::N(expected.to_owned()));
    }
}

pub(crate) async fn a_transaction_is_all_or_nothing_and_gives_its_reasons_in_order(config: &SdkConfig) {
    let client = with_table(config).await;
    client.transact_write_items().transact_items(new_item("a", "1", None)).send().await.unwrap();
    let refused = client
        .transact_write_items()
        .transact_items(new_item("b", "1", None))
        .transact_items(new_item("a", "1", None))
        .transact_items(
            TransactWriteItem::builder()
                .condition_check(
                    ConditionCheck::builder()
                        .table_name(TABLE)
                        .key("pk", text("c"))
                        .key("sk", text("1"))
                        .condition_expression("attribute_exists(pk)")
                        .build()
                        .unwrap(),
                )
                .build(),
        )
        .transact_items(
            TransactWriteItem::builder()
                .update(
                    Update::builder()
                        .table_name(TABLE)
                        .key("pk", text("d"))
                        .key("sk", text("1"))
                        .update_expression("SET seen = :yes")
                        .expression_attribute_values(":yes", AttributeValue::Bool(true))
                        .build()
                        .unwrap(),
                )
                .build(),
        )
        .send()
        .await
        .unwrap_err();
    assert_eq!(
        refused.message(),
        Some(
            "Transaction cancelled, please refer cancellation reasons for specific reasons \
             [None, ConditionalCheckFailed, ConditionalCheckFailed, None]"
        )
    );
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = refused.into_service_error()
    else {
        panic!("expected a cancelled transaction");
    };
    let codes: Vec<_> =
        cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap()).collect();
    assert_eq!(codes, ["None", "ConditionalCheckFailed", "ConditionalCheckFailed", "None"]);
    assert!(read(&client, "b", "1").await.is_none());
    assert!(read(&client, "d", "1").await.is_none());
}

pub(crate) async fn a_refused_condition_can_give_the_item_that_refused(config: &SdkConfig) {
    use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld;
    let client = with_table(config).await;
    let write = |owner: &str| {
        let mut wanted = put("a", "1", Some(owner));
        wanted.return_values_on_condition_check_failure = Some(AllOld);
        client.transact_write_items().transact_items(TransactWriteItem::builder().put(wanted).build()).send()
    };
    write("ann").await.unwrap();
    let refused = write("bob").await.unwrap_err().into_service_error();
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = refused else {
        panic!("expected a cancelled transaction, got {refused:?}");
    };
    let item = cancelled.cancellation_reasons()[0].item().unwrap();
    assert_eq!(item["owner"], text("ann"));
}

pub(crate) async fn a_repeated_token_does_nothing_twice(config: &SdkConfig) {
    let client = with_table(config).await;
    let add = |token: &str, number: &str| {
        client
            .transact_write_items()
            .client_request_token(token)
            .transact_items(
                TransactWriteItem::builder()
                    .update(
                        Update::builder()
                            .table_name(TABLE)
                            .key("pk", text("a"))
                            .key("sk", text("1"))
                            .update_expression("ADD #n :n")
                            .expression_attribute_names("#n", "number")
                            .expression_attribute_values(":n", AttributeValue::N(number.to_owned()))
                            .build()
                            .unwrap(),
                    )
                    .build(),
            )
            .send()
    };
    add("first", "1").await.unwrap();
    add("first", "1").await.unwrap();
    let another = add("first", "2").await.unwrap_err();
    assert_eq!(another.code(), Some("IdempotentParameterMismatchException"));
    add("second", "1").await.unwrap();
    let item = read(&client, "a", "1").await.unwrap();
    assert_eq!(item["number"], AttributeValue::N("2".to_owned()));

    let too_long = add(&"x".repeat(37), "1").await.unwrap_err();
    assert_eq!(too_long.code(), Some("ValidationException"));
}

pub(crate) async fn transactions_that_cannot_be_are_refused_as_a_whole(config: &SdkConfig) {
    let client = with_table(config).await;
    let twice_one_item = client
        .transact_write_items()
        .transact_items(new_item("a", "1", None))
        .transact_items(new_item("a", "1", None))
        .send()
        .await
        .unwrap_err();
    assert_eq!(twice_one_item.code(), Some("ValidationException"));
    let too_many = client
        .transact_write_items()
        .set_transact_items(Some((0..101).map(|number| new_item(&number.to_string(), "1", None)).collect()))
        .send()
        .await
        .unwrap_err();
    assert_eq!(too_many.code(), Some("ValidationException"));
    let other_table = Put::builder().table_name("another-table").item("pk", text("a")).build().unwrap();
    let absent = client
        .transact_write_items()
        .transact_items(TransactWriteItem::builder().put(other_table).build())
        .send()
        .await
        .unwrap_err();
    assert_eq!(absent.code(), Some("ResourceNotFoundException"));
}

pub(crate) async fn a_sparse_index_holds_what_has_its_key_and_pages(config: &SdkConfig) {
    let client = with_table(config).await;
    for number in 0..5 {
        let owner = (number != 2).then_some("ann");
        client
            .transact_write_items()
            .transact_items(new_item("a", &number.to_string(), owner))
            .send()
            .await
            .unwrap();
    }
    let mut pages = client
        .query()
        .table_name(TABLE)
        .index_name(INDEX)
        .key_condition_expression("#o = :o AND sk > :from")
        .expression_attribute_names("#o", "owner")
        .expression_attribute_values(":o", text("ann"))
        .expression_attribute_values(":from", text("0"))
        .limit(2)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let items = page.unwrap().items.unwrap();
        assert!(items.len() <= 2);
        found.extend(items.into_iter().map(|item| item["sk"].clone()));
    }
    assert_eq!(found, [text("1"), text("3"), text("4")]);
}

pub(crate) async fn batches_and_transactions_read_back_what_was_written(config: &SdkConfig) {
    let client = with_table(config).await;
    let write = |sk: &str| {
        let request = PutRequest::builder().item("pk", text("a")).item("sk", text(sk)).build().unwrap();
        WriteRequest::builder().put_request(request).build()
    };
    let written =
        client.batch_write_item().request_items(TABLE, ["1", "2"].map(write).to_vec()).send().await.unwrap();
    assert!(written.unprocessed_items().is_none_or(std::collections::HashMap::is_empty));

    let wanted = |sk: &str| {
        std::collections::HashMap::from([("pk".to_owned(), text("a")), ("sk".to_owned(), text(sk))])
    };
    let read = client
        .batch_get_item()
        .request_items(
            TABLE,
            KeysAndAttributes::builder()
                .set_keys(Some(["1", "2", "3"].map(wanted).to_vec()))
                .build()
                .unwrap(),
        )
        .send()
        .await
        .unwrap();
    assert_eq!(read.responses().unwrap()[TABLE].len(), 2);

    let get = |sk: &str| {
        let get = Get::builder().table_name(TABLE).set_key(Some(wanted(sk))).build().unwrap();
        TransactGetItem::builder().get(get).build()
    };
    let read =
        client.transact_get_items().transact_items(get("2")).transact_items(get("3")).send().await.unwrap();
    assert_eq!(read.responses()[0].item().unwrap()["sk"], text("2"));
    assert!(read.responses()[1].item().is_none());

    let scanned = client.scan().table_name(TABLE).send().await.unwrap();
    assert_eq!(scanned.count(), 2);
}

pub(crate) async fn a_deleted_item_is_gone_from_table_and_index(config: &SdkConfig) {
    let client = with_table(config).await;
    client.transact_write_items().transact_items(new_item("a", "1", Some("ann"))).send().await.unwrap();
    let deleted = client
        .delete_item()
        .table_name(TABLE)
        .key("pk", text("a"))
        .key("sk", text("1"))
        .return_values(ReturnValue::AllOld)
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.attributes().unwrap()["owner"], text("ann"));
    assert!(read(&client, "a", "1").await.is_none());
    let found = client
        .query()
        .table_name(TABLE)
        .index_name(INDEX)
        .key_condition_expression("#o = :o")
        .expression_attribute_names("#o", "owner")
        .expression_attribute_values(":o", text("ann"))
        .send()
        .await
        .unwrap();
    assert_eq!(found.count(), 0);
}

pub(crate) async fn mistakes_of_the_caller_carry_their_names(config: &SdkConfig) {
    let client = with_table(config).await;
    let no_key = client.put_item().table_name(TABLE).item("pk", text("a")).send().await.unwrap_err();
    assert_eq!(no_key.code(), Some("ValidationException"));
    assert_eq!(
        no_key.message(),
        Some("One or more parameter values were invalid: Missing the key sk in the item")
    );
    let null_index_key = client
        .put_item()
        .table_name(TABLE)
        .item("pk", text("a"))
        .item("sk", text("1"))
        .item("owner", AttributeValue::Null(true))
        .send()
        .await
        .unwrap_err();
    assert_eq!(null_index_key.code(), Some("ValidationException"));
    let bad_number = client
        .put_item()
        .table_name(TABLE)
        .item("pk", text("a"))
        .item("sk", text("1"))
        .item("number", AttributeValue::N("ten".to_owned()))
        .send()
        .await
        .unwrap_err();
    assert_eq!(bad_number.code(), Some("ValidationException"));
    assert_eq!(
        bad_number.message(),
        Some("1 validation error detected: The parameter cannot be converted to a numeric value: ten")
    );
    let mut wanted = put("a", "1", None);
    wanted.item.insert("number".to_owned(), AttributeValue::N("ten".to_owned()));
    let bad_number = client
        .transact_write_items()
        .transact_items(TransactWriteItem::builder().put(wanted).build())
        .send()
        .await
        .unwrap_err();
    assert_eq!(bad_number.code(), Some("ValidationException"));
    assert_eq!(bad_number.message(), Some("The parameter cannot be converted to a numeric value: ten"));
    let bad_expression = client
        .update_item()
        .table_name(TABLE)
        .key("pk", text("a"))
        .key("sk", text("1"))
        .update_expression("SET owner := 1")
        .send()
        .await
        .unwrap_err();
    assert_eq!(bad_expression.code(), Some("ValidationException"));
    let no_index = client
        .query()
        .table_name(TABLE)
        .index_name("nothing")
        .key_condition_expression("pk = :a")
        .expression_attribute_values(":a", text("a"))
        .send()
        .await
        .unwrap_err();
    assert_eq!(no_index.code(), Some("ValidationException"));
}

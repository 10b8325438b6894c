//! DynamoDB: tables, conditions, transactions, indexes.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    Projection, ProjectionType, Put, ScalarAttributeType, TransactWriteItem,
};
use keytide_local::LocalAws;

pub(crate) async fn table(client: &Client) {
    let attribute = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .unwrap()
    };
    let hash = |name: &str| {
        KeySchemaElement::builder().attribute_name(name).key_type(KeyType::Hash).build().unwrap()
    };
    client
        .create_table()
        .table_name("ledger")
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("id"))
        .attribute_definitions(attribute("owner"))
        .key_schema(hash("id"))
        .global_secondary_indexes(
            GlobalSecondaryIndex::builder()
                .index_name("by-owner")
                .key_schema(hash("owner"))
                .projection(Projection::builder().projection_type(ProjectionType::All).build())
                .build()
                .unwrap(),
        )
        .send()
        .await
        .unwrap();
}

pub(crate) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(crate) fn new_item(id: &str, owner: &str) -> TransactWriteItem {
    TransactWriteItem::builder()
        .put(
            Put::builder()
                .table_name("ledger")
                .item("id", text(id))
                .item("owner", text(owner))
                .condition_expression("attribute_not_exists(id)")
                .build()
                .unwrap(),
        )
        .build()
}

async fn owners_items(client: &Client, owner: &str) -> usize {
    client
        .query()
        .table_name("ledger")
        .index_name("by-owner")
        .key_condition_expression("#o = :o")
        .expression_attribute_names("#o", "owner")
        .expression_attribute_values(":o", text(owner))
        .send()
        .await
        .unwrap()
        .items()
        .len()
}

#[tokio::test]
async fn a_transaction_writes_all_or_says_which_item_refused() {
    let aws = LocalAws::in_memory().unwrap();
    let client = Client::new(&aws.sdk_config());
    table(&client).await;
    client.transact_write_items().transact_items(new_item("a", "ann")).send().await.unwrap();

    let refused = client
        .transact_write_items()
        .transact_items(new_item("b", "bob"))
        .transact_items(new_item("a", "ann"))
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
        cancelled,
    ) = refused
    else {
        panic!("expected a cancelled transaction, got {refused:?}");
    };
    let codes: Vec<_> =
        cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap()).collect();
    assert_eq!(codes, ["None", "ConditionalCheckFailed"]);
    let other = client
        .get_item()
        .table_name("ledger")
        .key("id", text("b"))
        .consistent_read(true)
        .send()
        .await
        .unwrap();
    assert!(other.item().is_none(), "nothing of a refused transaction");
}

#[tokio::test]
async fn a_transaction_sent_twice_under_one_token_is_done_once() {
    let aws = LocalAws::in_memory().unwrap();
    let client = Client::new(&aws.sdk_config());
    table(&client).await;
    let send = |id: &str| {
        client
            .transact_write_items()
            .client_request_token("one-token")
            .transact_items(new_item(id, "ann"))
            .send()
    };
    send("a").await.unwrap();
    // The condition would refuse it: so it is not done again.
    send("a").await.unwrap();
    let other = send("b").await.unwrap_err();
    assert_eq!(other.code(), Some("IdempotentParameterMismatchException"), "{other:?}");
}

#[tokio::test]
async fn errors_carry_their_names() {
    let aws = LocalAws::in_memory().unwrap();
    let client = Client::new(&aws.sdk_config());
    let absent = client.get_item().table_name("nothing").key("id", text("a")).send().await.unwrap_err();
    assert_eq!(absent.code(), Some("ResourceNotFoundException"));

    table(&client).await;
    let put = || {
        client
            .put_item()
            .table_name("ledger")
            .item("id", text("a"))
            .condition_expression("attribute_not_exists(id)")
            .send()
    };
    put().await.unwrap();
    let again = put().await.unwrap_err();
    assert_eq!(again.code(), Some("ConditionalCheckFailedException"));

    let without_key =
        client.put_item().table_name("ledger").item("owner", text("ann")).send().await.unwrap_err();
    assert_eq!(without_key.code(), Some("ValidationException"));
}

#[tokio::test]
async fn lagging_indexes_show_what_was_and_the_table_shows_what_is() {
    let aws = LocalAws::in_memory().unwrap();
    let client = Client::new(&aws.sdk_config());
    table(&client).await;
    let put = |id: &'static str, owner: &'static str| {
        client.put_item().table_name("ledger").item("id", text(id)).item("owner", text(owner)).send()
    };
    put("a", "ann").await.unwrap();
    aws.set_index_lag(Some(1)).unwrap();
    // Not only are new items late: a changed one is still found under what it was.
    put("a", "bob").await.unwrap();
    assert_eq!(owners_items(&client, "ann").await, 1);
    assert_eq!(owners_items(&client, "bob").await, 0);
    let item = client.get_item().table_name("ledger").key("id", text("a")).send().await.unwrap();
    assert_eq!(item.item().unwrap()["owner"], text("bob"));

    client.transact_write_items().transact_items(new_item("c", "cat")).send().await.unwrap();
    assert_eq!(owners_items(&client, "ann").await, 0);
    assert_eq!(owners_items(&client, "bob").await, 1);
    assert_eq!(owners_items(&client, "cat").await, 0);

    aws.set_index_lag(None).unwrap();
    assert_eq!(owners_items(&client, "cat").await, 1);
}

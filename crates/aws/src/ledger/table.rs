//! The table's definition, which stands once, in `infra/ledger-table.json`, and serves both the embedded
//! ledger and the infrastructure.

use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
        ProjectionType, ScalarAttributeType, TimeToLiveSpecification,
    },
};
use serde::Deserialize;

use crate::Failure;

const DEFINITION: &str = include_str!("../../../../infra/ledger-table.json");

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Definition {
    key_schema: Vec<KeyPart>,
    attribute_definitions: Vec<Attribute>,
    global_secondary_indexes: Vec<Index>,
    billing_mode: String,
    time_to_live_specification: Expiry,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct KeyPart {
    attribute_name: String,
    key_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Attribute {
    attribute_name: String,
    attribute_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Index {
    index_name: String,
    key_schema: Vec<KeyPart>,
    projection: Projected,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Projected {
    projection_type: String,
    #[serde(default)]
    non_key_attributes: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Expiry {
    attribute_name: String,
    enabled: bool,
}

/// Creates the table where it is not there yet, and turns its expiry on; `false` where it was there.
pub(super) async fn create(client: &Client, table: &str) -> Result<bool, Failure> {
    let definition: Definition = serde_json::from_str(DEFINITION)
        .map_err(|error| Failure::operators("reading infra/ledger-table.json", error.to_string()))?;
    let built = |error: aws_sdk_dynamodb::error::BuildError| {
        Failure::operators("reading infra/ledger-table.json", error.to_string())
    };
    let mut request = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::from(definition.billing_mode.as_str()))
        .set_key_schema(Some(key_schema(&definition.key_schema).map_err(built)?));
    for attribute in &definition.attribute_definitions {
        let attribute = AttributeDefinition::builder()
            .attribute_name(&attribute.attribute_name)
            .attribute_type(ScalarAttributeType::from(attribute.attribute_type.as_str()))
            .build();
        request = request.attribute_definitions(attribute.map_err(built)?);
    }
    for index in &definition.global_secondary_indexes {
        let projection = Projection::builder()
            .projection_type(ProjectionType::from(index.projection.projection_type.as_str()))
            .set_non_key_attributes(index.projection.non_key_attributes.clone())
            .build();
        let index = GlobalSecondaryIndex::builder()
            .index_name(&index.index_name)
            .set_key_schema(Some(key_schema(&index.key_schema).map_err(built)?))
            .projection(projection)
            .build();
        request = request.global_secondary_indexes(index.map_err(built)?);
    }
    match request.send().await {
        Ok(_) => {}
        Err(error)
            if error.as_service_error().is_some_and(
                aws_sdk_dynamodb::operation::create_table::CreateTableError::is_resource_in_use_exception,
            ) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(Failure::of(format!("dynamodb:CreateTable of {table}"), &error)),
    }
    let expiry = TimeToLiveSpecification::builder()
        .attribute_name(&definition.time_to_live_specification.attribute_name)
        .enabled(definition.time_to_live_specification.enabled)
        .build()
        .map_err(built)?;
    client
        .update_time_to_live()
        .table_name(table)
        .time_to_live_specification(expiry)
        .send()
        .await
        .map(|_| true)
        .map_err(|error| Failure::of(format!("dynamodb:UpdateTimeToLive of {table}"), &error))
}

fn key_schema(parts: &[KeyPart]) -> Result<Vec<KeySchemaElement>, aws_sdk_dynamodb::error::BuildError> {
    parts
        .iter()
        .map(|part| {
            KeySchemaElement::builder()
                .attribute_name(&part.attribute_name)
                .key_type(KeyType::from(part.key_type.as_str()))
                .build()
        })
        .collect()
}

//! What one event costs a function that is warm, without what AWS and Slack do meanwhile.
//!
//! The AWS and the Slack in this process are wrapped by clocks; what passes inside them is taken off. What is
//! left is keytide and the SDK: reading, deciding, encoding, signing, decoding, and the messages.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, Put, ReturnValue, TransactWriteItem};
use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::HttpRequest,
    runtime_components::RuntimeComponents,
};
use keytide_app::{
    Invocation,
    watch::{Incoming, Watched},
};
use keytide_local::{LocalAws, slack::SlackSim};
use keytide_slack::{Answer, Call, NoAnswer, Post, Token};

use crate::{
    Outcome,
    company::{Company, NewKeys, PROD, TABLE},
    table::{Row, Table, cpu_time, median, milliseconds, ratio},
};

/// Events that are not measured: the session, the token and the caches come to be.
const FIRST: u32 = 200;
/// Events that are.
const EVENTS: u32 = 2_000;

/// Time that passed inside something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inside(Arc<AtomicU64>);

impl Inside {
    async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            let began = cpu_time();
            let polled = work.as_mut().poll(context);
            let elapsed = cpu_time().saturating_sub(began);
            let nanoseconds = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
            self.0.fetch_add(nanoseconds, Ordering::Relaxed);
            polled
        })
        .await
    }

    pub(crate) fn so_far(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// The AWS in the process, with a clock around it.
#[derive(Debug, Clone)]
pub(crate) struct TimedAws {
    pub(crate) aws: LocalAws,
    pub(crate) inside: Inside,
}

impl HttpClient for TimedAws {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for TimedAws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { aws, inside } = self.clone();
        HttpConnectorFuture::new(async move { inside.of(aws.call(request)).await })
    }
}

/// The Slack in the process, with a clock around it.
pub(crate) struct TimedSlack {
    pub(crate) slack: SlackSim,
    pub(crate) inside: Inside,
}

impl Post for TimedSlack {
    async fn post(&self, token: &Token, call: Call) -> Result<Answer, NoAnswer> {
        self.inside.of(self.slack.post(token, call)).await
    }
}

pub(crate) async fn measure(table: &mut Table) -> Outcome<()> {
    let company = Company::new().await?;
    let keys = NewKeys::read()?;
    let inside = Inside::default();
    let timed = TimedAws { aws: company.aws.clone(), inside: inside.clone() };
    let config = company.aws.sdk_config().to_builder().http_client(timed.clone()).build();
    let slack = TimedSlack { slack: company.slack.clone(), inside: inside.clone() };
    let watch = Company::watch(&config, slack)?;
    let member = company.aws.sdk_config_in(PROD).to_builder().http_client(timed).build();

    // One event beforehand shows the items that the reference is to write, and the calls it is to make.
    let one = async |number: u32| -> Outcome<()> {
        let (key_id, event) = keys.of_alice(number);
        let now = company.aws.now();
        let invocation = Invocation::begin(format!("request-{key_id}"), now, Duration::from_mins(1));
        let incoming = Incoming { json: event.as_bytes(), received: 1 };
        match watch.event(&incoming, &invocation).await? {
            Watched::Recorded(record) if record.sent.len() == 2 && !record.known_before => Ok(()),
            other => Err(format!("the event of {key_id} ended as {other:?}").into()),
        }
    };
    one(0).await?;
    let raw = Raw::after_one_event(&config, &member, &keys.of_alice(0).0).await?;

    let calls = || -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in company.aws.calls().list() {
            *counts.entry(format!("{}:{}", call.service, call.operation)).or_default() += 1;
        }
        counts
    };
    company.aws.calls().restart();
    one(1).await?;
    let expected = calls();
    company.aws.calls().restart();
    raw.like_event(1).await?;
    let made = calls();
    if made != expected {
        return Err(format!("the reference makes the calls {made:?}, and keytide {expected:?}").into());
    }

    let (mut ours, mut raws) = (Vec::new(), Vec::new());
    for number in 2..FIRST + EVENTS {
        let event: Pin<Box<dyn Future<Output = Outcome<()>>>> = Box::pin(one(number));
        let own = outside(&inside, event).await?;
        let reference = outside(&inside, Box::pin(raw.like_event(number))).await?;
        if number >= FIRST {
            ours.push(milliseconds(own));
            raws.push(milliseconds(reference));
        }
    }
    for number in [0, 1, FIRST, FIRST + EVENTS - 1] {
        company.check(&keys.of_alice(number).0).await?;
    }
    let (own, reference) = (median(ours), median(raws));
    table.row(Row {
        figure: "a later event, our own time",
        keytide: format!("{own:.3} ms"),
        reference: format!("{reference:.3} ms  its {} SDK calls alone", expected.values().sum::<usize>()),
        ratio: ratio(own, reference),
        aim: "≤ 0.5 ms",
        samples: format!("{EVENTS} events"),
    });
    Ok(())
}

/// This thread's time on a CPU for something, less that inside AWS and Slack. Nothing is on another thread.
async fn outside(inside: &Inside, work: impl Future<Output = Outcome<()>>) -> Outcome<Duration> {
    let before = inside.so_far();
    let began = cpu_time();
    work.await?;
    let elapsed = cpu_time().saturating_sub(began);
    Ok(elapsed.saturating_sub(inside.so_far().saturating_sub(before)))
}

type Item = std::collections::HashMap<String, AttributeValue>;

/// The calls of one event, made with the SDK and nothing around it.
struct Raw {
    dynamodb: aws_sdk_dynamodb::Client,
    iam: aws_sdk_iam::Client,
    /// The fact, the key and the deliveries, as they were written.
    items: Vec<Item>,
}

impl Raw {
    async fn after_one_event(
        config: &aws_config::SdkConfig,
        member: &aws_config::SdkConfig,
        key_id: &str,
    ) -> Outcome<Self> {
        let dynamodb = aws_sdk_dynamodb::Client::new(config);
        let found = dynamodb
            .query()
            .table_name(TABLE)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(format!("KEY#{PROD}#{key_id}")))
            .send()
            .await?;
        let items = found.items.unwrap_or_default();
        if items.len() != 4 {
            return Err(format!("a new key has {} items; expected 4", items.len()).into());
        }
        Ok(Self { dynamodb, iam: aws_sdk_iam::Client::new(member), items })
    }

    async fn like_event(&self, number: u32) -> Outcome<()> {
        let pk = AttributeValue::S(format!("KEY#{PROD}#reference-{number}"));
        let own = |item: &Item| {
            let mut item = item.clone();
            item.insert("pk".to_owned(), pk.clone());
            item
        };
        let key_of = |item: &Item| -> Item {
            ["pk", "sk"]
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), item.get(name)?.clone())))
                .collect()
        };
        let items: Vec<Item> = self.items.iter().map(own).collect();
        let keys = KeysAndAttributes::builder()
            .consistent_read(true)
            .set_keys(Some(items.iter().map(key_of).collect()))
            .build()?;
        self.dynamodb.batch_get_item().request_items(TABLE, keys).send().await?;
        let (user, listed) = tokio::join!(
            self.iam.get_user().user_name("alice").send(),
            self.iam.list_access_keys().user_name("alice").send(),
        );
        user?;
        listed?;
        let put = |item: &Item| -> Outcome<TransactWriteItem> {
            let put = Put::builder()
                .table_name(TABLE)
                .set_item(Some(item.clone()))
                .condition_expression("attribute_not_exists(pk)")
                .build()?;
            Ok(TransactWriteItem::builder().put(put).build())
        };
        let transaction = items.iter().map(put).collect::<Outcome<Vec<_>>>()?;
        self.dynamodb.transact_write_items().set_transact_items(Some(transaction)).send().await?;
        self.dynamodb
            .update_item()
            .table_name(TABLE)
            .key("pk", AttributeValue::S(format!("RATE#{PROD}")))
            .key("sk", AttributeValue::S("reference".to_owned()))
            .update_expression("ADD alerts :one")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .return_values(ReturnValue::UpdatedNew)
            .send()
            .await?;
        let is_delivery = |item: &&Item| {
            item.get("sk").and_then(|sort| sort.as_s().ok()).is_some_and(|sort| sort.starts_with("OUT#"))
        };
        for delivery in items.iter().filter(is_delivery) {
            // Claimed, and ended.
            for _ in 0..2 {
                let version = delivery.get("version").cloned().ok_or("a delivery without a version")?;
                self.dynamodb
                    .put_item()
                    .table_name(TABLE)
                    .set_item(Some(delivery.clone()))
                    .condition_expression("version = :read")
                    .expression_attribute_values(":read", version)
                    .send()
                    .await?;
            }
        }
        Ok(())
    }
}

//! What records IAM's calls.

use std::collections::BTreeMap;

use aws_config::{Region, SdkConfig};
use aws_sdk_cloudtrail::types::{AdvancedFieldSelector, EventSelector, ReadWriteType};
use tokio::sync::Mutex;

use super::{
    super::judge::{Seen, Trail},
    always, asked,
};

/// Where an organization's trail is asked for: in the account that owns it, once for all accounts that see it.
pub(in super::super) struct Elsewhere<Enter> {
    /// Credentials of an account, or why there are none.
    enter: Enter,
    /// By the trail's ARN: whether it is logging, and whether it records what writes.
    known: Mutex<BTreeMap<String, Settings>>,
}

/// Whether a trail is logging, and whether it records what writes.
type Settings = (Seen<bool>, Seen<bool>);

impl<Enter: AsyncFn(&str) -> Seen<SdkConfig>> Elsewhere<Enter> {
    pub(in super::super) fn by(enter: Enter) -> Self {
        Self { enter, known: Mutex::default() }
    }

    async fn settings(&self, owner: &str, arn: &str, region: &str) -> Settings {
        // Held while it is asked, so that nobody else asks the same.
        let mut known = self.known.lock().await;
        if let Some(settings) = known.get(arn) {
            return settings.clone();
        }
        let settings = match (self.enter)(owner).await {
            Ok(config) => Box::pin(settings(&config, arn, region)).await,
            Err(why) => (Err(why.clone()), Err(why)),
        };
        known.insert(arn.to_owned(), settings.clone());
        settings
    }
}

/// The account's trails, the organization's among them, as they are seen from it.
pub(super) async fn trails<Enter: AsyncFn(&str) -> Seen<SdkConfig>>(
    config: &SdkConfig,
    account: &str,
    elsewhere: &Elsewhere<Enter>,
) -> Seen<Vec<Trail>> {
    let client = aws_sdk_cloudtrail::Client::new(config);
    let described = client.describe_trails().include_shadow_trails(true).send();
    let described = always(asked("cloudtrail:DescribeTrails", described).await)?;
    let mut trails = Vec::new();
    for found in described.trail_list.unwrap_or_default() {
        let name = found.trail_arn.or(found.name).unwrap_or_default();
        let home_region = found.home_region.unwrap_or_default();
        // Another account's selectors are not told to whom a trail only records.
        let owner = name.split(':').nth(4).filter(|owner| *owner != account).map(str::to_owned);
        let (is_logging, has_writes) = match &owner {
            Some(owner) => elsewhere.settings(owner, &name, &home_region).await,
            None => Box::pin(settings(config, &name, &home_region)).await,
        };
        trails.push(Trail {
            is_multi_region: found.is_multi_region_trail == Some(true),
            has_global_events: found.include_global_service_events == Some(true),
            home_region,
            is_logging,
            has_writes,
            owner,
            name,
        });
    }
    Ok(trails)
}

/// Asked where the trail is at home: elsewhere there is only its shadow.
async fn settings(config: &SdkConfig, trail: &str, region: &str) -> Settings {
    let config = if region.is_empty() {
        config.clone()
    } else {
        config.to_builder().region(Region::new(region.to_owned())).build()
    };
    let client = aws_sdk_cloudtrail::Client::new(&config);
    let (status, selectors) = tokio::join!(
        asked("cloudtrail:GetTrailStatus", client.get_trail_status().name(trail).send()),
        asked("cloudtrail:GetEventSelectors", client.get_event_selectors().trail_name(trail).send()),
    );
    let is_logging = always(status).map(|status| status.is_logging == Some(true));
    let has_writes = always(selectors).map(|answer| {
        // A trail without selectors of its own records all management events (CloudTrail's user guide, "Logging management
        // events").
        let (simple, advanced) = (answer.event_selectors(), answer.advanced_event_selectors());
        (simple.is_empty() && advanced.is_empty())
            || simple.iter().any(records_writes)
            || advanced.iter().any(|selector| records_writes_by_fields(selector.field_selectors()))
    });
    (is_logging, has_writes)
}

fn records_writes(selector: &EventSelector) -> bool {
    let is_of_management = selector.include_management_events().unwrap_or(true);
    let leaves_iam_out = selector.exclude_management_event_sources().iter().any(|source| source == IAM);
    let is_of_reads = selector.read_write_type().is_some_and(|kind| *kind == ReadWriteType::ReadOnly);
    is_of_management && !leaves_iam_out && !is_of_reads
}

const IAM: &str = "iam.amazonaws.com";

/// Whether all of IAM's calls that write pass: a field or an operator that is not known here may leave some out.
fn records_writes_by_fields(fields: &[AdvancedFieldSelector]) -> bool {
    let mut is_of_management = false;
    for field in fields {
        let has_others =
            [field.starts_with(), field.ends_with(), field.not_starts_with(), field.not_ends_with()]
                .iter()
                .any(|values| !values.is_empty());
        let (equals, excludes) = (field.equals(), field.not_equals());
        let passes = match field.field() {
            "eventCategory" => {
                is_of_management = equals == ["Management"];
                is_of_management && excludes.is_empty()
            }
            "readOnly" => equals.iter().any(|value| value == "false") && excludes.is_empty(),
            "eventSource" => {
                (equals.is_empty() || equals.iter().any(|source| source == IAM))
                    && excludes.iter().all(|source| source != IAM)
            }
            _ => false,
        };
        if has_others || !passes {
            return false;
        }
    }
    is_of_management
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, equals: &[&str]) -> AdvancedFieldSelector {
        let mut field = AdvancedFieldSelector::builder().field(name);
        for value in equals {
            field = field.equals(*value);
        }
        field.build().unwrap()
    }

    #[test]
    fn only_what_certainly_records_iams_writes_does() {
        let management = || field("eventCategory", &["Management"]);
        let with = |besides: AdvancedFieldSelector| records_writes_by_fields(&[management(), besides]);
        let but = |sources: &[&str]| {
            let mut field = AdvancedFieldSelector::builder().field("eventSource");
            for source in sources {
                field = field.not_equals(*source);
            }
            field.build().unwrap()
        };
        assert!(records_writes_by_fields(&[management()]));
        assert!(!records_writes_by_fields(&[]));
        assert!(!records_writes_by_fields(&[field("eventCategory", &["Data"])]));
        assert!(with(field("readOnly", &["false"])));
        assert!(with(field("readOnly", &["true", "false"])));
        assert!(!with(field("readOnly", &["true"])));
        assert!(with(but(&["kms.amazonaws.com", "rdsdata.amazonaws.com"])));
        assert!(!with(but(&["kms.amazonaws.com", "iam.amazonaws.com"])));
        assert!(with(field("eventSource", &["iam.amazonaws.com"])));
        assert!(!with(field("eventSource", &["kms.amazonaws.com"])));
        let beginning = AdvancedFieldSelector::builder().field("eventSource").not_starts_with("i");
        assert!(!with(beginning.build().unwrap()), "an operator that is not known here");
        assert!(!with(field("eventName", &["CreateAccessKey"])), "a field that is not known here");
        let ends = AdvancedFieldSelector::builder().field("userIdentity.arn").not_ends_with("role/ci");
        assert!(!with(ends.build().unwrap()));
    }

    #[test]
    fn a_simple_selector_may_leave_iam_out() {
        let selector = EventSelector::builder().read_write_type(ReadWriteType::All);
        assert!(records_writes(&selector.clone().build()));
        assert!(!records_writes(&selector.clone().exclude_management_event_sources(IAM).build()));
        assert!(records_writes(
            &selector.clone().exclude_management_event_sources("kms.amazonaws.com").build()
        ));
        assert!(!records_writes(&selector.clone().include_management_events(false).build()));
        assert!(!records_writes(&selector.read_write_type(ReadWriteType::ReadOnly).build()));
    }
}

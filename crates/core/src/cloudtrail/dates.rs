//! The spellings of time that CloudTrail records hold.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// Parses `eventTime`: RFC 3339 as documented, or the same without a zone and with a space (as some
/// exports write it), which is taken for UTC because CloudTrail writes nothing else.
pub fn parse_event_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse().ok().or_else(|| in_utc(text.parse::<DateTime>().ok()?))
}

/// Parses an access key's `createDate`, which has had at least three spellings:
/// `Jul 30, 2024 9:53:13 PM`, `Oct 3, 2025, 8:41:04 AM` (a comma after the year and a narrow no-break space
/// before the half of the day), and ISO 8601. It only ever confirms `eventTime`, so `None` is no failure.
pub fn parse_create_date(text: &str) -> Option<Timestamp> {
    if let Some(instant) = parse_event_time(text) {
        return Some(instant);
    }
    // One spelling for all: any space is a space, and no comma is needed.
    let words: Vec<&str> = text
        .split(|character: char| character.is_whitespace() || character == ',')
        .filter(|word| !word.is_empty())
        .collect();
    let spelling = words.join(" ");
    in_utc(DateTime::strptime("%b %d %Y %I:%M:%S %p", &spelling).ok()?)
}

fn in_utc(civil: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(civil).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_on_record_is_the_same_instant() {
        let expected = "2025-10-03T08:41:04Z".parse().ok();
        for text in [
            "Oct 3, 2025 8:41:04 AM",
            "Oct 3, 2025, 8:41:04\u{202f}AM",
            "Oct 3, 2025, 8:41:04 AM",
            "Oct 03, 2025 08:41:04 AM",
            "2025-10-03T08:41:04Z",
            "2025-10-03T08:41:04+00:00",
            "2025-10-03 08:41:04.000000000",
        ] {
            assert_eq!(parse_create_date(text), expected, "{text}");
        }
        assert_eq!(parse_create_date("Jul 30, 2024 9:53:13 PM"), "2024-07-30T21:53:13Z".parse().ok());
    }

    #[test]
    fn a_spelling_that_means_nothing_is_nothing() {
        for text in ["", "yesterday", "Jan 01, 2019 0:00:00 PM", "Feb 30, 2024 1:00:00 PM", "1700000000"] {
            assert_eq!(parse_create_date(text), None, "{text}");
        }
    }
}

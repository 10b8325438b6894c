//! The hours for disabling: when somebody is there to help.

use std::fmt;

use jiff::{
    SignedDuration, Timestamp,
    civil::{DateTime, Time, Weekday},
    tz::TimeZone,
};

/// Minutes in a day.
pub(super) const DAY_MINUTES: u16 = 24 * 60;
/// How far the next opening is looked for, in days. A week holds one; where a zone springs over an opening,
/// the week after does.
const LOOK_AHEAD_DAYS: i64 = 22;

/// When disabling is open: on these weekdays, between these times, by the clocks on the wall of that zone.
/// An hour that clocks skip is not there; one that they show twice counts twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// The zone.
    pub(super) zone: TimeZone,
    /// Its name in the IANA database.
    pub(super) zone_name: String,
    /// Monday first, each once, at least one.
    pub(super) weekdays: Vec<Weekday>,
    /// From this minute of the day.
    pub(super) from_minute: u16,
    /// To before this one, which is later: at most 1,440.
    pub(super) until_minute: u16,
}

/// Disabling is closed now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Closed {
    /// When it opens next.
    pub opens_at: Option<Timestamp>,
    words: String,
}

impl Hours {
    /// Whether disabling is open.
    pub fn open(&self, now: Timestamp) -> Result<(), Closed> {
        if self.is_open(now) {
            return Ok(());
        }
        let opens_at = self.next_opening(now);
        let opens = opens_at.map_or_else(
            || format!("does not open again within {LOOK_AHEAD_DAYS} days"),
            |at| {
                let local = self.zone.to_datetime(at).strftime("%A %Y-%m-%d at %H:%M").to_string();
                format!("opens on {local} ({})", in_utc(at))
            },
        );
        let local = self.zone.to_datetime(now).strftime("%A %Y-%m-%d %H:%M").to_string();
        let words = format!("disabling is closed: it is {local} in {} and it {opens}", self.zone_name);
        Err(Closed { opens_at, words })
    }

    fn is_open(&self, now: Timestamp) -> bool {
        let local = self.zone.to_datetime(now);
        self.weekdays.contains(&local.date().weekday())
            && (self.from_minute..self.until_minute).contains(&minute_of_day(local))
    }

    /// Disabling opens when the clock comes to the hour, or is put forward or back into the hours.
    fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        let horizon = now.checked_add(SignedDuration::from_hours(24 * LOOK_AHEAD_DAYS)).ok()?;
        let mut candidates: Vec<Timestamp> = self
            .zone
            .following(now)
            .map(|transition| transition.timestamp())
            .take_while(|at| *at <= horizon)
            .collect();
        let opening = time_of_day(self.from_minute)?;
        let mut date = self.zone.to_datetime(now).date();
        for _ in 0..LOOK_AHEAD_DAYS {
            let at = self.zone.to_ambiguous_timestamp(date.to_datetime(opening));
            candidates.extend([at.earlier(), at.later()].into_iter().flatten());
            let Ok(tomorrow) = date.tomorrow() else { break };
            date = tomorrow;
        }
        candidates.into_iter().filter(|at| *at > now && self.is_open(*at)).min()
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> = self.weekdays.iter().map(|day| weekday_word(*day)).collect();
        let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let (from, until) = (time(self.from_minute), time(self.until_minute));
        write!(formatter, "{from}-{until} on {} in {}", days.join(", "), self.zone_name)
    }
}

/// A weekday as the file has it.
pub(super) fn weekday_word(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "mon",
        Weekday::Tuesday => "tue",
        Weekday::Wednesday => "wed",
        Weekday::Thursday => "thu",
        Weekday::Friday => "fri",
        Weekday::Saturday => "sat",
        Weekday::Sunday => "sun",
    }
}

/// All weekdays, Monday first.
pub(super) fn all_weekdays() -> Vec<Weekday> {
    vec![
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ]
}

fn minute_of_day(local: DateTime) -> u16 {
    // Hours are 0 to 23 and minutes 0 to 59.
    u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs())
}

fn time_of_day(minute: u16) -> Option<Time> {
    Time::new(i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?, 0, 0).ok()
}

fn in_utc(at: Timestamp) -> String {
    TimeZone::UTC.to_datetime(at).strftime("%H:%M UTC").to_string()
}

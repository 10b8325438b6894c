//! What was true of every key at every moment, by the trail alone; and what Slack was told of it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde_json::Value;

use super::story::Story;

/// A key's true life.
#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) account: String,
    /// The user's name at the beginning of the story, which says who it is.
    pub(super) person: String,
    /// Its user's names, each with since when.
    pub(super) names: Vec<(Timestamp, String)>,
    pub(super) born: Timestamp,
    /// Whether it was there before the story began.
    pub(super) is_old: bool,
    /// Active or not, each with since when.
    pub(super) statuses: Vec<(Timestamp, bool)>,
    pub(super) deleted: Option<Timestamp>,
    /// When it was set Active after it was not, with the event's id.
    pub(super) reactivations: Vec<(Timestamp, String)>,
    /// Every event that is about it or its user.
    pub(super) events: Vec<String>,
}

/// A change of a key by the disabler's role.
#[derive(Debug, Clone)]
pub(super) struct ByRole {
    pub(super) key_id: String,
    pub(super) account: String,
    pub(super) at: Timestamp,
    pub(super) event: String,
    /// Whether the key was Active until a minute before, or is not there.
    pub(super) was_active: bool,
    pub(super) to: String,
}

#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) keys: BTreeMap<String, Life>,
    /// What our own sessions did.
    pub(super) disables: Vec<ByRole>,
    /// The events of what somebody else did, or tried, with our role.
    pub(super) thefts: Vec<String>,
}

impl Life {
    pub(super) fn name(&self) -> &str {
        &self.names.last().unwrap().1
    }

    pub(super) fn is_active(&self) -> bool {
        self.deleted.is_none() && self.statuses.last().unwrap().1
    }

    /// Whether it was there, Active and under one name, from then to then.
    pub(super) fn is_steady(&self, from: Timestamp, to: Timestamp) -> bool {
        let changes = self
            .statuses
            .iter()
            .chain(&[])
            .map(|(at, _)| *at)
            .chain(self.names.iter().map(|(at, _)| *at))
            .chain(self.deleted);
        let is_quiet = changes.into_iter().all(|at| at < from || at > to);
        let status = self.statuses.iter().rev().find(|(at, _)| *at <= from);
        is_quiet
            && self.born < from
            && status.is_some_and(|(_, active)| *active)
            && self.deleted.is_none_or(|at| at > to)
    }

    pub(super) fn age_days(&self, at: Timestamp) -> i64 {
        at.duration_since(self.born).as_hours().div_euclid(24)
    }
}

pub(super) fn truth(story: &Story) -> Truth {
    let mut truth = Truth::default();
    for key in &story.first_keys {
        let life = Life {
            account: key.account.clone(),
            person: key.user.clone(),
            names: vec![(key.born, key.user.clone())],
            born: key.born,
            is_old: true,
            statuses: vec![(key.born, key.active)],
            deleted: None,
            reactivations: Vec::new(),
            events: Vec::new(),
        };
        truth.keys.insert(key.key_id.clone(), life);
    }
    // Who is behind a name now, by account.
    let mut persons: BTreeMap<(String, String), String> = BTreeMap::new();
    for person in &story.people {
        persons.insert((person.account.clone(), person.name.clone()), person.name.clone());
    }
    for event in &story.trail {
        happen(&mut truth, &mut persons, &event["detail"]);
    }
    truth
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn happen(truth: &mut Truth, persons: &mut BTreeMap<(String, String), String>, detail: &Value) {
    let at: Timestamp = text(detail, "eventTime").parse().unwrap();
    let (account, event) =
        (text(detail, "recipientAccountId").to_owned(), text(detail, "eventID").to_owned());
    let (asked, arn) = (&detail["requestParameters"], text(&detail["userIdentity"], "arn"));
    let is_refused = !detail["errorCode"].is_null();
    let by_role = arn.contains(":assumed-role/keytide-disabler/");
    let is_thief = by_role && arn.ends_with("/thief");
    if is_thief {
        truth.thefts.push(event.clone());
    }
    let user = text(asked, "userName").to_owned();
    for life in truth.keys.values_mut().filter(|life| life.account == account && life.name() == user) {
        life.events.push(event.clone());
    }
    if is_refused {
        return;
    }
    let key_id = text(asked, "accessKeyId").to_owned();
    match text(detail, "eventName") {
        "CreateAccessKey" => {
            let made = text(&detail["responseElements"]["accessKey"], "accessKeyId").to_owned();
            let person =
                persons.get(&(account.clone(), user.clone())).cloned().unwrap_or_else(|| user.clone());
            let names = vec![(at, user)];
            let life = Life {
                account,
                person,
                names,
                born: at,
                is_old: false,
                statuses: vec![(at, true)],
                deleted: None,
                reactivations: Vec::new(),
                events: vec![event],
            };
            truth.keys.insert(made, life);
        }
        "UpdateAccessKey" => {
            let to = text(asked, "status").to_owned();
            let life = truth.keys.get_mut(&key_id);
            if by_role && !is_thief {
                let minute = at.checked_sub(SignedDuration::from_secs(60)).unwrap();
                let was_active = life.as_ref().is_some_and(|life| {
                    life.statuses.last().unwrap().1
                        || life
                            .statuses
                            .iter()
                            .zip(life.statuses.iter().skip(1))
                            .any(|(before, next)| before.1 && next.0 >= minute)
                });
                truth.disables.push(ByRole {
                    key_id,
                    account,
                    at,
                    event: event.clone(),
                    was_active,
                    to: to.clone(),
                });
            }
            if let Some(life) = life {
                let active = to == "Active";
                if active && !life.statuses.last().unwrap().1 {
                    life.reactivations.push((at, event));
                }
                if life.statuses.last().unwrap().1 != active {
                    life.statuses.push((at, active));
                }
            }
        }
        "DeleteAccessKey" => {
            if let Some(life) = truth.keys.get_mut(&key_id) {
                life.deleted = Some(at);
            }
        }
        "UpdateUser" => {
            let new_name = text(asked, "newUserName").to_owned();
            if let Some(person) = persons.remove(&(account.clone(), user.clone())) {
                persons.insert((account.clone(), new_name.clone()), person);
            }
            for life in truth.keys.values_mut() {
                if life.account == account && life.name() == user && life.deleted.is_none() {
                    life.names.push((at, new_name.clone()));
                }
            }
        }
        _ => {}
    }
}

/// What a message says of one key's end.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) at: Timestamp,
    pub(super) run: usize,
    pub(super) conversation: String,
    pub(super) confirmed: bool,
    /// Whether it says that keytide will do it.
    pub(super) in_earnest: bool,
    pub(super) named: Date,
}

/// Whatever was said of the date on which a key ends, by key, in the order of time.
pub(super) fn told<'a>(story: &Story, keys: impl Iterator<Item = &'a String>) -> BTreeMap<String, Vec<Told>> {
    let wholes: Vec<String> = story.said.iter().map(|said| format!("{}\n", said.whole())).collect();
    let mut told = BTreeMap::new();
    for key_id in keys {
        let about = story.said.iter().zip(&wholes).filter_map(|(said, whole)| {
            let quoted = format!("`{key_id}`");
            // In a list each key has a line; alone, the first sentence is about it.
            let row = whole.lines().find_map(|line| {
                let (_, rest) = line.split_once(&format!("{quoted} of "))?;
                verdict(rest, date(said.at)).filter(|_| rest.contains(" days old"))
            });
            let alone = || whole.contains(&quoted).then(|| verdict(&said.text, date(said.at))).flatten();
            let (in_earnest, named) = row.or_else(|| {
                alone().filter(|_| !said.text.contains("access keys that you are responsible"))
            })?;
            let Said { at, run, conversation, confirmed } = Said::of(said);
            Some(Told { at, run, conversation, confirmed, in_earnest, named })
        });
        told.insert(key_id.clone(), about.collect());
    }
    told
}

/// The parts of a message that are kept.
struct Said {
    at: Timestamp,
    run: usize,
    conversation: String,
    confirmed: bool,
}

impl Said {
    fn of(said: &super::weather::Said) -> Self {
        let super::weather::Said { at, run, conversation, confirmed, .. } = said.clone();
        Self { at, run, conversation, confirmed }
    }
}

/// Whether it is in earnest, and the date that is named.
fn verdict(text: &str, today: Date) -> Option<(bool, Date)> {
    let phrases =
        [("will be disabled on ", true), ("was to be disabled on ", true), ("due to be disabled on ", false)];
    let first =
        phrases.iter().filter_map(|(phrase, earnest)| Some((text.find(phrase)?, phrase.len(), *earnest)));
    let (at, length, in_earnest) = first.min()?;
    Some((in_earnest, date_in(&text[at + length..], today)?))
}

/// `Wed 3 June` or `Wed 3 June 2027`, and then a comma.
fn date_in(text: &str, today: Date) -> Option<Date> {
    let (words, _) = text.split_once(',')?;
    let mut words = words.split(' ').skip(1);
    let day = words.next()?.parse().ok()?;
    let named = words.next()?;
    let months = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let month = i8::try_from(months.iter().position(|month| *month == named)? + 1).ok()?;
    let year = words.next().and_then(|year| year.parse().ok()).unwrap_or_else(|| today.year());
    Date::new(year, month, day).ok()
}

pub(super) fn date(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

pub(super) fn dates_between(from: Timestamp, to: Timestamp) -> i64 {
    i64::from((date(to) - date(from)).get_days())
}

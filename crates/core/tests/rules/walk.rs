//! Every interleaving of the watcher, two sweeps, an owner and a clock on one key, one of the sweeps dying
//! anywhere: no order of their steps breaks a promise.
//!
//! A step is what one actor does between two looks at anything that another can change; what the ledger does under
//! a condition is one step. The decisions are core's own. The rules that judge are written here.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::Write as _,
    rc::Rc,
};

use jiff::{SignedDuration, Timestamp, civil::Date};
use keytide_core::{
    alert::Severity,
    cloudtrail::{KeyEvent, Status},
    delivery::{Delivery, DeliveryName, Ending, Receipt, Recipient, Stage},
    key::{Key, NoticeTerms, Sighting, apply, settle_notices, sight},
    owner::{ListedKey, Owner, OwnerTags},
    plan::{AccountState, Observations, PlannedDisable, PlannedNotice, SeenUser, plan, stopped_by},
    policy::{Mode, Policy},
};

use crate::common::{key_event, record};

const ACCOUNT: &str = "111122223333";
const KEY: &str = "AKIATIDEWATERORDER01";
/// A claim to send, and one to disable.
const CLAIMS: [SignedDuration; 2] = [SignedDuration::from_secs(60), SignedDuration::from_mins(10)];
/// The days on which the clock stops, by the key's age.
const DAYS: [i64; 3] = [86, 91, 92];

fn born() -> Timestamp {
    "2026-05-04T09:00:00Z".parse().unwrap()
}

fn date(at: Timestamp) -> Date {
    at.to_zoned(jiff::tz::TimeZone::UTC).date()
}

fn dates_between(from: Timestamp, to: Timestamp) -> i64 {
    i64::from((date(to) - date(from)).get_days())
}

/// What happened so far, the latest first; shared by all that goes on from there.
#[derive(Clone, Default)]
struct Path(Option<Rc<(String, Path)>>);

impl std::fmt::Debug for Path {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut path = self;
        let mut all = Vec::new();
        while let Some(link) = &path.0 {
            all.push(&link.0);
            path = &link.1;
        }
        all.reverse();
        out.debug_list().entries(all).finish()
    }
}

/// A message that Slack has.
#[derive(Debug, Clone)]
struct Said {
    at: Timestamp,
    name: String,
    named: Date,
}

/// Where a sweep stands; the step that comes next.
#[derive(Debug, Clone)]
enum Step {
    Observe,
    Plan { listed: Status, at: Timestamp },
    Claim { notice: PlannedNotice, disable: Option<PlannedDisable> },
    Send { notice: PlannedNotice, disable: Option<PlannedDisable>, claimed: DeliveryName },
    End { disable: Option<PlannedDisable>, claimed: DeliveryName },
    Mark { disable: Option<PlannedDisable> },
    ClaimDisable { disable: PlannedDisable },
    LookLast { disable: PlannedDisable },
    Call { disable: PlannedDisable, known: Vec<Timestamp>, said: usize },
    Record { disable: PlannedDisable },
}

#[derive(Debug, Clone)]
struct Sweep {
    session: String,
    step: Marked<Step>,
    runs_left: u8,
}

/// A part of the world with a digest of it, made when it changes: most steps change little.
#[derive(Debug, Clone)]
struct Marked<T> {
    value: T,
    mark: u64,
}

impl<T: std::fmt::Debug> Marked<T> {
    fn new(value: T) -> Self {
        Self { mark: Self::mark_of(&value), value }
    }

    fn change(&mut self, change: impl FnOnce(&mut T)) {
        change(&mut self.value);
        self.mark = Self::mark_of(&self.value);
    }

    fn mark_of(value: &T) -> u64 {
        let mut hasher = DefaultHasher::new();
        format!("{value:?}").hash(&mut hasher);
        hasher.finish()
    }
}

/// Everything there is.
#[derive(Debug, Clone)]
struct World {
    day: usize,
    /// Things that happened: each takes a second.
    seconds: i64,
    status: Status,
    key: Marked<Key>,
    deliveries: Marked<BTreeMap<DeliveryName, Delivery>>,
    said: Marked<Vec<Said>>,
    /// Events that the watcher has not seen yet, in any order.
    trail: Marked<Vec<KeyEvent>>,
    owner_steps: u8,
    sweeps: [Sweep; 2],
    may_die: bool,
    has_died: bool,
    disabled: Vec<Timestamp>,
    path: Path,
}

impl World {
    fn new() -> Self {
        let event = key_event(&record("CreateAccessKey", &born().to_string(), "created", "alice", "Active"));
        let mut key = apply(None, &event).key;
        key.owner = Some(Owner {
            user_id: "AIDATIDEWATERALICE01".to_owned(),
            path: "/".to_owned(),
            tags: OwnerTags::from_tags([("slack-id", "U0ALICE01")]),
            seen_at: born(),
        });
        let sweep = |name: &str, runs_left| Sweep {
            session: name.to_owned(),
            step: Marked::new(Step::Observe),
            runs_left,
        };
        Self {
            day: 0,
            seconds: 0,
            status: Status::Active,
            key: Marked::new(key),
            deliveries: Marked::new(BTreeMap::new()),
            said: Marked::new(Vec::new()),
            trail: Marked::new(Vec::new()),
            owner_steps: 2,
            sweeps: [sweep("one", 2), sweep("two", 1)],
            may_die: true,
            has_died: false,
            disabled: Vec::new(),
            path: Path::default(),
        }
    }

    fn now(&self) -> Timestamp {
        // An hour of the day later than its birth's, so that age and date agree.
        let since =
            SignedDuration::from_hours(DAYS[self.day] * 24 + 1) + SignedDuration::from_secs(self.seconds);
        born().checked_add(since).unwrap()
    }

    /// What has to be alike for two worlds to go on alike.
    fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let parts = (self.key.mark, self.deliveries.mark, self.said.mark, self.trail.mark);
        let rest = (self.day, self.seconds, self.status == Status::Active, self.owner_steps);
        let deaths = (self.may_die, self.has_died, self.disabled.len());
        (parts, rest, deaths).hash(&mut hasher);
        for sweep in &self.sweeps {
            (&sweep.session, sweep.step.mark, sweep.runs_left).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn state(key: Key) -> AccountState {
        AccountState {
            account: ACCOUNT.parse().unwrap(),
            keys: vec![key],
            exemptions: BTreeMap::new(),
            baseline_at: Some(born()),
            enforced_since: Some(born()),
            restored_at: None,
            unaccepted: None,
            disabled_today: 0,
            halt: None,
            approved: Vec::new(),
        }
    }

    /// Somebody changes the key in IAM, and its event is on its way.
    fn change(&mut self, who: &str, status: &Status) {
        self.seconds += 1;
        self.status = status.clone();
        let id = format!("{who}-{}", self.seconds);
        let at = self.now().to_string();
        let event = key_event(&record("UpdateAccessKey", &at, &id, "alice", status.as_str()));
        self.trail.change(|trail| trail.push(event));
    }

    /// All that may happen next, each with what it is called.
    fn next(&self, policy: &Policy) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add = |what: String, happen: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            happen(&mut world);
            world.path = Path(Some(Rc::new((what, world.path.clone()))));
            all.push(world);
        };
        for number in 0..2 {
            if self.sweeps[number].runs_left > 0 {
                add(format!("sweep {number}: {:?}", word(&self.sweeps[number].step.value)), &|world| {
                    world.sweep(number, policy);
                });
                if self.may_die && !matches!(self.sweeps[number].step.value, Step::Observe) {
                    add(format!("sweep {number} dies"), &|world| {
                        world.may_die = false;
                        world.has_died = true;
                        world.sweeps[number].step = Marked::new(Step::Observe);
                        world.sweeps[number].runs_left -= 1;
                        world.sweeps[number].session += "'";
                    });
                }
            }
        }
        for number in 0..self.trail.value.len() {
            add(format!("watch {}", self.trail.value[number].fact_id()), &|world| {
                let event = world.trail.value[number].clone();
                world.trail.change(|trail| drop(trail.remove(number)));
                world.key.change(|key| *key = apply(Some(key.clone()), &event).key);
            });
        }
        if self.owner_steps > 0 {
            let to = if self.owner_steps == 2 { Status::Inactive } else { Status::Active };
            add(format!("the owner sets it {to}"), &|world| {
                world.owner_steps -= 1;
                world.change("alice", &to);
            });
        }
        // A claim outlives what is done under it: a send is bounded by it, and so is an invocation.
        let holds_a_claim = |sweep: &Sweep| {
            !matches!(
                sweep.step.value,
                Step::Observe
                    | Step::Plan { .. }
                    | Step::Claim { .. }
                    | Step::Mark { .. }
                    | Step::ClaimDisable { .. }
            )
        };
        if self.day + 1 < DAYS.len() && !self.sweeps.iter().any(holds_a_claim) {
            add("the days go by".to_owned(), &|world| world.day += 1);
        }
        all
    }

    fn sweep(&mut self, number: usize, policy: &Policy) {
        let now = self.now();
        let sweep = self.sweeps[number].clone();
        let session = sweep.session.clone();
        let after_notice =
            |disable: Option<PlannedDisable>| disable.map(|disable| Step::ClaimDisable { disable });
        let next = match sweep.step.value {
            Step::Observe => Some(Step::Plan { listed: self.status.clone(), at: now }),
            Step::Plan { listed, at } => {
                self.settle();
                let seen = sighting(&listed, at);
                let made = plan(&Self::state(self.key.value.clone()), &seen, policy, now);
                let sighted = Sighting {
                    account: ACCOUNT.parse().unwrap(),
                    key_id: KEY.to_owned(),
                    user: "alice".to_owned(),
                    status: listed,
                    created: Some(born()),
                    at,
                };
                self.key.change(|key| *key = sight(Some(key.clone()), &sighted, None));
                let disable = made.disables.into_iter().next();
                match made.notices.into_iter().next() {
                    Some(notice) => Some(Step::Claim { notice, disable }),
                    None => after_notice(disable),
                }
            }
            Step::Claim { notice, disable } => {
                let name = DeliveryName {
                    epoch: notice.epoch.clone(),
                    stage: notice.stage,
                    recipient: Recipient::Channel,
                };
                let is_told = self
                    .key
                    .value
                    .notices
                    .iter()
                    .any(|mark| mark.epoch == notice.epoch && mark.stage == notice.stage);
                let known = self.deliveries.value.get(&name).cloned().unwrap_or_else(|| {
                    Delivery::new(name.clone(), "a sweep".to_owned(), Severity::Notice, now)
                });
                let terms =
                    NoticeTerms { ground: notice.ground, disable_on: notice.disable_on, mode: Mode::Enforce };
                let claimed = known.saying(Some(terms)).claim(&session, now, CLAIMS[0]);
                match claimed.ok().filter(|_| !is_told && self.key.value.standing_word() == "Active") {
                    Some(claimed) => {
                        self.put(name.clone(), claimed);
                        Some(Step::Send { notice, disable, claimed: name })
                    }
                    None => after_notice(disable),
                }
            }
            Step::Send { notice, disable, claimed } => {
                self.seconds += 1;
                let said = Said {
                    at: self.now(),
                    name: format!("{} {}", notice.epoch, notice.stage),
                    named: notice.disable_on,
                };
                self.said.change(|all| all.push(said));
                Some(Step::End { disable, claimed })
            }
            Step::End { disable, claimed } => {
                let receipt = Receipt { channel: "C".to_owned(), ts: "1".to_owned(), note: None };
                if let Ok(ended) = self.deliveries.value[&claimed].end(&session, now, Ending::Done(receipt)) {
                    self.put(claimed, ended);
                }
                Some(Step::Mark { disable })
            }
            Step::Mark { disable } => {
                self.settle();
                after_notice(disable)
            }
            Step::ClaimDisable { disable } => {
                let state = Self::state(self.key.value.clone());
                let name = disable_name(&disable);
                let known = self.deliveries.value.get(&name).cloned().unwrap_or_else(|| {
                    Delivery::new(name.clone(), "a sweep".to_owned(), Severity::Notice, now)
                });
                let anew = if known.state.is_finished() {
                    Delivery::new(name.clone(), "a sweep".to_owned(), Severity::Notice, now)
                } else {
                    known
                };
                match (
                    stopped_by(&disable, &state, &self.key.value, policy, now),
                    anew.claim(&session, now, CLAIMS[1]),
                ) {
                    (None, Ok(claimed)) => {
                        self.put(name, claimed);
                        Some(Step::LookLast { disable })
                    }
                    _ => None,
                }
            }
            Step::LookLast { disable } => {
                let state = Self::state(self.key.value.clone());
                let stopped = stopped_by(&disable, &state, &self.key.value, policy, now).is_some();
                if stopped || self.status != Status::Active {
                    self.end_claim(&disable, &session, Ending::Retry("not now".to_owned()));
                    None
                } else {
                    let known = self.key.value.reactivations.all().into_iter().collect();
                    Some(Step::Call { disable, known, said: self.said.value.len() })
                }
            }
            Step::Call { disable, known, said } => {
                self.judge_call(&known, said);
                if self.status == Status::Active {
                    self.disabled.push(now);
                    self.change("keytide", &Status::Inactive);
                }
                Some(Step::Record { disable })
            }
            Step::Record { disable } => {
                self.key.change(|key| key.set_inactive(now));
                let receipt = Receipt { channel: "iam".to_owned(), ts: "1".to_owned(), note: None };
                self.end_claim(&disable, &session, Ending::Done(receipt));
                None
            }
        };
        let sweep = &mut self.sweeps[number];
        if let Some(step) = next {
            sweep.step = Marked::new(step);
        } else {
            sweep.step = Marked::new(Step::Observe);
            sweep.runs_left -= 1;
            sweep.session += "'";
        }
    }

    fn settle(&mut self) {
        if let Some(key) = settle_notices(&self.key.value, self.deliveries.value.values()) {
            self.key = Marked::new(key);
        }
    }

    fn put(&mut self, name: DeliveryName, delivery: Delivery) {
        self.deliveries.change(|all| drop(all.insert(name, delivery)));
    }

    fn end_claim(&mut self, disable: &PlannedDisable, session: &str, ending: Ending) {
        let name = disable_name(disable);
        if let Ok(ended) = self.deliveries.value[&name].end(session, self.now(), ending) {
            self.put(name, ended);
        }
    }

    /// Promise 3, at the very call, by what could be known at the last look: `known` reactivations, and so many
    /// messages.
    fn judge_call(&self, known: &[Timestamp], said: usize) {
        let now = self.now();
        assert!(now.duration_since(born()).as_hours() / 24 >= 91, "too young: {:#?}", self.path);
        // Of reactivations within thirty days only the first begins an epoch; the second gives a day.
        let armed = known.iter().copied().min().unwrap_or_else(born);
        if let Some(again) = known.iter().skip(1).max() {
            assert!(dates_between(*again, now) >= 1, "no day's grace after {again}: {:#?}", self.path);
        }
        let told = &self.said.value[..said];
        let licenses =
            |said: &Said| said.at > armed && dates_between(said.at, now) >= 5 && said.named <= date(now);
        assert!(told.iter().any(licenses), "nothing since {armed} licenses it: {told:?} {:#?}", self.path);
        let later = told.iter().find(|said| said.at > armed && said.named > date(now));
        assert!(later.is_none(), "{later:?} named another day: {:#?}", self.path);
    }

    /// When all have done what they do: nobody was told twice, and calm sweeps bring everything to its end.
    fn judge_end(mut self, policy: &Policy) {
        let mut names: Vec<&str> = self.said.value.iter().map(|said| said.name.as_str()).collect();
        names.sort_unstable();
        let twice = names.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(twice <= usize::from(self.has_died), "told twice: {:?} {:#?}", self.said, self.path);
        for event in std::mem::take(&mut self.trail.value) {
            self.key.change(|key| *key = apply(Some(key.clone()), &event).key);
        }
        let mut quiet = 0;
        for _ in 0..8 {
            // Five days a time, by the seconds.
            self.seconds += 5 * 24 * 60 * 60;
            let (said, disabled) = (self.said.value.len(), self.disabled.len());
            self.sweeps[0] =
                Sweep { session: format!("calm {quiet}"), step: Marked::new(Step::Observe), runs_left: 1 };
            while self.sweeps[0].runs_left > 0 {
                self.sweep(0, policy);
            }
            self.trail.change(Vec::clear);
            quiet =
                if (said, disabled) == (self.said.value.len(), self.disabled.len()) { quiet + 1 } else { 0 };
        }
        assert_eq!(self.status, Status::Inactive, "it is never disabled: {:?} {:#?}", self.said, self.path);
        assert_eq!(self.key.value.standing_word(), "Inactive", "{:#?}", self.path);
        assert!(quiet > 0, "there is no end to it: {:?} {:#?}", self.said, self.path);
    }
}

fn disable_name(disable: &PlannedDisable) -> DeliveryName {
    DeliveryName { epoch: disable.epoch.clone(), stage: Stage::Disable, recipient: Recipient::Iam }
}

fn sighting(listed: &Status, at: Timestamp) -> Observations {
    let keys = vec![ListedKey { key_id: KEY.to_owned(), status: listed.clone(), created: Some(born()) }];
    let mut seen = Observations { root_keys: Some(Vec::new()), ..Observations::default() };
    seen.users.insert("alice".to_owned(), SeenUser { owner: None, keys: Some(keys), at });
    seen
}

fn word(step: &Step) -> String {
    format!("{step:?}").split([' ', '{']).next().unwrap_or_default().to_owned()
}

#[test]
fn no_interleaving_of_a_watcher_two_sweeps_an_owner_and_a_clock_breaks_a_promise() {
    let policy = Policy::parse(&format!("[modes]\nenforce = [\"{ACCOUNT}\"]\n")).unwrap();
    let mut seen = HashSet::new();
    let mut open = vec![World::new()];
    let (mut ends, mut disables) = (0_u64, 0_u64);
    while let Some(world) = open.pop() {
        let next = world.next(&policy);
        if next.is_empty() {
            ends += 1;
            disables += u64::from(!world.disabled.is_empty());
            world.judge_end(&policy);
            continue;
        }
        open.extend(next.into_iter().filter(|world| seen.insert(world.mark())));
    }
    // Past the harness, which keeps to itself what a test that succeeds prints.
    let _ = writeln!(
        std::io::stderr().lock(),
        "{} states, {ends} ends, {disables} of them with the key disabled on its way",
        seen.len()
    );
    assert!(seen.len() > 10_000 && ends > 100 && disables > 0);
}

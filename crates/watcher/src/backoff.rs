//! How long a failed message stays hidden before it comes again.

use std::time::Duration;

/// The first wait; it doubles with every receive.
const FIRST: Duration = Duration::from_secs(5);
/// The longest wait of our own choice: people wait for these alerts.
const LONGEST: Duration = Duration::from_mins(15);
/// The longest wait that somebody else may ask for. SQS counts its 12 hours from when the message was
/// received, and refuses what would end later; an invocation takes at most 15 minutes (SQS's and Lambda's
/// quotas).
const LONGEST_ASKED: Duration = Duration::from_hours(11);

/// The wait, in whole seconds since SQS knows no others.
///
/// `received` counts this time; `asked` is what the cause of the failure asked for. Messages that failed
/// together are spread by their ids over up to a fifth more, so that they do not all come back together,
/// and the same message always gets the same share: a test can tell it.
pub(crate) fn pause_seconds(received: u32, asked: Option<Duration>, message_id: &str) -> i32 {
    // 2^8 × 5 s is past the longest wait already.
    let doublings = received.saturating_sub(1).min(8);
    let own = (FIRST * 2_u32.pow(doublings)).min(LONGEST);
    // Asked for every minute of a day-long outage, it still grows: SQS counts at most 1,000 receives.
    let pause = asked.map_or(own, |asked| asked.clamp(own, LONGEST_ASKED));
    let share = message_id.bytes().fold(0_u32, |share, byte| (share * 31 + u32::from(byte)) % 1_000);
    let spread = pause / 5 * share / 1_000;
    // Never earlier than asked: rounded up.
    let seconds = (pause + spread).as_millis().div_ceil(1_000);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_every_receive_up_to_a_quarter_of_an_hour() {
        let pauses: Vec<i32> = (1..=12).map(|received| pause_seconds(received, None, "")).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900, 900]);
        assert_eq!(pause_seconds(0, None, ""), 5);
        assert_eq!(pause_seconds(u32::MAX, None, ""), 900);
    }

    #[test]
    fn what_is_asked_for_counts_within_bounds() {
        let asked = |duration| pause_seconds(2, Some(duration), "");
        assert_eq!(asked(Duration::from_secs(30)), 30);
        assert_eq!(asked(Duration::from_millis(30_001)), 31, "never earlier than asked");
        assert_eq!(asked(Duration::ZERO), 10, "nor sooner than it would come by itself");
        assert_eq!(pause_seconds(9, Some(Duration::from_secs(30)), ""), 900, "it grows all the same");
        assert_eq!(asked(Duration::MAX), 39_600);
    }

    #[test]
    fn messages_are_spread_over_a_fifth_and_each_always_the_same() {
        let pauses: Vec<i32> = (0..200).map(|n| pause_seconds(9, None, &format!("message-{n}"))).collect();
        let again: Vec<i32> = (0..200).map(|n| pause_seconds(9, None, &format!("message-{n}"))).collect();
        assert_eq!(pauses, again);
        assert!(pauses.iter().all(|pause| (900..=1_080).contains(pause)), "{pauses:?}");
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(most - least > 120, "from {least} to {most}");
        let longest = pause_seconds(1, Some(Duration::MAX), "zzzzzzzzzzzzzzzz");
        assert!(longest <= 43_200, "{longest} s is more than SQS takes");
    }
}

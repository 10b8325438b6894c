//! The small life of a delivery: nobody does it twice, nobody loses it.

use jiff::{SignedDuration, Timestamp};
use keytide_core::{
    alert::Severity,
    delivery::{ClaimRefused, Delivery, DeliveryName, DeliveryState, Ending, Receipt, Recipient, Stage},
};

const LEASE: SignedDuration = SignedDuration::from_secs(60);

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + seconds).unwrap()
}

fn pending() -> Delivery {
    let name = DeliveryName {
        epoch: DeliveryName::ONCE_PER_KEY.to_owned(),
        stage: Stage::Created,
        recipient: Recipient::Channel,
    };
    Delivery::new(name, "fact".to_owned(), Severity::Notice, after(0))
}

fn receipt() -> Receipt {
    Receipt { channel: "C1".to_owned(), ts: "1.2".to_owned(), note: None }
}

#[test]
fn a_live_claim_is_an_error_and_never_success() {
    let claimed = pending().claim("one", after(0), LEASE).unwrap();
    let refused = claimed.claim("two", after(59), LEASE).unwrap_err();
    assert_eq!(refused, ClaimRefused::Claimed { by: "one".to_owned(), until: after(60), now: after(59) });
    // Even one's own: the same session claiming twice means that something runs twice.
    assert!(claimed.claim("one", after(59), LEASE).is_err());
}

#[test]
fn a_claim_that_ran_out_is_taken_up() {
    let claimed = pending().claim("one", after(0), LEASE).unwrap();
    let taken = claimed.claim("two", after(60), LEASE).unwrap();
    assert_eq!(taken.attempts, 2);
    // Whoever lost it may not say that it failed, but a confirmed message is a fact.
    assert!(taken.end("one", after(61), Ending::Retry("late".to_owned())).is_err());
    let done = taken.end("one", after(61), Ending::Done(receipt())).unwrap();
    assert!(matches!(done.state, DeliveryState::Done { .. }));
}

#[test]
fn what_is_finished_stays_finished() {
    let claimed = pending().claim("one", after(0), LEASE).unwrap();
    for ending in [Ending::Done(receipt()), Ending::GivenUp("nobody to tell".to_owned())] {
        let finished = claimed.end("one", after(1), ending).unwrap();
        assert!(finished.state.is_finished());
        assert_eq!(finished.claim("two", after(100), LEASE), Err(ClaimRefused::Finished));
        assert_eq!(finished.end("one", after(2), Ending::Retry("x".into())), Err(ClaimRefused::Finished));
    }
}

#[test]
fn what_failed_or_may_have_failed_is_done_again_at_once() {
    let claimed = pending().claim("one", after(0), LEASE).unwrap();
    for ending in [Ending::Retry("busy".to_owned()), Ending::Ambiguous("answer lost".to_owned())] {
        let unfinished = claimed.end("one", after(1), ending).unwrap();
        assert!(!unfinished.state.is_finished());
        assert!(unfinished.claim("two", after(2), LEASE).is_ok());
    }
}

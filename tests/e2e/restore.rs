//! `keytide exempt restore` and `keytide ledger accept`, as the real program: what a person does when the table is lost.

use jiff::Timestamp;
use keytide_app::copy::Copy;
use keytide_aws::ledger::{Accepted, Halt};
use keytide_core::{
    AccountId,
    key::Deletion,
    lifecycle::{Exemption, utc_date},
};
use keytide_local::{Fault, HOME_ACCOUNT};
use keytide_tests::runtime_api::time_of_day;

use crate::{
    sweep_cli::{OLD, REASON, Served, days_ago},
    world::PROD,
};

const ELSEWHERE: &str = "444455556666";

fn account() -> AccountId {
    PROD.parse().unwrap()
}

fn exemption(granted: i64, until: i64) -> Exemption {
    Exemption {
        reason: REASON.to_owned(),
        author: "arn:aws:iam::999988887777:role/security".to_owned(),
        granted_at: days_ago(-granted),
        until: days_ago(-until),
    }
}

/// The lines that a sweep of a day ago wrote of these exemptions.
fn lines(account: &str, exemptions: &[(&str, &Exemption)]) -> String {
    lines_of(1, account, exemptions)
}

fn lines_of(days: i64, account: &str, exemptions: &[(&str, &Exemption)]) -> String {
    let kept = exemptions.iter().map(|(key_id, exemption)| ((*key_id).to_owned(), (*exemption).clone()));
    let copies = Copy::of_exemptions(&account.parse().unwrap(), days_ago(days), &kept.collect());
    copies.iter().filter_map(Copy::line).collect::<Vec<_>>().join("\n")
}

/// A ledger that knows the key, swept.
async fn swept(story: &str) -> Served {
    let served = Served::new(story).await;
    served.sweep(&["--apply", "--post", "--confirm", HOME_ACCOUNT]).await.expect(0);
    served
}

async fn ends(served: &Served) -> Option<Timestamp> {
    let known = served.world.ledger().exemption(&account(), OLD).await.unwrap();
    known.map(|known| known.value.ends(time_of_day()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_after_the_copy_is_not_given_again() {
    let served = swept("restore-taken-back").await;
    let until = utc_date(days_ago(-100)).to_string();
    let add = ["exempt", "add", OLD, "--account", PROD, "--until", &until, "--reason", REASON];
    served.in_table(&add).await.expect(0);
    let of_the_morning = served.world.ledger().exemption(&account(), OLD).await.unwrap().unwrap().value;
    let log = served.file("morning.log", &lines(PROD, &[(OLD, &of_the_morning)]));
    let remove = ["exempt", "remove", OLD, "--account", PROD, "--reason", "not needed any more"];
    served.in_table(&remove).await.expect(0);
    let restore = ["exempt", "restore", &log];
    served.in_table(&restore).await.expect(0).says(&[&format!("{OLD}: left as it is")]);
    assert!(ends(&served).await.unwrap() <= time_of_day(), "it stays taken back");

    // Of a table that never heard of it, it is put back, once; and what is taken back there stays so.
    served.world.delete_item(&format!("EXEMPTION#{PROD}"), OLD).await;
    served.in_table(&restore).await.expect(0).says(&[&format!("{OLD}: exempt until {until}")]);
    served.in_table(&restore).await.expect(0).says(&["left as it is"]);
    assert_eq!(ends(&served).await, Some(of_the_morning.until));
    served.in_table(&remove).await.expect(0);
    served.in_table(&restore).await.expect(0).says(&["left as it is"]);
    assert!(ends(&served).await.unwrap() <= time_of_day());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lengthened_and_what_ended_is_left_out() {
    let served = swept("restore-ends").await;
    // Nobody grants two years; but somebody may have written them.
    let (endless, over) = (exemption(-10, 700), exemption(-200, 700));
    let ahead = exemption(3, 30);
    let exemptions = [(OLD, &endless), ("AKIATIDEWATERENDED01", &over), ("AKIATIDEWATERAHEAD01", &ahead)];
    let log = served.file("long.log", &lines(PROD, &exemptions));
    let until = utc_date(days_ago(-170)).to_string();
    served.in_table(&["exempt", "restore", &log]).await.expect(0).says(&[
        &format!("{OLD}: exempt until {until}"),
        &format!("AKIATIDEWATERENDED01: its exemption ended on {}", utc_date(days_ago(20))),
        "AKIATIDEWATERAHEAD01: left out: granted in the future",
    ]);
    assert_eq!(ends(&served).await.map(utc_date), Some(utc_date(days_ago(-170))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_never_presented_as_the_whole() {
    let served = swept("restore-part").await;
    let whole = exemption(-10, 100);
    // As `aws logs tail` writes it; the second was cut, and what it held is missing.
    let tail = "2026-06-02T06:00:01.123000+00:00 2026/06/02/[$LATEST]0a1b";
    let cut = lines(ELSEWHERE, &[("AKIATIDEWATERCUT0001", &whole)]);
    let cut = &cut[..cut.len() - 20];
    let text = format!("START\n{tail} {}\n{tail} {cut}\n", lines(PROD, &[(OLD, &whole)]));
    let log = served.file("cut.log", &text);
    served.in_table(&["exempt", "restore", &log]).await.expect(1).says(&[
        &format!("{OLD}: exempt until"),
        "cut.log: line 3 is of a copy of 444455556666's exemptions and cannot be read",
    ]);
    assert!(ends(&served).await.is_some(), "the others hold");

    let of_another = served.file("another.log", &lines(ELSEWHERE, &[]));
    let ran = served.in_table(&["exempt", "restore", &of_another]).await.expect(1);
    ran.says(&["111122223333: another.log has no line of it"]);
    let more: Vec<(String, Exemption)> = (0..1_500)
        .map(|number| {
            (format!("AKIATIDEWATER{number:07}"), Exemption { reason: "r".repeat(500), ..whole.clone() })
        })
        .collect();
    let more: Vec<(&str, &Exemption)> = more.iter().map(|(key_id, one)| (key_id.as_str(), one)).collect();
    let some = lines(PROD, &more);
    let some = some.lines().last().unwrap();
    let log = served.file("some.log", some);
    served.in_table(&["exempt", "restore", &log]).await.expect(1).says(&["lines of that sweep are missing"]);

    for (name, text) in [("empty.log", "START\n"), ("all-cut.log", cut)] {
        let log = served.file(name, text);
        let ran = served.in_table(&["exempt", "restore", &log]).await.expect(2);
        ran.says(&["has no line", "that can be read", "nothing was done"]);
    }
}

/// Somebody accepted the table before its exemptions were put back, and a sweep has copied what it held: nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_table_copied_since_its_acceptance_does_not_hide_what_was_before() {
    let served = swept("restore-accepted").await;
    let ledger = served.world.ledger();
    let accepted = Accepted {
        table_id: ledger.table_id().await.unwrap(),
        reason: "too early".to_owned(),
        author: "arn:aws:iam::999988887777:user/vera".to_owned(),
        at: days_ago(2),
    };
    ledger.set_accepted(&accepted).await.unwrap();
    let empty = lines(PROD, &[]);
    let log = served.file("empty.log", &empty);
    let ran = served.in_table(&["exempt", "restore", &log]).await.expect(1);
    let ran = ran.says(&[
        &format!("1 line is of this table, since its acceptance on {}: left out", accepted.at),
        "111122223333: empty.log has no line of it from before that",
    ]);
    assert!(!ran.stdout.contains("The next sweep"), "nobody is exempt again: {}", ran.stdout);

    let was = exemption(-10, 100);
    let log = served.file("both.log", &format!("{}\n{empty}", lines_of(3, PROD, &[(OLD, &was)])));
    // Where the content was wrong all along, a person says until when it was right.
    let now = time_of_day().to_string();
    let before = ["exempt", "restore", &log, "--before", &now];
    served.in_table(&before).await.expect(0).says(&["nobody was exempt"]);
    assert_eq!(ends(&served).await, None);
    let then = days_ago(2).to_string();
    let before = ["exempt", "restore", &log, "--before", &then];
    let said = [format!("1 line is of {then} or later: left out"), format!("{OLD}: exempt until")];
    served.in_table(&before).await.expect(0).says(&[&said[0], &said[1], "The next sweep tells the channel"]);
    assert_eq!(ends(&served).await, Some(was.until));
    served.world.delete_item(&format!("EXEMPTION#{PROD}"), OLD).await;
    served.in_table(&["exempt", "restore", &log]).await.expect(0).says(&["since its acceptance", &said[1]]);
    assert_eq!(ends(&served).await, Some(was.until));

    // Which table it is cannot be told: then nor which lines are of it.
    served.world.aws.faults().plan(|call| (call.operation == "DescribeTable").then_some(Fault::ServerError));
    served
        .in_table(&["exempt", "restore", &log])
        .await
        .expect(1)
        .says(&["give --before", "nothing was done"]);
    served.in_table(&before).await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_file_first_does_not_keep_the_right_one_from_being_put_back() {
    let served = swept("restore-two-files").await;
    let (earlier, later) = (exemption(-40, 100), exemption(-5, 20));
    let older = served.file("older.log", &lines_of(10, PROD, &[(OLD, &earlier)]));
    let right = served.file("right.log", &lines(PROD, &[(OLD, &later)]));
    let exempt = async || served.world.ledger().exemption(&account(), OLD).await.unwrap().unwrap().value;
    let until = format!("{OLD}: exempt until {}", utc_date(later.until));
    served.in_table(&["exempt", "restore", &older]).await.expect(0).says(&["26 hours older than now"]);
    let put_back = exempt().await;
    assert_eq!((put_back.granted_at, put_back.until), (earlier.granted_at, earlier.until));
    assert_ne!(put_back.author, earlier.author, "it is theirs who puts it back");
    served.in_table(&["exempt", "restore", &right]).await.expect(0).says(&[&until]);
    assert_eq!((exempt().await.granted_at, exempt().await.until), (later.granted_at, later.until));
    served.in_table(&["exempt", "restore", &older]).await.expect(0).says(&["left as it is"]);
    assert_eq!(exempt().await.until, later.until);

    // What is taken back in between stays so.
    let remove = ["exempt", "remove", OLD, "--account", PROD, "--reason", "not needed any more"];
    served.in_table(&remove).await.expect(0);
    for file in [&older, &right] {
        served.in_table(&["exempt", "restore", file]).await.expect(0).says(&["left as it is"]);
        assert!(exempt().await.ends(time_of_day()) <= time_of_day());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backup_still_has_and_the_copy_has_not_is_asked_about() {
    let served = swept("restore-backup").await;
    let put = async |granted: i64| {
        served.world.delete_item(&format!("EXEMPTION#{PROD}"), OLD).await;
        let granted = exemption(granted, 100);
        assert!(served.world.ledger().save_exemption(&account(), OLD, &granted, 0).await.unwrap());
    };
    let (fresh, old) = (lines(PROD, &[]), lines_of(3, PROD, &[]));
    let (fresh, old) = (served.file("fresh.log", &fresh), served.file("old.log", &old));
    put(-20).await;
    let asked = format!("{OLD} in {PROD}: exempt here, and not in the copy of");
    let remove = format!("taken back since? `keytide exempt remove {OLD} --account {PROD} --reason …`");
    let ran = served.in_table(&["exempt", "restore", &fresh]).await.expect(1);
    let ran = ran.says(&[&asked, &remove]);
    assert!(!ran.stderr.contains("26 hours"), "{}", ran.stderr);
    // Granted since that copy: nothing to ask.
    put(-2).await;
    let ran = served.in_table(&["exempt", "restore", &old]).await.expect(0);
    let ran = ran.says(&["its latest line is more than 26 hours older than now"]);
    assert!(!ran.stderr.contains("exempt here"), "{}", ran.stderr);
    // And of a part of a copy nothing follows.
    let part = format!("{}\n", lines(PROD, &[]).replace("\"parts\":1", "\"parts\":2"));
    let part = served.file("part.log", &part);
    let ran = served.in_table(&["exempt", "restore", &part]).await.expect(1);
    assert!(!ran.stderr.contains("exempt here"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_deleted_is_left_out_and_nothing_is_missing_for_it() {
    let served = swept("restore-deleted").await;
    let (was, since) = (exemption(-10, 100), "AKIATIDEWATERSINCE01");
    let unknown = "AKIATIDEWATERUNKNOWN";
    let log = served.file("deleted.log", &lines(PROD, &[(OLD, &was), (unknown, &was)]));
    let mut key = served.world.ledger().key(&account(), OLD).await.unwrap().unwrap();
    key.value.deletion = Some(Deletion { at: days_ago(0), fact_id: "e-1".to_owned() });
    assert!(served.world.ledger().save_key(&key.value, key.version, time_of_day()).await.unwrap());
    let ran = served.in_table(&["exempt", "restore", &log]).await.expect(0);
    let left_out = |key: &str| format!("{key}: left out: it is deleted");
    let ran = ran.says(&[&left_out(OLD), &left_out(unknown)]);
    assert!(!ran.stdout.contains("The next sweep"), "{}", ran.stdout);
    // No account is asked for that has no key but deleted ones.
    let of_another = served.file("another.log", &lines(ELSEWHERE, &[]));
    let ran = served.in_table(&["exempt", "restore", &of_another]).await.expect(0);
    ran.says(&["444455556666: as of", "nobody was exempt"]);

    // What nobody has listed since it was granted may be there.
    let record = served.world.ledger().account(&account()).await.unwrap();
    let mut before = record.value.clone();
    before.listed_all_at = Some(days_ago(20));
    served.world.ledger().save_account(&account(), &before, record.version).await.unwrap().unwrap();
    let log = served.file("since.log", &lines(PROD, &[(since, &was)]));
    let ran = served.in_table(&["exempt", "restore", &log]).await.expect(1);
    ran.says(&[&format!("the ledger knows no key {since}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_accepted_by_whoever_was_shown_it_and_typed_yes() {
    let served = Served::new("accept").await;
    let accept = ["ledger", "accept", "--reason", REASON, "--ledger", "dynamodb:keytide"];
    served.run(&accept).await.expect(3).says(&["is accepted since"]);
    served.world.delete_item("ACCEPTED", "ACCEPTED").await;
    let ledger = served.world.ledger();
    let table = ledger.table_made().await.unwrap();

    // An empty one, and nobody to ask.
    let ran = served.run(&accept).await.expect(3);
    ran.says(&["with --yes", &table.id, "made 20", "accepted    never", "keys        0", "none has ended"]);
    let ran = served.typed("y", &accept).await.expect(3);
    ran.says(&[
        "This ledger knows no key. No run of all accounts has ended by it",
        "type yes",
        "was not confirmed",
    ]);
    assert_eq!(ledger.accepted().await.unwrap(), None);

    // One from a backup, with a halt.
    served.sweep(&["--apply", "--post", "--confirm", HOME_ACCOUNT]).await.expect(0);
    let before = Accepted {
        table_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        reason: "the first of all".to_owned(),
        author: "arn:aws:iam::999988887777:user/vera".to_owned(),
        at: days_ago(300),
    };
    ledger.set_accepted(&before).await.unwrap();
    let halt = Halt { reason: "an incident".to_owned(), author: before.author.clone(), at: days_ago(1) };
    ledger.set_halt(&halt).await.unwrap();
    served.typed("no", &accept).await.expect(3);
    assert_eq!(ledger.accepted().await.unwrap().unwrap().value, before);
    let ran = served.typed("yes", &accept).await.expect(0);
    assert!(!ran.stderr.contains("knows no key"), "{}", ran.stderr);
    ran.says(&[
        &before.table_id,
        "the first of all",
        "user/vera",
        "an incident",
        "built-in",
        "the ledger accepted",
    ]);
    assert_eq!(ledger.accepted().await.unwrap().unwrap().value.table_id, table.id);

    ledger.set_accepted(&before).await.unwrap();
    served.run(&[&accept[..], &["--yes"]].concat()).await.expect(0).says(&["the ledger accepted"]);
}

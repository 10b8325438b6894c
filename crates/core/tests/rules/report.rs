//! The credential report: every word that AWS writes, columns in any order, and no bytes that make it panic.

use jiff::Timestamp;
use keytide_core::report::{CredentialReport, LastUsed, ReportProblem, Row, Whose, parse};
use proptest::prelude::*;

/// All of the columns that IAM's user guide names, in its order.
const HEADER: [&str; 22] = [
    "user",
    "arn",
    "user_creation_time",
    "password_enabled",
    "password_last_used",
    "password_last_changed",
    "password_next_rotation",
    "mfa_active",
    "access_key_1_active",
    "access_key_1_last_rotated",
    "access_key_1_last_used_date",
    "access_key_1_last_used_region",
    "access_key_1_last_used_service",
    "access_key_2_active",
    "access_key_2_last_rotated",
    "access_key_2_last_used_date",
    "access_key_2_last_used_region",
    "access_key_2_last_used_service",
    "cert_1_active",
    "cert_1_last_rotated",
    "cert_2_active",
    "cert_2_last_rotated",
];

type Cells = Vec<Vec<String>>;

fn cells() -> Cells {
    let row = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    vec![
        row("<root_account> arn:aws:iam::111122223333:root 2019-11-05T08:11:22+00:00 not_supported \
             2026-04-30T06:00:00+00:00 not_supported not_supported true false N/A N/A N/A N/A false N/A \
             N/A N/A N/A false N/A false N/A"),
        row("alice arn:aws:iam::111122223333:user/engineering/alice 2024-02-01T10:00:00+00:00 true \
             no_information 2024-02-01T10:00:01+00:00 N/A false true 2026-02-03T09:12:33+00:00 \
             2026-05-03T21:45:00+00:00 eu-central-1 s3 false 2025-06-01T00:00:00+00:00 N/A N/A N/A false \
             N/A false N/A"),
        row("deploy-bot arn:aws:iam::111122223333:user/deploy-bot 2025-01-01T00:00:00+00:00 false N/A N/A \
             N/A false TRUE 2025-01-01T00:00:05+00:00 2026-05-01T00:00:00+00:00 N/A N/A true \
             2026-05-01T00:00:05+00:00 no_information no_information no_information false N/A false N/A"),
    ]
}

fn csv(header: &[&str], cells: &Cells) -> Vec<u8> {
    let quoted = |cell: &str| format!("\"{}\"", cell.replace('"', "\"\""));
    let mut text = header.join(",");
    for row in cells {
        text.push('\n');
        text.push_str(&row.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(","));
    }
    text.into_bytes()
}

fn sample() -> CredentialReport {
    parse(&csv(&HEADER, &cells())).unwrap()
}

fn with(row: usize, column: &str, value: &str) -> CredentialReport {
    let mut cells = cells();
    let at = HEADER.iter().position(|name| *name == column).unwrap();
    value.clone_into(&mut cells[row][at]);
    parse(&csv(&HEADER, &cells)).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn every_word_that_aws_writes_is_read() {
    let report = sample();
    assert_eq!(report.bad_rows, []);
    let marked: Vec<u8> = [b"\xef\xbb\xbf".as_slice(), &csv(&HEADER, &cells())].concat();
    assert_eq!(parse(&marked).unwrap(), report, "a byte order mark changes nothing");
    let [root, alice, bot] = report.rows.as_slice() else { panic!("{report:?}") };

    assert_eq!(report.root(), Some(root));
    assert_eq!((root.user(), root.mfa_active), ("<root_account>", Some(true)));
    assert!(root.slots.iter().all(|slot| !slot.shows_a_key() && slot.last_used == LastUsed::Never));

    assert_eq!(alice.whose, Whose::User { name: "alice".to_owned(), path: "/engineering/".to_owned() });
    assert_eq!(alice.account.as_str(), "111122223333");
    assert_eq!(alice.created, Some(at("2024-02-01T10:00:00Z")));
    assert_eq!(alice.mfa_active, Some(false));
    let [first, second] = &alice.slots;
    assert!(first.active && first.shows_a_key() && !second.active && second.shows_a_key());
    assert_eq!(first.last_rotated, Some(at("2026-02-03T09:12:33Z")));
    assert_eq!(
        first.last_used,
        LastUsed::At {
            at: at("2026-05-03T21:45:00Z"),
            region: Some("eu-central-1".to_owned()),
            service: Some("s3".to_owned()),
        }
    );
    assert_eq!(second.last_used, LastUsed::Never);

    assert_eq!(bot.whose, Whose::User { name: "deploy-bot".to_owned(), path: "/".to_owned() });
    let [first, second] = &bot.slots;
    assert_eq!(first.last_used, LastUsed::At { at: at("2026-05-01T00:00:00Z"), region: None, service: None });
    assert_eq!(second.last_used, LastUsed::Unknown);
}

#[test]
fn a_wrong_cell_is_named_and_loses_no_other_row() {
    for (column, value) in [
        ("user", "bob"),
        ("user", ""),
        ("user", "<root_account>"),
        ("user", "engineering/alice"),
        ("arn", "arn:aws:iam::111122223333:root"),
        ("arn", "arn:aws:iam::11112222:user/engineering/alice"),
        ("arn", "arn:aws:iam::111122223333:user/malice"),
        ("user_creation_time", "yesterday"),
        ("mfa_active", "maybe"),
        ("access_key_1_active", "N/A"),
        ("access_key_2_active", "1"),
        ("access_key_1_last_rotated", "2026-02-30T00:00:00+00:00"),
        ("access_key_2_last_used_date", "2026-05-04"),
    ] {
        let report = with(1, column, value);
        let users: Vec<&str> = report.rows.iter().map(Row::user).collect();
        assert_eq!(users, ["<root_account>", "deploy-bot"], "{column}={value}");
        let [problem] = report.bad_rows.as_slice() else { panic!("{column}={value}: {report:?}") };
        assert_eq!(problem.line, 3, "{column}={value}");
        let named = if column == "user" { "arn" } else { column };
        assert_eq!(problem.column, named, "{column}={value}");
    }
    let report = with(1, "access_key_1_active", "perhaps");
    insta::assert_snapshot!(
        report.bad_rows[0],
        @r#"line 3 of the credential report, user "alice", access_key_1_active: found "perhaps", expected true or false"#
    );
}

#[test]
fn a_row_that_was_cut_off_and_a_user_who_comes_twice_are_not_believed() {
    let whole = csv(&HEADER, &cells());
    let cut = whole.len() - 40;
    let report = parse(&whole[..cut]).unwrap();
    assert_eq!(report.rows.len(), 2);
    assert_eq!(report.bad_rows[0].user, "deploy-bot");

    let mut twice = cells();
    twice.push(twice[1].clone());
    let report = parse(&csv(&HEADER, &twice)).unwrap();
    assert_eq!((report.rows.len(), report.bad_rows.len()), (3, 1));
    assert_eq!((report.bad_rows[0].line, report.bad_rows[0].column), (5, "user"));
}

#[test]
fn a_report_that_is_none_is_refused_and_says_why() {
    assert_eq!(parse(b""), Err(ReportProblem::Empty));
    assert_eq!(parse(HEADER.join(",").as_bytes()), Err(ReportProblem::Empty));
    insta::assert_snapshot!(
        parse(b"<html><body>503</body></html>").unwrap_err(),
        @r#"the credential report lacks the column(s) user, arn, user_creation_time, mfa_active, access_key_1_active, access_key_1_last_rotated, access_key_1_last_used_date, access_key_1_last_used_region, access_key_1_last_used_service, access_key_2_active, access_key_2_last_rotated, access_key_2_last_used_date, access_key_2_last_used_region, access_key_2_last_used_service; its header is "<html><body>503</body></html>"; expected IAM's own CSV"#
    );
    let mut twice = HEADER;
    twice[21] = "arn";
    assert_eq!(parse(&csv(&twice, &cells())), Err(ReportProblem::RepeatedColumn { column: "arn" }));
}

#[test]
fn each_missing_column_is_named() {
    let read: Vec<&str> = HEADER
        .into_iter()
        .filter(|name| !name.starts_with("password_") && !name.starts_with("cert_"))
        .collect();
    assert_eq!(read.len(), 14);
    for name in read {
        let header = HEADER.map(|column| if column == name { "something_else" } else { column });
        let Err(ReportProblem::MissingColumns { missing, .. }) = parse(&csv(&header, &cells())) else {
            panic!("{name} is not missed");
        };
        assert_eq!(missing, [name]);
    }
}

#[test]
fn a_row_differs_where_a_key_was_made_changed_or_deleted_and_nowhere_else() {
    let before = sample();
    assert_eq!(before.rows[1].mark(), "active 2026-02-03T09:12:33Z, inactive 2025-06-01T00:00:00Z");
    assert_eq!(before.rows[0].mark(), "inactive never, inactive never");
    for (column, value, differs) in [
        ("access_key_1_active", "false", true),
        ("access_key_2_active", "true", true),
        ("access_key_1_last_rotated", "2026-02-03T09:12:34+00:00", true),
        ("access_key_2_last_rotated", "N/A", true),
        ("access_key_1_last_used_date", "2026-05-04T00:00:00+00:00", false),
        ("access_key_1_last_rotated", "2026-02-03T10:12:33+01:00", false),
        ("mfa_active", "true", false),
    ] {
        let after = with(1, column, value);
        assert_eq!(after.rows[1].differs_from(&before.rows[1]), differs, "{column}={value}");
    }
}

#[test]
fn a_third_key_is_said_to_be_there_and_makes_the_row_differ() {
    let mut header = HEADER.to_vec();
    header.push("additional_credentials_info");
    let with_more = |more: [&str; 3]| {
        let mut cells = cells();
        for (row, more) in cells.iter_mut().zip(more) {
            row.push(more.to_owned());
        }
        parse(&csv(&header, &cells)).unwrap()
    };
    let before = with_more(["", "N/A", ""]);
    assert_eq!(before, sample(), "without further keys the column says nothing");
    let after = with_more(["", "N/A", "1 additional access key: ListAccessKeys"]);
    assert_eq!(after.rows[2].more.as_deref(), Some("1 additional access key: ListAccessKeys"));
    assert!(after.rows[2].differs_from(&before.rows[2]));
    assert!(!after.rows[1].differs_from(&before.rows[1]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_the_reader_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..40),
    ) {
        let mut bytes = csv(&HEADER, &cells());
        for (place, edit, byte) in edits {
            if bytes.is_empty() {
                break;
            }
            let place = place.index(bytes.len());
            match edit {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                2 => drop(bytes.remove(place)),
                // What a CSV is made of hits harder than any byte.
                _ => bytes[place] = [b'"', b',', b'\n', b'\r'][usize::from(byte % 4)],
            }
        }
        if let Ok(report) = parse(&bytes) {
            prop_assert!(!report.rows.is_empty() || !report.bad_rows.is_empty());
            for problem in &report.bad_rows {
                prop_assert!(problem.line > 0, "{problem}");
            }
        }
    }

    #[test]
    fn one_cell_of_any_text_leaves_the_other_rows_as_they_are(
        row in 0..3_usize, column in 0..HEADER.len(), value in any::<String>(),
    ) {
        let expected = sample();
        let mut cells = cells();
        cells[row][column] = value;
        let report = parse(&csv(&HEADER, &cells)).unwrap();
        prop_assert_eq!(report.rows.len() + report.bad_rows.len(), 3);
        for (index, other) in expected.rows.iter().enumerate() {
            if index != row {
                prop_assert!(report.rows.contains(other), "{}", other.user());
            }
        }
    }

    #[test]
    fn columns_may_stand_in_any_order_among_others(
        order in Just((0..HEADER.len()).collect::<Vec<_>>()).prop_shuffle(),
        added in any::<prop::sample::Index>(),
    ) {
        let mut header: Vec<&str> = order.iter().map(|index| HEADER[*index]).collect();
        let mut shuffled: Cells = cells()
            .iter()
            .map(|row| order.iter().map(|index| row[*index].clone()).collect())
            .collect();
        let place = added.index(HEADER.len() + 1);
        header.insert(place, "a_column_of_tomorrow");
        for row in &mut shuffled {
            row.insert(place, "anything".to_owned());
        }
        prop_assert_eq!(parse(&csv(&header, &shuffled)).unwrap(), sample());
    }
}

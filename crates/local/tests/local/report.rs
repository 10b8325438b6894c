//! Credential reports: when they are made, and what stands in them.

use std::time::Duration;

use aws_sdk_iam::Client;
use aws_sdk_iam::error::ProvideErrorMetadata as _;
use aws_sdk_iam::types::{ReportStateType, StatusType};
use jiff::{SignedDuration, Timestamp};
use keytide_local::{Fault, KeyStatus, LocalAws};

const MEMBER: &str = "111122223333";
const HEADER: &str = "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,\
                      password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,\
                      access_key_1_last_used_date,access_key_1_last_used_region,\
                      access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,\
                      access_key_2_last_used_date,access_key_2_last_used_region,\
                      access_key_2_last_used_service,cert_1_active,cert_1_last_rotated,cert_2_active,\
                      cert_2_last_rotated";

fn noon() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn member() -> (LocalAws, Client) {
    let aws = LocalAws::in_memory().unwrap();
    aws.set_now(noon());
    aws.iam().add_account(MEMBER).unwrap();
    let client = Client::new(&aws.sdk_config_in(MEMBER));
    (aws, client)
}

async fn generate(client: &Client) -> ReportStateType {
    client.generate_credential_report().send().await.unwrap().state().unwrap().clone()
}

/// The report and when it was made.
async fn get(client: &Client) -> Result<(String, Timestamp), String> {
    match client.get_credential_report().send().await {
        Ok(report) => {
            assert_eq!(report.report_format().unwrap().as_str(), "text/csv");
            let text = String::from_utf8(report.content().unwrap().as_ref().to_vec()).unwrap();
            Ok((text, Timestamp::from_second(report.generated_time().unwrap().secs()).unwrap()))
        }
        Err(error) => Err(error.code().unwrap().to_owned()),
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_a_report() {
    let (aws, client) = member();
    let iam = aws.iam();
    iam.add_user(MEMBER, "bob", "/", &[]).unwrap();
    iam.add_user(MEMBER, "Ann", "/people/", &[]).unwrap();
    iam.add_user(MEMBER, "with,comma", "/", &[]).unwrap();
    let old = "2024-07-30T21:53:13Z".parse().unwrap();
    let older = "2023-01-02T03:04:05Z".parse().unwrap();
    // Older, but with the greater id; and a third, for which there is no place.
    iam.add_access_key(MEMBER, "Ann", "AKIAEXAMPLE000000002", older, KeyStatus::Active).unwrap();
    iam.add_access_key(MEMBER, "Ann", "AKIAEXAMPLE000000001", old, KeyStatus::Active).unwrap();
    iam.add_access_key(MEMBER, "Ann", "AKIAEXAMPLE000000000", old, KeyStatus::Active).unwrap();
    iam.set_last_used(MEMBER, "AKIAEXAMPLE000000002", old, "s3", "N/A").unwrap();
    iam.set_password(MEMBER, "Ann", older, None).unwrap();
    iam.set_mfa(MEMBER, "Ann", true).unwrap();
    iam.add_access_key(MEMBER, "bob", "AKIAEXAMPLE000000004", old, KeyStatus::Inactive).unwrap();
    iam.add_root_access_key(MEMBER, "AKIAEXAMPLE000000009", older, KeyStatus::Active).unwrap();
    client
        .update_access_key()
        .user_name("Ann")
        .access_key_id("AKIAEXAMPLE000000001")
        .status(StatusType::Inactive)
        .send()
        .await
        .unwrap();

    assert_eq!(generate(&client).await, ReportStateType::Started);
    let (report, made) = get(&client).await.unwrap();
    assert_eq!(made, noon());
    let lines: Vec<&str> = report.split('\n').collect();
    assert_eq!(
        lines,
        [
            HEADER,
            "<root_account>,arn:aws:iam::111122223333:root,2026-03-01T12:00:00+00:00,not_supported,\
             no_information,not_supported,not_supported,false,true,2023-01-02T03:04:05+00:00,N/A,N/A,N/A,\
             false,N/A,N/A,N/A,N/A,false,N/A,false,N/A",
            "Ann,arn:aws:iam::111122223333:user/people/Ann,2026-03-01T12:00:00+00:00,true,no_information,\
             2023-01-02T03:04:05+00:00,N/A,true,false,2026-03-01T12:00:00+00:00,N/A,N/A,N/A,true,\
             2023-01-02T03:04:05+00:00,2024-07-30T21:53:13+00:00,N/A,s3,false,N/A,false,N/A",
            "bob,arn:aws:iam::111122223333:user/bob,2026-03-01T12:00:00+00:00,false,N/A,N/A,N/A,false,false,\
             2024-07-30T21:53:13+00:00,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A",
            "\"with,comma\",\"arn:aws:iam::111122223333:user/with,comma\",2026-03-01T12:00:00+00:00,false,N/A,\
             N/A,N/A,false,false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A",
        ]
    );
    // Root's key is in the report and nowhere else.
    let error = client.get_access_key_last_used().access_key_id("AKIAEXAMPLE000000009").send().await;
    assert_eq!(error.unwrap_err().code(), Some("NoSuchEntity"));
}

#[tokio::test(start_paused = true)]
async fn a_report_is_made_once_in_four_hours_and_shows_the_users_as_they_were() {
    let (aws, client) = member();
    aws.iam().add_user(MEMBER, "ann", "/", &[]).unwrap();
    assert_eq!(get(&client).await.unwrap_err(), "ReportNotPresent");
    assert_eq!(generate(&client).await, ReportStateType::Started);
    assert_eq!(generate(&client).await, ReportStateType::Complete);
    aws.iam().add_user(MEMBER, "ben", "/", &[]).unwrap();

    aws.set_now(noon() + SignedDuration::from_hours(4));
    assert_eq!(generate(&client).await, ReportStateType::Complete);
    let (report, made) = get(&client).await.unwrap();
    assert_eq!(made, noon());
    assert!(report.contains("\nann,") && !report.contains("\nben,"), "{report}");

    aws.set_now(noon() + SignedDuration::from_hours(4) + SignedDuration::from_secs(1));
    assert_eq!(get(&client).await.unwrap_err(), "ReportExpired");
    assert_eq!(generate(&client).await, ReportStateType::Started);
    let (report, made) = get(&client).await.unwrap();
    assert_eq!(made, aws.now());
    assert!(report.contains("\nben,"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_report_takes_its_time() {
    let (aws, client) = member();
    aws.iam().set_report_making(Duration::from_secs(30));
    assert_eq!(generate(&client).await, ReportStateType::Started);
    assert_eq!(generate(&client).await, ReportStateType::Inprogress);
    assert_eq!(get(&client).await.unwrap_err(), "ReportInProgress");
    // Who comes too late for its making is not in it.
    aws.iam().add_user(MEMBER, "ann", "/", &[]).unwrap();
    aws.set_now(noon() + SignedDuration::from_secs(30));
    assert_eq!(generate(&client).await, ReportStateType::Complete);
    let (report, made) = get(&client).await.unwrap();
    assert_eq!(made, noon());
    assert!(!report.contains("ann"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_report_is_as_late_as_its_readers() {
    let (aws, client) = member();
    let iam = aws.iam();
    iam.add_user(MEMBER, "ann", "/", &[]).unwrap();
    let id = "AKIAEXAMPLE000000001";
    iam.add_access_key(MEMBER, "ann", id, noon(), KeyStatus::Active).unwrap();
    aws.faults().set_iam_delay(Duration::from_secs(4));
    let disable = client.update_access_key().user_name("ann").access_key_id(id);
    disable.status(StatusType::Inactive).send().await.unwrap();
    generate(&client).await;
    let (report, _) = get(&client).await.unwrap();
    assert!(report.contains("\nann,arn:aws:iam::111122223333:user/ann,"), "{report}");
    assert!(report.lines().nth(2).unwrap().contains(",false,true,2026"), "still active: {report}");
}

#[tokio::test(start_paused = true)]
async fn a_report_can_be_replaced_by_anything_and_needs_permission() {
    let (aws, client) = member();
    aws.iam().set_report(MEMBER, "half a rep", noon()).unwrap();
    assert_eq!(get(&client).await.unwrap(), ("half a rep".to_owned(), noon()));
    assert_eq!(generate(&client).await, ReportStateType::Complete);

    aws.iam().add_role(MEMBER, "lister", None, &["iam:ListUsers"]).unwrap();
    let there = crate::sessions::assume(&aws, "lister", None).await.unwrap();
    assert_eq!(get(&Client::new(&there)).await.unwrap_err(), "AccessDenied");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_the_report_in_the_making() {
    let (aws, client) = member();
    aws.faults().at_call(1, Fault::ConnectionErrorAfter);
    // The SDK asks again, and is told of the first call's work.
    assert_eq!(generate(&client).await, ReportStateType::Complete);
    assert_eq!(aws.calls().total(), 2);
}

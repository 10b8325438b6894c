//! Sessions that a policy of their own narrows, and the clock of those who answer.

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_iam::Client;
use aws_sdk_iam::error::ProvideErrorMetadata as _;
use aws_sdk_iam::types::StatusType;
use jiff::SignedDuration;
use keytide_local::{Fault, KeyStatus, LocalAws};

const MEMBER: &str = "111122223333";
const ANNS_KEY: &str = "AKIAEXAMPLE000000001";
const BENS_KEY: &str = "AKIAEXAMPLE000000002";

/// Assumes a role of [`MEMBER`], with an inline policy or without.
pub(crate) async fn assume(aws: &LocalAws, role: &str, policy: Option<&str>) -> Result<SdkConfig, String> {
    let config = aws.sdk_config();
    let answer = aws_sdk_sts::Client::new(&config)
        .assume_role()
        .role_arn(format!("arn:aws:iam::{MEMBER}:role/{role}"))
        .role_session_name("keytide-sweep-20260301")
        .set_policy(policy.map(str::to_owned))
        .send()
        .await
        .map_err(|error| error.code().unwrap_or_default().to_owned())?;
    #[expect(deprecated, reason = "AWS still answers with it")]
    let packed = answer.packed_policy_size();
    assert_eq!(packed.is_some(), policy.is_some());
    assert!(packed.is_none_or(|percent| (1..=100).contains(&percent)));
    let given = answer.credentials().unwrap();
    let credentials = Credentials::new(
        given.access_key_id(),
        given.secret_access_key(),
        Some(given.session_token().to_owned()),
        None,
        "test",
    );
    Ok(config.to_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build())
}

fn company() -> LocalAws {
    let aws = LocalAws::in_memory().unwrap();
    aws.set_now("2026-03-01T12:00:00Z".parse().unwrap());
    let iam = aws.iam();
    iam.add_account(MEMBER).unwrap();
    for (user, key_id) in [("ann", ANNS_KEY), ("ben", BENS_KEY)] {
        iam.add_user(MEMBER, user, "/people/", &[]).unwrap();
        iam.add_access_key(MEMBER, user, key_id, aws.now(), KeyStatus::Active).unwrap();
    }
    iam.add_role(MEMBER, "disabler", None, &["iam:UpdateAccessKey", "iam:ListAccessKeys"]).unwrap();
    aws
}

fn policy(actions: &str, resource: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":{actions},"Resource":{resource}}}]}}"#
    )
}

async fn disable(config: &SdkConfig, user: &str, key_id: &str) -> Result<(), String> {
    let call = Client::new(config).update_access_key().user_name(user).access_key_id(key_id);
    match call.status(StatusType::Inactive).send().await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{}: {}", error.code().unwrap(), error.message().unwrap())),
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_does_what_both_its_role_and_its_policy_allow() {
    let aws = company();
    let ann = r#""arn:aws:iam::111122223333:user/people/ann""#;
    let narrow = policy(r#"["iam:UpdateAccessKey","iam:GetUser"]"#, ann);
    let there = assume(&aws, "disabler", Some(&narrow)).await.unwrap();
    disable(&there, "ann", ANNS_KEY).await.unwrap();
    assert_eq!(
        disable(&there, "ben", BENS_KEY).await.unwrap_err(),
        "AccessDenied: User: arn:aws:sts::111122223333:assumed-role/disabler/keytide-sweep-20260301 is not \
         authorized to perform: iam:UpdateAccessKey on resource: user ben because no session policy allows \
         the iam:UpdateAccessKey action"
    );
    // Allowed by the role, not by the policy; and the other way round.
    let iam = Client::new(&there);
    let listed = iam.list_access_keys().user_name("ann").send().await.unwrap_err();
    assert_eq!(listed.code(), Some("AccessDenied"));
    assert!(listed.message().unwrap().contains("no session policy"), "{listed:?}");
    let read = iam.get_user().user_name("ann").send().await.unwrap_err();
    assert!(read.message().unwrap().contains("no identity-based policy"), "{read:?}");
    // Without a policy the role alone decides.
    let wide = assume(&aws, "disabler", None).await.unwrap();
    disable(&wide, "ben", BENS_KEY).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn actions_and_resources_may_be_texts_lists_and_stars() {
    let aws = company();
    let ann = "arn:aws:iam::111122223333:user/people/ann";
    for (actions, resource, ann_too, ben_too) in [
        (r#""iam:UpdateAccessKey""#, format!(r#"["{ann}"]"#), true, false),
        (r#""iam:Update*""#, r#""*""#.to_owned(), true, true),
        (r#"["iam:GetUser","*"]"#, format!(r#"["arn:aws:iam::111122223333:user/x","{ann}"]"#), true, false),
        // The path belongs to the user's name in an ARN, and so does the account.
        (r#""iam:*""#, r#""arn:aws:iam::111122223333:user/ann""#.to_owned(), false, false),
        (r#""iam:*""#, r#""arn:aws:iam::444455556666:user/people/ann""#.to_owned(), false, false),
        (r#""iam:List*""#, r#""*""#.to_owned(), false, false),
    ] {
        let text = policy(actions, &resource);
        let there = assume(&aws, "disabler", Some(&text)).await.unwrap();
        assert_eq!(disable(&there, "ann", ANNS_KEY).await.is_ok(), ann_too, "{text}");
        assert_eq!(disable(&there, "ben", BENS_KEY).await.is_ok(), ben_too, "{text}");
    }
    // A renamed user is another resource.
    let narrow = policy(r#""iam:*""#, &format!(r#""{ann}""#));
    let there = assume(&aws, "disabler", Some(&narrow)).await.unwrap();
    aws.iam().rename_user(MEMBER, "ann", "anna").unwrap();
    assert!(disable(&there, "anna", ANNS_KEY).await.unwrap_err().starts_with("AccessDenied"));
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_not_understood_is_refused() {
    let aws = company();
    let allow = |more: &str| format!(r#"{{"Statement":{{"Effect":"Allow",{more}}}}}"#);
    for text in [
        "no policy".to_owned(),
        r#"{"Version":"2012-10-17","Statement":[]}"#.to_owned(),
        r#"{"Version":"2026-01-01","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#.to_owned(),
        r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#.to_owned(),
        allow(r#""Action":"*""#),
        allow(r#""Resource":"*""#),
        allow(r#""Action":[],"Resource":"*""#),
        allow(r#""Action":"iam:*Key","Resource":"*""#),
        allow(r#""Action":"UpdateAccessKey","Resource":"*""#),
        allow(r#""Action":"*","Resource":"arn:aws:iam::111122223333:user/*""#),
        allow(r#""Action":"*","Resource":"arn:aws:iam::111122223333:role/x""#),
        allow(r#""NotAction":"iam:*","Resource":"*""#),
        allow(r#""Action":"*","Resource":"*","Condition":{}"#),
    ] {
        let refused = assume(&aws, "disabler", Some(&text)).await.unwrap_err();
        assert_eq!(refused, "MalformedPolicyDocument", "{text}");
    }
    let long = allow(&format!(r#""Sid":"{}","Action":"*","Resource":"*""#, "a".repeat(2_048)));
    assert_eq!(assume(&aws, "disabler", Some(&long)).await.unwrap_err(), "ValidationError");
}

#[tokio::test(start_paused = true)]
async fn a_status_is_changed_on_the_key_that_is_named_and_no_other() {
    let aws = company();
    let there = assume(&aws, "disabler", None).await.unwrap();
    for (user, key_id) in [("ann", BENS_KEY), ("ann", "AKIANOTTHERE00000000"), ("nobody", ANNS_KEY)] {
        let error = disable(&there, user, key_id).await.unwrap_err();
        assert!(error.starts_with("NoSuchEntity"), "{user} {key_id}: {error}");
    }
    // A role's session is nobody's: it must say whose key it means.
    let unnamed = Client::new(&there).update_access_key().access_key_id(ANNS_KEY);
    let error = unnamed.status(StatusType::Inactive).send().await.unwrap_err();
    assert_eq!(error.code(), Some("ValidationError"));
    let iam = Client::new(&aws.sdk_config_in(MEMBER));
    for user in ["ann", "ben"] {
        let keys = iam.list_access_keys().user_name(user).send().await.unwrap();
        assert_eq!(keys.access_key_metadata()[0].status(), Some(&StatusType::Active), "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_answer_says_what_time_it_is_there() {
    let aws = company();
    let config =
        aws.sdk_config().to_builder().retry_config(aws_config::retry::RetryConfig::disabled()).build();
    let date = || async {
        let error = Client::new(&config).get_user().user_name("nobody").send().await.unwrap_err();
        error.raw_response().unwrap().headers().get("date").unwrap().to_owned()
    };
    assert_eq!(date().await, "Sun, 01 Mar 2026 12:00:00 GMT");
    aws.set_clock_skew(SignedDuration::from_mins(-301));
    assert_eq!(date().await, "Sun, 01 Mar 2026 06:59:00 GMT");
    // Refusals by a fault say it too.
    aws.faults().plan(|_| Some(Fault::Throttle));
    assert_eq!(date().await, "Sun, 01 Mar 2026 06:59:00 GMT");
}

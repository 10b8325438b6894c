//! `keytide doctor` and `keytide redrive`, as the real program against moto: an installation that is well, and each defect
//! sown once and found.
#![expect(clippy::indexing_slicing, clippy::panic, reason = "a test says so by failing")]

mod fakes;
mod installed;

use aws_sdk_cloudtrail::types::ReadWriteType;
use aws_sdk_scheduler::types::ScheduleState;
use serde_json::{Value, json};

use self::installed::{Installed, PROD, SECURITY};

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_each_defect_that_is_sown() {
    let mut installed = Installed::new().await;
    let all = ["--account", PROD, "--channel", "C0INFRA001"];
    let (code, said) = installed.asked(&all, &[]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("All is well"), "{said}");
    // It looked by keytide's own reader.
    let session = installed.moto.sessions().pop().unwrap();
    assert_eq!(session.role, format!("arn:aws:iam::{PROD}:role/keytide-reader"));
    assert_eq!(session.external_id.as_deref(), Some("tidewater-7"));
    let (code, said) = installed.asked(&[&all[..], &["--role", "SecurityAudit"]].concat(), &[]).await;
    assert_eq!(code, 0, "{said}");
    let session = installed.moto.sessions().pop().unwrap();
    assert_eq!(session.role, format!("arn:aws:iam::{PROD}:role/SecurityAudit"));

    the_table(&installed).await;
    the_queues(&installed).await;
    the_rules(&installed).await;
    the_roles(&installed).await;

    installed.select(ReadWriteType::ReadOnly).await;
    installed.finds("does not record, or may leave out, management events that write", &[]).await;
    installed.select(ReadWriteType::WriteOnly).await;
    let cloudtrail = aws_sdk_cloudtrail::Client::new(&installed.prod);
    cloudtrail.stop_logging().name("all").send().await.unwrap();
    installed.finds("is stopped", &[]).await;
    cloudtrail.start_logging().name("all").send().await.unwrap();

    installed.decide().halt("somebody changed the policy by mistake", Installed::now()).await.unwrap();
    installed.finds("halted by arn:aws:iam::123456789012:user/vera since", &[]).await;
    installed.decide().resume("the former policy is in force again", Installed::now()).await.unwrap();

    // What may not be looked at is said as such, and is never well.
    let denied = [("AWS_ENDPOINT_URL_SCHEDULER", installed.slack.as_str())];
    installed.finds("scheduler:GetSchedule", &denied).await;
    installed.finds("AccessDeniedException", &denied).await;

    slack(&installed).await;
    what_is_not_put_back(&installed).await;
}

async fn the_table(installed: &Installed) {
    installed.protect(false).await;
    installed.finds("may be deleted", &[]).await;
    installed.protect(true).await;
    installed.recover(false).await;
    installed.finds("cannot be restored to a point in time", &[]).await;
    installed.recover(true).await;
    installed.expire(false).await;
    installed.finds("never expire", &[]).await;
    installed.expire(true).await;
}

async fn the_queues(installed: &Installed) {
    for (config, name, words) in [
        (&installed.config, "keytide-events", "1 event waiting or at work in keytide-events"),
        (&installed.config, "keytide-accounts", "1 account waiting or at work in keytide-accounts"),
        (&installed.config, "keytide-accounts-dead", "1 given up in keytide-accounts-dead"),
        (&installed.prod, "keytide-undelivered", "1 event could not be delivered"),
    ] {
        let sqs = aws_sdk_sqs::Client::new(config);
        let url = sqs.get_queue_url().queue_name(name).send().await.unwrap();
        let url = url.queue_url().unwrap().to_owned();
        sqs.send_message().queue_url(&url).message_body("given up").send().await.unwrap();
        installed.finds(words, &[]).await;
        // Nor is it done with while somebody has it.
        let received = sqs.receive_message().queue_url(&url).visibility_timeout(600).send().await.unwrap();
        assert_eq!(received.messages().len(), 1);
        installed.finds(words, &[]).await;
        sqs.purge_queue().queue_url(&url).send().await.unwrap();
    }
    installed.close_bus().await;
    installed.finds("the bus keytide lets no forwarder of the organization in", &[]).await;
    installed.open_bus().await;

    let arn = {
        let sns = aws_sdk_sns::Client::new(&installed.config);
        let listed = sns.list_subscriptions().send().await.unwrap();
        listed.subscriptions()[0].subscription_arn().unwrap().to_owned()
    };
    let sns = aws_sdk_sns::Client::new(&installed.config);
    sns.unsubscribe().subscription_arn(arn).send().await.unwrap();
    installed.finds("no alarm reaches anybody", &[]).await;
    installed.subscribe().await;
}

async fn the_rules(installed: &Installed) {
    let spoilt = |mut rule: Value, pointer: &str, bad: Value| {
        *rule.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = bad;
        rule
    };
    let (rule_in, forwarding) = (Installed::rule_in(), Installed::rule("ForwardKeyEvents"));
    for (config, rule, name) in [
        (&installed.config, &rule_in, "keytide-key-events-in"),
        (&installed.prod, &forwarding, "keytide-key-events"),
    ] {
        Installed::put_rule(config, &spoilt(rule.clone(), "/State", json!("DISABLED"))).await;
        installed.finds(&format!("the rule {name} is disabled"), &[]).await;
        let names = json!(["DeleteUser"]);
        let mut narrow = rule.clone();
        narrow["EventPattern"]["detail"]["eventName"] = names;
        Installed::put_rule(config, &narrow).await;
        installed.finds(&format!("the rule {name} asks for other events"), &[]).await;
        Installed::put_rule(config, rule).await;
        let mut rewritten = rule.clone();
        rewritten["Targets"][0]["Input"] = json!("{}");
        Installed::put_targets(config, &rewritten).await;
        installed.finds("sends something else than the event", &[]).await;
        let mut dropping = rule.clone();
        drop(dropping["Targets"][0].as_object_mut().unwrap().remove("DeadLetterConfig"));
        Installed::put_targets(config, &dropping).await;
        installed.finds("what cannot be delivered: it is lost", &[]).await;
        let elsewhere = rule["Targets"][0]["Arn"].as_str().unwrap().replace(SECURITY, "555566667777");
        Installed::put_targets(config, &spoilt(rule.clone(), "/Targets/0/Arn", json!(elsewhere))).await;
        installed.finds(&format!("the rule {name} does not send to"), &[]).await;
        Installed::put_targets(config, rule).await;
    }
    let mut without_role = forwarding.clone();
    drop(without_role["Targets"][0].as_object_mut().unwrap().remove("RoleArn"));
    Installed::put_targets(&installed.prod, &without_role).await;
    installed.finds("does not send by", &[]).await;
    Installed::put_targets(&installed.prod, &forwarding).await;
    // There is another way of being enabled.
    let wider = json!("ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS");
    Installed::put_rule(&installed.prod, &spoilt(forwarding.clone(), "/State", wider)).await;
    assert_eq!(installed.findings("C0INFRA001", &[]).await, Vec::<Value>::new());
    Installed::put_rule(&installed.prod, &forwarding).await;
}

async fn the_roles(installed: &Installed) {
    let others = "lets others in the security account in than";
    for (id, gone, shut) in [
        ("ReaderRole", "the role keytide-reader is not there", &["role/keytide-sweeper in"][..]),
        ("ForwarderRole", "the role keytide-forwarder is not there", &["does not let EventBridge in"]),
        (
            "DisablerRole",
            "in enforce, and the role keytide-disabler is not there",
            &["role/keytide-sweeper in", others],
        ),
    ] {
        let role = Installed::role(id);
        installed.delete_role(&role).await;
        installed.finds(gone, &[]).await;
        // Somebody's own role of that name, which lets in somebody else.
        let text = role.to_string();
        let text =
            text.replace("keytide-sweeper", "keytide-weeper").replace("events.amazonaws", "ec2.amazonaws");
        Installed::put_role(&installed.prod, &serde_json::from_str(&text).unwrap()).await;
        installed.finds_all(shut, &[]).await;
        installed.delete_role(&role).await;
        Installed::put_role(&installed.prod, &role).await;
    }
    // The right one, and a door beside it.
    let role = Installed::role("DisablerRole");
    let mut open = role.clone();
    open["AssumeRolePolicyDocument"]["Statement"].as_array_mut().unwrap().push(json!({
        "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::666666666666:root"}, "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "x-1"}},
    }));
    installed.delete_role(&role).await;
    Installed::put_role(&installed.prod, &open).await;
    installed
        .finds("lets in arn:aws:iam::666666666666:root, which is not of the security account", &[])
        .await;
    installed.delete_role(&role).await;
    Installed::put_role(&installed.prod, &role).await;
}

/// Of what cannot be read, and of what nobody goes by, no account has its mode: nothing is said of a disabler for it.
async fn no_mode_is_made_up(installed: &Installed) {
    let unreadable = [("AWS_ENDPOINT_URL_DYNAMODB", installed.slack.as_str())];
    let of_modes = async |environment: &[(&str, &str)], words: &str| {
        let found = installed.findings("C0INFRA001", environment).await;
        let text = json!(found).to_string();
        assert!(text.contains(words), "{words}: {found:#?}");
        assert!(!text.contains("ENFORCED_ACCOUNT_IDS"), "{found:#?}");
    };
    of_modes(&unreadable, "in which mode the accounts are is not known").await;
    installed.delete_item("ACCEPTED", "ACCEPTED").await.unwrap();
    of_modes(&[], "nobody has accepted it yet").await;
    let deleted = installed.delete_item("POLICY", "CURRENT").await.unwrap();
    assert!(deleted.attributes.is_some(), "the policy was there");
    of_modes(&[], "nobody has accepted it yet").await;
}

async fn slack(installed: &Installed) {
    let at = |url: &str, path: &str| format!("{url}/{path}/");
    // A scope too many and one too few are two findings.
    let greedy = at(&fakes::slack("chat:write,files:read").await, "api");
    let found = installed.findings("C0INFRA001", &[("KEYTIDE_SLACK_URL", &greedy)]).await;
    let words: Vec<&str> = found.iter().map(|finding| finding["what"].as_str().unwrap()).collect();
    assert!(words.len() == 2 && words[0].contains("lacks the scope im:write"), "{words:?}");
    assert!(words[1].contains("has the scope files:read"), "{words:?}");
    // With a scope that keytide does not have, Slack tells of the channel; without it a digest does.
    let telling = at(&fakes::slack("chat:write,im:write,channels:read").await, "api");
    let found = installed.findings("C0ELSEWHERE", &[("KEYTIDE_SLACK_URL", &telling)]).await;
    assert!(
        found.iter().any(|one| one["what"].as_str().unwrap().contains("not in the channel")),
        "{found:#?}"
    );
    assert_eq!(installed.findings("C0ELSEWHERE", &[]).await, Vec::<Value>::new());

    // What Slack says that is no word about the token is none; nor is an answer that is not Slack's.
    for (path, words) in [("busy", "ratelimited"), ("elsewhere", "no answer of Slack's")] {
        let found =
            installed.findings("C0INFRA001", &[("KEYTIDE_SLACK_URL", &at(&installed.slack, path))]).await;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0]["severity"], "unknown", "{found:#?}");
        assert!(found[0]["what"].as_str().unwrap().contains(words), "{found:#?}");
    }

    // What is asked with is what the functions post with, whatever else is at hand.
    let another = [("KEYTIDE_SLACK_TOKEN", "xoxb-somebodys")];
    assert_eq!(installed.findings("C0INFRA001", &another).await, Vec::<Value>::new());
    let secrets = aws_sdk_secretsmanager::Client::new(&installed.config);
    let put = async |text: Option<&str>| {
        let putting = secrets.put_secret_value().secret_id("keytide/slack");
        let putting = match text {
            Some(text) => putting.secret_string(text),
            None => putting.secret_binary(aws_sdk_secretsmanager::primitives::Blob::new(b"xoxb")),
        };
        putting.send().await.unwrap();
    };
    put(Some("xoxb-another")).await;
    let given = [("KEYTIDE_SLACK_TOKEN", fakes::TOKEN)];
    installed.finds("Slack refuses the token: invalid_auth", &given).await;
    for nothing in [Some(" "), None] {
        put(nothing).await;
        installed.finds("the secret with Slack's token is not there, or empty", &given).await;
    }
    put(Some(fakes::TOKEN)).await;
    // Where the secret may not be read, what is at hand tells what it can.
    let denied = [("AWS_ENDPOINT_URL_SECRETS_MANAGER", installed.slack.as_str()), given[0]];
    installed.finds("secretsmanager:GetSecretValue", &denied).await;
}

async fn what_is_not_put_back(installed: &Installed) {
    let scheduler = aws_sdk_scheduler::Client::new(&installed.config);
    let known = scheduler.get_schedule().name("keytide-sweep").send().await.unwrap();
    scheduler
        .update_schedule()
        .name("keytide-sweep")
        .state(ScheduleState::Disabled)
        .set_flexible_time_window(known.flexible_time_window.clone())
        .set_schedule_expression(known.schedule_expression.clone())
        .set_target(known.target.clone())
        .send()
        .await
        .unwrap();
    installed.finds("the schedule keytide-sweep is disabled", &[]).await;
    scheduler.delete_schedule().name("keytide-sweep").send().await.unwrap();
    installed.finds("the schedule keytide-sweep is not there", &[]).await;
    let says = async |words: &str| {
        let found = installed.findings("C0INFRA001", &[]).await;
        assert!(found.iter().any(|one| one["what"].as_str().unwrap().contains(words)), "{words}: {found:#?}");
    };
    let sns = aws_sdk_sns::Client::new(&installed.config);
    let topic = format!("arn:aws:sns:us-east-1:{SECURITY}:keytide-alarms");
    sns.delete_topic().topic_arn(topic).send().await.unwrap();
    says("the topic keytide-alarms is not there").await;
    let events = aws_sdk_eventbridge::Client::new(&installed.config);
    events
        .remove_targets()
        .event_bus_name("keytide")
        .rule("keytide-key-events-in")
        .ids("events")
        .send()
        .await
        .unwrap();
    events.delete_rule().event_bus_name("keytide").name("keytide-key-events-in").send().await.unwrap();
    events.delete_event_bus().name("keytide").send().await.unwrap();
    says("the bus keytide is not there").await;
    says("the rule keytide-key-events-in is not there").await;
    no_mode_is_made_up(installed).await;
    let secrets = aws_sdk_secretsmanager::Client::new(&installed.config);
    let deleting = secrets.delete_secret().secret_id("keytide/slack").force_delete_without_recovery(true);
    deleting.send().await.unwrap();
    says("the secret with Slack's token is not there").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_account_of_the_organization_is_looked_at_and_who_is_left_out_is_not_missed() {
    let installed = Installed::new().await;
    let all = ["--channel", "C0INFRA001", "--format", "json"];
    let read = |said: &str| -> Value { serde_json::from_str(said).expect(said) };
    // Where nobody may list the accounts, those of the latest run are looked at; that is said.
    let (code, said) = installed.asked(&all, &[]).await;
    let said = read(&said);
    assert_eq!(
        (code, &said["accounts"], said["findings"].as_array().unwrap().len()),
        (1, &json!(1), 1),
        "{said:#}"
    );
    let what = said["findings"][0]["what"].as_str().unwrap();
    assert!(what.contains("the organization's accounts could not be listed"), "{what}");

    let organizations = aws_sdk_organizations::Client::new(&installed.config);
    organizations.create_organization().feature_set("ALL".into()).send().await.unwrap();
    let making =
        organizations.create_account().account_name("staging").email("aws+staging@tidewater.example");
    let made = making.send().await.unwrap();
    let staging = made.create_account_status().unwrap().account_id().unwrap().to_owned();
    installed.member(SECURITY, &installed.config).await;
    installed.member(&staging, &Installed::within(&installed.config, &staging).await).await;
    // The run leaves both out, by its settings: that nobody sweeps them is no defect, and is said.
    let (code, said) = installed.asked(&all, &[]).await;
    let said = read(&said);
    assert_eq!((code, &said["findings"], &said["accounts"]), (0, &json!([]), &json!(2)), "{said:#}");
    let mut left_out = [SECURITY.to_owned(), staging];
    left_out.sort();
    assert_eq!(said["left_out"], json!(left_out));
    let (code, said) = installed.asked(&["--channel", "C0INFRA001"], &[]).await;
    assert_eq!(code, 0, "{said}");
    assert!(
        said.ends_with("All is well: the installation and 2 accounts, 2 of them left out of the sweep.\n"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_of_it_one_finding_says_so() {
    let installed = Installed::new().await;
    let elsewhere = ["--prefix", "tide", "--channel", "C0INFRA001"];
    let (code, said) = installed.asked(&elsewhere, &[]).await;
    let nothing =
        format!("nothing of keytide with the prefix tide is in account {SECURITY}, us-east-1 but the table");
    assert_eq!(code, 1, "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert_eq!(lines[0], "The installation", "{said}");
    assert!(lines[1].starts_with(&format!("  broken     {nothing}")), "{said}");
    assert!(lines[2].starts_with("             to mend: if it is elsewhere, name another"), "{said}");
    let (code, said) = installed.asked(&[&elsewhere[..], &["--region", "eu-west-1"]].concat(), &[]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("is in account {SECURITY}, eu-west-1\n")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_organizations_trail_is_asked_for_once_in_its_owners_account() {
    let installed = Installed::new().await;
    let (url, asked) = fakes::organizations_trail().await;
    let environment = [("AWS_ENDPOINT_URL_CLOUDTRAIL", url.as_str())];
    assert_eq!(installed.findings("C0INFRA001", &environment).await, Vec::<Value>::new());
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
    // Two accounts see it, and it is asked for once.
    installed.member(SECURITY, &installed.config).await;
    let both = ["--account", PROD, "--account", SECURITY, "--channel", "C0INFRA001"];
    let (code, said) = installed.asked(&both, &environment).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_shown_and_sent_back() {
    let installed = Installed::new().await;
    let sqs = aws_sdk_sqs::Client::new(&installed.config);
    let url = async |name: &str| {
        let found = sqs.get_queue_url().queue_name(name).send().await.unwrap();
        found.queue_url().unwrap().to_owned()
    };
    let (dead, events) = (url("keytide-events-dead").await, url("keytide-events").await);
    let event = |number: usize| {
        json!({"id": "envelope", "detail": {"eventID": format!("e-{number}"), "eventName": "CreateAccessKey",
            "recipientAccountId": PROD, "eventTime": "2026-06-02T08:58:14Z"}})
    };
    for number in 0..12 {
        sqs.send_message().queue_url(&dead).message_body(event(number).to_string()).send().await.unwrap();
    }
    sqs.send_message().queue_url(&dead).message_body("no event\u{1b}[31m").send().await.unwrap();
    let (code, said) = Installed::run(installed.command(&["redrive"])).await;
    assert_eq!(code, 3, "{said}");
    for words in
        ["e-0", "e-11", "CreateAccessKey", PROD, "2026-06-02T08:58:14Z", "13 events given up", "not readable"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains('\u{1b}'), "{said:?}");
    let (code, said) = Installed::run(installed.command(&["redrive", "--yes"])).await;
    assert_eq!(code, 0, "what was left is there at once: {said}");
    assert!(said.contains("13 events sent back to keytide-events"), "{said}");
    let mut back = Vec::new();
    loop {
        let received =
            sqs.receive_message().queue_url(&events).max_number_of_messages(10).send().await.unwrap();
        if received.messages().is_empty() {
            break;
        }
        back.extend(received.messages().iter().map(|message| message.body().unwrap().to_owned()));
    }
    assert_eq!(back.len(), 13);
    assert!(back.contains(&event(11).to_string()), "as it was: {back:?}");
    let (code, said) = Installed::run(installed.command(&["redrive", "--yes"])).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("Nothing waits"), "{said}");
}

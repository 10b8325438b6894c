//! Slack: the token, its scopes, the channel.

use jiff::Timestamp;

use super::{Findings, LatestRun, REGION, Seen, Severity, installation::SWEPT_WITHIN};

/// What the Slack app needs, and no more.
pub(super) const SCOPES: [&str; 2] = ["chat:write", "im:write"];

/// The bot at Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Bot {
    /// Slack's refusal of the token, if it refused it.
    pub(in super::super) refused: Option<String>,
    pub(in super::super) scopes: Seen<Vec<String>>,
    /// Whether it is in the channel; an error where Slack does not tell.
    pub(in super::super) is_member: Seen<bool>,
}

pub(super) fn bot_is(
    found: &mut Findings<'_>,
    bot: &Bot,
    secret: &str,
    run: Option<&LatestRun>,
    now: Timestamp,
) {
    if let Some(refused) = &bot.refused {
        found.broken(
            format!("Slack refuses the token: {refused}"),
            format!(
                "install the app of infra/slack-app.yaml again, and put its new token into the secret: {}, then paste it, press \
                 Enter, and Ctrl-D; nothing has to be deployed",
                put_token(secret)
            ),
        );
        return;
    }
    scopes_are(found, &bot.scopes);
    match &bot.is_member {
        Ok(true) => {}
        Ok(false) => found.broken("the bot is not in the channel: no alert arrives", "in the channel: /invite @keytide"),
        // With keytide's own scopes Slack does not tell. Who has posted there of late is in there; which channel that was,
        // no run says.
        Err(_) if run.and_then(|run| run.digest_at).is_some_and(|at| now.duration_since(at) <= SWEPT_WITHIN) => {}
        Err(why) => found.add(
            Severity::Unknown,
            format!("whether the bot is in the channel could not be looked at ({why}), and no digest was posted of late"),
            "in the channel: /invite @keytide; the next digest shows it",
        ),
    }
}

/// The command that puts another token into the secret.
pub(super) fn put_token(secret: &str) -> String {
    format!(
        "`aws secretsmanager put-secret-value --secret-id {secret} --secret-string file:///dev/stdin --region {REGION}`"
    )
}

fn scopes_are(found: &mut Findings<'_>, scopes: &Seen<Vec<String>>) {
    let scopes = match scopes {
        Ok(scopes) => scopes,
        Err(why) => {
            found.add(
                Severity::Unknown,
                format!("Slack did not say which scopes the token has: {why}"),
                "compare with infra/slack-app.yaml by hand: api.slack.com/apps, OAuth & Permissions",
            );
            return;
        }
    };
    for scope in SCOPES.iter().filter(|scope| !scopes.iter().any(|has| has == *scope)) {
        found.broken(
            format!("the Slack app lacks the scope {scope}"),
            "give it the scopes of infra/slack-app.yaml and install it again",
        );
    }
    for scope in scopes.iter().filter(|has| !SCOPES.contains(&has.as_str())) {
        found.weak(
            format!("the Slack app has the scope {scope}, which keytide never uses"),
            "take it away: api.slack.com/apps, OAuth & Permissions; then install the app again",
        );
    }
}

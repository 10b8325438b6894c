//! What no counterpart plays: a Slack that says what a token may, an AWS that grants nothing, and an organization's trail.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};

/// The only token that these Slacks know.
pub(super) const TOKEN: &str = "xoxb-only-for-tests";
/// Whose trail records everybody.
pub(super) const TRAILS_OWNER: &str = "555566667777";

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A Slack that says which scopes the token has. As the real one, it tells of a channel only to whom `channels:read` was
/// given; the bot is in `C0INFRA001` alone. Below `/busy/` it is asked too often. Everything else is an AWS that grants nothing.
pub(super) async fn slack(scopes: &'static str) -> String {
    let answer = move |headers: &HeaderMap, body: Value| -> Response {
        let is_known = headers.get("authorization").is_some_and(|token| *token == format!("Bearer {TOKEN}"));
        let body = if is_known { body } else { json!({"ok": false, "error": "invalid_auth"}) };
        ([("x-oauth-scopes", scopes)], body.to_string()).into_response()
    };
    let info = move |headers: HeaderMap, form: String| async move {
        let is_member = form == "channel=C0INFRA001";
        let body = if scopes.contains("channels:read") {
            json!({"ok": true, "channel": {"is_member": is_member}})
        } else {
            json!({"ok": false, "error": "missing_scope", "needed": "channels:read", "provided": scopes})
        };
        answer(&headers, body)
    };
    let busy = async || json!({"ok": false, "error": "ratelimited"}).to_string();
    let denied = async || {
        let body = json!({"__type": "AccessDeniedException", "Message": "not authorized to perform that"});
        (StatusCode::FORBIDDEN, [("x-amzn-errortype", "AccessDeniedException")], body.to_string())
    };
    let test = move |headers: HeaderMap| async move { answer(&headers, json!({"ok": true})) };
    let router = Router::new()
        .route("/api/auth.test", post(test))
        .route("/api/conversations.info", post(info))
        .route("/busy/auth.test", post(busy))
        .fallback(denied);
    serve(router).await
}

/// A CloudTrail in which every account sees the organization's trail, at home in `eu-west-1`, whose settings are told there
/// alone; and how often its selectors were asked for.
pub(super) async fn organizations_trail() -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    let answer = move |headers: HeaderMap| async move {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_at_home = text("authorization").contains("/eu-west-1/cloudtrail/");
        let body = match (text("x-amz-target").rsplit('.').next().unwrap_or_default(), is_at_home) {
            ("DescribeTrails", _) => json!({"trailList": [{
                "Name": "all", "TrailARN": format!("arn:aws:cloudtrail:eu-west-1:{TRAILS_OWNER}:trail/all"),
                "HomeRegion": "eu-west-1", "IsMultiRegionTrail": true, "IsOrganizationTrail": true,
                "IncludeGlobalServiceEvents": true,
            }]}),
            ("GetTrailStatus", true) => json!({"IsLogging": true}),
            ("GetEventSelectors", true) => {
                counting.fetch_add(1, Ordering::SeqCst);
                json!({"EventSelectors": []})
            }
            _ => {
                let body = json!({"__type": "TrailNotFoundException", "Message": "Unknown trail"});
                return (StatusCode::BAD_REQUEST, body.to_string());
            }
        };
        (StatusCode::OK, body.to_string())
    };
    (serve(Router::new().fallback(answer)).await, asked)
}

//! The same AWS for whoever speaks HTTP: what a server in front of it passes on.

use bytes::Bytes;
use keytide_local::{Fault, LocalAws};

fn whoami(access_key_id: &str) -> http::Request<Bytes> {
    http::Request::post("http://127.0.0.1:4566/")
        .header("host", "127.0.0.1:4566")
        .header(
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential={access_key_id}/20260301/us-east-1/sts/aws4_request, \
                 SignedHeaders=host, Signature=00"
            ),
        )
        .body(Bytes::from_static(b"Action=GetCallerIdentity&Version=2011-06-15"))
        .unwrap()
}

#[tokio::test]
async fn a_request_is_routed_by_its_signature() {
    let aws = LocalAws::in_memory().unwrap();
    // As in other emulators, an account's bare id is a key of its owner.
    let answer = aws.answer(whoami(keytide_local::HOME_ACCOUNT)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/xml");
    let body = String::from_utf8(answer.into_body().to_vec()).unwrap();
    assert!(body.contains("<Account>999988887777</Account>"), "{body}");

    let refused = aws.answer(whoami("test")).await;
    assert_eq!(refused.status(), 403);
}

#[tokio::test]
async fn dynamodb_is_known_by_its_target_alone() {
    let aws = LocalAws::in_memory().unwrap();
    let request = |key: &str, body: &'static [u8]| {
        http::Request::post("http://127.0.0.1:4566/")
            .header("x-amz-target", "DynamoDB_20120810.ListTables")
            .header("authorization", format!("AWS4-HMAC-SHA256 Credential={key}"))
            .body(Bytes::from_static(body))
            .unwrap()
    };
    let refused = aws.answer(request("test", b"{}")).await;
    assert_eq!(refused.status(), 400);
    let lost = {
        aws.faults().plan(|_| Some(Fault::ConnectionErrorBefore));
        aws.answer(request("test", b"{}")).await
    };
    assert_eq!(lost.status(), 502);
}

#[tokio::test]
async fn an_unknown_service_is_named() {
    let aws = LocalAws::in_memory().unwrap();
    let request = http::Request::post("http://s3.amazonaws.com/").body(Bytes::new()).unwrap();
    let answer = aws.answer(request).await;
    assert_eq!(answer.status(), 400);
    let body = String::from_utf8(answer.into_body().to_vec()).unwrap();
    assert!(body.contains("s3.amazonaws.com"), "{body}");
}

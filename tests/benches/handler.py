"""What the watcher does with one new key, in Python: the same calls, in the usual way.

It speaks with Lambda's Runtime API itself, so nothing but Python, boto3 and this file is measured.
"""

import datetime
import http.client
import json
import os
import ssl
import urllib.parse

import boto3

TABLE = os.environ["KEYTIDE_TABLE"]
CHANNEL = os.environ["KEYTIDE_CHANNEL"]

dynamodb = boto3.client("dynamodb")
sts = boto3.client("sts")
secrets = boto3.client("secretsmanager")


class Slack:
    def __init__(self):
        url = urllib.parse.urlparse(os.environ["KEYTIDE_SLACK_URL"])
        self.path = url.path
        # Trusts what SSL_CERT_FILE names.
        self.connection = http.client.HTTPSConnection(
            url.hostname, url.port, timeout=10, context=ssl.create_default_context()
        )
        self.token = None

    def call(self, method, arguments):
        if self.token is None:
            secret = secrets.get_secret_value(SecretId=os.environ["KEYTIDE_SLACK_SECRET"])
            self.token = secret["SecretString"].strip()
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json; charset=utf-8",
        }
        self.connection.request("POST", self.path + method, json.dumps(arguments), headers)
        answer = json.loads(self.connection.getresponse().read())
        if not answer.get("ok"):
            raise RuntimeError(f"Slack refused {method}: {answer.get('error')}")
        return answer


slack = Slack()


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


def escape(text):
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def read(body):
    """The event of a new key; anything else is not this handler's."""
    detail = json.loads(body)["detail"]
    if detail.get("eventName") != "CreateAccessKey" or detail.get("errorCode"):
        raise ValueError("expected a CreateAccessKey that succeeded")
    key = detail["responseElements"]["accessKey"]
    identity = detail["userIdentity"]
    attributes = identity.get("sessionContext", {}).get("attributes", {})
    return {
        "account": detail["recipientAccountId"],
        "key_id": key["accessKeyId"],
        "status": key["status"],
        "user": key["userName"],
        "actor": identity.get("arn", "unknown"),
        "at": detail["eventTime"],
        "event_id": detail["eventID"],
        "source": detail.get("sourceIPAddress"),
        "user_agent": detail.get("userAgent"),
        "mfa": attributes.get("mfaAuthenticated"),
    }


def owner_of(event):
    session = sts.assume_role(
        RoleArn=f"arn:aws:iam::{event['account']}:role/keytide-reader",
        RoleSessionName="keytide-watcher",
        ExternalId=os.environ["KEYTIDE_EXTERNAL_ID"],
    )["Credentials"]
    iam = boto3.client(
        "iam",
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )
    user = iam.get_user(UserName=event["user"])["User"]
    keys = iam.list_access_keys(UserName=event["user"])["AccessKeyMetadata"]
    tags = {tag["Key"]: tag["Value"] for tag in user.get("Tags", [])}
    return tags, keys


def text(value):
    return {"S": value}


def item(event, sort, version, **more):
    return {
        "pk": text(f"KEY#{event['account']}#{event['key_id']}"),
        "sk": text(sort),
        "schema": {"N": "1"},
        "version": {"N": str(version)},
        **more,
    }


def put(event, sort, version, **more):
    """A write over the version that was read."""
    dynamodb.put_item(
        TableName=TABLE,
        Item=item(event, sort, version, **more),
        ConditionExpression="version = :read",
        ExpressionAttributeValues={":read": {"N": str(version - 1)}},
    )


def message(event, tags, keys):
    name = escape(tags.get("full-name", event["user"]))
    sentence = f"{escape(event['actor'])} made an access key for {name} in {event['account']}."
    fields = [
        ("Account", event["account"]),
        ("Key", event["key_id"]),
        ("Source", event["source"]),
        ("User agent", event["user_agent"]),
        ("MFA", event["mfa"]),
        ("Active keys", sum(key["Status"] == "Active" for key in keys)),
    ]
    return {
        "text": sentence,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": f"New access key: {event['user']}"[:150]}},
            {"type": "section", "text": {"type": "mrkdwn", "text": sentence}},
            {
                "type": "section",
                "fields": [
                    {"type": "mrkdwn", "text": f"*{title}*\n{escape(value)[:1900]}"} for title, value in fields
                ],
            },
            {"type": "context", "elements": [{"type": "mrkdwn", "text": f"event {escape(event['event_id'])}"}]},
        ],
    }


def watch(body):
    event = read(body)
    place = {"pk": text(f"KEY#{event['account']}#{event['key_id']}")}
    fact = f"EVENT#{event['event_id']}"
    outs = {name: f"OUT#{event['key_id']}#created#{name}" for name in ("channel", "owner")}
    wanted = [{**place, "sk": text(sort)} for sort in ("KEY", fact, *outs.values())]
    known = dynamodb.batch_get_item(RequestItems={TABLE: {"Keys": wanted, "ConsistentRead": True}})
    if known["Responses"].get(TABLE):
        raise ValueError("expected a key that the ledger does not know")
    tags, keys = owner_of(event)
    state = text(json.dumps({**event, "owner": tags}))
    items = [item(event, fact, 1, detail=state), item(event, "KEY", 1, key=state)]
    items += [item(event, sort, 1, state=text("pending"), created_at=text(now())) for sort in outs.values()]
    dynamodb.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": TABLE, "Item": new, "ConditionExpression": "attribute_not_exists(pk)"}}
            for new in items
        ]
    )
    count = dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": text(f"RATE#{event['account']}"), "sk": text("MINUTE")},
        UpdateExpression="ADD alerts :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
        ReturnValues="UPDATED_NEW",
    )
    if int(count["Attributes"]["alerts"]["N"]) > 10:
        raise RuntimeError("too many alerts in this minute")
    for recipient, sort in outs.items():
        put(event, sort, 2, state=text("doing"), since=text(now()))
        conversation = CHANNEL
        if recipient == "owner":
            conversation = slack.call("conversations.open", {"users": tags["slack-id"]})["channel"]["id"]
        posted = slack.call("chat.postMessage", {"channel": conversation, **message(event, tags, keys)})
        put(event, sort, 3, state=text("done"), at=text(now()), ts=text(posted["ts"]))


def handle(batch):
    failures = []
    for record in batch["Records"]:
        try:
            watch(record["body"])
        except Exception as error:  # one message's failure is not another's
            print(f"{record['messageId']}: {error!r}", flush=True)
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}


def main():
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    path = "/2018-06-01/runtime/invocation/"
    while True:
        api.request("GET", path + "next")
        invocation = api.getresponse()
        batch = json.loads(invocation.read())
        answer = json.dumps(handle(batch))
        request_id = invocation.headers["lambda-runtime-aws-request-id"]
        api.request("POST", f"{path}{request_id}/response", answer)
        api.getresponse().read()


main()

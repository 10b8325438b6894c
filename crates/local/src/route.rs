//! From an HTTP request to the service that answers it, by way of the faults.

use std::fmt;
use std::future::pending;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

use crate::LocalAws;
use crate::answer::{Answer, JSON_1_0, JSON_1_1};
use crate::calls::{CallInfo, Service};
use crate::faults::Fault;
use crate::iam;
use crate::query::Parameters;
use crate::world::Caller;

/// The parts of a request that routing looks at.
pub(crate) struct Call<'request> {
    pub(crate) target: Option<&'request str>,
    pub(crate) authorization: Option<&'request str>,
    pub(crate) host: &'request str,
    pub(crate) user_agent: &'request str,
    pub(crate) body: &'request [u8],
}

/// The connection broke: there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("the simulated connection was reset (fault {0:?})")]
pub(crate) struct ConnectionLost(Fault);

impl Call<'_> {
    /// `Credential=KEY/20260101/us-east-1/iam/aws4_request`: the key and the service's name
    /// (AWS Signature Version 4).
    fn credential(&self) -> Option<(&str, &str)> {
        let (_, credential) = self.authorization?.split_once("Credential=")?;
        let mut parts = credential.split(',').next()?.split('/');
        let access_key_id = parts.next()?;
        let service = parts.nth(2)?;
        Some((access_key_id, service))
    }

    fn service(&self) -> Option<Service> {
        self.credential()
            .and_then(|(_, service)| Service::named(service))
            .or_else(|| {
                let (interface, _) = self.target?.split_once('.')?;
                match interface {
                    "DynamoDB_20120810" => Some(Service::DynamoDb),
                    "secretsmanager" => Some(Service::SecretsManager),
                    "AmazonSQS" => Some(Service::Sqs),
                    "AWSOrganizationsV20161128" => Some(Service::Organizations),
                    _ => None,
                }
            })
            .or_else(|| Service::named(self.host.split('.').next()?))
    }
}

impl LocalAws {
    /// The service's answer, with all that may happen on the way.
    pub(crate) async fn route(&self, call: &Call<'_>) -> Result<Answer, ConnectionLost> {
        let Some(service) = call.service() else {
            return Ok(unknown_service(call));
        };
        let query = match service {
            Service::Iam | Service::Sts => Parameters::read(call.body),
            Service::DynamoDb | Service::SecretsManager | Service::Sqs | Service::Organizations => {
                Parameters::default()
            }
        };
        let requested = match service {
            Service::Iam | Service::Sts => query.get("Action").unwrap_or_default(),
            Service::DynamoDb | Service::SecretsManager | Service::Sqs | Service::Organizations => {
                call.target.and_then(|target| target.split_once('.')).map_or("", |(_, operation)| operation)
            }
        };
        let operation = known_operation(service, requested);
        let access_key_id = call.credential().map_or("", |(key, _)| key);
        let caller = self.world().caller(access_key_id, self.now());
        let mut info = CallInfo {
            number: self.calls().next_number(service, operation),
            service,
            operation,
            account: String::new(),
            role: None,
            session: None,
            fault: None,
        };
        if let Ok(caller) = &caller {
            info.account.clone_from(&caller.account);
            info.role = caller.role().map(str::to_owned);
            info.session = caller.session().map(str::to_owned);
        }
        info.fault = self.faults().decide(&info, self.now());
        let fault = info.fault;
        let refused_by_fault = fault.and_then(|fault| fault.answer(&info, call.body));
        self.calls().record(info);

        match fault {
            Some(Fault::TimeoutBefore) => pending().await,
            Some(Fault::CrashBefore) => self.crash().await,
            Some(lost @ Fault::ConnectionErrorBefore) => return Err(ConnectionLost(lost)),
            _ => {}
        }
        let latency = self.faults().latency();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if let Some(answer) = refused_by_fault {
            return Ok(answer);
        }
        let answer = match caller {
            Ok(caller) => self.serve(service, operation, &caller, &query, call).await,
            Err(refusal) => refusal.answer(service),
        };
        match fault {
            Some(Fault::TimeoutAfter) => pending().await,
            Some(Fault::CrashAfter) => self.crash().await,
            Some(lost @ Fault::ConnectionErrorAfter) => Err(ConnectionLost(lost)),
            _ => Ok(answer),
        }
    }

    async fn serve(
        &self,
        service: Service,
        operation: &'static str,
        caller: &Caller,
        query: &Parameters,
        call: &Call<'_>,
    ) -> Answer {
        let permitted = {
            let now = self.now();
            let world = self.world();
            let target = match service {
                Service::Iam => iam::target(&world, operation, caller, query, now),
                _ => None,
            };
            world.permit(caller, service, operation, target.as_ref())
        };
        // A refused call of IAM leaves an event, too: it is told why.
        let permitted = match permitted {
            Err(refusal) if service != Service::Iam => return refusal.answer(service),
            permitted => permitted,
        };
        match service {
            Service::DynamoDb => self.dynamodb().serve(operation, call.body),
            Service::Iam => iam::serve(self, operation, caller, query, permitted, call.user_agent),
            Service::Organizations => crate::organizations::serve(self, operation, caller, call.body),
            Service::Sts => crate::sts::serve(self, operation, caller, query),
            Service::SecretsManager => crate::secrets::serve(self, operation, caller, call.body),
            Service::Sqs => crate::sqs::serve(self, operation, caller, call.body).await,
        }
    }

    /// What the services' clocks show, as an answer's `Date` says it (RFC 7231, section 7.1.1.1).
    fn http_date(&self) -> String {
        let now = self.now();
        let skew = self.world().clock_skew;
        let shown = now.saturating_add(skew).unwrap_or(now);
        shown.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// The caller's process is dead to us: whoever watches is told, and the call never returns.
    async fn crash<T>(&self) -> T {
        self.faults().crash().notify_one();
        pending().await
    }
}

/// The operation's name, for good: logs and fault plans compare it.
fn known_operation(service: Service, requested: &str) -> &'static str {
    let known: &[&'static str] = match service {
        Service::DynamoDb => &[
            "TransactWriteItems",
            "GetItem",
            "PutItem",
            "UpdateItem",
            "DeleteItem",
            "Query",
            "Scan",
            "BatchGetItem",
            "BatchWriteItem",
            "TransactGetItems",
            "CreateTable",
            "DescribeTable",
            "DeleteTable",
            "ListTables",
            "UpdateTimeToLive",
            "DescribeTimeToLive",
        ],
        Service::Iam => iam::OPERATIONS,
        Service::Sts => crate::sts::OPERATIONS,
        Service::SecretsManager => crate::secrets::OPERATIONS,
        Service::Sqs => crate::sqs::OPERATIONS,
        Service::Organizations => crate::organizations::OPERATIONS,
    };
    known.iter().find(|name| **name == requested).copied().unwrap_or("Unknown")
}

fn unknown_service(call: &Call<'_>) -> Answer {
    let named = call.credential().map_or(call.host, |(_, service)| service);
    Answer::json_error(
        JSON_1_1,
        400,
        "UnknownOperationException",
        &format!(
            "the local AWS has no service {named:?}, only dynamodb, iam, sts, organizations, secretsmanager and \
             sqs"
        ),
    )
}

impl HttpClient for LocalAws {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for LocalAws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let aws = self.clone();
        HttpConnectorFuture::new(async move {
            let Some(body) = request.body().bytes() else {
                return Err(ConnectorError::user(
                    "the local AWS reads requests whole, but this one's body is a stream".into(),
                ));
            };
            let call = Call {
                target: request.headers().get("x-amz-target"),
                authorization: request.headers().get("authorization"),
                host: host_of(request.uri()),
                user_agent: request.headers().get("user-agent").unwrap_or_default(),
                body,
            };
            match aws.route(&call).await {
                Ok(answer) => sdk_response(answer, aws.http_date()),
                Err(lost) => Err(ConnectorError::io(lost.into())),
            }
        })
    }
}

fn host_of(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split(['/', ':', '?']).next().unwrap_or_default()
}

fn sdk_response(answer: Answer, date: String) -> Result<HttpResponse, ConnectorError> {
    let status =
        StatusCode::try_from(answer.status).map_err(|error| ConnectorError::other(error.into(), None))?;
    let mut response = HttpResponse::new(status, SdkBody::from(answer.body));
    response.headers_mut().insert("content-type", answer.content_type);
    response.headers_mut().insert("date", date);
    if let Some(query_error) = answer.query_error {
        response.headers_mut().insert("x-amzn-query-error", query_error);
    }
    Ok(response)
}

impl LocalAws {
    /// Answers a request as the SDK's own would be answered, for a server that tests put in front.
    ///
    /// A broken connection cannot be answered: it becomes a bare 502, and a hang hangs.
    pub async fn answer(&self, request: http::Request<bytes::Bytes>) -> http::Response<bytes::Bytes> {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let call = Call {
            target: header("x-amz-target"),
            authorization: header("authorization"),
            host: header("host").or_else(|| request.uri().host()).unwrap_or_default(),
            user_agent: header("user-agent").unwrap_or_default(),
            body: request.body(),
        };
        let answer = self
            .route(&call)
            .await
            .unwrap_or_else(|lost| Answer { status: 502, ..Answer::json(JSON_1_0, lost.to_string()) });
        let mut response = http::Response::new(bytes::Bytes::from(answer.body));
        *response.status_mut() =
            http::StatusCode::from_u16(answer.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
        let headers = response.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(answer.content_type));
        if let Ok(date) = http::HeaderValue::from_str(&self.http_date()) {
            headers.insert(http::header::DATE, date);
        }
        if let Some(query_error) =
            answer.query_error.and_then(|error| http::HeaderValue::from_str(&error).ok())
        {
            headers.insert("x-amzn-query-error", query_error);
        }
        response
    }
}

impl fmt::Debug for LocalAws {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LocalAws")
    }
}

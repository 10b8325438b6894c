//! AWS and Slack over HTTPS, on 127.0.0.1, with a certificate that is made now.
//!
//! Each service has an address of its own, as it has in AWS, so each costs its own connection and handshake.
//! AWS's speak HTTP/1.1 and Slack HTTP/2, as the real ones do. A first program is served by the AWS and the
//! Slack in this process; its answers are kept, and later ones are answered with them at once, so what is
//! measured is the program and not the simulation.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{Request, Response, StatusCode, header},
    serve::Listener,
};
use keytide_slack::{Call, Post as _, Token};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
    server::TlsStream,
};

use crate::{Outcome, company::Company};

/// The services, by the names that the SDKs' environment variables have for them.
pub(crate) const SERVICES: [&str; 4] = ["DYNAMODB", "STS", "IAM", "SECRETS_MANAGER"];

/// Where a Linux keeps the certificates that it trusts; the second is Lambda's.
const TRUSTED: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Which calls were answered how often.
pub(crate) type Seen = BTreeMap<String, u32>;

/// All servers. They end when this is dropped.
pub(crate) struct Front {
    addresses: HashMap<&'static str, SocketAddr>,
    slack: SocketAddr,
    answers: Arc<Answers>,
    trusted: PathBuf,
    servers: Vec<JoinHandle<()>>,
}

impl Front {
    /// Starts them; the certificates to trust are written into `folder`.
    pub(crate) async fn start(folder: &Path) -> Outcome<Self> {
        let certificates = Certificates::new()?;
        let trusted = folder.join("trusted.pem");
        // The machine's own come first: reading some 140 of them is part of every real start.
        let own = TRUSTED.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        fs::write(&trusted, format!("{own}\n{}", certificates.root_pem))?;
        let answers = Arc::<Answers>::default();
        let mut servers = Vec::new();
        let mut addresses = HashMap::new();
        for service in SERVICES {
            let (address, server) = serve(certificates.config(&[b"http/1.1"])?, Arc::clone(&answers)).await?;
            addresses.insert(service, address);
            servers.push(server);
        }
        let config = certificates.config(&[b"h2", b"http/1.1"])?;
        let (slack, server) = serve(config, Arc::clone(&answers)).await?;
        servers.push(server);
        Ok(Self { addresses, slack, answers, trusted, servers })
    }

    /// From now on this company answers, and its answers are kept.
    pub(crate) fn answer_by(&self, company: Company) {
        self.answers.state().company = Some(company);
    }

    /// From now on what was kept is answered.
    pub(crate) fn answer_at_once(&self) {
        self.answers.state().company = None;
    }

    /// The calls since this was last asked.
    pub(crate) fn take_seen(&self) -> Seen {
        std::mem::take(&mut self.answers.state().seen)
    }

    /// What a program needs in its environment to find and trust these servers.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let trusted = self.trusted.to_string_lossy().into_owned();
        let mut environment: Vec<(String, String)> = self
            .addresses
            .iter()
            .map(|(service, address)| {
                (format!("AWS_ENDPOINT_URL_{service}"), format!("https://localhost:{}", address.port()))
            })
            .collect();
        // The last is for Python's SDK, which does not look at the first.
        environment.extend(["SSL_CERT_FILE", "AWS_CA_BUNDLE"].map(|name| (name.to_owned(), trusted.clone())));
        let slack = format!("https://localhost:{}/slack/api/", self.slack.port());
        environment.push(("KEYTIDE_SLACK_URL".to_owned(), slack));
        environment
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
    }
}

/// A root, and what it vouches for.
struct Certificates {
    root_pem: String,
    server: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Certificates {
    fn new() -> Outcome<Self> {
        // To check such a signature costs a client about what it costs to check one of AWS's (RSA), and to make
        // it costs this server next to nothing.
        let signature = &rcgen::PKCS_ED25519;
        let mut root = CertificateParams::new(Vec::new())?;
        root.distinguished_name.push(DnType::CommonName, "keytide's benchmarks");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root_key = KeyPair::generate_for(signature)?;
        let root_pem = root.self_signed(&root_key)?.pem();
        let key = KeyPair::generate_for(signature)?;
        let mut server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        server.use_authority_key_identifier_extension = true;
        let server = server.signed_by(&key, &Issuer::new(root, root_key))?.der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        Ok(Self { root_pem, server, key })
    }

    fn config(&self, protocols: &[&[u8]]) -> Outcome<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.server.clone()], self.key.clone_key())?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// Connections whose handshakes are done; they are done side by side.
struct Accepted {
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl Listener for Accepted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            // The port is closed: no connection comes any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}

async fn serve(
    config: Arc<ServerConfig>,
    answers: Arc<Answers>,
) -> std::io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (ready, connections) = mpsc::channel(64);
    let acceptor = TlsAcceptor::from(config);
    let accepting = async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let (acceptor, ready) = (acceptor.clone(), ready.clone());
            tokio::spawn(async move {
                // Small answers: waiting for more to send would be measured as the program's time.
                let _ = stream.set_nodelay(true);
                // A handshake that fails shows in the program that began it.
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = ready.send((stream, peer)).await;
                }
            });
        }
    };
    let routes = Router::new().fallback(move |request: Request<Body>| {
        let answers = Arc::clone(&answers);
        async move { answers.answer(request).await }
    });
    let server = tokio::spawn(async move {
        let accepted = Accepted { connections, address };
        tokio::select! {
            () = accepting => {}
            _ = async { axum::serve(accepted, routes).await } => {}
        }
    });
    Ok((address, server))
}

#[derive(Default)]
struct Answers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    company: Option<Company>,
    kept: HashMap<String, Response<Bytes>>,
    seen: Seen,
}

impl Answers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, usize::MAX).await else {
            return empty(StatusCode::BAD_REQUEST).map(Body::from);
        };
        let request = Request::from_parts(parts, body);
        let called = name_of(&request);
        let company = {
            let mut state = self.state();
            *state.seen.entry(called.clone()).or_default() += 1;
            state.company.clone()
        };
        let answer = match company {
            Some(company) => {
                let answer = answer_of(&company, request).await;
                self.state().kept.insert(called, answer.clone());
                answer
            }
            None => {
                self.state().kept.get(&called).cloned().unwrap_or_else(|| empty(StatusCode::NOT_IMPLEMENTED))
            }
        };
        answer.map(Body::from)
    }
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// The operation: in a header (the JSON services), in the form (`Action=…`, IAM and STS), in Slack's path.
fn name_of(request: &Request<Bytes>) -> String {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    let body = String::from_utf8_lossy(request.body());
    let action = || body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    let last = |text: &str| text.rsplit(['.', '/']).next().unwrap_or_default().to_owned();
    match request.uri().path().strip_prefix("/slack/api/") {
        Some(method) => method.to_owned(),
        None => target.map(last).or_else(|| action().map(str::to_owned)).unwrap_or_default(),
    }
}

async fn answer_of(company: &Company, request: Request<Bytes>) -> Response<Bytes> {
    let known = ["chat.postMessage", "conversations.open"];
    let Some(method) = request.uri().path().strip_prefix("/slack/api/") else {
        return company.aws.answer(request).await;
    };
    let Some(method) = known.into_iter().find(|known| *known == method) else {
        return empty(StatusCode::NOT_FOUND);
    };
    let authorization = request.headers().get(header::AUTHORIZATION);
    let token = authorization.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = Token::new(token.trim_start_matches("Bearer ").to_owned());
    let arguments = serde_json::from_slice(request.body()).unwrap_or(Value::Null);
    let call = Call { method, arguments, timeout: Duration::from_secs(5) };
    match company.slack.post(&token, call).await {
        Ok(answer) => {
            let mut response = Response::new(Bytes::from(answer.body.to_string()));
            *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
            let json = header::HeaderValue::from_static("application/json; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(_) => empty(StatusCode::BAD_GATEWAY),
    }
}

//! MiniStack: an AWS that others wrote, which takes CloudFormation, enforces IAM and runs functions as processes.
//!
//! What is put right in it, and how it is asked, stands in `serve_ministack.py`; its clock is `clock.c`.
#![cfg(target_os = "linux")]

use std::{fs, path::PathBuf, process::Command};

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Server, must, number, text, tools};

/// A call that was not answered as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// AWS's code, such as `AccessDenied`.
    pub(crate) code: String,
    /// What it says.
    pub(crate) message: String,
}

/// MiniStack, with nothing in it yet. Whoever signs with twelve digits as the access key's id is root of that account.
pub(crate) struct MiniStack {
    server: Server,
    url: String,
    /// Certificates, the clock, the functions' code. It goes with this.
    folder: TempDir,
}

impl MiniStack {
    /// Starts it on a free port of the loopback interface; it ends when the value is dropped. It is `at` now, for it and
    /// for the functions that it runs; they have this `environment` besides what their template gives them.
    pub(crate) fn start(at: Timestamp, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("ministack-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let folder = must("make a folder for MiniStack", folder);
        write_certificates(&folder);
        must("write the clock", fs::write(folder.path().join("clock"), 0_i64.to_ne_bytes()));
        compile_clock(&folder);
        let tools = tools();
        let mut command = tools.python();
        command.arg(tools.script("serve_ministack.py"));
        command.args(["server.pem", "key.pem", "root.pem"].map(|name| folder.path().join(name)));
        command.envs(clock_of(&folder)).env("TMPDIR", folder.path()).envs(environment.iter().copied());
        let (server, said) = Server::start(command);
        let mut ministack = Self { server, url: text(&said, "url"), folder };
        ministack.set_clock(at);
        ministack
    }

    /// A call by boto3, as root of that account; `method` is boto3's name for it, such as `create_user`.
    pub(crate) fn call(
        &mut self,
        account: &str,
        service: &str,
        method: &str,
        arguments: Value,
    ) -> Result<Value, Refused> {
        self.call_with(&Value::Null, account, service, method, arguments)
    }

    /// The same with the credentials of a session, as `AssumeRole` gives them.
    pub(crate) fn call_with(
        &mut self,
        session: &Value,
        account: &str,
        service: &str,
        method: &str,
        arguments: Value,
    ) -> Result<Value, Refused> {
        let mut answer = self.ask(&Value::from_iter([
            ("do", json!("call")),
            ("account", json!(account)),
            ("service", json!(service)),
            ("method", json!(method)),
            ("arguments", arguments),
            ("session", session.clone()),
        ]));
        match answer.get("refused") {
            None => Ok(answer.get_mut("answer").map(Value::take).unwrap_or_default()),
            Some(refused) => Err(Refused { code: text(refused, "code"), message: text(refused, "message") }),
        }
    }

    /// Puts onto an account's default bus what AWS puts there when CloudTrail has seen a call of IAM.
    pub(crate) fn event(&mut self, account: &str, detail: &Value) {
        self.ask(&json!({"do": "event", "account": account, "detail": detail}));
    }

    /// Sets the clock of MiniStack, of the functions that it runs, and of programs with its [`Self::environment`].
    pub(crate) fn set_clock(&mut self, at: Timestamp) {
        self.ask(&json!({"do": "clock", "at": at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()}));
    }

    /// From now on a service answers with this error and nothing else; with none, as it should.
    pub(crate) fn fail(&mut self, service: &str, error: Option<&str>) {
        self.ask(&json!({"do": "fail", "service": service, "error": error}));
    }

    /// Ends the processes of a function, as a sandbox that is lost ends; says how many.
    pub(crate) fn kill(&mut self, function: &str) -> u64 {
        number(&self.ask(&json!({"do": "kill", "function": function})), "killed")
    }

    /// What a program needs in its environment to call this AWS as root of an account, at this AWS's time.
    pub(crate) fn environment(&self, account: &str) -> Vec<(&'static str, String)> {
        let root = self.folder.path().join("root.pem");
        let mut environment = vec![
            ("AWS_ENDPOINT_URL", self.url.clone()),
            ("SSL_CERT_FILE", root.to_string_lossy().into_owned()),
            ("AWS_ACCESS_KEY_ID", account.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ];
        environment.extend(clock_of(&self.folder));
        environment
    }

    fn ask(&mut self, question: &Value) -> Value {
        self.server.ask(&question.to_string())
    }
}

impl Drop for MiniStack {
    fn drop(&mut self) {
        // At the end of its input it takes its functions with it; killed, it would leave them behind.
        drop(self.server.child.stdin.take());
        let _ = self.server.child.wait();
    }
}

fn clock_of(folder: &TempDir) -> [(&'static str, String); 2] {
    [("LD_PRELOAD", "clock.so"), ("KEYTIDE_TEST_CLOCK", "clock")]
        .map(|(name, file)| (name, folder.path().join(file).to_string_lossy().into_owned()))
}

/// The C compiler is there: Rust's dependencies need it, too.
fn compile_clock(folder: &TempDir) {
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-o"]).arg(folder.path().join("clock.so"));
    compiler.arg(tools().script("clock.c")).arg("-ldl");
    let output = must("start the C compiler cc", compiler.output());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    must("compile clock.c", if output.status.success() { Ok(()) } else { Err(said) });
}

/// A root, and a server's certificate that it vouches for: `server.pem`, `key.pem`, `root.pem`.
fn write_certificates(folder: &TempDir) {
    let make = || -> Result<[(&str, String); 3], rcgen::Error> {
        let mut root = CertificateParams::new(Vec::new())?;
        root.distinguished_name.push(DnType::CommonName, "keytide's tests");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate()?;
        let root_pem = root.self_signed(&root_key)?.pem();
        let key = KeyPair::generate()?;
        let mut server = CertificateParams::new(vec!["localhost".to_owned()])?;
        server.use_authority_key_identifier_extension = true;
        let server = server.signed_by(&key, &Issuer::new(root, root_key))?.pem();
        Ok([("server.pem", server), ("key.pem", key.serialize_pem()), ("root.pem", root_pem)])
    };
    for (name, pem) in must("make certificates", make()) {
        let path: PathBuf = folder.path().join(name);
        must(&format!("write {name}"), fs::write(path, pem));
    }
}

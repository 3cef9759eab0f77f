//! The contract of AWS: every operation that driver and sidecar use (docs.aws.amazon.com/secretsmanager, …/awscloudtrail
//! and …/STS, API references), and its refusals. Signed by the SDK's own signer, read without its models.

use std::time::SystemTime;

use anyhow::{Context, Result};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use reqwest::Client;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use standins::Listen;
use standins::aws::Principal;

use super::wire::{Answer, Wire, case, client};
use crate::candidate::PROBED_NAME;
use crate::candidate::aws::{Key, Remote, Service};
use crate::cell::Environment;
use crate::hold::interruptible;
use crate::net;
use crate::run::Owner;
use crate::target::Targets;

/// One account, and the user who calls.
struct Account {
    http: Client,
    service: Service,
    rotator: Key,
}

/// Goes through the contract, and removes what it made.
pub(super) async fn script(wire: &mut Wire, targets: &Targets, scope: &str, owner: Owner) -> Result<()> {
    let name = format!("{scope}-{}", Environment::Dev);
    let (standin, service, rotator) = match Remote::of(targets, scope)? {
        Some(remote) => (None, remote.service, remote.rotator),
        None => {
            let listen = Listen::on(&format!("{}:0", net::own_loopback()), false).await?;
            let standin = standins::aws::start(Default::default(), listen)?;
            let service = Service { region: standin.control().region().to_owned(), endpoint: Some(standin.url()) };
            let policy = json!({ "Statement": { "Effect": "Allow", "Action": "*", "Resource": "*" } });
            let user = Principal { user_name: "rotator".to_owned(), policies: vec![policy], access_key: None };
            let rotator = standin.control().add_principal(&user)?.into();
            (Some(standin), service, rotator)
        }
    };
    let account = Account { http: client(None)?, service, rotator };
    let gone_through = interruptible(owner, account.inside(wire, &name)).await;
    // Whatever happened inside, nothing is left behind.
    let gone = json!({ "SecretId": name, "ForceDeleteWithoutRecovery": true });
    let removed = account.make(wire, "DeleteSecret", ("removes a secret", 200), &gone, &account.rotator).await;
    if let Some(standin) = standin {
        standin.shutdown().await;
    }
    gone_through.and(removed.map(drop))
}

impl Account {
    async fn inside(&self, wire: &mut Wire, name: &str) -> Result<()> {
        let rotator = &self.rotator;
        self.ask(wire, "GetCallerIdentity", ("says whose key it is", 200), &[], rotator).await?;
        let stranger = Key { secret: "wrong".into(), ..rotator.clone() };
        self.ask(wire, "GetCallerIdentity", ("refuses a wrong signature", 403), &[], &stranger).await?;
        let actions = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"];
        let own = "arn:aws:secretsmanager:*:*:secret:conformance-*";
        let policy =
            json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow", "Action": actions, "Resource": own } });
        let policy = policy.to_string();
        let named = [("Name", "reader"), ("Policy", policy.as_str()), ("DurationSeconds", "900")];
        let made = self.ask(wire, "GetFederationToken", ("makes a federated user", 200), &named, rotator).await?;
        wire.built_on()?;
        let text = |name: &str| made.text(&format!("/GetFederationTokenResult/Credentials/{name}/$text"));
        let reader = &Key {
            id: text("AccessKeyId")?.into(),
            secret: text("SecretAccessKey")?.into(),
            session: Some(text("SessionToken")?.into()),
        };
        let short = [("Name", "x")];
        self.ask(wire, "GetFederationToken", ("refuses a name that is too short", 400), &short, rotator).await?;
        let broken = [("Name", "reader"), ("Policy", "{")];
        self.ask(wire, "GetFederationToken", ("refuses what is no policy", 400), &broken, rotator).await?;
        self.ask(wire, "GetFederationToken", ("refuses a temporary key", 403), &named, reader).await?;
        let value = |value: &str| json!({ PROBED_NAME: value }).to_string();
        let token = |number: u8| format!("00000000-0000-4000-8000-0000000000{number:02}");
        let secret = |extra: Value| {
            let mut body = json!({ "SecretId": name });
            if let (Some(body), Some(extra)) = (body.as_object_mut(), extra.as_object()) {
                body.extend(extra.clone());
            }
            body
        };
        let create = json!({ "Name": name, "SecretString": value("one"), "ClientRequestToken": token(1) });
        self.make(wire, "CreateSecret", ("creates a secret", 200), &create, rotator).await?;
        wire.built_on()?;
        self.make(wire, "CreateSecret", ("creates it once", 200), &create, rotator).await?;
        let taken = json!({ "Name": name, "SecretString": value("x"), "ClientRequestToken": token(9) });
        self.make(wire, "CreateSecret", ("refuses a name that is taken", 400), &taken, rotator).await?;
        let put = secret(json!({ "SecretString": value("two"), "ClientRequestToken": token(2) }));
        let rotated = self.make(wire, "PutSecretValue", ("rotates a secret", 200), &put, rotator).await?;
        wire.built_on()?;
        let version = rotated.text("/VersionId")?;
        self.make(wire, "PutSecretValue", ("rotates it once", 200), &put, rotator).await?;
        self.make(wire, "PutSecretValue", ("refuses a write by a reader", 400), &put, reader).await?;
        self.make(wire, "DescribeSecret", ("describes a secret", 200), &secret(json!({})), reader).await?;
        self.make(wire, "GetSecretValue", ("reads what is current", 200), &secret(json!({})), reader).await?;
        let by_version = secret(json!({ "VersionId": version }));
        self.make(wire, "GetSecretValue", ("reads a version", 200), &by_version, reader).await?;
        let no_version = secret(json!({ "VersionId": token(8) }));
        self.make(wire, "GetSecretValue", ("misses a version", 400), &no_version, reader).await?;
        // A name that the reader's policy covers: to others it would be denied, there or not.
        let missing = json!({ "SecretId": name.replace("contract", "missing") });
        self.make(wire, "GetSecretValue", ("misses a secret", 400), &missing, reader).await?;
        self.make(wire, "GetSecretValue", ("refuses what is no request", 400), &json!({ "SecretId": 7 }), reader)
            .await?;
        let stranger = Key { secret: "wrong".into(), ..reader.clone() };
        self.make(wire, "GetSecretValue", ("refuses a wrong signature", 400), &secret(json!({})), &stranger).await?;
        let listed = json!({ "MaxResults": 10 });
        self.make(wire, "ListSecrets", ("lists secrets", 200), &listed, rotator).await?;
        // What the audit of reads and denials rests on. At AWS itself this scope's own events show minutes later: those of
        // others have the same shape.
        let attribute = json!({ "AttributeKey": "EventName", "AttributeValue": "GetSecretValue" });
        let look = json!({ "LookupAttributes": [attribute], "MaxResults": 10 });
        self.make(wire, "LookupEvents", ("looks up reads", 200), &look, rotator).await?;
        self.make(wire, "LookupEvents", ("refuses a reader", 400), &look, reader).await?;
        Ok(())
    }

    /// A call in JSON.
    async fn make(
        &self,
        wire: &mut Wire,
        operation: &str,
        case: (&'static str, u16),
        body: &Value,
        key: &Key,
    ) -> Result<Answer> {
        let (service, target) = match operation {
            "LookupEvents" => ("cloudtrail", format!("CloudTrail_20131101.{operation}")),
            _ => ("secretsmanager", format!("secretsmanager.{operation}")),
        };
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        self.send(wire, (service, operation), case, &headers, body.to_string(), key).await
    }

    /// A call of STS: a form, answered in XML.
    async fn ask(
        &self,
        wire: &mut Wire,
        operation: &str,
        case: (&'static str, u16),
        parameters: &[(&str, &str)],
        key: &Key,
    ) -> Result<Answer> {
        let fixed = [("Action", operation), ("Version", "2011-06-15")];
        let form = fixed.into_iter().chain(parameters.iter().copied()).map(|(name, value)| {
            format!("{name}={}", percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC))
        });
        let form = form.collect::<Vec<_>>().join("&");
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send(wire, ("sts", operation), case, &headers, form, key).await
    }

    async fn send(
        &self,
        wire: &mut Wire,
        (service, operation): (&str, &str),
        (name, expected): (&'static str, u16),
        headers: &[(&str, &str)],
        body: String,
        key: &Key,
    ) -> Result<Answer> {
        let address = match &self.service.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("https://{service}.{}.amazonaws.com", self.service.region),
        };
        let address = format!("{}/", address.trim_end_matches('/'));
        let session = key.session.as_ref().map(|session| session.expose_secret().to_owned());
        let credentials =
            Credentials::new(key.id.expose_secret(), key.secret.expose_secret(), session, None, "contract");
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.service.region)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .context("failed to sign a request")?
            .into();
        let bytes = SignableBody::Bytes(body.as_bytes());
        let signable = SignableRequest::new("POST", address.as_str(), headers.iter().copied(), bytes)?;
        let (instructions, _) = sign(signable, &parameters).context("failed to sign a request")?.into_parts();
        let mut request = self.http.post(&address);
        for (name, value) in headers.iter().copied().chain(instructions.headers()) {
            request = request.header(name, value);
        }
        wire.send(format!("POST {service} {operation}"), case(name, expected), request.body(body)).await
    }
}

//! Calls that keep the shape of every answer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Client, Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{Exchange, Shape};

/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(15);

/// The exchanges of a contract, as they are made.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) exchanges: Vec<Exchange>,
}

/// An answer, for the calls that come after it.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    /// A string of the body that a later call needs.
    pub(super) fn text(&self, pointer: &str) -> Result<String> {
        crate::candidate::api::text(&self.body, pointer).map(str::to_owned)
    }
}

/// What is to be learnt of one call.
#[derive(Clone, Copy)]
pub(super) struct Case {
    /// What the call tries.
    pub(super) name: &'static str,
    /// The documented status.
    pub(super) expected: u16,
    /// The headers that a driver needs.
    pub(super) headers: &'static [&'static str],
}

/// A case that needs no header.
pub(super) const fn case(name: &'static str, expected: u16) -> Case {
    Case { name, expected, headers: &[] }
}

impl Wire {
    /// Makes a call and keeps its exchange.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn send(&mut self, endpoint: String, case: Case, request: RequestBuilder) -> Result<Answer> {
        let answered = request.send().await.map_err(reqwest::Error::without_url);
        let answer = answered.with_context(|| format!("failed to call {endpoint}"))?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await.map_err(reqwest::Error::without_url)?;
        let (body, shape) = match document(&bytes) {
            Some(body) => (body.clone(), Shape::of(&body)),
            None if bytes.is_empty() => (Value::Null, Shape::Nothing),
            None => (Value::Null, Shape::Text),
        };
        self.exchanges.push(Exchange {
            endpoint,
            case: case.name,
            expected: case.expected,
            status,
            // AWS names its errors here, some services with a namespace before a `#`; STS answers in XML.
            error: (body["__type"].as_str().or_else(|| body["Error"]["Code"]["$text"].as_str()))
                .and_then(|name| name.rsplit('#').next())
                .map(str::to_owned),
            body: shape,
            headers: case.headers.iter().copied().filter(|name| headers.contains_key(*name)).collect(),
        });
        Ok(Answer { headers, body })
    }

    /// Opens a stream of server-sent events, keeps the exchange with its first event, and closes it.
    ///
    /// # Errors
    /// There is no answer, or no event in time.
    pub(super) async fn first_event(&mut self, endpoint: String, case: Case, request: RequestBuilder) -> Result<()> {
        let answered = request.header("accept", "text/event-stream").send().await.map_err(reqwest::Error::without_url);
        let mut answer = answered.with_context(|| format!("failed to call {endpoint}"))?;
        let status = answer.status().as_u16();
        let mut text = String::new();
        let event = loop {
            let data = text.lines().find_map(|line| line.strip_prefix("data:"));
            if let Some(event) = data.and_then(|data| serde_json::from_str::<Value>(data).ok()) {
                break Shape::of(&event);
            }
            match answer.chunk().await.map_err(reqwest::Error::without_url)? {
                Some(chunk) => text += &String::from_utf8_lossy(&chunk),
                None => break Shape::Nothing,
            }
        };
        let Case { name, expected, .. } = case;
        self.exchanges.push(Exchange {
            endpoint,
            case: name,
            expected,
            status,
            error: None,
            body: event,
            headers: Vec::new(),
        });
        Ok(())
    }

    /// Whether the last call did what it was to do; later ones build on it.
    pub(super) fn built_on(&self) -> Result<()> {
        let Some(last) = self.exchanges.last() else { return Ok(()) };
        ensure!(
            (200..300).contains(&last.status),
            "failed to go on: {} ({}) answered {}",
            last.endpoint,
            last.case,
            last.status
        );
        Ok(())
    }
}

/// The body as a document: JSON, or XML, whose elements are members and whose text is a member `$text`.
fn document(bytes: &[u8]) -> Option<Value> {
    if let Ok(body) = serde_json::from_slice(bytes) {
        return Some(body);
    }
    quick_xml::de::from_str(std::str::from_utf8(bytes).ok()?).ok()
}

/// A client for contracts.
pub(super) fn client(ca_file: Option<&std::path::Path>) -> Result<Client> {
    let mut client = Client::builder()
        .user_agent("secrets-conformance/contract")
        .timeout(LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if let Some(file) = ca_file {
        let pem = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
        client = client.tls_certs_only([reqwest::Certificate::from_pem(&pem).context("failed to read the CA file")?]);
    }
    client.build().context("failed to make an HTTP client")
}

/// A REST API with bearer tokens.
pub(super) struct Rest {
    pub(super) http: Client,
    pub(super) address: String,
}

/// A call that is to be made.
pub(super) struct Call {
    method: Method,
    template: &'static str,
    path: String,
    token: Option<SecretString>,
    body: Option<Value>,
    headers: Vec<(&'static str, String)>,
}

/// A call of this method; `template` is the path with `{}` where a parameter stands, without its query.
pub(super) fn call(method: Method, template: &'static str) -> Call {
    Call { method, template, path: template.to_owned(), token: None, body: None, headers: Vec::new() }
}

impl Call {
    /// Puts the parameters into the path, in their order.
    pub(super) fn of(mut self, parameters: &[&str]) -> Self {
        for parameter in parameters {
            self.path = self.path.replacen("{}", parameter, 1);
        }
        self
    }

    /// Adds a query, escaped already.
    pub(super) fn query(mut self, query: &str) -> Self {
        self.path += &format!("?{query}");
        self
    }

    /// Shows a token.
    pub(super) fn by(mut self, token: &SecretString) -> Self {
        self.token = Some(token.clone());
        self
    }

    /// Sends a JSON document.
    pub(super) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Sends a header.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

impl Rest {
    /// Makes a call and keeps its exchange.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn make(&self, wire: &mut Wire, case: Case, call: Call) -> Result<Answer> {
        let endpoint = format!("{} {}", call.method, call.template);
        let mut request = self.http.request(call.method, format!("{}{}", self.address, call.path));
        if let Some(token) = &call.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
        }
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        wire.send(endpoint, case, request).await
    }

    /// Makes a call that later ones build on.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub(super) async fn build(&self, wire: &mut Wire, case: Case, call: Call) -> Result<Answer> {
        let answer = self.make(wire, case, call).await?;
        wire.built_on().map(|()| answer)
    }
}

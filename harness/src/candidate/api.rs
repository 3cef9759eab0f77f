//! The HTTP client of the drivers: JSON over REST, one credential, errors that tell what stands in the way.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;

use crate::net::trusting;
use crate::redact::Redactor;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// How long a backend may ask to be left alone. Windows of a minute are the longest that a vendor documents.
pub(crate) const PACE_LIMIT: Duration = Duration::from_secs(60);

/// How a vendor's API is spoken.
#[derive(Debug)]
pub struct Dialect {
    /// Who answers.
    pub product: &'static str,
    /// What all paths begin with: `/v1/`.
    pub prefix: &'static str,
    /// The header that carries the token.
    pub header: &'static str,
    /// What comes before the token in it.
    pub scheme: &'static str,
    /// The vendor's own words in the body of an error.
    pub detail: fn(&Value) -> String,
    /// Whether an answer with this status and these words means that the token lacks the right.
    pub denied: fn(StatusCode, &str) -> bool,
}

/// Why a call did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody listens there.
    #[error("{address} refused the connection")]
    Refused {
        /// The address of the backend.
        address: String,
    },
    /// No answer in time.
    #[error("{address} did not answer in time")]
    Timeout {
        /// The address of the backend.
        address: String,
    },
    /// TLS failed: plain text on the other side, or a certificate that the given CA did not sign.
    #[error("TLS with {address} failed: {detail}")]
    Tls {
        /// The address of the backend.
        address: String,
        /// What the TLS library said.
        detail: String,
    },
    /// The connection failed in another way.
    #[error("failed to talk to {address}: {detail}")]
    Transport {
        /// The address of the backend.
        address: String,
        /// What the HTTP library said.
        detail: String,
    },
    /// Something else answers there.
    #[error("{address} answers {status}, but not as {product} does")]
    Foreign {
        /// Who should answer.
        product: &'static str,
        /// The address of the backend.
        address: String,
        /// The HTTP status.
        status: StatusCode,
    },
    /// The server is sealed or not initialised.
    #[error("{address} is sealed")]
    Sealed {
        /// The address of the backend.
        address: String,
    },
    /// The token may not do this, or is not valid at all.
    #[error("{method} {path} is denied: {detail}")]
    Denied {
        /// The HTTP method.
        method: Method,
        /// The path below the prefix.
        path: String,
        /// The server's own words.
        detail: String,
    },
    /// Any other answer.
    #[error("{method} {path} answered {status}: {detail}")]
    Status {
        /// The HTTP method.
        method: Method,
        /// The path below the prefix.
        path: String,
        /// The HTTP status.
        status: StatusCode,
        /// The server's own words.
        detail: String,
    },
}

/// An answer, and both ends of the call.
pub struct Reply {
    /// The headers.
    pub headers: HeaderMap,
    /// The body, `null` when there is none.
    pub body: Value,
    /// When the request was sent.
    pub sent: Instant,
    /// When the answer was here.
    pub answered: Instant,
}

/// What it holds stays unsaid: it may be a value or a token.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// A client with at most one token.
#[derive(Clone)]
pub struct Api {
    dialect: &'static Dialect,
    redactor: Redactor,
    http: Client,
    address: String,
    token: Option<SecretString>,
    steps: Arc<Mutex<Vec<String>>>,
}

impl Api {
    /// A client for the server at `address`, which must show a certificate signed by `ca` where one is given.
    ///
    /// # Errors
    /// The CA is not a PEM certificate.
    pub fn new(dialect: &'static Dialect, address: &str, ca: Option<&[u8]>, user_agent: &str) -> Result<Self> {
        let http = Client::builder()
            .user_agent(user_agent)
            .connect_timeout(CONNECT_LIMIT)
            .timeout(REQUEST_LIMIT)
            .tcp_nodelay(true)
            // The token would go wherever the redirection points.
            .redirect(reqwest::redirect::Policy::none())
            // A proxy of the machine has no business between the suite and the backend under test.
            .no_proxy();
        let http = trusting(http, address, ca)?.build().context("failed to make an HTTP client")?;
        Ok(Self {
            dialect,
            redactor: Redactor::default(),
            http,
            address: address.trim_end_matches('/').to_owned(),
            token: None,
            steps: Arc::default(),
        })
    }

    /// The same client, which tells every token that it is given to this redactor.
    #[must_use]
    pub fn redacting(self, redactor: &Redactor) -> Self {
        Self { redactor: redactor.clone(), ..self }
    }

    /// Tells the redactor a credential that goes to somebody else.
    pub fn learn(&self, credential: &SecretString) {
        self.redactor.learn(credential);
    }

    /// The same client with another token.
    #[must_use]
    pub fn with_token(&self, token: SecretString) -> Self {
        self.redactor.learn(&token);
        Self { token: Some(token), ..self.clone() }
    }

    /// Every call made so far through this client and its siblings that changed something: method and path.
    pub fn steps(&self) -> Vec<String> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps a step that was not a call of this API.
    pub fn step(&self, step: String) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }

    /// Reads.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn get(&self, path: &str) -> Result<Reply, ApiError> {
        self.call(Method::GET, path, None).await
    }

    /// Writes; the call is kept as a step.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply, ApiError> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Replaces; the call is kept as a step.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn put(&self, path: &str, body: &Value) -> Result<Reply, ApiError> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// Deletes; the call is kept as a step.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn delete(&self, path: &str, body: Option<&Value>) -> Result<Reply, ApiError> {
        self.call(Method::DELETE, path, body).await
    }

    /// Makes a call, as often as the backend asks for patience: the times are those of the call that it took.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply, ApiError> {
        if method != Method::GET {
            self.step(format!("{method} {}{path}", self.dialect.prefix));
        }
        let first = Instant::now();
        loop {
            let (answer, sent) = self.send(method.clone(), path, body).await?;
            let status = answer.status();
            let pause = retry_after(answer.headers()).filter(|_| status == StatusCode::TOO_MANY_REQUESTS);
            match pause {
                Some(pause) if first.elapsed() + pause <= PACE_LIMIT => {
                    tracing::warn!(%method, path, pause_s = pause.as_secs(), "the backend asks for patience");
                    tokio::time::sleep(pause).await;
                }
                _ => return self.understand(method, path, answer, sent).await,
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(reqwest::Response, Instant), ApiError> {
        let mut request = self.http.request(method, format!("{}{}{path}", self.address, self.dialect.prefix));
        if let Some(token) = &self.token {
            request = request.header(self.dialect.header, format!("{}{}", self.dialect.scheme, token.expose_secret()));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let sent = Instant::now();
        let answer = request.send().await.map_err(|error| self.classify(&error))?;
        Ok((answer, sent))
    }

    async fn understand(
        &self,
        method: Method,
        path: &str,
        answer: reqwest::Response,
        sent: Instant,
    ) -> Result<Reply, ApiError> {
        let path = path.to_owned();
        let status = answer.status();
        if status.is_redirection() {
            let detail = "it redirects: name the address that it redirects to".to_owned();
            return Err(ApiError::Status { method, path, status, detail });
        }
        let headers = answer.headers().clone();
        let bytes = answer.bytes().await.map_err(|error| self.classify(&error))?;
        let answered = Instant::now();
        let body = match serde_json::from_slice::<Value>(&bytes) {
            Ok(body) => body,
            Err(_) if bytes.is_empty() && status.is_success() => Value::Null,
            Err(_) => {
                let (product, address) = (self.dialect.product, self.address.clone());
                return Err(ApiError::Foreign { product, address, status });
            }
        };
        if status.is_success() {
            return Ok(Reply { headers, body, sent, answered });
        }
        let detail = (self.dialect.detail)(&body);
        Err(match status {
            // Everything but `sys/health` says it in words.
            _ if body["sealed"] == true || detail.contains("sealed") => {
                ApiError::Sealed { address: self.address.clone() }
            }
            _ if (self.dialect.denied)(status, &detail) => ApiError::Denied { method, path, detail },
            _ => ApiError::Status { method, path, status, detail },
        })
    }

    fn classify(&self, error: &reqwest::Error) -> ApiError {
        let address = self.address.clone();
        if error.is_timeout() {
            return ApiError::Timeout { address };
        }
        let mut detail = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            detail = inner.to_string();
            let io = inner.downcast_ref::<io::Error>();
            // An error that was wrapped to become an I/O error is no source of it, only its content.
            let wrapped = io.and_then(|io| io.get_ref()?.downcast_ref::<io::Error>());
            for io in wrapped.into_iter().chain(io) {
                match io.kind() {
                    io::ErrorKind::ConnectionRefused => return ApiError::Refused { address },
                    io::ErrorKind::TimedOut => return ApiError::Timeout { address },
                    // rustls reports whatever is wrong with the peer's TLS as invalid data.
                    io::ErrorKind::InvalidData => return ApiError::Tls { address, detail },
                    _ => {}
                }
            }
            cause = inner.source();
        }
        ApiError::Transport { address, detail }
    }
}

/// The pause that a backend asks for, in whole seconds (RFC 9110, section 10.2.3); the form with a date is not used by any
/// candidate.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A string inside an answer.
///
/// # Errors
/// The answer has no such field: it is not what the API reference says.
pub fn text<'a>(body: &'a Value, pointer: &str) -> Result<&'a str> {
    body.pointer(pointer).and_then(Value::as_str).with_context(|| format!("failed to find {pointer} in the answer"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rstest::rstest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const DIALECT: Dialect = Dialect {
        product: "a test",
        prefix: "/v0/",
        header: "authorization",
        scheme: "Bearer ",
        detail: |body| body["message"].as_str().unwrap_or_default().to_owned(),
        denied: |status, _| status == StatusCode::FORBIDDEN,
    };

    /// Answers each connection with the next of these, the last one for ever; counts the answers.
    async fn server(answers: &'static [&'static str]) -> (Api, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = answers[counted.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1)];
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (Api::new(&DIALECT, &address, None, "test").unwrap(), count)
    }

    const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    const LATER: &str =
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    const MUCH_LATER: &str =
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 3600\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    const NEVER: &str = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    const DENIED: &str =
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 16\r\nconnection: close\r\n\r\n{\"message\":\"no\"}";

    #[tokio::test]
    async fn a_call_waits_as_long_as_it_is_asked_to_and_is_timed_from_when_it_is_accepted() {
        let (api, count) = server(&[LATER, DONE]).await;
        let began = Instant::now();
        let reply = api.post("x", &Value::Null).await.unwrap();
        assert!(reply.sent - began >= Duration::from_secs(1), "the time of the refused call does not count");
        assert_eq!(count.load(Ordering::Relaxed), 2);
        assert_eq!(api.steps(), ["POST /v0/x"], "one step, however often it was tried");
    }

    #[rstest]
    #[case::for_too_long(&[MUCH_LATER])]
    #[case::for_nobody_knows_how_long(&[NEVER])]
    #[tokio::test]
    async fn a_call_that_is_put_off_is_refused(#[case] answers: &'static [&'static str]) {
        let (api, count) = server(answers).await;
        let error = api.get("x").await.unwrap_err();
        assert!(matches!(error, ApiError::Status { status: StatusCode::TOO_MANY_REQUESTS, .. }), "{error}");
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_vendors_words() {
        let (api, _) = server(&[DENIED]).await;
        let error = api.get("x").await.unwrap_err();
        assert!(matches!(&error, ApiError::Denied { detail, .. } if detail == "no"), "{error}");
    }
}

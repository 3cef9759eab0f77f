//! The HTTP API of OpenBao and Vault, as far as the suite needs it. Every path here is in the API reference of OpenBao
//! (openbao.org/api-docs) and was run against OpenBao 2.7.2.

use std::error::Error as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::{Certificate, Client, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

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
    /// Something answers there, but it is neither OpenBao nor Vault.
    #[error("{address} answers {status}, but not as OpenBao or Vault does")]
    Foreign {
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
        /// The path below `/v1/`.
        path: String,
        /// The server's own words.
        detail: String,
    },
    /// Any other answer.
    #[error("{method} {path} answered {status}: {detail}")]
    Status {
        /// The HTTP method.
        method: Method,
        /// The path below `/v1/`.
        path: String,
        /// The HTTP status.
        status: StatusCode,
        /// The server's own words.
        detail: String,
    },
}

/// An answer, and both ends of the call.
#[derive(Debug)]
pub struct Reply {
    /// The body, `null` when there is none.
    pub body: Value,
    /// When the request was sent.
    pub sent: Instant,
    /// When the answer was here.
    pub answered: Instant,
}

/// A client with at most one token.
#[derive(Clone, Debug)]
pub struct Api {
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
    pub fn new(address: &str, ca: Option<&[u8]>, user_agent: &str) -> Result<Self> {
        let mut http = Client::builder()
            .user_agent(user_agent)
            .connect_timeout(CONNECT_LIMIT)
            .timeout(REQUEST_LIMIT)
            .tcp_nodelay(true)
            // The token would go wherever the redirection points.
            .redirect(reqwest::redirect::Policy::none())
            // A proxy of the machine has no business between the suite and the backend under test.
            .no_proxy();
        if let Some(ca) = ca {
            let ca = Certificate::from_pem(ca).context("failed to read the CA certificate")?;
            http = http.tls_certs_only([ca]);
        }
        let http = http.build().context("failed to make an HTTP client")?;
        Ok(Self { http, address: address.trim_end_matches('/').to_owned(), token: None, steps: Arc::default() })
    }

    /// The same client with another token.
    #[must_use]
    pub fn with_token(&self, token: SecretString) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    /// Every call made so far through this client and its siblings that changed something: method and path.
    pub fn steps(&self) -> Vec<String> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(format!("POST /v1/{path}"));
        self.call(Method::POST, path, Some(body)).await
    }

    /// Deletes; the call is kept as a step.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn delete(&self, path: &str) -> Result<Reply, ApiError> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(format!("DELETE /v1/{path}"));
        self.call(Method::DELETE, path, None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply, ApiError> {
        let mut request = self.http.request(method.clone(), format!("{}/v1/{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("X-Vault-Token", token.expose_secret());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let sent = Instant::now();
        let response = request.send().await.map_err(|error| self.classify(&error))?;
        let status = response.status();
        if status.is_redirection() {
            let (path, detail) = (path.to_owned(), "it redirects: name the active node".to_owned());
            return Err(ApiError::Status { method, path, status, detail });
        }
        let bytes = response.bytes().await.map_err(|error| self.classify(&error))?;
        let answered = Instant::now();
        let body = match serde_json::from_slice::<Value>(&bytes) {
            Ok(body) => body,
            Err(_) if bytes.is_empty() && status.is_success() => Value::Null,
            Err(_) => return Err(ApiError::Foreign { address: self.address.clone(), status }),
        };
        if status.is_success() {
            return Ok(Reply { body, sent, answered });
        }
        let path = path.to_owned();
        let detail = body["errors"]
            .as_array()
            .map(|errors| errors.iter().filter_map(Value::as_str).map(str::trim).collect::<Vec<_>>().join(", "))
            .unwrap_or_default();
        Err(match status {
            // Everything but `sys/health` says it in words.
            _ if body["sealed"] == true || detail.contains("sealed") => {
                ApiError::Sealed { address: self.address.clone() }
            }
            StatusCode::FORBIDDEN => ApiError::Denied { method, path, detail },
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

/// A string inside an answer.
///
/// # Errors
/// The answer has no such field: it is not what the API reference says.
pub fn text<'a>(body: &'a Value, pointer: &str) -> Result<&'a str> {
    body.pointer(pointer).and_then(Value::as_str).with_context(|| format!("failed to find {pointer} in the answer"))
}

//! The vendor's own delivery: `bao agent` with a file template, or as the supervisor of the app.
//!
//! Source: OpenBao's documentation, "Agent templates" and "Process supervisor mode" (the latter is marked beta).

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use crate::candidate::{NativePlan, NativeRequest};
use crate::cell::DeliveryId;
use crate::platform::{Program, Workload};

/// How often the agent asks for a KV secret. Its default is five minutes; one second is the least that its own users
/// would set for a secret that rotates.
const RENDER_INTERVAL: Duration = Duration::from_secs(1);

/// The agent waits this long after a change before it restarts the app. Not configurable; measured on OpenBao 2.7.2.
const EXEC_DEBOUNCE: Duration = Duration::from_secs(2);

/// Where an agent reads: the server, and the secret's data path.
pub(super) struct Upstream<'a> {
    pub(super) address: &'a str,
    pub(super) ca_file: Option<&'a str>,
    pub(super) auth_mount: &'a str,
    pub(super) data_path: &'a str,
}

/// The agent's configuration file, as JSON, which it takes as well as HCL.
pub(super) fn config(upstream: &Upstream<'_>, request: &NativeRequest<'_>) -> Result<Value> {
    let file = |role: &str| request.reader.files.get(role).map(|path| path.display().to_string());
    let mut vault = json!({ "address": upstream.address });
    if let Some(ca_file) = upstream.ca_file {
        vault["ca_cert"] = json!(ca_file);
    }
    let mut config = json!({
        "vault": vault,
        "auto_auth": { "method": [{ "approle": {
            "mount_path": format!("auth/{}", upstream.auth_mount),
            "config": {
                "role_id_file_path": file("role_id"),
                "secret_id_file_path": file("secret_id"),
                "remove_secret_id_file_after_reading": false,
            },
        } }] },
        "template_config": {
            "static_secret_render_interval": format!("{}s", RENDER_INTERVAL.as_secs()),
            "exit_on_retry_failure": true,
        },
    });
    match request.delivery {
        DeliveryId::NativeTemplate => {
            // The first rendering comes before the app is there to be signalled.
            let sidecar = request.sidecar.display().to_string();
            let signal = [sidecar, "signal".into(), "--pid-file".into(), request.pid_file.display().to_string()];
            config["template"] = json!([{
                "contents": file_template(upstream.data_path, request.names),
                "destination": request.folder.join("app.env").display().to_string(),
                "perms": "0600",
                // By default the agent keeps the previous value beside the new one.
                "backup": false,
                "error_on_missing_key": true,
                "exec": { "command": signal },
            }]);
        }
        DeliveryId::NativeExec => {
            let templates: Map<String, Value> = request
                .names
                .iter()
                .map(|name| {
                    let contents = with_secret(upstream.data_path, &format!("{{{{ {} }}}}", field(name)));
                    (name.clone(), json!({ "contents": contents, "error_on_missing_key": true }))
                })
                .collect();
            config["env_template"] = json!([templates]);
            config["exec"] = json!({
                "command": [request.app.display().to_string()],
                "restart_on_secret_changes": "always",
                "restart_stop_signal": "SIGTERM",
            });
        }
        other => bail!("failed to plan a native delivery: `{other}` is not one"),
    }
    Ok(config)
}

/// The plan for an agent whose configuration lies at `config_file`.
pub(super) fn plan(config_file: &std::path::Path, request: &NativeRequest<'_>) -> NativePlan {
    let exec = request.delivery == DeliveryId::NativeExec;
    NativePlan {
        agent: Workload {
            name: "agent".into(),
            program: Program::Bao,
            args: vec!["agent".into(), format!("-config={}", config_file.display()), "-log-level=info".into()],
            ..Workload::default()
        },
        env_file: (!exec).then(|| request.folder.join("app.env")),
        unavoidable: if exec { RENDER_INTERVAL + EXEC_DEBOUNCE } else { RENDER_INTERVAL },
    }
}

/// One line per name, quoted so that python-dotenv reads back what was written: the same escapes as
/// `probe::envfile::render`, in the agent's template language.
fn file_template(data_path: &str, names: &[String]) -> String {
    let escapes = [("\\", "\\\\"), ("\"", "\\\""), ("\n", "\\n"), ("\r", "\\r"), ("${", "${:-$}{")];
    let lines: String = names
        .iter()
        .map(|name| {
            let escaped = escapes.iter().fold(field(name), |pipeline, (from, to)| {
                format!("{pipeline} | replaceAll {} {}", json!(from), json!(to))
            });
            format!("{name}=\"{{{{ {escaped} }}}}\"\n")
        })
        .collect();
    with_secret(data_path, &lines)
}

fn field(name: &str) -> String {
    format!(".Data.data.{name}")
}

fn with_secret(data_path: &str, body: &str) -> String {
    format!("{{{{ with secret {} }}}}{body}{{{{ end }}}}", json!(data_path))
}

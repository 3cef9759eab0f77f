//! The contract of Doppler: every endpoint that driver and sidecar use (docs.doppler.com/reference), and its refusals.

use anyhow::{Context, Result};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use standins::Listen;

use super::wire::{Case, Rest, Wire, call, case, client};
use crate::candidate::PROBED_NAME;
use crate::candidate::doppler::Remote;
use crate::hold::interruptible;
use crate::net;
use crate::run::Owner;
use crate::target::Targets;

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

/// Goes through the contract, and removes what it made.
pub(super) async fn script(wire: &mut Wire, targets: &Targets, scope: &str, owner: Owner) -> Result<()> {
    let (standin, address, token, ca_file) = match Remote::of(targets, scope)? {
        Some(remote) => (None, remote.address, remote.token, remote.ca_file),
        None => {
            let listen = Listen::on(&format!("{}:0", net::own_loopback()), false).await?;
            let standin = standins::doppler::start(Default::default(), listen)?;
            let (address, token) = (standin.url(), standin.control().admin().clone());
            (Some(standin), address, token, None)
        }
    };
    let api = Rest { http: client(ca_file.as_deref())?, address };
    let project =
        call(POST, "/v3/projects").by(&token).body(json!({ "name": scope, "create_default_environments": false }));
    api.build(wire, case("creates a project", 200), project).await?;
    let gone_through = interruptible(owner, inside(&api, wire, &token, scope)).await;
    // Whatever happened inside, nothing is left behind.
    let gone = call(DELETE, "/v3/projects/project").by(&token).body(json!({ "project": scope }));
    let removed = api.build(wire, case("removes the project", 200), gone).await;
    if let Some(standin) = standin {
        standin.shutdown().await;
    }
    gone_through.and(removed.map(drop))
}

/// Everything inside the project.
async fn inside(api: &Rest, wire: &mut Wire, admin: &SecretString, project: &str) -> Result<()> {
    let of = |config: &str| format!("project={project}&config={config}");
    let secrets =
        |config: &str, value: &str| json!({ "project": project, "config": config, "secrets": { PROBED_NAME: value } });
    api.make(wire, case("says who it is", 200), call(GET, "/v3/me").by(admin)).await?;
    api.make(wire, case("refuses a wrong token", 401), call(GET, "/v3/me").by(&"dp.pt.wrong".into())).await?;
    let again = call(POST, "/v3/projects").by(admin).body(json!({ "name": project }));
    api.make(wire, case("refuses a name that is taken", 400), again).await?;
    let listed = call(GET, "/v3/projects").query("page=1&per_page=20").by(admin);
    api.make(wire, case("lists projects", 200), listed).await?;
    let made = call(POST, "/v3/environments").query(&format!("project={project}")).by(admin);
    api.build(wire, case("creates an environment", 200), made.body(json!({ "name": "qa", "slug": "qa" }))).await?;
    let listed = call(GET, "/v3/environments").query(&format!("project={project}")).by(admin);
    api.make(wire, case("lists environments", 200), listed).await?;
    let branch = json!({ "project": project, "environment": "qa", "name": "qa_branch" });
    api.build(wire, case("creates a branch config", 200), call(POST, "/v3/configs").by(admin).body(branch)).await?;

    let write = |value: &str| call(POST, "/v3/configs/config/secrets").body(secrets("qa", value));
    api.build(wire, case("writes a secret", 200), write("one").by(admin)).await?;
    api.build(wire, case("rotates a secret", 200), write("two").by(admin)).await?;
    let one = |name: &str| call(GET, "/v3/configs/config/secret").query(&format!("{}&name={name}", of("qa"))).by(admin);
    api.make(wire, case("reads a secret", 200), one(PROBED_NAME)).await?;
    api.make(wire, case("misses a secret", 404), one("NOT_THERE")).await?;
    let all = call(GET, "/v3/configs/config/secrets").query(&of("qa")).by(admin);
    api.make(wire, case("lists secrets", 200), all).await?;

    let token = |name: &str| {
        let body = json!({ "project": project, "config": "qa", "name": name, "access": "read" });
        call(POST, "/v3/configs/config/tokens").by(admin).body(body)
    };
    let made = api.build(wire, case("makes a service token", 200), token("reader")).await?;
    let (reader, slug) = (SecretString::from(made.text("/token/key")?), made.text("/token/slug")?);
    let download = |config: &str| {
        let query = format!("{}&format=json&secrets={PROBED_NAME}", of(config));
        call(GET, "/v3/configs/config/secrets/download").query(&query).by(&reader)
    };
    let tagged = Case { headers: &["etag"], ..case("downloads", 200) };
    let downloaded = api.build(wire, tagged, download("qa")).await?;
    let etag = downloaded.headers.get("etag").and_then(|etag| etag.to_str().ok()).context("failed to find the ETag")?;
    let unchanged = download("qa").header("if-none-match", etag);
    api.make(wire, case("knows what was downloaded before", 304), unchanged).await?;
    api.make(wire, case("refuses a config out of scope", 400), download("dev")).await?;
    api.make(wire, case("refuses a write by a reader", 403), write("three").by(&reader)).await?;

    let watch = "/v3/configs/config/secrets/watch";
    let stream = api.http.get(format!("{}{watch}?{}", api.address, of("qa"))).bearer_auth(reader.expose_secret());
    wire.first_event(format!("GET {watch}"), case("tells that it watches", 200), stream).await?;

    let logs = call(GET, "/v3/configs/config/logs").query(&format!("{}&page=1&per_page=20", of("qa"))).by(admin);
    let logs = api.build(wire, case("lists the change log", 200), logs).await?;
    let log = logs.text("/logs/0/id")?;
    let log = call(GET, "/v3/configs/config/logs/log").query(&format!("{}&log={log}", of("qa"))).by(admin);
    api.make(wire, case("shows a change with its diff", 200), log).await?;
    let past = call(GET, "/v3/configs/config/logs").query(&format!("{}&page=999", of("qa"))).by(admin);
    api.make(wire, case("ends after the last page", 200), past).await?;
    let activity = call(GET, "/v3/logs").query("page=1&per_page=1").by(admin);
    api.make(wire, case("lists the activity log", 200), activity).await?;

    let hook = json!({ "url": "https://receiver.invalid/webhook", "secret": "not used", "enableConfigs": ["qa"] });
    let hook = call(POST, "/v3/webhooks").query(&format!("project={project}")).by(admin).body(hook);
    let hook = api.build(wire, case("makes a webhook", 200), hook).await?;
    let id = hook.text("/webhook/id")?;
    let gone = call(DELETE, "/v3/webhooks/webhook/{}").of(&[&id]).query(&format!("project={project}")).by(admin);
    api.make(wire, case("removes a webhook", 200), gone).await?;

    let revoked = json!({ "project": project, "config": "qa", "slug": slug });
    let revoked = call(DELETE, "/v3/configs/config/tokens/token").by(admin).body(revoked);
    api.build(wire, case("revokes a service token", 200), revoked).await?;
    api.make(wire, case("refuses a revoked token", 401), download("qa")).await?;
    Ok(())
}

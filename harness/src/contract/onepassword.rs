//! The contract of 1Password Connect: every endpoint that driver and sidecar use (github.com/1Password/connect,
//! docs/openapi/spec.yaml 1.7.1), and its refusals.

use anyhow::Result;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use standins::Listen;
use standins::onepassword::Grant;

use super::wire::{Case, Rest, Wire, call, case, client};
use crate::candidate::PROBED_NAME;
use crate::candidate::onepassword::Remote;
use crate::cell::Environment;
use crate::hold::interruptible;
use crate::net;
use crate::run::Owner;
use crate::target::Targets;

const GET: Method = Method::GET;

/// Who may do what in which vaults.
struct Scene {
    rotator: SecretString,
    reader: SecretString,
    own: String,
    other: String,
}

/// Goes through the contract, and removes what it made.
pub(super) async fn script(wire: &mut Wire, targets: &Targets, scope: &str, owner: Owner) -> Result<()> {
    let (own, other) = (Environment::Dev, Environment::Prod);
    let (standin, address, ca_file, scene) = match Remote::of(targets, scope)? {
        Some(remote) => {
            let scene = Scene {
                rotator: remote.rotator.clone(),
                reader: remote.readers[&own].clone(),
                own: remote.vaults[&own].clone(),
                other: remote.vaults[&other].clone(),
            };
            (None, remote.address, remote.ca_file, scene)
        }
        None => {
            let listen = Listen::on(&format!("{}:0", net::own_loopback()), false).await?;
            let standin = standins::onepassword::start(Default::default(), listen)?;
            let control = standin.control();
            let [own, other] = [own, other].map(|environment| control.create_vault(&environment.to_string()));
            let grant = |vault: &String, write| Grant { vault: vault.clone(), read: true, write };
            let rotator = control.issue_token("rotator", vec![grant(&own, true), grant(&other, true)], None);
            let reader = control.issue_token("reader", vec![grant(&own, false)], None);
            let address = standin.url();
            (Some(standin), address, None, Scene { rotator, reader, own, other })
        }
    };
    let api = Rest { http: client(ca_file.as_deref())?, address };
    let item = |value: &str| {
        let field = json!({ "id": "field0", "type": "CONCEALED", "label": PROBED_NAME, "value": value });
        json!({ "title": scope, "category": "API_CREDENTIAL", "vault": { "id": scene.own }, "fields": [field] })
    };
    let made = call(Method::POST, "/v1/vaults/{}/items").of(&[&scene.own]).by(&scene.rotator).body(item("one"));
    let id = api.build(wire, case("creates an item", 200), made).await?.text("/id")?;
    let gone_through = interruptible(owner, inside(&api, wire, &scene, scope, &id, &item("two"))).await;
    // Whatever happened inside, nothing is left behind.
    let gone = call(Method::DELETE, "/v1/vaults/{}/items/{}").of(&[&scene.own, &id]).by(&scene.rotator);
    let removed = api.build(wire, case("removes an item", 204), gone).await;
    let missing = call(GET, "/v1/vaults/{}/items/{}").of(&[&scene.own, &id]).by(&scene.reader);
    let looked = api.make(wire, case("misses an item", 404), missing).await;
    if let Some(standin) = standin {
        standin.shutdown().await;
    }
    gone_through.and(removed.map(drop)).and(looked.map(drop))
}

/// Everything with the item.
async fn inside(api: &Rest, wire: &mut Wire, scene: &Scene, title: &str, id: &str, rotated: &Value) -> Result<()> {
    let Scene { rotator, reader, own, other } = scene;
    api.make(wire, case("is alive", 200), call(GET, "/heartbeat")).await?;
    api.make(wire, case("says how it is", 200), call(GET, "/health")).await?;
    api.make(wire, case("lists vaults", 200), call(GET, "/v1/vaults").by(rotator)).await?;
    api.make(wire, case("refuses a wrong token", 401), call(GET, "/v1/vaults").by(&"a.b.c".into())).await?;
    api.make(wire, case("refuses no token", 401), call(GET, "/v1/vaults")).await?;
    api.make(wire, case("shows a vault", 200), call(GET, "/v1/vaults/{}").of(&[own]).by(reader)).await?;
    api.make(wire, case("refuses a vault out of scope", 403), call(GET, "/v1/vaults/{}").of(&[other]).by(reader))
        .await?;
    let items = || call(GET, "/v1/vaults/{}/items").of(&[own]).by(reader);
    api.make(wire, case("lists items", 200), items()).await?;
    let filter = format!("filter=title%20eq%20%22{title}%22");
    api.make(wire, case("finds an item by its title", 200), items().query(&filter)).await?;

    let one = |method: Method| call(method, "/v1/vaults/{}/items/{}").of(&[own, id]);
    api.make(wire, case("reads an item", 200), one(GET).by(reader)).await?;
    let mut whole = rotated.clone();
    whole["id"] = json!(id);
    api.build(wire, case("replaces an item", 200), one(Method::PUT).by(rotator).body(whole.clone())).await?;
    let patch = json!([{ "op": "replace", "path": "/fields/field0/value", "value": "three" }]);
    api.make(wire, case("changes a field", 200), one(Method::PATCH).by(rotator).body(patch)).await?;
    api.make(wire, case("refuses a write by a reader", 403), one(Method::PUT).by(reader).body(whole)).await?;
    let nonsense = json!({ "title": 7 });
    api.make(wire, case("refuses what is no item", 400), one(Method::PUT).by(rotator).body(nonsense)).await?;

    let ranged = Case { headers: &["content-range"], ..case("lists its log", 200) };
    let activity = |query: &str| call(GET, "/v1/activity").query(query).by(rotator);
    api.make(wire, ranged, activity("limit=50&offset=0")).await?;
    let past = Case { name: "ends after the last entry", ..ranged };
    api.make(wire, past, activity("limit=50&offset=1000000")).await?;
    Ok(())
}

"""1Password Connect as its own SDK sees it, in the shapes of the SDK's models.

No package of a registry ships Connect's OpenAPI document. The SDK's models are generated from one (0.2.1, as they
say themselves), so answers are held against those: strictly, since the SDK itself overlooks what it does not know. They
know vaults and items, not the log of requests and not the health. With CONNECT_DOCUMENT, a file with the document as
JSON (`docs/openapi/spec.yaml` of the repository 1Password/connect), every answer is also held against that.
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx
from jsonschema import Draft202012Validator
from onepasswordconnectsdk import models
from onepasswordconnectsdk.client import Client, new_client
from onepasswordconnectsdk.errors import FailedToRetrieveItemException as ItemError
from onepasswordconnectsdk.errors import FailedToRetrieveVaultException as VaultError
from onepasswordconnectsdk.models import Field, Item, ItemVault
from onepasswordconnectsdk.serializer import Serializer

from steps import Exchange, Steps, control, equal, matches, problems, refused, settings, true

NAME = "POC_TEST_VALUE"
NOBODY = "a" * 26
VAULT = "/v1/vaults/{vault}"
ITEMS = f"{VAULT}/items"
ITEM = f"{ITEMS}/{{item}}"
# Which model an answer of 200 holds.
MODELS = {
    "GET /v1/vaults": "list[Vault]",
    "GET /v1/vaults/": "list[Vault]",
    f"GET {VAULT}": "Vault",
    f"GET {ITEMS}": "list[SummaryItem]",
    f"GET {ITEMS}/": "list[SummaryItem]",
    f"POST {ITEMS}": "Item",
    f"GET {ITEM}": "Item",
    f"PUT {ITEM}": "Item",
    f"PATCH {ITEM}": "Item",
    f"GET {ITEM}/files": "list[File]",
}
KINDS: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
}


def schema_of(model: str) -> dict[str, Any]:
    """What a model of the SDK says of the JSON that it is read from."""
    if listed := re.fullmatch(r"list\[(\w+)\]", model):
        return {"type": "array", "items": schema_of(listed[1])}
    if model in KINDS:
        return KINDS[model]
    kind = getattr(models, model)
    members = {kind.attribute_map[name]: schema_of(inner) for name, inner in kind.openapi_types.items()}
    return {"type": "object", "properties": members, "additionalProperties": False}


class Judge:
    """The SDK's models, and the document where there is one."""

    def __init__(self) -> None:
        self.by_model: set[str] = set()
        self.by_document: set[str] = set()
        self.unjudged: set[str] = set()
        place = os.environ.get("CONNECT_DOCUMENT")
        self.document: dict[str, Any] = {}
        if place:
            with open(place, encoding="utf-8") as file:
                self.document = json.load(file)
            for name, schema in self.document["components"]["schemas"].items():
                self.document["components"]["schemas"][name] = closed(schema, top=True)

    def judge(self, exchange: Exchange) -> list[str]:
        if not exchange.headers.get("content-type", "").startswith("application/json"):
            return [] if exchange.status == 204 or "/v1/" not in exchange.endpoint else ["it is no JSON"]
        told = self._by_document(exchange) if self.document else []
        if exchange.status >= 400:
            return told + problems(validator(schema_of("Error")), exchange.json())
        endpoint, model = next(
            ((template, model) for template, model in MODELS.items() if matches(template, exchange.endpoint)), ("", "")
        )
        if not model:
            self.unjudged.add(exchange.endpoint)
            return told
        self.by_model.add(endpoint.rstrip("/"))
        told += problems(validator(schema_of(model)), exchange.json())
        try:
            Serializer().deserialize(exchange.body, model)
        except ValueError as error:
            told.append(f"the SDK refuses it: {error}")
        return told

    def _by_document(self, exchange: Exchange) -> list[str]:
        method, path = exchange.endpoint.rstrip("/").split(" ", 1)
        bare = path.removeprefix("/v1")
        template = next((template for template in self.document["paths"] if matches(template, bare)), None)
        operation = self.document["paths"].get(template, {}).get(method.lower())
        answer = operation["responses"].get(str(exchange.status)) if operation else None
        if answer is None:
            # Errors that the document does not list for an endpoint: only their shape can be looked at.
            schema: dict[str, Any] = {"$ref": "#/components/schemas/ErrorResponse"}
            if exchange.status < 400:
                return [f"the document knows no {exchange.status} of it"]
        else:
            schema = answer["content"]["application/json"]["schema"]
            self.by_document.add(f"{method} {template}")
        whole = {**closed(copy.deepcopy(schema), top=False), "components": self.document["components"]}
        return problems(validator(whole), exchange.json())

    def summary(self) -> list[str]:
        told = [f"shapes: {len(self.by_model)} endpoints by the models of onepasswordconnectsdk, errors by its Error"]
        if self.document:
            return [*told, f"shapes: {len(self.by_document)} endpoints by the document at CONNECT_DOCUMENT"]
        return [
            *told,
            "shapes: none by 1Password's OpenAPI document: no registry package ships it (name it in CONNECT_DOCUMENT)",
            f"shapes: {len(self.unjudged)} endpoints unknown to the models, held by the steps alone: "
            + ", ".join(sorted(self.unjudged)),
        ]


def closed(schema: Any, top: bool) -> Any:
    """The same schema without room for members that it does not name. A part of `allOf` must stay open: `top` says that
    the schema may be one, and then only what uses it is closed."""
    if not isinstance(schema, dict):
        return schema
    schema = {
        name: {member: closed(inner, top=False) for member, inner in value.items()}
        if name == "properties"
        else [closed(part, top=True) for part in value]
        if name == "allOf"
        else closed(value, top=False)
        for name, value in schema.items()
    }
    if not top and ("$ref" in schema or "properties" in schema):
        schema["unevaluatedProperties"] = False
    return schema


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


setting = settings()
judge = Judge()
steps = Steps("onepassword", judge=judge.judge, summary=judge.summary)
step = steps.step
for secret in ("token", "control_token"):
    steps.hide(setting[secret])


def saw(response: httpx.Response) -> None:
    response.read()
    endpoint = f"{response.request.method} {response.request.url.path}"
    steps.saw(Exchange(endpoint, response.status_code, dict(response.headers), response.content))


def client(token: str) -> Client:
    made = new_client(setting["url"], token)
    made.session.event_hooks["response"].append(saw)
    return made


def issue(name: str, expires_at: str | None = None, **rights: bool) -> str:
    """A token for one vault, as `op connect token create` makes it."""
    body = {"name": name, "grants": [{"vault": state.vault, **rights}], "expires_at": expires_at}
    return steps.hide(control(setting, "tokens", body)["token"])


def raw(method: str, path: str, **more: Any) -> httpx.Response:
    """A request that the SDK has no call for, with the SDK's own session."""
    return admin.session.request(method, path, **more)


def patch(*operations: dict[str, Any]) -> httpx.Response:
    return raw("PATCH", place(), json=list(operations))


def place() -> str:
    return f"/v1/vaults/{state.vault}/items/{state.item}"


def value() -> str:
    return admin.get_item_by_id(state.item, state.vault).fields[0].value


state = SimpleNamespace()
anonymous = httpx.Client(base_url=setting["url"], event_hooks={"response": [saw]})
admin = client(setting["token"])


@step("GET /heartbeat", "GET /health", "GET /metrics")
def health_needs_no_token() -> None:
    equal(anonymous.get("/heartbeat").text, ".", "the heartbeat")
    health = anonymous.get("/health").json()
    equal(health["name"], "1Password Connect API", "the name")
    equal(
        [part["status"] for part in health["dependencies"] if part["service"] == "sync"], ["TOKEN_NEEDED"], "the sync"
    )
    metrics = anonymous.get("/metrics")
    true(
        metrics.headers["content-type"].startswith("text/plain") and "# TYPE " in metrics.text, "they are Prometheus's"
    )


@step("GET /v1/vaults")
def a_wrong_token_is_refused() -> None:
    with refused(VaultError, "a wrong token") as error:
        client("no.such.token").get_vaults()
    true("Received 401" in str(error[0]) and "Invalid token signature" in str(error[0]), "the message says so")
    equal(anonymous.get("/v1/vaults").status_code, 401, "the status without a token")


@step("GET /v1/vaults", "GET /v1/vaults/{vault}", "GET /health")
def vaults_are_listed_filtered_and_read() -> None:
    state.vault = control(setting, "vaults", {"name": "prod", "description": "for the suite"})["id"]
    state.other = control(setting, "vaults", {"name": 'de"v'})["id"]
    equal(
        {vault.id: vault.name for vault in admin.get_vaults()}, {state.vault: "prod", state.other: 'de"v'}, "the vaults"
    )
    equal(admin.get_vault_by_title("prod").id, state.vault, "the one of the name")
    vault = admin.get_vault(state.vault)
    equal((vault.name, vault.description, vault.items), ("prod", "for the suite", 0), "the vault")
    with refused(ItemError, "a name that no vault has"):
        admin.get_vault_by_title("nope")
    quoted = raw("GET", "/v1/vaults", params={"filter": r'name eq "de\"v"'})
    equal([vault["id"] for vault in quoted.json()], [state.other], "the vault whose name has a quote")
    health = anonymous.get("/health").json()
    equal([part["status"] for part in health["dependencies"] if part["service"] == "sync"], ["ACTIVE"], "the sync")


@step("GET /v1/vaults/{vault}")
def what_is_no_vault_is_refused() -> None:
    with refused(VaultError, "a missing vault") as error:
        admin.get_vault(NOBODY)
    true("Received 404" in str(error[0]), "it is a 404")
    with refused(VaultError, "an id that cannot be") as error:
        admin.get_vault("NOPE")
    true("Received 400" in str(error[0]), "it is a 400")
    equal(raw("GET", "/v1/vaults?filter=bogus").status_code, 400, "a filter that is none")


@step(f"POST {ITEMS}")
def an_item_is_made() -> None:
    fields = [Field(type="CONCEALED", label=NAME, value="v1")]
    item = Item(vault=ItemVault(id=state.vault), title="app", category="API_CREDENTIAL", tags=["suite"], fields=fields)
    made = admin.create_item(state.vault, item)
    equal((made.version, made.title, made.tags, made.fields[0].value), (1, "app", ["suite"], "v1"), "the item")
    true(re.fullmatch(r"[\da-z]{26}", made.id) and made.fields[0].id and made.created_at, "it has ids and a time")
    state.item, state.field = made.id, made.fields[0].id
    with refused(ItemError, "an item of another vault"):
        admin.create_item(state.other, item)
    with refused(ItemError, "a category that is none") as error:
        admin.create_item(state.vault, {"vault": {"id": state.vault}, "category": "NOPE"})
    true("Invalid item category" in str(error[0]), "the message says so")


@step(f"POST {ITEMS}")
def a_value_is_generated() -> None:
    recipe = {"length": 20, "characterSets": ["LETTERS", "DIGITS"], "excludeCharacters": "abc1"}
    fields = [{"id": "password", "purpose": "PASSWORD", "type": "CONCEALED", "generate": True, "recipe": recipe}]
    body = {"vault": {"id": state.vault}, "title": "made up", "category": "LOGIN", "fields": fields}
    made = admin.create_item(state.vault, body)
    true(re.fullmatch(r"[d-zA-Z02-9]{20}", made.fields[0].value), "the value follows its recipe")
    state.generated = made.id


@step(f"GET {ITEMS}")
def items_are_listed_without_their_fields() -> None:
    listed = admin.get_items(state.vault)
    equal(sorted(item.title for item in listed), ["app", "made up"], "the titles")
    true(all("fields" not in item for item in steps.last().json()), "a list shows no fields")
    equal([item.id for item in admin.get_items(state.vault, 'title eq "app"')], [state.item], "the one of the title")
    equal(admin.get_items(state.vault, 'title eq "nope"'), [], "a title that no item has")
    with refused(ItemError, "a filter that is none"):
        admin.get_items(state.vault, "bogus")


@step(f"GET {ITEM}")
def an_item_is_read_by_id_and_title() -> None:
    equal(admin.get_item(state.item, "prod").fields[0].value, "v1", "the value by id")
    equal(admin.get_item("app", state.vault).id, state.item, "the id by title")
    with refused(ItemError, "a missing item") as error:
        admin.get_item_by_id(NOBODY, state.vault)
    equal(error[0].status_code, 404, "the status")
    with refused(ItemError, "an id that cannot be") as error:
        admin.get_item_by_id("nope", state.vault)
    equal(error[0].status_code, 400, "the status")


@step(f"GET {ITEM}/files")
def an_item_has_no_files() -> None:
    equal(admin.get_files(state.item, state.vault), [], "the files")


@step(f"PUT {ITEM}")
def an_item_is_replaced() -> None:
    item = admin.get_item_by_id(state.item, state.vault)
    item.fields[0].value = "v2"
    replaced = admin.update_item(state.item, state.vault, item)
    equal((replaced.version, replaced.fields[0].value), (2, "v2"), "version and value")
    equal(value(), "v2", "the value as read")
    equal(raw("PUT", place(), json={"id": NOBODY}).status_code, 400, "the status for another id")


@step(f"PATCH {ITEM}")
def an_item_is_patched() -> None:
    path = f"/fields/{state.field}/value"
    changed = patch({"op": "replace", "path": path, "value": "v3"})
    equal((changed.status_code, changed.json()["version"], value()), (200, 3, "v3"), "status, version and value")
    added = patch({"op": "add", "path": "/fields", "value": {"label": "new", "type": "string", "value": "x"}}).json()
    new = added["fields"][1]["id"]
    equal(patch({"op": "remove", "path": f"/fields/{new}"}).json()["version"], 5, "the version after two more")
    equal(patch().json()["version"], 5, "the version after a patch of nothing")
    equal(patch({"op": "replace", "path": "/favorite", "value": True}).json()["favorite"], True, "the attribute")
    for wrong in (
        {"op": "remove", "path": "/fields/nope"},
        {"op": "replace", "path": "/version", "value": 9},
        {"op": "move", "path": path, "value": "x"},
        {"op": "replace", "path": path},
        {"op": "replace", "path": path, "value": 1},
        {"op": "replace", "path": "fields"},
    ):
        equal(patch(wrong).status_code, 400, f"the status for {wrong['op']} {wrong['path']}")
    # All or nothing.
    equal(
        patch({"op": "replace", "path": path, "value": "half"}, {"op": "remove", "path": "/nope"}).status_code,
        400,
        "it",
    )
    equal(value(), "v3", "the value after refusals")


@step("GET /v1/vaults/", f"GET {ITEMS}/")
def a_trailing_slash_makes_no_difference() -> None:
    equal(raw("GET", "/v1/vaults/").json(), raw("GET", "/v1/vaults").json(), "the vaults")
    equal(
        raw("GET", f"/v1/vaults/{state.vault}/items/").json(),
        raw("GET", f"/v1/vaults/{state.vault}/items").json(),
        "it",
    )


@step(f"GET {ITEM}", f"PATCH {ITEM}", "GET /v1/vaults/{vault}", "GET /v1/vaults")
def a_token_reaches_its_vault_only() -> None:
    reader = client(issue("reader", read=True))
    equal([vault.id for vault in reader.get_vaults()], [state.vault], "the vaults it sees")
    equal(reader.get_item_by_id(state.item, state.vault).fields[0].value, "v3", "the value")
    with refused(VaultError, "another vault") as error:
        reader.get_vault(state.other)
    true(f"vault {state.other} is not in scope" in str(error[0]), "the message says so")
    with refused(ItemError, "a deletion by a reader") as error:
        reader.delete_item(state.item, state.vault)
    true("Received 403" in str(error[0]), "it is a 403")
    writer = client(issue("writer", write=True))
    with refused(ItemError, "a read by a writer") as error:
        writer.get_item_by_id(state.item, state.vault)
    equal(error[0].status_code, 403, "the status")
    body = [{"op": "replace", "path": f"/fields/{state.field}/value", "value": "v4"}]
    equal(writer.session.request("PATCH", place(), json=body).status_code, 200, "the status of the writer's patch")
    equal(reader.get_item_by_id(state.item, state.vault).fields[0].value, "v4", "the writer's value")


@step("GET /v1/vaults")
def a_revoked_token_is_refused() -> None:
    token = issue("brief", read=True)
    equal(len(client(token).get_vaults()), 1, "the vaults before")
    equal(control(setting, "tokens/revoke", {"token": token})["done"], True, "the revocation")
    with refused(VaultError, "a revoked token") as error:
        client(token).get_vaults()
    true("Received 401" in str(error[0]), "it is a 401")


@step("GET /v1/vaults")
def an_expired_token_is_refused() -> None:
    end = admin.get_item_by_id(state.item, state.vault).updated_at + timedelta(hours=1)
    token = issue("hour", expires_at=end.isoformat(), read=True)
    equal(len(client(token).get_vaults()), 1, "the vaults before")
    control(setting, "clock/advance", {"seconds": 3601})
    with refused(VaultError, "an expired token") as error:
        client(token).get_vaults()
    true("Received 401" in str(error[0]), "it is a 401")


@step("GET /v1/activity")
def activity_ties_a_read_to_a_token_and_a_version() -> None:
    reader = client(issue("auditor", read=True))
    read = reader.get_item_by_id(state.item, state.vault)
    with refused(ItemError, "a deletion by a reader"):
        reader.delete_item(state.item, state.vault)
    page = raw("GET", "/v1/activity", params={"limit": 2})
    denied, seen = page.json()
    equal((denied["action"], denied["result"]), ("DELETE", "DENY"), "the newest entry")
    equal((seen["action"], seen["result"], seen["resource"]["type"]), ("READ", "SUCCESS", "ITEM"), "the one before")
    equal((seen["resource"]["item"]["id"], seen["resource"]["itemVersion"]), (read.id, read.version), "what was read")
    equal(seen["resource"]["vault"]["id"], state.vault, "where")
    equal(seen["actor"]["jti"], denied["actor"]["jti"], "whose token it was")
    true(
        "python-httpx" in seen["actor"]["userAgent"] and seen["actor"]["requestIp"], "with which client, and from where"
    )


@step("GET /v1/activity")
def activity_comes_in_pages() -> None:
    first = raw("GET", "/v1/activity", params={"limit": 3})
    total = int(first.headers["content-range"].split("/")[1])
    equal(first.headers["content-range"], f"1-3/{total}", "the range of the first page")
    second = raw("GET", "/v1/activity", params={"limit": 3, "offset": 2})
    equal(second.headers["content-range"], f"3-5/{total}", "the range of the second")
    equal(second.json()[0], first.json()[2], "the entry that both show")
    past = raw("GET", "/v1/activity", params={"offset": total + 1000})
    equal((past.status_code, past.json()), (200, []), "the page past the end")
    for wrong in ("x", "-1", "1.5"):
        equal(raw("GET", "/v1/activity", params={"limit": wrong}).status_code, 400, f"the status for limit={wrong}")
    equal(anonymous.get("/v1/activity").status_code, 401, "the status without a token")


@step(f"GET {ITEM}", f"PATCH {ITEM}")
def a_write_is_seen_when_the_delay_is_over() -> None:
    control(setting, "sync-delay", {"seconds": 30})
    before = admin.get_item_by_id(state.item, state.vault).version
    answer = patch({"op": "replace", "path": f"/fields/{state.field}/value", "value": "late"})
    equal(answer.json()["version"], before + 1, "the writer's version")
    equal((admin.get_item_by_id(state.item, state.vault).version, value()), (before, "v4"), "what a reader sees")
    control(setting, "clock/advance", {"seconds": 31})
    equal(value(), "late", "what a reader sees after it")
    control(setting, "sync-delay", {"seconds": 0})


@step(f"DELETE {ITEM}")
def an_item_is_deleted() -> None:
    admin.delete_item(state.generated, state.vault)
    equal((steps.last().status, steps.last().body), (204, b""), "the answer")
    with refused(ItemError, "a deleted item") as error:
        admin.get_item_by_id(state.generated, state.vault)
    equal(error[0].status_code, 404, "the status")
    with refused(ItemError, "a second deletion"):
        admin.delete_item(state.generated, state.vault)
    equal([item.id for item in admin.get_items(state.vault)], [state.item], "what is left")


@step(f"POST {ITEMS}", f"GET {ITEM}", f"DELETE {ITEM}")
def texts_are_of_every_character() -> None:
    every = "".join(map(chr, range(0x300))) + "日本語🔑\u2028\ufeff"
    for text in (every, "", " ", "a" * 100_000):
        fields = [{"id": "one", "type": "CONCEALED", "label": text, "value": text}]
        body = {"vault": {"id": state.vault}, "title": text, "category": "PASSWORD", "fields": fields, "tags": [text]}
        made = admin.create_item(state.vault, body)
        read = admin.get_item_by_id(made.id, state.vault)
        shown = (read.title, read.fields[0].label, read.fields[0].value, read.tags)
        true(shown == (text, text, text, [text]), f"{len(text)} characters come back")
        admin.delete_item(made.id, state.vault)


@step(f"POST {ITEMS}", f"PUT {ITEM}", f"PATCH {ITEM}")
def a_broken_body_changes_nothing() -> None:
    before = raw("GET", place()).json()
    items = f"/v1/vaults/{state.vault}/items"
    for body in (b"", b"{", b"[]", b'"x"', b"\xff", b"null", b'{"vault":1}'):
        for method, path in (("POST", items), ("PUT", place())):
            equal(raw(method, path, content=body).status_code, 400, f"the status of {method} for {body!r}")
    for body in (b"", b"{", b"{}", b'"x"', b"[1]", b"[[]]", b"null"):
        equal(raw("PATCH", place(), content=body).status_code, 400, f"the status of PATCH for {body!r}")
    wrong = {"title": 1, "favorite": "yes", "tags": [1], "fields": {}, "urls": [{}], "sections": [1], "category": 7}
    for member, worse in wrong.items():
        equal(raw("PUT", place(), json={**before, member: worse}).status_code, 400, f"the status for a wrong {member}")
    equal(raw("POST", items, content=b"x" * (10 << 20)).status_code, 413, "the status for 10 MiB")
    equal(raw("GET", place()).json(), before, "the item after it all")
    unknown = raw("PUT", place(), json={**before, "surprise": {"deep": [1, None]}})
    equal((unknown.status_code, "surprise" in unknown.json()), (200, False), "the answer to a member that nobody knows")


@step(f"PATCH {ITEM}", f"GET {ITEM}")
def writers_at_once_each_make_a_version() -> None:
    before = admin.get_item_by_id(state.item, state.vault).version
    path = f"/fields/{state.field}/value"

    def write(number: int) -> int:
        return patch({"op": "replace", "path": path, "value": f"w{number}"}).json()["version"]

    with ThreadPoolExecutor(16) as pool:
        versions = sorted(pool.map(write, range(32)))
    equal(versions, list(range(before + 1, before + 33)), "the versions")
    true(value().startswith("w"), "one of them stays")


if __name__ == "__main__":
    sys.exit(steps.run())

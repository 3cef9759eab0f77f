"""OpenBao as hvac sees it. The server is the real one, so no shape is judged: what hvac returns is looked at."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import hvac
import requests
from hvac import exceptions as refusal

from steps import Exchange, Steps, equal, refused, settings, true

NAME = "POC_TEST_VALUE"
MOUNT = "kv-prod"
DATA = "/v1/{mount}/data/{path}"
METADATA = "/v1/{mount}/metadata/{path}"

setting = settings()
steps = Steps("vault")
step = steps.step
steps.hide(setting["token"])


def saw(response: requests.Response, **_: Any) -> None:
    request = response.request
    headers = {name.lower(): value for name, value in response.headers.items()}
    endpoint = f"{request.method} {urlsplit(request.url or '').path}"
    steps.saw(Exchange(endpoint, response.status_code, headers, response.content))


def client(token: str | None) -> hvac.Client:
    session = requests.Session()
    session.trust_env = False
    session.hooks["response"].append(saw)
    made = hvac.Client(url=setting["url"], session=session, timeout=10)
    # Never from this user's environment.
    made.token = token
    return made


def kv(of: hvac.Client) -> Any:
    return of.secrets.kv.v2


def read(of: hvac.Client, path: str = "app", **more: Any) -> str:
    answer = kv(of).read_secret_version(path=path, mount_point=MOUNT, raise_on_deleted_version=True, **more)
    return answer["data"]["data"][NAME]


def write(of: hvac.Client, value: Any, path: str = "app", **more: Any) -> int:
    answer = kv(of).create_or_update_secret(path=path, secret={NAME: value}, mount_point=MOUNT, **more)
    return answer["data"]["version"]


def log_in(role: str) -> hvac.Client:
    """As a workload does: with its role and a secret id of its own."""
    role_id = root.auth.approle.read_role_id(role_name=role)["data"]["role_id"]
    made = root.auth.approle.generate_secret_id(role_name=role, metadata={"container": f"{role}-1"})["data"]
    workload = client(None)
    auth = workload.auth.approle.login(role_id=role_id, secret_id=steps.hide(made["secret_id"]))["auth"]
    steps.hide(auth["client_token"])
    return workload


state = SimpleNamespace()
root = client(setting["token"])


@step("GET /v1/sys/health", "GET /v1/sys/init", "GET /v1/sys/seal-status")
def the_server_is_ready() -> None:
    equal(root.sys.read_health_status(method="GET")["sealed"], False, "whether it is sealed, by its health")
    equal((root.sys.is_initialized(), root.sys.is_sealed()), (True, False), "what it says of itself")


@step("GET /v1/sys/mounts", "GET /v1/sys/auth")
def mounts_are_there() -> None:
    mounts = root.sys.list_mounted_secrets_engines()["data"]
    equal((mounts[f"{MOUNT}/"]["type"], mounts[f"{MOUNT}/"]["options"]), ("kv", {"version": "2"}), "the mount")
    true("approle/" in root.sys.list_auth_methods()["data"], "AppRole is on")


@step("PUT /v1/sys/policies/acl/{name}", "GET /v1/sys/policies/acl/{name}", "LIST /v1/sys/policies/acl")
def policies_are_written_and_read() -> None:
    rules = {"reader": ["read"], "rotator": ["create", "update"]}
    for name, capabilities in rules.items():
        policy = f'path "{MOUNT}/data/app" {{ capabilities = {json.dumps(capabilities)} }}'
        root.sys.create_or_update_acl_policy(name=name, policy=policy)
        equal(root.sys.read_acl_policy(name=name)["data"]["policy"], policy, "the policy")
    true(set(rules) <= set(root.sys.list_acl_policies()["data"]["keys"]), "they are listed")
    with refused(refusal.InvalidRequest, "a policy that is none"):
        root.sys.create_or_update_acl_policy(name="broken", policy="path {")
    with refused(refusal.InvalidPath, "a missing policy"):
        root.sys.read_acl_policy(name="nope")


@step("POST /v1/auth/approle/role/{role}", "GET /v1/auth/approle/role/{role}", "LIST /v1/auth/approle/role")
def roles_are_made() -> None:
    for name in ("reader", "rotator"):
        root.auth.approle.create_or_update_approle(role_name=name, token_policies=[name], token_ttl="1h")
    equal(root.auth.approle.read_role(role_name="reader")["data"]["token_policies"], ["reader"], "the policies")
    equal(root.auth.approle.list_roles()["data"]["keys"], ["reader", "rotator"], "the roles")
    with refused(refusal.InvalidPath, "a missing role"):
        root.auth.approle.read_role(role_name="nope")


@step(
    "GET /v1/auth/approle/role/{role}/role-id",
    "POST /v1/auth/approle/role/{role}/secret-id",
    "POST /v1/auth/approle/login",
)
def a_workload_logs_in() -> None:
    state.reader, state.rotator = log_in("reader"), log_in("rotator")
    auth = steps.last().json()["auth"]
    equal(auth["metadata"], {"role_name": "rotator", "container": "rotator-1"}, "the metadata of the login")
    true("rotator" in auth["policies"] and auth["accessor"] and auth["entity_id"], "it has policy, accessor and entity")
    with refused(refusal.InvalidRequest, "a wrong secret id"):
        role_id = root.auth.approle.read_role_id(role_name="reader")["data"]["role_id"]
        client(None).auth.approle.login(role_id=role_id, secret_id="nobody-was-given-this")
    with refused(refusal.InvalidRequest, "a wrong role id"):
        client(None).auth.approle.login(role_id="nobody", secret_id="nobody")


@step("GET /v1/auth/token/lookup-self", "POST /v1/auth/token/renew-self")
def a_token_knows_and_renews_itself() -> None:
    told = state.reader.auth.token.lookup_self()["data"]
    equal((told["path"], told["meta"]["container"]), ("auth/approle/login", "reader-1"), "the token")
    true(0 < told["ttl"] <= 3600 and told["renewable"], "it lives for an hour, and longer if asked")
    renewed = state.reader.auth.token.renew_self(increment="30m")["auth"]
    equal((renewed["lease_duration"], renewed["accessor"]), (1800, told["accessor"]), "the renewed token")
    with refused(refusal.InvalidRequest, "a root token's renewal"):
        root.auth.token.renew_self()


@step(f"POST {DATA}")
def a_secret_is_created_once() -> None:
    equal(write(state.rotator, "v1", cas=0), 1, "the version")
    with refused(refusal.InvalidRequest, "a second creation") as error:
        write(state.rotator, "v1", cas=0)
    true("check-and-set parameter did not match" in str(error[0]), "the message says so")


@step(f"GET {DATA}", f"POST {DATA}")
def a_secret_is_rotated_and_read_by_version() -> None:
    equal(write(state.rotator, "v2", cas=1), 2, "the version")
    equal((read(state.reader), read(state.reader, version=1)), ("v2", "v1"), "the values")
    answer = kv(state.reader).read_secret_version(path="app", mount_point=MOUNT, raise_on_deleted_version=True)
    metadata = answer["data"]["metadata"]
    equal((metadata["version"], metadata["destroyed"], metadata["deletion_time"]), (2, False, ""), "the metadata")
    with refused(refusal.InvalidPath, "a missing version"):
        read(state.reader, version=9)
    with refused(refusal.InvalidPath, "a missing secret"):
        read(root, path="nope")


@step(f"GET {DATA}", f"POST {DATA}")
def a_secret_is_patched() -> None:
    # hvac reads and writes for it, check-and-set in between.
    answer = kv(root).patch(path="app", secret={"OTHER": "x"}, mount_point=MOUNT)
    equal(answer["data"]["version"], 3, "the version")
    both = kv(root).read_secret_version(path="app", mount_point=MOUNT, raise_on_deleted_version=True)["data"]["data"]
    equal(both, {NAME: "v2", "OTHER": "x"}, "the secret")


@step(f"GET {METADATA}", "LIST /v1/{mount}/metadata", f"POST {METADATA}")
def metadata_is_read_listed_and_written() -> None:
    kv(root).update_metadata(path="app", mount_point=MOUNT, custom_metadata={"run": "suite"})
    told = kv(root).read_secret_metadata(path="app", mount_point=MOUNT)["data"]
    equal((told["current_version"], sorted(told["versions"])), (3, ["1", "2", "3"]), "the versions")
    equal(told["custom_metadata"], {"run": "suite"}, "our own")
    equal(kv(root).list_secrets(path="", mount_point=MOUNT)["data"]["keys"], ["app"], "the list")
    with refused(refusal.InvalidPath, "metadata of a missing secret"):
        kv(root).read_secret_metadata(path="nope", mount_point=MOUNT)


@step(f"GET {DATA}", f"POST {DATA}", "POST /v1/sys/capabilities-self")
def a_token_may_what_its_policy_says() -> None:
    with refused(refusal.Forbidden, "a write by the reader"):
        write(state.reader, "stolen")
    with refused(refusal.Forbidden, "a read by the rotator"):
        read(state.rotator)
    with refused(refusal.Forbidden, "another secret"):
        read(state.reader, path="other")
    told = state.reader.sys.get_capabilities([f"{MOUNT}/data/app", f"{MOUNT}/data/other"])["data"]
    equal((told[f"{MOUNT}/data/app"], told[f"{MOUNT}/data/other"]), (["read"], ["deny"]), "the reader's capabilities")
    equal(read(root), "v2", "the value after it all")


@step("GET /v1/auth/token/lookup-self", f"GET {DATA}")
def a_wrong_token_is_refused() -> None:
    for token in ("hvs.nobody-was-given-this", "x"):
        with refused(refusal.Forbidden, "a wrong token"):
            client(token).auth.token.lookup_self()
    with refused(refusal.Forbidden, "no token"):
        read(client(None))


@step("POST /v1/auth/token/create", "POST /v1/auth/token/revoke-accessor", "POST /v1/auth/token/lookup-accessor")
def a_revoked_token_is_refused() -> None:
    made = root.auth.token.create(policies=["reader"], ttl="1h")["auth"]
    workload = client(steps.hide(made["client_token"]))
    equal(read(workload), "v2", "the value before")
    told = root.auth.token.lookup_accessor(made["accessor"])["data"]
    equal(told["policies"], ["default", "reader"], "what the accessor tells")
    root.auth.token.revoke_accessor(made["accessor"])
    with refused(refusal.Forbidden, "a revoked token"):
        read(workload)


@step("POST /v1/auth/token/create", f"GET {DATA}")
def an_expired_and_a_used_up_token_are_refused() -> None:
    brief = client(
        steps.hide(root.auth.token.create(policies=["reader"], explicit_max_ttl="1s")["auth"]["client_token"])
    )
    once = client(steps.hide(root.auth.token.create(policies=["reader"], num_uses=1)["auth"]["client_token"]))
    equal((read(brief), read(once)), ("v2", "v2"), "the values before")
    with refused(refusal.Forbidden, "a token that was used up"):
        read(once)
    # The server's clock is its own.
    time.sleep(1.2)
    with refused(refusal.Forbidden, "an expired token"):
        read(brief)


@step("GET /v1/sys/audit", "POST /v1/sys/audit-hash/{device}", f"GET {DATA}")
def the_audit_log_shows_who_read_which_value() -> None:
    device = setting["audit_device"]
    true(f"{device}/" in root.sys.list_enabled_audit_devices()["data"], "the device is on")
    read(state.reader)
    hashed = root.sys.calculate_hash(path=device, input_to_hash="v2")["data"]["hash"]
    other = root.sys.calculate_hash(path=device, input_to_hash="v1")["data"]["hash"]
    true(hashed.startswith("hmac-sha256:") and hashed != other, "each value has its hash")
    with open(setting["audit_file"], encoding="utf-8") as log:
        entries = [json.loads(line) for line in log]
    answers = [entry for entry in entries if entry["type"] == "response"]
    mine = [entry for entry in answers if entry.get("auth", {}).get("metadata", {}).get("container") == "reader-1"]
    here = [entry for entry in mine if entry["request"]["path"] == f"{MOUNT}/data/app"]
    last = [entry for entry in here if entry["request"]["operation"] == "read"][-1]
    equal(last["response"]["data"]["data"][NAME], hashed, "the hash in the log")
    equal(last["auth"]["metadata"]["role_name"], "reader", "whose read it was")
    denied = [entry.get("error", "") for entry in here if entry["request"]["operation"] == "update"]
    true(denied and all("permission denied" in error for error in denied), "a denied write is in it too")
    with refused(refusal.InvalidRequest, "a device that is none"):
        root.sys.calculate_hash(path="nope", input_to_hash="v2")


@step("POST /v1/{mount}/delete/{path}", "POST /v1/{mount}/undelete/{path}", "POST /v1/{mount}/destroy/{path}")
def versions_are_deleted_brought_back_and_destroyed() -> None:
    kv(root).delete_secret_versions(path="app", versions=[1, 3], mount_point=MOUNT)
    with refused(refusal.InvalidPath, "a deleted version"):
        read(root, version=1)
    told = kv(root).read_secret_version(path="app", version=1, mount_point=MOUNT, raise_on_deleted_version=False)
    true(told["data"]["data"] is None and told["data"]["metadata"]["deletion_time"], "what is left is its metadata")
    kv(root).undelete_secret_versions(path="app", versions=[1, 3], mount_point=MOUNT)
    equal(read(root, version=1), "v1", "the value")
    kv(root).destroy_secret_versions(path="app", versions=[1], mount_point=MOUNT)
    kv(root).undelete_secret_versions(path="app", versions=[1], mount_point=MOUNT)
    with refused(refusal.InvalidPath, "a destroyed version"):
        read(root, version=1)


@step(f"POST {DATA}", f"GET {DATA}")
def a_value_is_any_text() -> None:
    every = "".join(map(chr, range(0x300))) + "日本語🔑\u2028\ufeff"
    for text in (every, "", " ", "a" * 100_000):
        write(root, text, path="any")
        true(read(root, path="any") == text, f"{len(text)} characters come back")


@step(f"POST {DATA}")
def a_broken_body_changes_nothing() -> None:
    before = read(root)
    headers = {"x-vault-token": setting["token"]}
    for body in (b"{", b"[]", b'"x"', b"\xff", b'{"data":1}', b'{"data":{},"options":{"cas":"x"}}', b"{}"):
        answer = root.session.post(f"{setting['url']}/v1/{MOUNT}/data/app", data=body, headers=headers, timeout=10)
        equal(answer.status_code, 400, f"the status for {body!r}")
    large = b'{"data":{"A":"' + b"x" * (40 << 20) + b'"}}'
    answer = root.session.post(f"{setting['url']}/v1/{MOUNT}/data/app", data=large, headers=headers, timeout=30)
    true(answer.status_code in (400, 413), f"40 MiB are refused, not answered with {answer.status_code}")
    equal(read(root), before, "the value after it all")


@step(f"POST {DATA}", f"GET {METADATA}")
def writers_at_once_each_make_a_version() -> None:
    with ThreadPoolExecutor(8) as pool:
        versions = sorted(
            pool.map(lambda number: write(client(setting["token"]), f"w{number}", path="busy"), range(16))
        )
    equal(versions, list(range(1, 17)), "the versions")
    told = kv(root).read_secret_metadata(path="busy", mount_point=MOUNT)["data"]
    true(told["current_version"] == 16 and read(root, path="busy").startswith("w"), "one of them stays")


@step(f"DELETE {DATA}", f"DELETE {METADATA}")
def a_secret_is_deleted() -> None:
    kv(root).delete_latest_version_of_secret(path="app", mount_point=MOUNT)
    with refused(refusal.InvalidPath, "a deleted secret"):
        read(state.reader)
    kv(root).delete_metadata_and_all_versions(path="app", mount_point=MOUNT)
    with refused(refusal.InvalidPath, "metadata of a deleted secret"):
        kv(root).read_secret_metadata(path="app", mount_point=MOUNT)


@step("DELETE /v1/sys/policies/acl/{name}", "DELETE /v1/auth/approle/role/{role}")
def policies_and_roles_are_deleted() -> None:
    for name in ("reader", "rotator"):
        root.sys.delete_acl_policy(name=name)
        root.auth.approle.delete_role(role_name=name)
    with refused(refusal.InvalidPath, "a deleted policy"):
        root.sys.read_acl_policy(name="reader")
    with refused(refusal.InvalidPath, "the list of no roles"):
        root.auth.approle.list_roles()


if __name__ == "__main__":
    sys.exit(steps.run())

"""Doppler as its own SDK sees it, and in the shapes of its OpenAPI document.

The SDK (doppler-sdk 1.3.0) is generated from an older document: it has no watch stream and no conditional download,
drops the bodies of DELETE requests, and forgets members of answers that its models do not know. There the request goes
out without it, and what came back is read as it came.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import re
import string
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import requests
from dopplersdk import DopplerSDK
from dopplersdk.models.CloneRequest import CloneRequest
from dopplersdk.models.ConfigsCreateRequest import ConfigsCreateRequest
from dopplersdk.models.ConfigsUpdateRequest import ConfigsUpdateRequest
from dopplersdk.models.CreateRequest import CreateRequest
from dopplersdk.models.DeleteRequest import DeleteRequest
from dopplersdk.models.EnvironmentsCreateRequest import EnvironmentsCreateRequest
from dopplersdk.models.LockRequest import LockRequest
from dopplersdk.models.RenameRequest import RenameRequest
from dopplersdk.models.RevokeRequest import RevokeRequest
from dopplersdk.models.SecretsUpdateRequest import SecretsUpdateRequest
from dopplersdk.models.ServiceTokensCreateRequest import ServiceTokensCreateRequest
from dopplersdk.models.ServiceTokensDeleteRequest import ServiceTokensDeleteRequest
from dopplersdk.models.UnlockRequest import UnlockRequest
from dopplersdk.models.UpdateRequest import UpdateRequest
from dopplersdk.models.WebhooksAddRequest import WebhooksAddRequest
from dopplersdk.models.WebhooksUpdateRequest import WebhooksUpdateRequest
from http_exceptions import client_exceptions as refusal
from jsonschema import Draft202012Validator

from steps import Exchange, Steps, control, equal, matches, problems, refused, settings, true

NAME = "POC_TEST_VALUE"
# Secrets by their names: the document shows four of them as if they were fixed members.
MAPS = {("/v3/configs/config/secrets", "secrets"), ("/v3/configs/config/secrets/download", "")}
# Members that answers have beyond the document, because Doppler's Terraform provider reads them
# (DopplerHQ/terraform-provider-doppler, doppler/models.go).
BEYOND = {
    "config": {"slug"},
    "configs": {"slug"},
    "environment": {"slug"},
    "environments": {"slug"},
    "project": {"slug"},
    "tokens": {"access"},
    "value": {"rawVisibility", "computedVisibility"},
}
# A diff shows what was added, what was removed, or both: the document's two examples show one each.
EITHER = {"diff": {"added", "removed"}}
# What a log shows as null in cases of which the document shows no entry: what concerns a whole project, and what a
# service token did.
UNSHOWN = {"log": {"environment"}, "logs": {"environment"}, "user": {"email", "username"}}
# The one error whose shape the document shows.
ERROR = ("/v3/workplace/service_accounts/service_account/{service_account}/tokens/token/{api_token}", "get", "404")


class Document:
    """`doppler-openapi.json`, as a judge of answers.

    Its schemas were made from its examples, so they say neither what must be there nor what may be null. Here every
    member of an example must be there, no other may, and null is what some example shows as null.
    """

    def __init__(self, package: str) -> None:
        with tarfile.open(package) as archive:
            member = archive.extractfile("package/doppler-openapi.json")
            assert member, "failed to find doppler-openapi.json in the package"
            self.paths = json.load(member)["paths"]
        self.by_schema: set[str] = set()
        self.by_example: set[str] = set()
        self.silent: set[str] = set()
        self.beyond: set[str] = set()
        self.nullable: set[str] = set()
        for operations in self.paths.values():
            for operation in operations.values():
                answers = operation.get("responses", {}) if isinstance(operation, dict) else {}
                for answer in answers.values():
                    # A few examples of other endpoints are no JSON; those of the endpoints here are read once more.
                    with suppress(ValueError):
                        self._nulls("", self._example(answer))

    @staticmethod
    def _example(answer: dict[str, Any]) -> Any:
        for content in answer.get("content", {}).values():
            for example in content.get("examples", {}).values():
                # Some are JavaScript: their names have no quotes.
                text = re.sub(r"(?m)^(\s*)(\w+):", r'\1"\2":', example["value"])
                if text.strip():
                    return json.loads(text)
        return None

    def _nulls(self, name: str, value: Any) -> None:
        if value is None and name:
            self.nullable.add(name)
        elif isinstance(value, dict):
            for member, inner in value.items():
                self._nulls(member, inner)
        elif isinstance(value, list):
            for inner in value:
                self._nulls(name, inner)

    def judge(self, exchange: Exchange) -> list[str]:
        method, path = exchange.endpoint.split(" ", 1)
        if exchange.status == 304 or "event-stream" in exchange.headers.get("content-type", ""):
            self.silent.add(f"{exchange.endpoint} ({exchange.status})")
            return [f"there is a body of {len(exchange.body)} bytes"] if exchange.body else []
        if exchange.status == 204:
            known = self.paths.get(path, {}).get(method.lower(), {}).get("responses", {})
            return [] if "204" in known and not exchange.body else ["the document knows no empty answer of it"]
        if not exchange.headers.get("content-type", "").startswith("application/json"):
            return [] if path.endswith("/download") else ["it is no JSON"]
        if exchange.status >= 400:
            path, method, status = ERROR
            answer = self.paths[path][method]["responses"][status]
            schema = answer["content"]["application/json"]["schema"]
            return self._check(exchange, schema, path, self._example(answer))
        template = next((template for template in self.paths if matches(template, path)), None)
        operation = self.paths.get(template, {}).get(method.lower())
        if operation is None or template is None:
            self.silent.add(exchange.endpoint)
            return []
        answer = operation["responses"].get(str(exchange.status))
        if answer is None:
            return [f"the document knows {sorted(operation['responses'])} only"]
        example = self._example(answer)
        content = answer.get("content", {}).get("application/json", {})
        schema = content.get("schema")
        endpoint = f"{method} {template}"
        if schema and schema.get("properties"):
            self.by_schema.add(endpoint)
            return self._check(exchange, schema, template, example)
        if example:
            self.by_example.add(endpoint)
            return self._check(exchange, of_example(example), template, example)
        self.silent.add(endpoint)
        return []

    def _check(self, exchange: Exchange, schema: dict[str, Any], template: str, example: Any) -> list[str]:
        strict = self._strict(copy.deepcopy(schema), "", template, example)
        return problems(Draft202012Validator(strict), exchange.json())

    def _strict(self, schema: dict[str, Any], name: str, template: str, example: Any) -> dict[str, Any]:
        if schema.get("type") == "array":
            first = example[0] if isinstance(example, list) and example else None
            schema["items"] = self._strict(schema["items"], name, template, first)
        elif schema.get("type") == "object":
            known = schema.get("properties", {})
            if (template, name) in MAPS:
                inner = example.get(next(iter(known))) if isinstance(example, dict) else None
                value = self._strict(next(iter(known.values())), "*", template, inner)
                return {"type": "object", "additionalProperties": value}
            shown = set(example) if isinstance(example, dict) else set()
            schema["properties"] = {
                member: self._strict(inner, member, template, example.get(member) if shown else None)
                for member, inner in known.items()
            }
            optional = EITHER.get(name, set())
            schema["required"] = sorted(shown - optional)
            schema["properties"].update({member: {"type": "string"} for member in optional})
            for member in BEYOND.get(name, set()) - known.keys():
                schema["properties"][member] = {"type": "string"}
                self.beyond.add(f"{name}.{member}")
            schema["additionalProperties"] = False
            for member in UNSHOWN.get(name, set()):
                schema["properties"][member] = {"type": ["string", "null"]}
        if name in self.nullable and "type" in schema:
            schema = {"anyOf": [schema, {"type": "null"}]}
        return schema

    def summary(self) -> list[str]:
        unshown = [f"{name}.{member}" for name, members in UNSHOWN.items() for member in members]
        return [
            f"shapes: {len(self.by_schema)} endpoints by the schemas of doppler-openapi.json",
            f"shapes: {len(self.by_example)} endpoints by an example alone: {', '.join(sorted(self.by_example))}",
            f"shapes: {len(self.silent)} endpoints whose answer it leaves out: {', '.join(sorted(self.silent))}",
            f"shapes: members that Doppler's Terraform provider reads beyond it: {', '.join(sorted(self.beyond))}",
            f"shapes: null is taken, though the document shows no such entry: {', '.join(sorted(unshown))}",
        ]


def of_example(value: Any) -> dict[str, Any]:
    """The names and types of an example, as a schema."""
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number"}
    if isinstance(value, dict):
        return {"type": "object", "properties": {name: of_example(inner) for name, inner in value.items()}}
    if isinstance(value, list):
        return {"type": "array", "items": of_example(value[0]) if value else {}}
    return {"type": kinds[type(value)]} if value is not None else {}


setting = settings()
document = Document(setting["document"])
steps = Steps("doppler", judge=document.judge, summary=document.summary)
step = steps.step
for secret in ("token", "control_token"):
    steps.hide(setting[secret])

plain_send = requests.Session.send


def send(session: requests.Session, request: requests.PreparedRequest, **more: Any) -> requests.Response:
    """Every request of this process passes here, the SDK's too: it makes a session for each."""
    response = plain_send(session, request, **more)
    headers = {name.lower(): value for name, value in response.headers.items()}
    body = b"" if more.get("stream") else response.content
    endpoint = f"{request.method} {urlsplit(request.url or '').path}"
    steps.saw(Exchange(endpoint, response.status_code, headers, body))
    return response


requests.Session.send = send  # type: ignore[method-assign]


def client(token: str) -> DopplerSDK:
    made = DopplerSDK(token)
    made.set_base_url(setting["url"])
    return made


def raw(method: str, path: str, token: str | None = None, **more: Any) -> requests.Response:
    """A request that the SDK has no call for."""
    headers = {"authorization": f"Bearer {token or setting['token']}", **more.pop("headers", {})}
    return requests.request(method, f"{setting['url']}/v3/{path}", headers=headers, timeout=10, **more)


def set_value(value: Any, name: str = NAME, config: str = "prd") -> requests.Response:
    body = {"project": "app", "config": config, "secrets": {name: value}}
    return raw("POST", "configs/config/secrets", json=body)


def service_token(name: str, **more: Any) -> str:
    admin.service_tokens.create(ServiceTokensCreateRequest(name=name, project="app", config="prd", **more))
    # The SDK's model looks for the members one level too high, so its answer is empty.
    return steps.hide(steps.last().json()["token"]["key"])


admin = client(setting["token"])
state = SimpleNamespace()


@step("GET /v3/me")
def a_personal_token_knows_itself() -> None:
    me = admin.auth.me()
    equal((me.type_, me.token_preview[:8]), ("personal", "dp.pt..."), "the token")
    true(setting["token"] not in steps.last().body.decode(), "the preview is not the token")


@step("GET /v3/me")
def the_token_may_be_a_user_name() -> None:
    answer = requests.get(f"{setting['url']}/v3/me", auth=(setting["token"], ""), timeout=10)
    equal(answer.json()["slug"], admin.auth.me().slug, "the token's slug by Basic and by Bearer")


@step("GET /v3/workplace")
def the_workplace_has_a_name() -> None:
    true(admin.workplace.get().workplace["name"], "the workplace has a name")


@step("GET /v3/me")
def a_wrong_token_is_refused() -> None:
    with refused(refusal.UnauthorizedException, "a wrong token") as error:
        client("dp.pt.nobody-was-given-this").auth.me()
    true("Invalid Auth token" in error[0].message, "the message says so")
    equal(requests.get(f"{setting['url']}/v3/me", timeout=10).status_code, 401, "the status without a token")


@step("POST /v3/projects")
def a_project_is_made() -> None:
    made = admin.projects.create(CreateRequest(name="app", description="what it is for"))
    equal((made.project["name"], made.project["description"]), ("app", "what it is for"), "the project")
    state.project = made.project


@step("POST /v3/projects")
def a_second_of_the_same_name_is_refused() -> None:
    with refused(refusal.BadRequestException, "a duplicate"):
        admin.projects.create(CreateRequest(name="app"))


@step("GET /v3/projects")
def projects_are_listed_in_pages() -> None:
    for number in range(3):
        admin.projects.create(CreateRequest(name=f"other-{number}"))
    pages = [[project["name"] for project in admin.projects.list(page=n, per_page=3).projects] for n in (1, 2, 3)]
    equal(pages, [["app", "other-0", "other-1"], ["other-2"], []], "the pages, the last past the end")


@step("GET /v3/projects/project")
def a_project_is_found_by_its_name() -> None:
    equal(admin.projects.get(project="app").project["id"], state.project["id"], "the id")
    with refused(refusal.NotFoundException, "a missing project") as error:
        admin.projects.get(project="nope")
    true("Could not find requested project 'nope'" in error[0].message, "the message names it")


@step("POST /v3/projects/project")
def a_project_is_described_anew() -> None:
    updated = admin.projects.update(UpdateRequest(project="other-0", name="other-0", description="new"))
    equal(updated.project["description"], "new", "the description")


@step("DELETE /v3/projects/project")
def a_project_is_deleted_by_its_body() -> None:
    with refused(refusal.BadRequestException, "a DELETE whose body the SDK drops"):
        admin.projects.delete(DeleteRequest(project="other-2"))
    equal(raw("DELETE", "projects/project", json={"project": "other-2"}).status_code, 200, "the status")
    with refused(refusal.NotFoundException, "a deleted project"):
        admin.projects.get(project="other-2")


@step("GET /v3/environments")
def a_new_project_has_three_environments() -> None:
    listed = admin.environments.list(project="app").environments
    equal([environment["id"] for environment in listed], ["dev", "stg", "prd"], "the environments")


@step("POST /v3/environments", "GET /v3/environments/environment")
def an_environment_is_made() -> None:
    admin.environments.create(project="app", request_input=EnvironmentsCreateRequest(name="Quality", slug="qa"))
    equal(admin.environments.get(project="app", environment="qa").environment["name"], "Quality", "the name")
    with refused(refusal.BadRequestException, "a slug of other characters"):
        admin.environments.create(project="app", request_input=EnvironmentsCreateRequest(name="Q", slug="Q A"))


@step("PUT /v3/environments/environment")
def an_environment_is_renamed() -> None:
    renamed = admin.environments.rename(project="app", environment="qa", request_input=RenameRequest(name="Q"))
    equal(renamed.environment["name"], "Q", "the name")


@step("DELETE /v3/environments/environment")
def an_environment_is_deleted() -> None:
    admin.environments.delete(project="app", environment="qa")
    with refused(refusal.NotFoundException, "a deleted environment"):
        admin.environments.get(project="app", environment="qa")


@step("GET /v3/configs", "GET /v3/configs/config")
def every_environment_has_a_root_config() -> None:
    listed = admin.configs.list(project="app").configs
    equal([(config["name"], config["root"]) for config in listed], [(n, True) for n in ("dev", "stg", "prd")], "them")
    equal(admin.configs.get(project="app", config="prd").config["environment"], "prd", "the environment")
    with refused(refusal.NotFoundException, "a missing config"):
        admin.configs.get(project="app", config="nope")


@step("POST /v3/configs", "POST /v3/configs/config", "DELETE /v3/configs/config")
def a_branch_config_comes_is_renamed_and_goes() -> None:
    made = admin.configs.create(ConfigsCreateRequest(project="app", environment="prd", name="prd_web"))
    equal((made.config["name"], made.config["root"]), ("prd_web", False), "the branch")
    renamed = admin.configs.update(ConfigsUpdateRequest(project="app", config="prd_web", name="prd_worker"))
    equal(renamed.config["name"], "prd_worker", "the new name")
    with refused(refusal.BadRequestException, "a name that does not begin with the environment"):
        admin.configs.create(ConfigsCreateRequest(project="app", environment="prd", name="web"))
    query = {"project": "app", "config": "prd_worker"}
    equal(raw("DELETE", "configs/config", params=query).json(), {"success": True}, "the answer to a deletion")
    with refused(refusal.NotFoundException, "a deleted config"):
        admin.configs.get(project="app", config="prd_worker")
    equal(
        raw("DELETE", "configs/config", params={**query, "config": "prd"}).status_code, 400, "a root config's deletion"
    )


@step("POST /v3/configs/config/clone", "POST /v3/configs/config/lock", "POST /v3/configs/config/unlock")
def a_config_is_cloned_and_locked() -> None:
    cloned = admin.configs.clone(CloneRequest(project="app", config="dev", name="dev_copy"))
    equal(cloned.config["name"], "dev_copy", "the copy")
    equal(admin.configs.lock(LockRequest(project="app", config="dev_copy")).config["locked"], True, "it")
    query = {"project": "app", "config": "dev_copy"}
    equal(raw("DELETE", "configs/config", params=query).status_code, 400, "a locked config's deletion")
    equal(admin.configs.unlock(UnlockRequest(project="app", config="dev_copy")).config["locked"], False, "it")
    equal(raw("DELETE", "configs/config", params=query).status_code, 200, "an unlocked config's deletion")


@step("POST /v3/configs/config/secrets")
def a_secret_is_set() -> None:
    written = admin.secrets.update(SecretsUpdateRequest(project="app", config="prd", secrets={NAME: "v1"}))
    equal(written.secrets[NAME]["raw"], "v1", "the value")
    answer = raw(
        "POST", "configs/config/secrets?project=app&config=prd", json={"secrets": {"OTHER": f"of ${{{NAME}}}"}}
    )
    equal(answer.json()["secrets"]["OTHER"]["computed"], "of v1", "a reference, with project and config in the query")


@step("GET /v3/configs/config/secrets", "GET /v3/configs/config/secret", "GET /v3/configs/config/secrets/names")
def secrets_are_read() -> None:
    listed = admin.secrets.list(project="app", config="prd").secrets
    equal((listed[NAME]["computed"], listed["DOPPLER_CONFIG"]["raw"]), ("v1", "prd"), "the values")
    chosen = admin.secrets.list(project="app", config="prd", secrets=NAME, include_managed_secrets=False).secrets
    equal(list(chosen), [NAME], "the chosen ones")
    equal(admin.secrets.get(project="app", config="prd", name=NAME).value["raw"], "v1", "the value")
    true(NAME in admin.secrets.names(project="app", config="prd").names, "the name is listed")
    with refused(refusal.NotFoundException, "a missing secret"):
        admin.secrets.get(project="app", config="prd", name="NOPE")


@step("GET /v3/configs/config/secrets/download")
def secrets_are_downloaded_once() -> None:
    admin.secrets.download(project="app", config="prd", format="json")
    first = steps.last()
    equal(first.json()[NAME], "v1", "the value")
    query = {"project": "app", "config": "prd", "format": "json"}
    again = raw(
        "GET", "configs/config/secrets/download", params=query, headers={"if-none-match": first.headers["etag"]}
    )
    equal((again.status_code, again.content), (304, b""), "the second answer")
    set_value("v2")
    changed = raw(
        "GET", "configs/config/secrets/download", params=query, headers={"if-none-match": first.headers["etag"]}
    )
    equal((changed.status_code, changed.json()[NAME]), (200, "v2"), "the answer after a write")
    true(changed.headers["etag"] != first.headers["etag"], "another content has another ETag")


@step("GET /v3/configs/config/secrets/download")
def a_download_may_be_an_env_file() -> None:
    set_value('two\nlines and "quotes"', "OTHER")
    answer = raw("GET", "configs/config/secrets/download?project=app&config=prd&format=env")
    true(f'{NAME}="v2"' in answer.text.splitlines(), "the value is quoted")
    true('OTHER="two\\nlines and \\"quotes\\""' in answer.text.splitlines(), "what would end the quotes is escaped")
    equal(answer.headers["content-type"].split(";")[0], "text/plain", "the type")
    equal(raw("GET", "configs/config/secrets/download?project=app&config=prd&format=toml").status_code, 400, "toml")


@step("DELETE /v3/configs/config/secret")
def a_secret_is_deleted() -> None:
    admin.secrets.delete(project="app", config="prd", name="OTHER")
    equal(steps.last().status, 204, "the status")
    with refused(refusal.NotFoundException, "a second deletion"):
        admin.secrets.delete(project="app", config="prd", name="OTHER")
    with refused(refusal.NotFoundException, "a deleted secret"):
        admin.secrets.get(project="app", config="prd", name="OTHER")


@step("GET /v3/configs/config/logs", "GET /v3/configs/config/logs/log")
def a_change_is_logged_with_its_diff() -> None:
    listed = admin.config_logs.list(project="app", config="prd", per_page=2).logs
    equal(len(listed), 2, "the entries of a page of two")
    true(all("diff" not in entry for entry in listed), "a list has no diffs")
    true(all(entry["user"]["email"] and entry["user"]["username"] for entry in listed), "a person has an address")
    every = admin.config_logs.list(project="app", config="prd").logs
    shown = [admin.config_logs.get(project="app", config="prd", log=entry["id"]).log["diff"] for entry in every]
    true([{"name": NAME, "added": "v2", "removed": "v1"}] in shown, "the change of the value is shown")
    equal(admin.config_logs.list(project="app", config="prd", page=1000).logs, [], "the page past the end")
    with refused(refusal.NotFoundException, "a missing entry"):
        admin.config_logs.get(project="app", config="prd", log="nope")
    state.log = next(entry["id"] for entry, diff in zip(every, shown, strict=True) if diff[0].get("added") == "v2")


@step("POST /v3/configs/config/logs/log/rollback")
def a_change_is_rolled_back() -> None:
    equal(admin.config_logs.rollback(project="app", config="prd", log=state.log).log["rollback"], True, "the entry")
    equal(admin.secrets.get(project="app", config="prd", name=NAME).value["raw"], "v1", "the value")


@step("GET /v3/logs", "GET /v3/logs/log")
def activity_is_logged() -> None:
    newest = admin.activity_logs.list(page=1, per_page=1).logs
    equal(admin.activity_logs.retrieve(log=newest[0]["id"]).log["text"], newest[0]["text"], "the newest entry")
    equal(admin.activity_logs.list(page=1000, per_page=100).logs, [], "the page past the end")
    every = admin.activity_logs.list(page=1, per_page=100).logs
    true(any("other-2" in entry["text"] for entry in every), "the deletion of the project is in it")
    with refused(refusal.NotFoundException, "a missing entry"):
        admin.activity_logs.retrieve(log="nope")


@step("POST /v3/configs/config/tokens", "GET /v3/configs/config/tokens")
def service_tokens_are_made_and_listed() -> None:
    state.reader = service_token("reader")
    state.writer = service_token("writer", access="read/write")
    true(state.reader.startswith("dp.st."), "a service token shows what it is")
    listed = admin.service_tokens.list(project="app", config="prd").tokens
    equal(
        [(token["name"], token["access"]) for token in listed], [("reader", "read"), ("writer", "read/write")], "them"
    )
    true(all("key" not in token for token in listed), "a list shows no keys")
    state.slugs = {token["name"]: token["slug"] for token in listed}
    refusing = {"project": "app", "config": "prd", "name": "x", "access": "all"}
    equal(raw("POST", "configs/config/tokens", json=refusing).status_code, 400, "an unknown access")


@step("GET /v3/me", "GET /v3/configs/config/secrets/download", "POST /v3/configs/config/secrets")
def a_service_token_needs_no_names_and_reads_its_config_only() -> None:
    reader = client(state.reader)
    equal(reader.auth.me().type_, "service", "the token's type")
    answer = raw("GET", "configs/config/secrets/download", state.reader)
    equal(answer.json()[NAME], "v1", "the value")
    with refused(refusal.BadRequestException, "another config") as error:
        reader.secrets.download(project="app", config="dev")
    true("This token does not have access to requested config 'dev'" in error[0].message, "the message says so")
    with refused(refusal.BadRequestException, "another project"):
        reader.projects.get(project="other-0")
    with refused(refusal.ForbiddenException, "a write"):
        reader.secrets.update(SecretsUpdateRequest(project="app", config="prd", secrets={NAME: "stolen"}))
    with refused(refusal.ForbiddenException, "the list of projects"):
        reader.projects.list()
    client(state.writer).secrets.update(SecretsUpdateRequest(project="app", config="prd", secrets={NAME: "v3"}))
    equal(raw("GET", "configs/config/secrets/download", state.reader).json()[NAME], "v3", "the writer's value")


@step("DELETE /v3/configs/config/tokens/token", "GET /v3/me")
def a_deleted_service_token_is_refused() -> None:
    with refused(refusal.BadRequestException, "a DELETE whose body the SDK drops"):
        admin.service_tokens.delete(
            ServiceTokensDeleteRequest(project="app", config="prd", slug=state.slugs["writer"], token=None)
        )
    body = {"project": "app", "config": "prd", "slug": state.slugs["writer"]}
    equal(raw("DELETE", "configs/config/tokens/token", json=body).status_code, 200, "the status")
    with refused(refusal.UnauthorizedException, "a deleted token"):
        client(state.writer).auth.me()
    equal(raw("DELETE", "configs/config/tokens/token", json=body).status_code, 404, "a second deletion")


@step("POST /v3/auth/revoke", "GET /v3/me")
def a_revoked_token_is_refused() -> None:
    token = service_token("brief")
    client(token).auth.revoke(RevokeRequest(token=token))
    with refused(refusal.UnauthorizedException, "a revoked token"):
        client(token).auth.me()


@step("POST /v3/configs/config/tokens", "GET /v3/me")
def an_expired_token_is_refused() -> None:
    brief = service_token("brief", expire_at=str(int(time.time()) + 3600))
    equal(client(brief).auth.me().name, "brief", "the token within its hour")
    control(setting, "clock/advance", {"seconds": 3601})
    with refused(refusal.UnauthorizedException, "an expired token"):
        client(brief).auth.me()
    refusing = {"project": "app", "config": "prd", "name": "x", "expire_at": "tomorrow"}
    equal(raw("POST", "configs/config/tokens", json=refusing).status_code, 400, "an end that is no time")


@step("GET /v3/me")
def requests_are_limited_per_token() -> None:
    token = steps.hide(control(setting, "personal-tokens", {"name": "busy", "expires_at": None})["token"])
    control(setting, "rate-limit", {"per_minute": 3})
    try:
        # Twice the limit, since the minute may end in between.
        with refused(refusal.TooManyRequestsException, "so many requests") as error:
            for _ in range(7):
                client(token).auth.me()
        wait = re.search(r"Retry-After: (\d+)", error[0].message)
        true(wait, "the SDK's error has the Retry-After of the answer")
        last = steps.last()
        equal((last.headers["x-ratelimit-limit"], last.headers["x-ratelimit-remaining"]), ("3", "0"), "the headers")
        control(setting, "clock/advance", {"seconds": int(wait[1]) if wait else 0})
        equal(client(token).auth.me().name, "busy", "the token after the wait")
    finally:
        control(setting, "rate-limit", {"per_minute": None})


class Receiver(BaseHTTPRequestHandler):
    received: Queue[tuple[str, bytes]] = Queue()

    def do_POST(self) -> None:  # noqa: N802 (the name is http.server's)
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        self.received.put((self.headers["x-doppler-signature"], body))

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@step("POST /v3/webhooks", "GET /v3/webhooks", "GET /v3/webhooks/webhook/{slug}", "PATCH /v3/webhooks/webhook/{slug}")
def a_webhook_is_made_read_and_changed() -> None:
    with refused(refusal.BadRequestException, "an address that is none"):
        admin.webhooks.add(project="app", request_input=WebhooksAddRequest(url="ftp://127.0.0.1/"))
    made = admin.webhooks.add(project="app", request_input=WebhooksAddRequest(url="https://127.0.0.1:1/", secret="shh"))
    true("shh" not in steps.last().body.decode(), "the answer does not hold the secret")
    state.webhook = made["webhook"]["id"]
    equal([hook["id"] for hook in admin.webhooks.list(project="app")["webhooks"]], [state.webhook], "the list")
    change = WebhooksUpdateRequest(enableConfigs=["prd"])
    equal(
        admin.webhooks.update(project="app", slug=state.webhook, request_input=change)["webhook"]["enabledConfigs"],
        ["prd"],
        "the configs",
    )
    equal(
        admin.webhooks.get(project="app", slug=state.webhook)["webhook"]["url"], "https://127.0.0.1:1/", "the address"
    )
    with refused(refusal.NotFoundException, "a missing webhook"):
        admin.webhooks.get(project="app", slug="00000000-0000-4000-8000-000000000000")


@step("POST /v3/webhooks/webhook/{slug}/disable", "POST /v3/webhooks/webhook/{slug}/enable")
def a_webhook_is_switched_and_signs_what_it_sends() -> None:
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/hook"
    admin.webhooks.update(project="app", slug=state.webhook, request_input=WebhooksUpdateRequest(url=address))
    equal(admin.webhooks.disable(project="app", slug=state.webhook)["webhook"]["enabled"], False, "it")
    set_value("unheard")
    equal(admin.webhooks.enable(project="app", slug=state.webhook)["webhook"]["enabled"], True, "it")
    set_value("heard")
    signature, body = Receiver.received.get(timeout=10)
    equal(signature, "sha256=" + hmac.new(b"shh", body, hashlib.sha256).hexdigest(), "the signature")
    told = json.loads(body)
    equal((told["type"], told["config"]["name"]), ("config.secrets.update", "prd"), "the event")
    true(Receiver.received.empty(), "what happened while it was off is not sent")
    server.shutdown()


@step("DELETE /v3/webhooks/webhook/{slug}")
def a_webhook_is_deleted() -> None:
    admin.webhooks.delete(project="app", slug=state.webhook)
    with refused(refusal.NotFoundException, "a deleted webhook"):
        admin.webhooks.get(project="app", slug=state.webhook)


@step("GET /v3/configs/config/secrets/watch")
def a_watcher_hears_of_a_write() -> None:
    with raw("GET", "configs/config/secrets/watch", state.reader, stream=True) as stream:
        equal(stream.headers["content-type"], "text/event-stream", "the type")
        heard = (json.loads(line[6:])["type"] for line in stream.iter_lines(chunk_size=1) if line.startswith(b"data: "))
        equal(next(heard), "connected", "the first event")
        set_value("v4")
        equal(next(told for told in heard if told != "ping"), "secrets.update", "the event of the write")
    equal(
        raw("GET", "configs/config/secrets/watch?config=dev", state.reader).status_code, 400, "another config's stream"
    )


@step("GET /v3/configs/config")
def a_fetch_leaves_a_time_and_no_name() -> None:
    before = admin.configs.get(project="app", config="prd").config["last_fetch_at"]
    control(setting, "clock/advance", {"seconds": 1})
    raw("GET", "configs/config/secrets/download", state.reader)
    after = admin.configs.get(project="app", config="prd").config
    true(after["last_fetch_at"] > before, "the time of the last fetch moves")
    equal(admin.configs.get(project="app", config="stg").config["last_fetch_at"], None, "what nobody fetched")


@step("POST /v3/configs/config/secrets")
def names_are_of_capitals_digits_and_underscores() -> None:
    legal = string.ascii_uppercase + string.digits + "_"
    characters = [chr(code) for code in range(128)] + ["é", "日", "🔑", "\u200b"]
    for character in characters:
        status = set_value("x", f"A{character}B", "dev").status_code
        equal(status, 200 if character in legal else 400, f"the status for the character {ord(character):#x}")
    equal(set_value("x", "1A", "dev").status_code, 400, "the status for a leading digit")
    equal(set_value("x", "", "dev").status_code, 400, "the status for no name")
    equal(set_value("x", "A" * 201, "dev").status_code, 400, "the status for a name of 201 characters")


@step("POST /v3/configs/config/secrets", "GET /v3/configs/config/secret")
def a_value_is_any_text() -> None:
    every = "".join(map(chr, range(0x300))) + "日本語🔑\u2028\ufeff"
    for value in (every, "", " ", "a" * 50 * 1024, "null", "${", "$${X}"):
        equal(set_value(value, "ANY", "dev").status_code, 200, f"the status for a value of {len(value)} characters")
        read = admin.secrets.get(project="app", config="dev", name="ANY").value["raw"]
        true(read == value, f"a value of {len(value)} characters comes back")
    for value in (1, 1.5, True, ["x"], {"x": "y"}):
        equal(set_value(value, "ANY", "dev").status_code, 400, f"the status for a {type(value).__name__}")


@step("POST /v3/configs/config/secrets")
def a_broken_body_changes_nothing() -> None:
    before = admin.secrets.get(project="app", config="prd", name=NAME).value["raw"]
    place = "configs/config/secrets?project=app&config=prd"
    for body in (b"", b"{", b"[]", b'"x"', b"\xff", b'{"secrets":[]}', b'{"secrets":{"A":"b"},"change_requests":[]}'):
        equal(raw("POST", place, data=body).status_code, 400, f"the status for {body!r}")
    unknown = {"secrets": {NAME: before}, "surprise": {"deep": [1, None]}}
    equal(raw("POST", place, json=unknown).status_code, 200, "the status with a member that nobody knows")
    equal(raw("POST", place, data=b"x" * (10 << 20)).status_code, 413, "the status for 10 MiB")
    equal(admin.secrets.get(project="app", config="prd", name=NAME).value["raw"], before, "the value after it all")


@step("POST /v3/configs/config/secrets", "GET /v3/configs/config/logs")
def writers_at_once_each_leave_an_entry() -> None:
    count = lambda: len(admin.config_logs.list(project="app", config="stg", per_page=100).logs)  # noqa: E731
    before = count()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: set_value(f"w{number}", NAME, "stg").status_code, range(32)))
    equal(answers, [200] * 32, "the statuses")
    equal(count() - before, 32, "the entries")
    true(admin.secrets.get(project="app", config="stg", name=NAME).value["raw"].startswith("w"), "one of them stays")


if __name__ == "__main__":
    sys.exit(steps.run())

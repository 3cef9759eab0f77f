"""AWS Secrets Manager and CloudTrail as boto3 sees them, in the shapes of botocore's own service models.

botocore ships no waiters for Secrets Manager and a paginator for ListSecrets alone. Its machinery for both is
driven all the same: with models of our own for what it ships none of.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import boto3
import botocore.exceptions
import botocore.session
from botocore.config import Config
from botocore.model import Shape
from botocore.paginate import PaginatorModel, Paginator
from botocore.waiter import WaiterModel, create_waiter_with_client
from jsonschema import Draft202012Validator

from steps import Exchange, Steps, control, equal, problems, refused, settings, true

# Errors that any operation may answer with. No document lists them in one place: some are on
# <https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html>, partly under other names;
# those of a signature are on
# <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>; and ValidationException is only
# seen from the live service (hashicorp/terraform-provider-aws issue 39406).
COMMON = {
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "RequestEntityTooLargeException",
    "SerializationException",
    "ThrottlingException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "ValidationException",
}
FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:rotate"
BROKEN = "arn:aws:lambda:eu-central-1:123456789012:function:broken"


def schema_of(shape: Shape | None, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a shape of the service model says of the JSON on the wire."""
    if shape is None:
        # No output: the body is empty, or an empty object.
        return {"type": "object", "additionalProperties": False}
    if shape.name in above:
        return {}
    inner = (*above, shape.name)
    bounds = shape.metadata
    if shape.type_name == "structure":
        members = {
            member.serialization.get("name", name): schema_of(member, inner) for name, member in shape.members.items()
        }
        return {
            "type": "object",
            "properties": members,
            "required": list(shape.required_members),
            "additionalProperties": False,
        }
    if shape.type_name == "list":
        return ranged({"type": "array", "items": schema_of(shape.member, inner)}, bounds, "Items")
    if shape.type_name == "map":
        return {
            "type": "object",
            "propertyNames": schema_of(shape.key, inner),
            "additionalProperties": schema_of(shape.value, inner),
        }
    if shape.type_name == "string":
        schema = ranged({"type": "string"}, bounds, "Length")
        if bounds.get("enum"):
            schema["enum"] = bounds["enum"]
        return schema
    # JSON 1.1 writes times as seconds and blobs in base64.
    kinds = {"boolean": "boolean", "integer": "integer", "long": "integer", "timestamp": "number", "blob": "string"}
    kinds |= {"double": "number", "float": "number"}
    return {"type": kinds[shape.type_name]}


def ranged(schema: dict[str, Any], bounds: dict[str, Any], what: str) -> dict[str, Any]:
    return schema | {f"{side}{what}": bounds[side] for side in ("min", "max") if side in bounds}


class Judge:
    def __init__(self) -> None:
        session = botocore.session.get_session()
        self.models = {name: session.get_service_model(name) for name in ("secretsmanager", "cloudtrail")}
        self.by_model: set[str] = set()
        self.errors: set[str] = set()

    def judge(self, exchange: Exchange) -> list[str]:
        service, name = exchange.endpoint.split(" ")
        operation = self.models[service].operation_model(name)
        told = []
        if exchange.headers.get("content-type") != "application/x-amz-json-1.1":
            told.append(f"its type is {exchange.headers.get('content-type')}")
        if not exchange.headers.get("x-amzn-requestid"):
            told.append("it has no request id")
        if exchange.status >= 300:
            error = exchange.json()
            code = error.get("__type", "").rsplit("#", 1)[-1]
            known = {shape.name for shape in operation.error_shapes}
            if code not in known | COMMON:
                told.append(f"the error {code} is neither common nor one of {sorted(known)}")
            if set(error) != {"__type", "Message"} or not isinstance(error["Message"], str):
                told.append(f"an error has {sorted(error)}")
            self.errors.add(code)
            return told
        self.by_model.add(exchange.endpoint)
        body = exchange.json() if exchange.body else {}
        return told + problems(Draft202012Validator(schema_of(operation.output_shape)), body)

    def summary(self) -> list[str]:
        return [
            f"shapes: {len(self.by_model)} operations by botocore's service models",
            f"errors: {len(self.errors)} codes, common or listed by their operation: {', '.join(sorted(self.errors))}",
        ]


setting = settings()
judge = Judge()
steps = Steps("aws", judge=judge.judge, summary=judge.summary)
step = steps.step
for secret in ("secret_access_key", "control_token"):
    steps.hide(setting[secret])


# One for all clients: the models are read once.
session = boto3.session.Session(region_name=setting["region"])


def client(service: str, key: dict[str, Any] | None = None, **more: Any) -> Any:
    key = key or setting
    # Refusals are what is looked for: they are neither retried nor anticipated.
    config = Config(**{"retries": {"total_max_attempts": 1}, "parameter_validation": False, "proxies": {}} | more)
    made = session.client(
        service,
        endpoint_url=setting["url"],
        config=config,
        aws_access_key_id=key["access_key_id"],
        aws_secret_access_key=key["secret_access_key"],
        aws_session_token=key.get("session_token"),
    )

    def saw(event_name: str, response_dict: dict[str, Any], **_: Any) -> None:
        headers = {name.lower(): value for name, value in response_dict["headers"].items()}
        name = event_name.rsplit(".", 1)[1]
        steps.saw(Exchange(f"{service} {name}", response_dict["status_code"], headers, response_dict["body"]))

    made.meta.events.register(f"response-received.{service}", saw)
    return made


def principal(name: str, *statements: dict[str, Any], **key: Any) -> dict[str, Any]:
    """A user as IAM would make it, and its access key."""
    body: dict[str, Any] = {"user_name": name, "policies": [{"Version": "2012-10-17", "Statement": list(statements)}]}
    if key:
        body["access_key"] = {
            "access_key_id": f"ASIA{uuid.uuid4().hex[:16].upper()}",
            "secret_access_key": uuid.uuid4().hex,
            **key,
        }
    made = control(setting, "principals", body)
    steps.hide(made["secret_access_key"])
    return made


def allow(*actions: str, resource: str = "*") -> dict[str, Any]:
    return {"Effect": "Allow", "Action": [f"secretsmanager:{action}" for action in actions], "Resource": resource}


def denied(what: str, code: str, call: Any, **arguments: Any) -> botocore.exceptions.ClientError:
    """The call must be refused with this code, and with boto3's own class for it where the service's model has one."""
    modelled = getattr(call.__self__.exceptions, code, None)
    with refused(modelled or botocore.exceptions.ClientError, what) as error:
        call(**arguments)
    equal(error[0].response["Error"]["Code"], code, f"the code for {what}")
    return error[0]


def put(text: str, **more: Any) -> str:
    return admin.put_secret_value(SecretId="app", SecretString=text, **more)["VersionId"]


def value(**more: Any) -> str:
    return admin.get_secret_value(SecretId="app", **more)["SecretString"]


def stages() -> dict[str, list[str]]:
    return admin.describe_secret(SecretId="app")["VersionIdsToStages"]


def token() -> str:
    return str(uuid.uuid4())


state = SimpleNamespace()
admin = client("secretsmanager")
trail = client("cloudtrail")


@step("secretsmanager CreateSecret")
def a_secret_is_made_once() -> None:
    arguments = {"Name": "app", "SecretString": "v1", "ClientRequestToken": token()}
    arguments |= {"Description": "what it is for", "Tags": [{"Key": "run", "Value": "suite"}]}
    made = admin.create_secret(**arguments)
    state.arn, state.first = made["ARN"], made["VersionId"]
    begin = f"arn:aws:secretsmanager:{setting['region']}:{setting['account']}:secret:app-"
    true(state.arn.startswith(begin) and len(state.arn) == len(begin) + 6, "the ARN ends in six characters of its own")
    equal(state.first, arguments["ClientRequestToken"], "the version's id")
    equal(admin.create_secret(**arguments)["VersionId"], state.first, "the version of the same request sent again")
    denied("another value", "ResourceExistsException", admin.create_secret, **arguments | {"SecretString": "other"})
    denied("a second secret", "ResourceExistsException", admin.create_secret, Name="app", SecretString="v1")


@step("secretsmanager DescribeSecret")
def a_secret_is_described() -> None:
    described = admin.describe_secret(SecretId="app")
    equal((described["ARN"], described["Name"]), (state.arn, "app"), "it")
    equal(described["VersionIdsToStages"], {state.first: ["AWSCURRENT"]}, "the stages")
    equal((described["Description"], described["Tags"]), ("what it is for", [{"Key": "run", "Value": "suite"}]), "more")
    equal(admin.describe_secret(SecretId=state.arn)["Name"], "app", "the name by ARN")
    denied("a missing secret", "ResourceNotFoundException", admin.describe_secret, SecretId="nope")


@step("secretsmanager GetSecretValue", "secretsmanager PutSecretValue")
def a_value_is_put_and_got_by_stage_and_version() -> None:
    state.second = put("v2", ClientRequestToken=token())
    equal(value(), "v2", "the current value")
    equal(value(VersionStage="AWSPREVIOUS"), "v1", "the previous one")
    equal(value(VersionId=state.first), "v1", "the one of the first version")
    got = admin.get_secret_value(SecretId=state.arn, VersionId=state.second, VersionStage="AWSCURRENT")
    equal((got["VersionId"], got["VersionStages"]), (state.second, ["AWSCURRENT"]), "the version")
    true(isinstance(got["CreatedDate"], datetime), "it has a time")
    call = admin.get_secret_value
    denied(
        "a stage on another version",
        "InvalidRequestException",
        call,
        SecretId="app",
        VersionId=state.first,
        VersionStage="AWSCURRENT",
    )
    denied("a missing stage", "ResourceNotFoundException", call, SecretId="app", VersionStage="NOPE")
    denied("a missing version", "ResourceNotFoundException", call, SecretId="app", VersionId=token())
    denied("a missing secret", "ResourceNotFoundException", call, SecretId="nope")


@step("secretsmanager PutSecretValue")
def a_put_sent_again_changes_nothing() -> None:
    before = stages()
    equal(put("v2", ClientRequestToken=state.second), state.second, "the version of the same request sent again")
    equal(stages(), before, "the stages")
    put_value = admin.put_secret_value
    denied(
        "another value under the same token",
        "ResourceExistsException",
        put_value,
        SecretId="app",
        SecretString="x",
        ClientRequestToken=state.second,
    )
    denied(
        "a short token",
        "InvalidParameterException",
        put_value,
        SecretId="app",
        SecretString="x",
        ClientRequestToken="x",
    )
    denied("a put to a missing secret", "ResourceNotFoundException", put_value, SecretId="nope", SecretString="x")
    true(put("v3") not in before, "botocore makes a token of its own when none is given")


@step("secretsmanager UpdateSecretVersionStage")
def a_stage_moves_only_from_where_it_is() -> None:
    current = next(version for version, labels in stages().items() if "AWSCURRENT" in labels)
    move = admin.update_secret_version_stage
    denied(
        "a move without its source",
        "InvalidParameterException",
        move,
        SecretId="app",
        VersionStage="AWSCURRENT",
        MoveToVersionId=state.second,
    )
    denied(
        "a removal of AWSCURRENT",
        "InvalidParameterException",
        move,
        SecretId="app",
        VersionStage="AWSCURRENT",
        RemoveFromVersionId=current,
    )
    denied(
        "a version that is none",
        "ResourceNotFoundException",
        move,
        SecretId="app",
        VersionStage="BLUE",
        MoveToVersionId=token(),
    )
    move(SecretId="app", VersionStage="AWSCURRENT", RemoveFromVersionId=current, MoveToVersionId=state.second)
    equal((value(), value(VersionStage="AWSPREVIOUS")), ("v2", "v3"), "the values after the move")
    move(SecretId="app", VersionStage="BLUE", MoveToVersionId=state.second)
    equal(value(VersionStage="BLUE"), "v2", "the value under a stage of our own")
    move(SecretId="app", VersionStage="BLUE", RemoveFromVersionId=state.second)
    denied(
        "a stage that was taken off",
        "ResourceNotFoundException",
        admin.get_secret_value,
        SecretId="app",
        VersionStage="BLUE",
    )


@step("secretsmanager UpdateSecret")
def a_secret_is_updated() -> None:
    updated = admin.update_secret(SecretId="app", SecretString="v4", Description="new", ClientRequestToken=token())
    equal((value(), admin.describe_secret(SecretId="app")["Description"]), ("v4", "new"), "value and description")
    arguments = {"SecretId": "app", "SecretString": "v4", "ClientRequestToken": updated["VersionId"]}
    denied("an update sent again", "ResourceExistsException", admin.update_secret, **arguments)
    true("VersionId" not in admin.update_secret(SecretId="app", Description="newer"), "no value makes no version")


@step("secretsmanager TagResource", "secretsmanager UntagResource")
def tags_come_and_go() -> None:
    admin.tag_resource(SecretId="app", Tags=[{"Key": "run", "Value": "other"}, {"Key": "team", "Value": "one"}])
    tags = {tag["Key"]: tag["Value"] for tag in admin.describe_secret(SecretId="app")["Tags"]}
    equal(tags, {"run": "other", "team": "one"}, "the tags")
    admin.untag_resource(SecretId="app", TagKeys=["team", "nope"])
    equal([tag["Key"] for tag in admin.describe_secret(SecretId="app")["Tags"]], ["run"], "what is left")
    denied("tags of a missing secret", "ResourceNotFoundException", admin.tag_resource, SecretId="nope", Tags=[])


@step("secretsmanager ListSecrets")
def secrets_are_listed_by_botocores_paginator() -> None:
    for number in range(5):
        admin.create_secret(Name=f"list/{number}", SecretString="x")
    pages = list(admin.get_paginator("list_secrets").paginate(PaginationConfig={"PageSize": 2}))
    equal([len(page["SecretList"]) for page in pages], [2, 2, 2], "the sizes of the pages")
    filters = [{"Key": "name", "Values": ["list/"]}]
    names = [
        secret["Name"]
        for page in admin.get_paginator("list_secrets").paginate(Filters=filters)
        for secret in page["SecretList"]
    ]
    equal(names, [f"list/{number}" for number in range(5)], "the names, oldest first")
    equal(admin.list_secrets(Filters=[{"Key": "name", "Values": ["nope"]}])["SecretList"], [], "what no secret has")
    last = admin.list_secrets(Filters=filters, MaxResults=3)
    rest = admin.list_secrets(Filters=filters, MaxResults=3, NextToken=last["NextToken"])
    true(len(rest["SecretList"]) == 2 and "NextToken" not in rest, "the last page has no token")
    for number in range(5):
        admin.delete_secret(SecretId=f"list/{number}", ForceDeleteWithoutRecovery=True)
    past = admin.list_secrets(Filters=filters, NextToken=last["NextToken"])
    true(past["SecretList"] == [] and "NextToken" not in past, "a page past the end is empty and the last")
    denied("a token that is none", "InvalidNextTokenException", admin.list_secrets, NextToken="?")
    denied("a page of 101", "ValidationException", admin.list_secrets, MaxResults=101)
    denied(
        "a filter that is none",
        "InvalidParameterException",
        admin.list_secrets,
        Filters=[{"Key": "nope", "Values": ["x"]}],
    )


def paginator(operation: str, result: str) -> Paginator:
    """A paginator of botocore's own kind, for an operation that it ships none of."""
    model = {"input_token": "NextToken", "output_token": "NextToken", "limit_key": "MaxResults", "result_key": result}
    name = "".join(part.capitalize() for part in operation.split("_"))
    config = PaginatorModel({"pagination": {name: model}}).get_paginator(name)
    return Paginator(getattr(admin, operation), config, admin.meta.service_model.operation_model(name))


@step("secretsmanager ListSecretVersionIds")
def versions_are_listed_in_pages() -> None:
    every = paginator("list_secret_version_ids", "Versions")
    pages = list(every.paginate(SecretId="app", IncludeDeprecated=True, PaginationConfig={"PageSize": 1}))
    versions = [version["VersionId"] for page in pages for version in page["Versions"]]
    equal((len(versions), set(versions) >= {state.first, state.second}), (4, True), "the versions, one to a page")
    labelled = admin.list_secret_version_ids(SecretId="app")["Versions"]
    equal(
        sorted(label for version in labelled for label in version["VersionStages"]), ["AWSCURRENT", "AWSPREVIOUS"], "it"
    )
    denied(
        "a token that is none",
        "InvalidNextTokenException",
        admin.list_secret_version_ids,
        SecretId="app",
        NextToken="?",
    )
    denied("a missing secret", "ResourceNotFoundException", admin.list_secret_version_ids, SecretId="nope")


@step("secretsmanager BatchGetSecretValue")
def values_are_got_in_a_batch_and_in_pages() -> None:
    for number in range(3):
        admin.create_secret(Name=f"batch/{number}", SecretString=f"b{number}")
    batch = admin.batch_get_secret_value(SecretIdList=["batch/0", "batch/2", "nope"])
    equal([got["SecretString"] for got in batch["SecretValues"]], ["b0", "b2"], "the values")
    equal(
        [(e["SecretId"], e["ErrorCode"]) for e in batch["Errors"]],
        [("nope", "ResourceNotFoundException")],
        "the errors",
    )
    every = paginator("batch_get_secret_value", "SecretValues")
    pages = every.paginate(Filters=[{"Key": "name", "Values": ["batch/"]}], PaginationConfig={"PageSize": 1})
    equal(
        [got["SecretString"] for page in pages for got in page["SecretValues"]],
        ["b0", "b1", "b2"],
        "the values of pages",
    )
    call = admin.batch_get_secret_value
    denied("neither ids nor filters", "InvalidParameterException", call)
    denied(
        "both", "InvalidParameterException", call, SecretIdList=["app"], Filters=[{"Key": "name", "Values": ["app"]}]
    )
    denied("21 ids", "InvalidParameterException", call, SecretIdList=[f"s{number}" for number in range(21)])


class Function(BaseHTTPRequestHandler):
    """A rotation function: the four steps that AWS documents, with boto3, as a Lambda function would take them."""

    steps: list[str] = []

    def do_POST(self) -> None:  # noqa: N802 (the name is http.server's)
        event = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status = 200
        try:
            self.take(event["Step"], event["SecretId"], event["ClientRequestToken"])
        except Exception:
            status = 500
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def take(self, step_name: str, arn: str, version: str) -> None:
        self.steps.append(step_name)
        if self.path == "/broken":
            raise RuntimeError("this function never works")
        if step_name == "createSecret":
            arguments = {"SecretId": arn, "ClientRequestToken": version, "VersionStages": ["AWSPENDING"]}
            rotator.put_secret_value(SecretString="rotated", **arguments)
        elif step_name == "testSecret":
            pending = rotator.get_secret_value(SecretId=arn, VersionId=version, VersionStage="AWSPENDING")
            assert pending["SecretString"] == "rotated"
        elif step_name == "finishSecret":
            labels = rotator.describe_secret(SecretId=arn)["VersionIdsToStages"]
            current = next(version for version, on in labels.items() if "AWSCURRENT" in on)
            move = {"SecretId": arn, "VersionStage": "AWSCURRENT"}
            rotator.update_secret_version_stage(RemoveFromVersionId=current, MoveToVersionId=version, **move)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def waiter(expected: list[dict[str, Any]], attempts: int = 100) -> Any:
    """A waiter of botocore's own kind, which ships none for this service."""
    model = {"operation": "DescribeSecret", "delay": 0.05, "maxAttempts": attempts, "acceptors": expected}
    return create_waiter_with_client("Rotated", WaiterModel({"version": 2, "waiters": {"Rotated": model}}), admin)


def stages_of(version: str, label: str, holds: bool) -> dict[str, Any]:
    path = f"contains(VersionIdsToStages.\"{version}\" || `[]`, '{label}')"
    return {"matcher": "path", "argument": path, "expected": holds, "state": "success"}


@step("secretsmanager RotateSecret", "secretsmanager DescribeSecret", "secretsmanager PutSecretValue")
def a_rotation_is_waited_for_with_botocores_waiter() -> None:
    server = HTTPServer(("127.0.0.1", 0), Function)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for arn, path in ((FUNCTION, "rotate"), (BROKEN, "broken")):
        control(setting, "rotation-functions", {"arn": arn, "url": f"http://127.0.0.1:{server.server_port}/{path}"})
    rotated = admin.rotate_secret(
        SecretId="app", RotationLambdaARN=FUNCTION, RotationRules={"AutomaticallyAfterDays": 30}
    )
    version = rotated["VersionId"]
    waiter([stages_of(version, "AWSCURRENT", True)]).wait(SecretId="app")
    waiter(
        [
            {
                "matcher": "path",
                "argument": "RotationEnabled && LastRotatedDate != null",
                "expected": True,
                "state": "success",
            }
        ]
    ).wait(SecretId="app")
    equal(Function.steps, ["createSecret", "setSecret", "testSecret", "finishSecret"], "the steps")
    equal((value(), value(VersionStage="AWSPREVIOUS")), ("rotated", "v4"), "the values")
    described = admin.describe_secret(SecretId="app")
    equal((described["RotationLambdaARN"], described["RotationRules"]["AutomaticallyAfterDays"]), (FUNCTION, 30), "it")


@step("secretsmanager RotateSecret", "secretsmanager CancelRotateSecret", "secretsmanager UpdateSecretVersionStage")
def a_rotation_that_fails_leaves_its_stage_behind() -> None:
    call = admin.rotate_secret
    denied(
        "a function that nobody knows",
        "AccessDeniedException",
        call,
        SecretId="app",
        RotationLambdaARN=f"{FUNCTION}-not",
    )
    denied("a missing secret", "ResourceNotFoundException", call, SecretId="nope", RotationLambdaARN=FUNCTION)
    Function.steps.clear()
    version = call(SecretId="app", RotationLambdaARN=BROKEN)["VersionId"]
    waiter([stages_of(version, "AWSPENDING", True)]).wait(SecretId="app")
    failing = {"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "RotationFailed"}]}
    control(setting, "cloudtrail/rate", {"per_second": None})
    until(lambda: trail.lookup_events(**failing)["Events"], "CloudTrail shows that the rotation failed")
    control(setting, "cloudtrail/rate", {"per_second": 2})
    equal((Function.steps, value()), (["createSecret"], "rotated"), "steps and value")
    denied("a second rotation meanwhile", "InvalidRequestException", call, SecretId="app")
    with refused(botocore.exceptions.WaiterError, "a wait for what will not come") as error:
        waiter([stages_of(version, "AWSCURRENT", True)], attempts=2).wait(SecretId="app")
    true("Max attempts exceeded" in str(error[0]), "the waiter gives up")
    equal(admin.cancel_rotate_secret(SecretId="app")["Name"], "app", "the secret whose rotation is off")
    admin.update_secret_version_stage(SecretId="app", VersionStage="AWSPENDING", RemoveFromVersionId=version)
    waiter([stages_of(version, "AWSPENDING", False)]).wait(SecretId="app")


def until(holds: Any, what: str) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        true(time.monotonic() < deadline, f"within ten seconds {what}")
        time.sleep(0.02)


@step("secretsmanager GetSecretValue", "secretsmanager PutSecretValue", "secretsmanager BatchGetSecretValue")
def a_user_may_do_what_a_policy_allows() -> None:
    state.reader = principal("reader", allow("GetSecretValue", resource=state.arn), allow("BatchGetSecretValue"))
    reader = client("secretsmanager", state.reader)
    equal(reader.get_secret_value(SecretId="app")["SecretString"], "rotated", "the value")
    error = denied("another secret", "AccessDeniedException", reader.get_secret_value, SecretId="batch/0")
    message = error.response["Error"]["Message"]
    true("user/reader is not authorized to perform: secretsmanager:GetSecretValue" in message, "the message names both")
    denied("a write", "AccessDeniedException", reader.put_secret_value, SecretId="app", SecretString="stolen")
    denied("a missing secret", "AccessDeniedException", reader.get_secret_value, SecretId="nope")
    denied("the list", "AccessDeniedException", reader.list_secrets)
    denied("the events", "AccessDeniedException", client("cloudtrail", state.reader).lookup_events)
    batch = reader.batch_get_secret_value(SecretIdList=["app", "batch/0"])
    equal([got["Name"] for got in batch["SecretValues"]], ["app"], "what the batch holds")
    equal([error["ErrorCode"] for error in batch["Errors"]], ["AccessDeniedException"], "what it holds not")
    equal(value(), "rotated", "the value after the write")


@step("secretsmanager PutResourcePolicy", "secretsmanager GetResourcePolicy", "secretsmanager DeleteResourcePolicy")
def an_explicit_deny_wins() -> None:
    equal("ResourcePolicy" in admin.get_resource_policy(SecretId="app"), False, "whether there is a policy at first")
    user = f"arn:aws:iam::{setting['account']}:user/reader"
    statement = {"Effect": "Deny", "Principal": {"AWS": user}, "Action": "secretsmanager:*", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    admin.put_resource_policy(SecretId="app", ResourcePolicy=json.dumps(document), BlockPublicPolicy=True)
    equal(json.loads(admin.get_resource_policy(SecretId="app")["ResourcePolicy"]), document, "the policy")
    reader = client("secretsmanager", state.reader)
    error = denied("a read", "AccessDeniedException", reader.get_secret_value, SecretId="app")
    true(
        "with an explicit deny in a resource-based policy" in error.response["Error"]["Message"], "the message says so"
    )
    admin.delete_resource_policy(SecretId="app")
    equal(reader.get_secret_value(SecretId="app")["Name"], "app", "the secret after the policy is gone")
    call = admin.put_resource_policy
    denied("a policy that is none", "MalformedPolicyDocumentException", call, SecretId="app", ResourcePolicy="{")
    everybody = json.dumps({"Statement": statement | {"Effect": "Allow", "Principal": "*"}})
    denied(
        "a policy for everybody",
        "PublicPolicyException",
        call,
        SecretId="app",
        ResourcePolicy=everybody,
        BlockPublicPolicy=True,
    )
    denied("a policy of a missing secret", "ResourceNotFoundException", admin.get_resource_policy, SecretId="nope")


@step("secretsmanager GetSecretValue")
def a_deny_of_the_identity_wins_too() -> None:
    deny = {"Effect": "Deny", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
    torn = client("secretsmanager", principal("torn", allow("*"), deny))
    equal(torn.describe_secret(SecretId="app")["Name"], "app", "the secret")
    error = denied("a read", "AccessDeniedException", torn.get_secret_value, SecretId="app")
    true(
        "with an explicit deny in an identity-based policy" in error.response["Error"]["Message"], "the message says so"
    )


@step("secretsmanager ListSecrets")
def a_wrong_key_is_refused() -> None:
    wrong = {"access_key_id": setting["access_key_id"], "secret_access_key": "not-the-one"}
    denied("a wrong signature", "InvalidSignatureException", client("secretsmanager", wrong).list_secrets)
    unknown = {"access_key_id": "AKIANOBODYWASGIVEN00", "secret_access_key": "x"}
    denied("an unknown key", "UnrecognizedClientException", client("secretsmanager", unknown).list_secrets)
    elsewhere = client("secretsmanager", region_name="us-east-1")
    denied("a signature for another region", "InvalidSignatureException", elsewhere.list_secrets)


@step("secretsmanager ListSecrets")
def a_revoked_and_an_expired_key_are_refused() -> None:
    key = principal("leaver", allow("*"))
    equal("SecretList" in client("secretsmanager", key).list_secrets(), True, "the key before")
    control(setting, "keys/deactivate", {"access_key_id": key["access_key_id"]})
    denied("a deactivated key", "UnrecognizedClientException", client("secretsmanager", key).list_secrets)
    past = (datetime.now(timezone.utc) - timedelta(hours=1)).isoformat()
    session_token = steps.hide(uuid.uuid4().hex)
    late = principal("late", allow("*"), session_token=session_token, expires_at=past)
    denied("an expired session", "ExpiredTokenException", client("secretsmanager", late).list_secrets)
    future = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
    timely = principal("timely", allow("*"), session_token=session_token, expires_at=future)
    equal("SecretList" in client("secretsmanager", timely).list_secrets(), True, "a session that has not")
    without = timely | {"session_token": None}
    denied("a session without its token", "UnrecognizedClientException", client("secretsmanager", without).list_secrets)


@step("secretsmanager ListSecrets")
def a_clock_ten_minutes_off_is_refused() -> None:
    for minutes, words in ((-10, "Signature expired"), (10, "Signature not yet current")):
        off = (datetime.now(timezone.utc) + timedelta(minutes=minutes)).replace(tzinfo=None)
        with patch("botocore.auth.get_current_datetime", return_value=off):
            error = denied(f"a clock {minutes} minutes off", "InvalidSignatureException", admin.list_secrets)
        true(error.response["Error"]["Message"].startswith(words), f"the message begins with {words}")
    for minutes in (-4, 4):
        near = (datetime.now(timezone.utc) + timedelta(minutes=minutes)).replace(tzinfo=None)
        with patch("botocore.auth.get_current_datetime", return_value=near):
            equal("SecretList" in admin.list_secrets(), True, f"a clock {minutes} minutes off")


@step("cloudtrail LookupEvents")
def cloudtrail_tells_who_read_what_in_pages() -> None:
    control(setting, "cloudtrail/rate", {"per_second": None})
    by_name = [{"AttributeKey": "EventName", "AttributeValue": "GetSecretValue"}]
    pages = list(
        trail.get_paginator("lookup_events").paginate(LookupAttributes=by_name, PaginationConfig={"PageSize": 5})
    )
    events = [event for page in pages for event in page["Events"]]
    true(len(pages) > 2 and all(len(page["Events"]) == 5 for page in pages[:-1]), "every page but the last is full")
    equal(len({event["EventId"] for event in events}), len(events), "the number of different events")
    mine = next(
        event for event in events if event["Username"] == "reader" and "errorCode" not in event["CloudTrailEvent"]
    )
    equal((mine["ReadOnly"], mine["EventSource"]), ("true", "secretsmanager.amazonaws.com"), "the event")
    equal(mine["AccessKeyId"], state.reader["access_key_id"], "whose key it was")
    equal(mine["Resources"][0]["ResourceName"], state.arn, "what was read")
    record = json.loads(mine["CloudTrailEvent"])
    equal(record["requestParameters"], {"secretId": "app"}, "the parameters")
    true(record["eventID"] == mine["EventId"] and "Boto3" in record["userAgent"], "the record is of that event")
    refused_reads = [json.loads(e["CloudTrailEvent"]).get("errorCode") for e in events if e["Username"] == "reader"]
    true("AccessDenied" in refused_reads, "a denied read is recorded too")
    everything = json.dumps([page["Events"] for page in trail.get_paginator("lookup_events").paginate()], default=str)
    true("rotated" not in everything and '"v4"' not in everything, "no record holds a value")


@step("cloudtrail LookupEvents")
def cloudtrail_filters_and_delays() -> None:
    names = {event["EventName"] for page in trail.get_paginator("lookup_events").paginate() for event in page["Events"]}
    true(
        {"RotationStarted", "RotationSucceeded", "RotationFailed", "PutSecretValue"} <= names,
        "the service's own events",
    )
    by_user = trail.lookup_events(LookupAttributes=[{"AttributeKey": "Username", "AttributeValue": "reader"}])
    equal({event["Username"] for event in by_user["Events"]}, {"reader"}, "the users")
    by_resource = trail.lookup_events(LookupAttributes=[{"AttributeKey": "ResourceName", "AttributeValue": state.arn}])
    true(by_resource["Events"], "events are found by the ARN")
    later = datetime.now(timezone.utc) + timedelta(days=1)
    equal(trail.lookup_events(StartTime=later, EndTime=later + timedelta(days=1))["Events"], [], "tomorrow's events")
    control(setting, "cloudtrail/delay", {"seconds": 300})
    marked = put("delayed")
    by_name = {"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "PutSecretValue"}]}
    shown = lambda: marked in json.dumps(trail.lookup_events(**by_name)["Events"], default=str)  # noqa: E731
    equal(shown(), False, "whether it is shown at once")
    control(setting, "cloudtrail/delay", {"seconds": 0})
    marked = put("at once")
    equal(shown(), True, "whether it is shown without a delay")
    call = trail.lookup_events
    denied(
        "an attribute that is none",
        "InvalidLookupAttributesException",
        call,
        LookupAttributes=[{"AttributeKey": "Nope", "AttributeValue": "x"}],
    )
    denied(
        "an end before its start", "InvalidTimeRangeException", call, StartTime=later, EndTime=later - timedelta(days=1)
    )
    denied("a page of 51", "InvalidMaxResultsException", call, MaxResults=51)
    denied("a token that is none", "InvalidNextTokenException", call, NextToken="?")


@step("cloudtrail LookupEvents")
def cloudtrail_is_asked_twice_a_second() -> None:
    control(setting, "cloudtrail/rate", {"per_second": 2})
    with refused(trail.exceptions.ThrottlingException, "so many lookups") as error:
        for _ in range(20):
            trail.lookup_events(MaxResults=1)
    equal(error[0].response["Error"]["Code"], "ThrottlingException", "the code")
    patient = client("cloudtrail", retries={"mode": "standard", "total_max_attempts": 8})
    equal(len(patient.lookup_events(MaxResults=1)["Events"]), 1, "the events that botocore's own retries bring")


@step("secretsmanager DeleteSecret", "secretsmanager RestoreSecret")
def a_deleted_secret_comes_back() -> None:
    deleted = admin.delete_secret(SecretId="batch/0", RecoveryWindowInDays=7)
    true(deleted["DeletionDate"] - datetime.now(timezone.utc) > timedelta(days=6), "the day of the deletion is told")
    denied("a read of it", "InvalidRequestException", admin.get_secret_value, SecretId="batch/0")
    denied("a write to it", "InvalidRequestException", admin.put_secret_value, SecretId="batch/0", SecretString="x")
    denied("a secret of its name", "InvalidRequestException", admin.create_secret, Name="batch/0", SecretString="x")
    true(admin.describe_secret(SecretId="batch/0")["DeletedDate"], "it can still be described")
    by_name = [{"Key": "name", "Values": ["batch/0"]}]
    equal(admin.list_secrets(Filters=by_name)["SecretList"], [], "the list")
    equal(len(admin.list_secrets(Filters=by_name, IncludePlannedDeletion=True)["SecretList"]), 1, "the list with them")
    admin.restore_secret(SecretId="batch/0")
    equal(admin.get_secret_value(SecretId="batch/0")["SecretString"], "b0", "the value")
    denied(
        "a short window", "InvalidParameterException", admin.delete_secret, SecretId="batch/0", RecoveryWindowInDays=6
    )
    denied("a missing secret", "ResourceNotFoundException", admin.delete_secret, SecretId="nope")
    denied("a missing secret", "ResourceNotFoundException", admin.restore_secret, SecretId="nope")


@step("secretsmanager DeleteSecret", "secretsmanager DescribeSecret")
def a_secret_is_deleted_at_once() -> None:
    admin.delete_secret(SecretId="batch/1", ForceDeleteWithoutRecovery=True)
    denied("a description of it", "ResourceNotFoundException", admin.describe_secret, SecretId="batch/1")
    both = {"SecretId": "batch/2", "ForceDeleteWithoutRecovery": True, "RecoveryWindowInDays": 7}
    denied("both ways at once", "InvalidParameterException", admin.delete_secret, **both)


@step("secretsmanager CreateSecret")
def names_are_of_the_documented_characters() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    legal = set(letters + letters.upper() + "0123456789/_+=.@-")
    for character in [chr(code) for code in range(128)] + ["é", "日", "🔑"]:
        if character in legal:
            admin.create_secret(Name=f"n{character}n", SecretString="x")
        else:
            what = f"the character {ord(character):#x}"
            denied(what, "ValidationException", admin.create_secret, Name=f"n{character}n", SecretString="x")
    # The model bounds a name at 512 characters in requests and at 256 in answers: what lies between is not settled.
    admin.create_secret(Name="n" * 256, SecretString="x")
    denied("a name of 513 characters", "ValidationException", admin.create_secret, Name="n" * 513, SecretString="x")
    denied("no name", "ValidationException", admin.create_secret, Name="", SecretString="x")


@step("secretsmanager PutSecretValue", "secretsmanager GetSecretValue")
def a_value_is_any_text_or_any_bytes() -> None:
    every = "".join(map(chr, range(0x300))) + "日本語🔑\u2028\ufeff"
    for text in (every, " ", "a" * 65_536):
        version = put(text)
        true(value(VersionId=version) == text, f"{len(text)} characters come back")
    data = bytes(range(256)) * 256
    version = admin.put_secret_value(SecretId="app", SecretBinary=data)["VersionId"]
    got = admin.get_secret_value(SecretId="app", VersionId=version)
    true(got["SecretBinary"] == data and "SecretString" not in got, "64 KiB of bytes come back")
    call = admin.put_secret_value
    denied("a value too long", "ValidationException", call, SecretId="app", SecretString="a" * 65_537)
    denied("an empty value", "ValidationException", call, SecretId="app", SecretString="")
    denied(
        "text and bytes at once", "InvalidParameterException", call, SecretId="app", SecretString="x", SecretBinary=b"x"
    )


@step("secretsmanager GetSecretValue", "secretsmanager PutSecretValue")
def malformed_input_is_refused() -> None:
    before = value(VersionStage="AWSPREVIOUS")
    for wrong in (1, True, ["app"], {"a": "b"}):
        what = f"a secret id of type {type(wrong).__name__}"
        broken("GetSecretValue", {"SecretId": wrong}, what)
        broken("PutSecretValue", {"SecretId": "app", "SecretString": wrong, "ClientRequestToken": token()}, what)
    broken("GetSecretValue", {}, "no secret id")
    for text in (b"", b"{", b"[]", b'"x"', b"\xff", b"null"):
        broken("GetSecretValue", text, f"the body {text!r}")
    large = b"x" * (10 << 20)
    broken("PutSecretValue", large, "10 MiB", "RequestEntityTooLargeException")
    equal(value(VersionStage="AWSPREVIOUS"), before, "the value after it all")
    surprised(
        "GetSecretValue", {"SecretId": "app", "VersionStage": "AWSPREVIOUS", "Surprise": {"Deep": [1, None]}}, before
    )


def with_body(body: bytes) -> Any:
    """A client whose next requests have this body, and a signature that covers it: no client sends such things."""
    made = client("secretsmanager")

    def replace(params: dict[str, Any], **_: Any) -> None:
        params["body"] = body

    made.meta.events.register("before-call.secretsmanager", replace)
    return made


def broken(operation: str, body: Any, what: str, code: str = "SerializationException") -> None:
    sender = with_body(body if isinstance(body, bytes) else json.dumps(body).encode())
    name = "get_secret_value" if operation == "GetSecretValue" else "put_secret_value"
    denied(what, code, getattr(sender, name), SecretId="app")


def surprised(operation: str, body: dict[str, Any], expected: str) -> None:
    sender = with_body(json.dumps(body).encode())
    equal(sender.get_secret_value(SecretId="app")["SecretString"], expected, f"the answer of {operation} all the same")


@step("secretsmanager PutSecretValue", "secretsmanager ListSecretVersionIds")
def writers_at_once_leave_one_current_version() -> None:
    admin.create_secret(Name="busy", SecretString="w")
    with ThreadPoolExecutor(16) as pool:
        made = list(
            pool.map(lambda n: admin.put_secret_value(SecretId="busy", SecretString=f"w{n}")["VersionId"], range(32))
        )
    versions = admin.list_secret_version_ids(SecretId="busy", IncludeDeprecated=True)["Versions"]
    equal((len(set(made)), len(versions)), (32, 33), "the versions")
    labels = sorted(label for version in versions for label in version.get("VersionStages", []))
    equal(labels, ["AWSCURRENT", "AWSPREVIOUS"], "the labels")


rotator = client("secretsmanager")

if __name__ == "__main__":
    sys.exit(steps.run())

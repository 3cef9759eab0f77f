"""Secrets, their versions and stages, rotation, and who may do what.

botocore ships no waiters for Secrets Manager and a paginator for ListSecrets alone. Its machinery for both is
driven all the same: with models of our own for what it ships none of.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from unittest.mock import patch

import botocore.exceptions
from botocore.paginate import PaginatorModel, Paginator
from botocore.waiter import WaiterModel, create_waiter_with_client

from aws_clients import (
    admin,
    allow,
    client,
    denied,
    principal,
    put,
    setting,
    stages,
    state,
    step,
    steps,
    token,
    trail,
    value,
)
from steps import control, equal, refused, true

FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:rotate"
BROKEN = "arn:aws:lambda:eu-central-1:123456789012:function:broken"


rotator = client("secretsmanager")


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

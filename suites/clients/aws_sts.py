"""STS: a federated user may do what its own policy and the user's both allow."""

from __future__ import annotations

import json
from typing import Any

from aws_clients import admin, allow, client, denied, principal, setting, state, step, steps, token, trail
from steps import control, equal, true

tokens = client("sts")


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def federated(name: str, text: str | None, by: Any = tokens) -> dict[str, Any]:
    """The key of a federated user, as the other clients take it."""
    made = by.get_federation_token(Name=name, **({"Policy": text} if text else {}))
    key = made["Credentials"]
    steps.hide(key["SecretAccessKey"])
    steps.hide(key["SessionToken"])
    return {
        "access_key_id": key["AccessKeyId"],
        "secret_access_key": key["SecretAccessKey"],
        "session_token": key["SessionToken"],
    }


@step("sts GetCallerIdentity")
def a_key_tells_whose_it_is() -> None:
    me = tokens.get_caller_identity()
    equal((me["Account"], me["Arn"]), (setting["account"], f"arn:aws:iam::{setting['account']}:user/admin"), "who it is")


@step("sts GetFederationToken", "sts GetCallerIdentity", "secretsmanager GetSecretValue", "secretsmanager PutSecretValue")
def a_federated_user_reads_its_one_secret() -> None:
    own = admin.create_secret(Name="federated-own", SecretString="own", ClientRequestToken=token())["ARN"]
    admin.create_secret(Name="federated-other", SecretString="other", ClientRequestToken=token())
    arn = f"{own.rsplit('-', 1)[0]}-??????"
    key = federated("app.1", policy(allow("GetSecretValue", resource=arn)))
    reader = client("secretsmanager", key)
    equal(reader.get_secret_value(SecretId="federated-own")["SecretString"], "own", "its value")
    denied("the other", "AccessDeniedException", reader.get_secret_value, SecretId="federated-other")
    denied("a write", "AccessDeniedException", reader.put_secret_value, SecretId="federated-own", SecretString="x")
    me = client("sts", key).get_caller_identity()
    session = f"arn:aws:sts::{setting['account']}:federated-user/app.1"
    equal((me["Arn"], me["UserId"]), (session, f"{setting['account']}:app.1"), "who it is")
    nobody = client("secretsmanager", federated("nobody", None))
    denied("anything without a policy", "AccessDeniedException", nobody.get_secret_value, SecretId="federated-own")
    state.federated = key


@step("sts GetFederationToken", "secretsmanager GetSecretValue")
def a_federated_user_may_no_more_than_its_user() -> None:
    poor = principal("poor", {"Effect": "Allow", "Action": "sts:GetFederationToken", "Resource": "*"})
    everything = policy(allow("*"))
    key = federated("rich", everything, client("sts", poor))
    read = client("secretsmanager", key).get_secret_value
    denied("what its user may not", "AccessDeniedException", read, SecretId="federated-own")
    none = principal("none", allow("*"))
    call = client("sts", none).get_federation_token
    denied("a user without the right", "AccessDenied", call, Name="app", Policy=everything)
    only = principal(
        "only",
        {"Effect": "Allow", "Action": "sts:GetFederationToken", "Resource": "arn:aws:sts::*:federated-user/app"},
    )
    call = client("sts", only).get_federation_token
    true(call(Name="app", Policy=everything)["FederatedUser"], "the user of that name is made")
    denied("another name", "AccessDenied", call, Name="other", Policy=everything)


@step("cloudtrail LookupEvents")
def cloudtrail_tells_who_the_federated_user_is() -> None:
    key = [{"AttributeKey": "AccessKeyId", "AttributeValue": state.federated["access_key_id"]}]
    events = [e for page in trail.get_paginator("lookup_events").paginate(LookupAttributes=key) for e in page["Events"]]
    names = {event["EventName"] for event in events}
    true({"GetSecretValue", "PutSecretValue", "GetCallerIdentity"} <= names, "its calls are there")
    identity = json.loads(events[0]["CloudTrailEvent"])["userIdentity"]
    equal(identity["type"], "FederatedUser", "the type")
    equal(identity["arn"].rsplit("/", 1)[1], "app.1", "the name")
    equal(identity["sessionContext"]["sessionIssuer"]["userName"], "admin", "the user behind it")
    made = [{"AttributeKey": "EventName", "AttributeValue": "GetFederationToken"}]
    event = trail.lookup_events(LookupAttributes=made)["Events"]
    true(event and all(one["EventSource"] == "sts.amazonaws.com" for one in event), "its making is there")


@step("sts GetFederationToken", "sts GetCallerIdentity")
def what_is_no_request_is_refused() -> None:
    call = tokens.get_federation_token
    denied("a name of one character", "ValidationError", call, Name="x")
    denied("a name of 33 characters", "ValidationError", call, Name="x" * 33)
    denied("a name with a space", "ValidationError", call, Name="a b")
    denied("a quarter of an hour less a second", "ValidationError", call, Name="app", DurationSeconds=899)
    denied("more than 36 hours", "ValidationError", call, Name="app", DurationSeconds=129_601)
    denied("what is no policy", "MalformedPolicyDocument", call, Name="app", Policy="{")
    long = policy(allow("GetSecretValue", resource="x" * 2048))
    denied("a policy that is too long", "PackedPolicyTooLarge", call, Name="app", Policy=long)
    again = client("sts", state.federated).get_federation_token
    denied("a temporary key", "AccessDenied", again, Name="app")
    wrong = {**state.federated, "session_token": "wrong"}
    denied("a wrong token", "InvalidClientTokenId", client("sts", wrong).get_caller_identity)
    wrong = {"access_key_id": setting["access_key_id"], "secret_access_key": "wrong"}
    denied("a wrong secret", "SignatureDoesNotMatch", client("sts", wrong).get_caller_identity)
    unoffered = tokens.get_session_token
    steps_before = len(steps.exchanges)
    denied("what is not offered", "InvalidAction", unoffered)
    true(len(steps.exchanges) == steps_before + 1, "it was asked")


@step("sts GetCallerIdentity", "secretsmanager GetSecretValue")
def a_federated_user_ends_with_its_time() -> None:
    control(setting, "clock/advance", {"seconds": 43_201})
    # botocore signs with its own clock, which is now half a day behind: both refusals are right, the key's is first.
    denied("an expired key", "ExpiredToken", client("sts", state.federated).get_caller_identity)
    reader = client("secretsmanager", state.federated)
    denied("an expired key", "ExpiredTokenException", reader.get_secret_value, SecretId="federated-own")

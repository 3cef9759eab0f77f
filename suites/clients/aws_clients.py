"""What the scripts for AWS share: clients of boto3, and the judge of shapes by botocore's own service models."""

from __future__ import annotations

import re
import uuid
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import boto3
import botocore.session
from botocore.config import Config
from botocore.model import OperationModel, Shape
from jsonschema import Draft202012Validator

from steps import Exchange, Steps, control, equal, problems, refused, settings

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

# <https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>, and three that are only seen from the live service.
COMMON_OF_STS = {
    "AccessDenied",
    "ExpiredToken",
    "IncompleteSignature",
    "InvalidAction",
    "InvalidClientTokenId",
    "MissingAction",
    "MissingAuthenticationToken",
    "SignatureDoesNotMatch",
    "ValidationError",
}


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


def elements(element: ElementTree.Element, shape: Shape, space: str) -> list[str]:
    """What is wrong with an element that should be a structure of scalars and structures."""
    found = {child.tag.removeprefix(space): child for child in element}
    told = [f"{shape.name} has the unknown {name}" for name in found.keys() - shape.members.keys()]
    told += [f"{shape.name} lacks {name}" for name in set(shape.required_members) - found.keys()]
    for name in found.keys() & shape.members.keys():
        member, text = shape.members[name], found[name].text or ""
        if member.type_name == "structure":
            told += elements(found[name], member, space)
        elif member.type_name == "integer":
            told += [] if text.isdigit() else [f"{name} is no integer"]
        elif member.type_name == "timestamp":
            told += [] if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text) else [f"{name} is no time"]
        else:
            bounds = member.metadata
            fits = bounds.get("min", 0) <= len(text) <= bounds.get("max", len(text))
            told += [] if fits else [f"the length of {name} is outside its bounds"]
    return told


class Judge:
    def __init__(self) -> None:
        session = botocore.session.get_session()
        self.models = {name: session.get_service_model(name) for name in ("secretsmanager", "cloudtrail", "sts")}
        self.by_model: set[str] = set()
        self.errors: set[str] = set()

    def judge(self, exchange: Exchange) -> list[str]:
        service, name = exchange.endpoint.split(" ")
        operation = self.models[service].operation_model(name)
        if service == "sts":
            return self._judge_xml(exchange, operation)
        return self._judge_json(exchange, operation)

    def _judge_xml(self, exchange: Exchange, operation: OperationModel) -> list[str]:
        """The query protocol: <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>."""
        space = f"{{{operation.service_model.metadata['xmlNamespace']}}}"
        root = ElementTree.fromstring(exchange.body)
        told = [] if exchange.headers.get("content-type") == "text/xml" else ["its type is not text/xml"]
        if exchange.status >= 300:
            found = [child.tag for child in root.iter()]
            if found != [f"{space}{tag}" for tag in ("ErrorResponse", "Error", "Type", "Code", "Message", "RequestId")]:
                told.append(f"an error has {found}")
            code = root.findtext(f"{space}Error/{space}Code", "")
            known = {shape.metadata.get("error", {}).get("code", shape.name) for shape in operation.error_shapes}
            if code not in known | COMMON_OF_STS:
                told.append(f"the error {code} is neither common nor one of {sorted(known)}")
            self.errors.add(code)
            return told
        self.by_model.add(exchange.endpoint)
        wrapper = operation.output_shape.serialization["resultWrapper"]
        if [child.tag for child in root] != [f"{space}{wrapper}", f"{space}ResponseMetadata"]:
            told.append(f"it has {[child.tag for child in root]}")
        if root.tag != f"{space}{operation.name}Response":
            told.append(f"it is {root.tag}")
        return told + elements(root[0], operation.output_shape, space)

    def _judge_json(self, exchange: Exchange, operation: OperationModel) -> list[str]:
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
    with refused(call.__self__.exceptions.from_code(code), what) as error:
        call(**arguments)
    equal(error[0].response["Error"]["Code"], code, f"the code for {what}")
    return error[0]


state = SimpleNamespace()
admin = client("secretsmanager")
trail = client("cloudtrail")


def put(text: str, **more: Any) -> str:
    return admin.put_secret_value(SecretId="app", SecretString=text, **more)["VersionId"]


def value(**more: Any) -> str:
    return admin.get_secret_value(SecretId="app", **more)["SecretString"]


def stages() -> dict[str, list[str]]:
    return admin.describe_secret(SecretId="app")["VersionIdsToStages"]


def token() -> str:
    return str(uuid.uuid4())

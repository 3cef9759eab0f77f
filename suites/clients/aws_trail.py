"""What CloudTrail tells of the calls before."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

from aws_clients import client, denied, put, setting, state, step, trail
from steps import control, equal, refused, true


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

"""What the scripts share: named steps, the exchanges that were really made, and the shapes of their answers.

A step names the endpoints that it drives, and fails when no request to one of them went out while it ran: a line in the
output is never a claim alone. Every answer that came back meanwhile is also given to the script's judge of shapes.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Exchange:
    """One request with its answer. Endpoints of HTTP interfaces read `METHOD /path`, others as the script has them."""

    endpoint: str
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise AssertionError(f"failed to read the answer of {self.endpoint} ({self.status}) as JSON") from None


@dataclass
class Steps:
    """The steps of a script, in order."""

    vendor: str
    # Says what is wrong with the shape of an answer.
    judge: Callable[[Exchange], list[str]] = lambda _: []
    # Says in the end what was judged and what could not be.
    summary: Callable[[], list[str]] = list
    exchanges: list[Exchange] = field(default_factory=list)
    _all: list[tuple[tuple[str, ...], Callable[[], None]]] = field(default_factory=list)
    _secrets: set[str] = field(default_factory=set)

    def step(self, *endpoints: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
        def add(act: Callable[[], None]) -> Callable[[], None]:
            self._all.append((endpoints, act))
            return act

        return add

    def saw(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    def last(self) -> Exchange:
        return self.exchanges[-1]

    def hide(self, secret: str) -> str:
        """Keeps a text out of all that is printed."""
        self._secrets.add(secret)
        return secret

    def _say(self, text: str) -> None:
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        print(text, flush=True)

    def run(self) -> int:
        started = time.monotonic()
        driven: set[str] = set()
        for number, (endpoints, act) in enumerate(self._all, 1):
            name = act.__name__.replace("_", " ")
            before = len(self.exchanges)
            try:
                act()
                problem = self._problem(endpoints, self.exchanges[before:])
            except Exception as error:  # Whatever a client raises is what the script reports.
                problem = f"{type(error).__module__}.{type(error).__name__}: {error}".removeprefix("builtins.")
            if problem:
                self._say(f"FAIL  {', '.join(endpoints)}  {name}\n      failed: {problem}")
                self._say(f"{self.vendor}: step {number} of {len(self._all)} failed; the rest was not run")
                return 1
            for endpoint in endpoints:
                self._say(f"ok    {endpoint:<58} {name}")
            driven.update(endpoints)
        for line in self.summary():
            self._say(f"      {line}")
        took = time.monotonic() - started
        self._say(f"{self.vendor}: {len(driven)} endpoints in {len(self._all)} steps, {took:.1f} s")
        return 0

    def _problem(self, endpoints: tuple[str, ...], made: list[Exchange]) -> str:
        for endpoint in endpoints:
            if not any(matches(endpoint, exchange.endpoint) for exchange in made):
                return f"failed to drive {endpoint}: no such request went out"
        wrong = [
            f"{exchange.endpoint} ({exchange.status}): {what}" for exchange in made for what in self.judge(exchange)
        ]
        return "the shape is wrong:\n        " + "\n        ".join(dict.fromkeys(wrong)) if wrong else ""


def matches(template: str, endpoint: str) -> bool:
    """Whether an endpoint is the one of a template such as `GET /v1/vaults/{vault}`."""
    pattern = re.sub(r"\\\{[^/]*\\\}", "[^/]+", re.escape(template))
    return re.fullmatch(pattern, endpoint) is not None


def equal(actual: Any, expected: Any, what: str) -> None:
    assert actual == expected, f"{what} is {actual!r}, not {expected!r}"


def true(holds: Any, what: str) -> None:
    assert holds, f"it does not hold that {what}"


@contextmanager
def refused(kind: type[BaseException], what: str) -> Iterator[list[Any]]:
    """The block must raise exactly this kind of error; it is then the list's only member."""
    caught: list[Any] = []
    try:
        yield caught
    except Exception as error:
        if type(error) is not kind:
            raise AssertionError(f"{what} raises {type(error).__name__}, not {kind.__name__}: {error}") from None
        caught.append(error)
        return
    raise AssertionError(f"{what} is not refused; {kind.__name__} was expected")


def settings() -> dict[str, Any]:
    """Address and credentials: from a file that only this user reads, since arguments are seen by everybody."""
    place = os.environ.get("CLIENTS_SETTINGS")
    if not place:
        sys.exit("error: CLIENTS_SETTINGS names no file with address and credentials")
    with open(place, encoding="utf-8") as file:
        return json.load(file)


def control(setting: dict[str, Any], verb: str, body: dict[str, Any]) -> dict[str, Any]:
    """The stand-in's own channel, which no client has."""
    request = urllib.request.Request(
        f"{setting['url']}/_standin/{verb}",
        data=json.dumps(body).encode(),
        headers={"authorization": f"Bearer {setting['control_token']}"},
        method="POST",
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        return json.load(answer)


def problems(validator: Any, document: Any) -> list[str]:
    """What a validator of jsonschema has to say, with the place but without the value: it may be a secret."""
    told = []
    for error in validator.iter_errors(document):
        # Every element of a list alike: one line tells of them all.
        place = "/".join("*" if isinstance(part, int) else part for part in error.absolute_path) or "the whole"
        if error.validator in ("additionalProperties", "unevaluatedProperties", "required"):
            told.append(f"{place}: {error.message}")
        else:
            told.append(f"{place}: {error.validator} {json.dumps(error.validator_value)[:200]} does not hold")
    return told

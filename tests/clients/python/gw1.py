"""A client of the protocol `gw.1`, which keeps its connection over cuts.

Written from docs/client-protocol.md alone, to show that the page suffices; what it quotes is from there.

`State` says what to do for what was received. It has no socket and no clock: each call returns what
is to be done, as `Send`, `Deliver` and so on, and `ended` says how to go on after a connection.
`Client` does it: it has one connection at a time, waits, and comes back.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import websocket
from websocket import Message

CONTROL = "\x01"
ACK_MESSAGES = 32
ACK_BYTES = 128 * 1024
# The close codes of the table "The end", where the client does not come back by itself.
_MISTAKES = {1002, 1003, 1007, 1009}
_FINAL = {1000, 1008, 4409}


@dataclass
class Send:
    """Send this as it is."""

    message: Message


@dataclass
class Deliver:
    """The application's: give it to the user."""

    message: Message


@dataclass
class HangUp:
    """Close the connection with this code: the gateway has made a mistake."""

    code: int
    reason: str


@dataclass
class Lost:
    """This is a new client. `unsure` is what was sent and not acknowledged: it may have arrived, or not."""

    why: str
    unsure: list[Message]


@dataclass
class Told:
    """The gateway has said `name`: hello, resumed, closed, token or go."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)


Action = Send | Deliver | HangUp | Lost | Told


class Phase(Enum):
    """Where the client is."""

    AWAY = "there is no connection"
    STARTING = "hello is to come"
    RESUMING = "the answer to a resume is to come"
    IN = "messages flow"


class Then(Enum):
    """How to go on when a connection has ended."""

    STAY_AWAY = "do not come back"
    AT_ONCE = "at once, and with waits that double where it fails again"
    SOON = "after a random time of some seconds"
    LATER = "after a wait that doubles"
    NEW_TOKEN = "with a fresh token for admission"


def control(name: str, value: Any) -> str:
    """A control message."""
    return CONTROL + json.dumps({name: value}, separators=(",", ":"))


def escaped(message: Message) -> Message:
    """A data message as it goes over the wire."""
    if isinstance(message, str) and message.startswith(CONTROL):
        return CONTROL + message
    return message


class State:
    """What a client knows, and what follows from what it receives."""

    def __init__(self) -> None:
        self.phase = Phase.AWAY
        self.client: str | None = None
        self.ping_ms: int | None = None
        self.max: int | None = None
        self._closed: int | None = None
        self._waiting: deque[Message] = deque()
        self._forget()

    def _forget(self) -> list[Message]:
        """Be nobody. Returns what was sent and not acknowledged."""
        unsure = list(getattr(self, "_kept", ()))
        self.token: str | None = None
        self.attempts = 0
        self.sent = 0
        self.got = 0
        self._kept: deque[Message] = deque()
        self._acknowledged_by_us = 0
        self._bytes_since_ack = 0
        return unsure

    @property
    def unacknowledged(self) -> int:
        """How many messages are kept or wait."""
        return len(self._kept) + len(self._waiting)

    def opened(self) -> list[Action]:
        """There is a connection, whose subprotocol is gw.1: what to say first."""
        if self.token is None:
            self.phase = Phase.STARTING
            return [Send(control("start", {}))]
        self.phase = Phase.RESUMING
        self.attempts += 1
        # What `got` says is acknowledged with it.
        self._acknowledged_by_us, self._bytes_since_ack = self.got, 0
        return [Send(control("resume", {"token": self.token, "try": self.attempts, "got": self.got}))]

    def send(self, message: Message) -> list[Action]:
        """Send a data message, now or when the client is in. It is sent behind `start` only when `hello` has come:
        then there is a token to come back with, and a cut before it loses nothing."""
        if self.phase is not Phase.IN:
            self._waiting.append(message)
            return []
        self.sent += 1
        self._kept.append(message)
        return [Send(escaped(message))]

    def received(self, message: Message) -> list[Action]:
        """A message has come."""
        if isinstance(message, bytes) or not message.startswith(CONTROL):
            return self._data(message)
        if message.startswith(CONTROL * 2):
            return self._data(message[1:])
        try:
            said = json.loads(message[1:])
        except ValueError:
            said = None
        if not isinstance(said, dict):
            return [HangUp(1002, "a control message that is no JSON object")]
        # Those of another form are not known, and ignored.
        name, value = next(iter(said.items())) if len(said) == 1 else ("", None)
        known = getattr(self, f"_on_{name}", None)
        if known is None or not isinstance(value, int if name == "ack" else dict):
            return []
        return known(value)

    def _data(self, message: Message) -> list[Action]:
        # While a resume is answered, data comes without `resumed` where `closed` follows.
        if self.phase not in (Phase.IN, Phase.RESUMING):
            return [HangUp(1002, "data before hello")]
        self.got += 1
        self._bytes_since_ack += len(message)
        actions: list[Action] = [Deliver(message)]
        if self.got - self._acknowledged_by_us >= ACK_MESSAGES or self._bytes_since_ack >= ACK_BYTES:
            actions += self._ack()
        return actions

    def _ack(self) -> list[Action]:
        if self.phase is not Phase.IN:
            return []
        self._acknowledged_by_us, self._bytes_since_ack = self.got, 0
        return [Send(control("ack", self.got))]

    def _arrived(self, number: int) -> bool:
        """The gateway has all up to `number`. Returns whether that can be."""
        if number > self.sent:
            return False
        while self.sent - len(self._kept) < number:
            self._kept.popleft()
        return True

    def _flow(self) -> list[Action]:
        """The client is in: send what is kept, and what waits."""
        self.phase = Phase.IN
        actions: list[Action] = [Send(escaped(message)) for message in self._kept]
        waiting, self._waiting = self._waiting, deque()
        for message in waiting:
            actions += self.send(message)
        return actions

    def _on_hello(self, said: dict[str, Any]) -> list[Action]:
        if self.phase is not Phase.STARTING:
            return [HangUp(1002, "an unasked hello")]
        self.client, self.token = said.get("client"), said.get("token")
        self.ping_ms, self.max = said.get("ping_ms"), said.get("max")
        return [Told("hello", said), *self._flow()]

    def _on_resumed(self, said: dict[str, Any]) -> list[Action]:
        number = said.get("got")
        if self.phase is not Phase.RESUMING or not isinstance(number, int) or number < self.sent - len(self._kept):
            return [HangUp(1002, "resumed, which cannot be")]
        if not self._arrived(number):
            return [HangUp(1002, "more than was sent")]
        return [Told("resumed", said), *self._flow()]

    def _on_lost(self, said: dict[str, Any]) -> list[Action]:
        if self.phase is not Phase.RESUMING:
            return [HangUp(1002, "an unasked lost")]
        self.phase = Phase.STARTING
        return [Lost(str(said.get("why")), self._forget())]

    def _on_closed(self, said: dict[str, Any]) -> list[Action]:
        self._closed = said.get("code")
        return [Told("closed", said)]

    def _on_ack(self, number: int) -> list[Action]:
        return [] if self._arrived(number) else [HangUp(1002, "an ack of what was never sent")]

    def _on_ping(self, _said: dict[str, Any]) -> list[Action]:
        return self._ack()

    def _on_token(self, said: dict[str, Any]) -> list[Action]:
        return [Told("token", said)]

    def _on_go(self, said: dict[str, Any]) -> list[Action]:
        return [Told("go", said)]

    def ping(self) -> list[Action]:
        """Ask whether the gateway is there, and acknowledge on the way what there is to acknowledge."""
        if self.phase is not Phase.IN:
            return []
        new = self._ack() if self.got > self._acknowledged_by_us else []
        return [*new, Send(control("ping", {}))]

    def ended(self, code: int | None) -> tuple[Then, list[Action]]:
        """The connection is over. `code` is the one of the gateway's close frame, and None where none came, or where
        the client gave the connection up and so the frame was only the answer to its own."""
        self.phase = Phase.AWAY
        if code is None:
            code = self._closed
        if code is None:
            return Then.AT_ONCE, []
        # "A close frame of the gateway's ends the client": nothing is left to come back to.
        lost: list[Action] = [Lost(f"closed {code}", self._forget())] if self.token is not None else []
        if code == 4401:
            return Then.NEW_TOKEN, lost
        if code in _FINAL or code in _MISTAKES or 4000 <= code <= 4499:
            return Then.STAY_AWAY, lost
        if code in (1001, 1012):
            return Then.SOON, lost
        return (Then.LATER if code == 1013 else Then.AT_ONCE), lost


class Client:
    """A client that runs: `run` connects and comes back until it is over.

    `on` receives each `Deliver`, `Lost` and `Told`. `offer` makes the subprotocols of each handshake, so that a
    fresh token for admission can be among them. `first_wait` is the first wait that doubles, in seconds.
    """

    def __init__(
        self,
        url: str,
        on: Callable[[Deliver | Lost | Told], None],
        offer: Callable[[], list[str]] = lambda: ["gw.1"],
        first_wait: float = 0.5,
        longest_wait: float = 30.0,
        answer_within: float = 10.0,
    ) -> None:
        self.state = State()
        self.connections = 0
        self._url = url
        self._on = on
        self._offer = offer
        self._first_wait, self._longest_wait = first_wait, longest_wait
        self._answer_within = answer_within
        self._connection: websocket.Connection | None = None
        self._wait = 0.0
        self._leaving = asyncio.Event()
        self._go_at: float | None = None

    async def run(self) -> Then:
        """Until the client leaves, or has to stay away, or needs a fresh token for admission."""
        while not self._leaving.is_set():
            then, actions = self.state.ended(await self._once())
            self._do(actions)
            if then in (Then.STAY_AWAY, Then.NEW_TOKEN):
                return then
            await self._pause(then)
        return Then.STAY_AWAY

    def send(self, message: Message) -> None:
        """Send a data message, now or later. It is kept until it is acknowledged."""
        self._do(self.state.send(message))

    def renew(self, auth: str) -> None:
        """Show a fresh token for admission. `Told("token")` is the answer."""
        if self._connection:
            self._connection.send(control("token", {"auth": auth}))

    def leave(self) -> None:
        """Leave for good, with 1000. What is not acknowledged may be lost."""
        self._leaving.set()

    async def _once(self) -> int | None:
        """One connection, from its beginning to its end. Returns the code of the gateway's close frame."""
        self.connections += 1
        try:
            async with asyncio.timeout(self._answer_within):
                connection = await websocket.connect(self._url, self._offer())
        except (OSError, TimeoutError):
            return None
        except websocket.Refused as refused:
            # The page gives no rule for a status: come back where waiting may help.
            return None if refused.status in (429, 503) else 1002
        if connection.subprotocol is None or not connection.subprotocol.startswith("gw.1"):
            connection.abort()
            return 1002
        self._connection = connection
        self._do(self.state.opened())
        reading = asyncio.create_task(self._read(connection))
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait([reading, leaving], return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
            reading.cancel()
            await asyncio.wait([reading])
            await connection.close(1000)
            return None
        finally:
            self._connection = None
            leaving.cancel()
            connection.abort()

    async def _read(self, connection: websocket.Connection) -> int | None:
        while True:
            # Nothing heard for one and a half times ping_ms: the line is dead.
            is_in = self.state.phase is Phase.IN and self.state.ping_ms
            until = asyncio.get_running_loop().time()
            until += self.state.ping_ms * 1.5 / 1000 if is_in else self._answer_within
            if self._go_at is not None:
                until = min(until, self._go_at)
            try:
                async with asyncio.timeout_at(until):
                    message = await connection.receive()
            except TimeoutError:
                self._go_at = None
                await connection.close(3999, timeout=0.1)
                return None
            except websocket.Ended as ended:
                return ended.code
            for action in self.state.received(message):
                if isinstance(action, HangUp):
                    await connection.close(action.code, action.reason)
                    return action.code
                self._do([action])

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                if self._connection:
                    self._connection.send(action.message)
            elif not isinstance(action, HangUp):
                if isinstance(action, Told) and action.name in ("hello", "resumed"):
                    self._wait = 0.0
                if isinstance(action, Told) and action.name == "go":
                    within = action.fields.get("within_ms", 0) / 1000
                    self._go_at = asyncio.get_running_loop().time() + random.uniform(0, within)
                self._on(action)

    async def _pause(self, then: Then) -> None:
        if then is Then.SOON:
            seconds = random.uniform(1, 5)
        else:
            seconds = self._wait if then is Then.AT_ONCE else max(self._wait, self._first_wait)
            self._wait = min(max(seconds * 2, self._first_wait), self._longest_wait)
        try:
            async with asyncio.timeout(seconds * random.uniform(0.5, 1)):
                await self._leaving.wait()
        except TimeoutError:
            pass

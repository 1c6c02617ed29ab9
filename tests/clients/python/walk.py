"""A walk over many cuts: is each message there, once and in order?

    python3 walk.py --url ws://127.0.0.1:8289 --cuts 200 --seed 1

Two clients of `gw.1` (gw1.py) reach the gateway through a proxy in this program, which cuts their connections
after a random number of bytes. Each says numbered lines to all, and has to receive all lines of both. Then it prints
one line of figures and ends with 0; otherwise it says what is missing, and ends with 1.

The gateway runs with `resume = true`, and with the stock worker behind it, which lets clients publish to groups:
`businessworker --client-calls-join 'walk-*' --client-calls-publish 'walk-*'`. With `--talk chat` the lines go through
the worker's chat, which it runs without these settings, and which takes one line a second from each client.
With a `resume_ping_ms` of the gateway of at most 2000, connections also go silent without an end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

from gw1 import Client, Deliver, Lost, Told

LINES_AFTER_THE_CUTS = 30
STUCK_SECONDS = 30.0


class Cutter:
    """A proxy that cuts.

    `both`: both sides end. `half`: the client's side ends, and the gateway's stays open for a while. `late`: the same,
    and what the client had sent reaches the gateway when the client may be back already. `stall`: both sides stay
    open, and nothing comes through.
    """

    def __init__(self, url: str, cuts: int, dice: random.Random) -> None:
        parts = urlsplit(url)
        self._gateway = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._dice = dice
        self.left = cuts
        self.done: Counter[str] = Counter()
        self.may_stall = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> str:
        """Start. Returns the URL for the clients."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def end(self) -> None:
        """End all that is still open."""
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        sides = [writer]
        try:
            to_reader, to_writer = await asyncio.open_connection(*self._gateway)
            sides.append(to_writer)
            await self._forward((reader, writer), (to_reader, to_writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for side in sides:
                side.transport.abort()

    def _draw(self) -> tuple[bool, int, str]:
        """Which direction is cut (up is to the gateway), after how many bytes, and how."""
        # Handshake and `resume` are some 400 bytes up, the answers to them some 250 down.
        longest = self._dice.choice([300, 700, 6000, 40_000])
        kinds = ["both", "half", "late"] + ["stall"] * self.may_stall
        return self._dice.random() < 0.5, self._dice.randrange(longest), self._dice.choice(kinds)

    async def _forward(self, client: tuple, gateway: tuple) -> None:
        is_up, budget, kind = self._draw()
        cut = asyncio.Event()
        late = bytearray()

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cuts: bool, is_up: bool) -> None:
            passed = 0
            while data := await reader.read(65536):
                passed += len(data)
                if cuts and self.left > 0 and passed >= budget and not cut.is_set():
                    self.left -= 1
                    self.done[kind] += 1
                    cut.set()
                    here = len(data) - (passed - budget)
                    writer.write(data[:here])
                    data = data[here:]
                if not cut.is_set():
                    writer.write(data)
                    await writer.drain()
                elif is_up:
                    late.extend(data)
            # One side has ended by itself.

        pumps = [
            asyncio.create_task(pump(client[0], gateway[1], is_up, True)),
            asyncio.create_task(pump(gateway[0], client[1], not is_up, False)),
        ]
        until_cut = asyncio.create_task(cut.wait())
        try:
            await asyncio.wait([*pumps, until_cut], return_when=asyncio.FIRST_COMPLETED)
            if not cut.is_set():
                # Ended in order: what is on its way still goes through.
                client[1].close()
                gateway[1].close()
                await asyncio.wait(pumps, timeout=1)
                return
            if kind == "stall":
                # The client gives up by itself.
                await asyncio.wait([pumps[0]], timeout=60)
                return
            if kind == "late":
                await asyncio.sleep(self._dice.uniform(0, 0.05))
            if kind != "both":
                client[1].transport.abort()
                await asyncio.sleep(self._dice.uniform(0, 0.3 if kind == "late" else 3))
            if kind == "late":
                gateway[1].write(bytes(late))
                await gateway[1].drain()
                await asyncio.sleep(self._dice.uniform(0, 0.3))
        finally:
            for task in [*pumps, until_cut]:
                task.cancel()
            for result in await asyncio.gather(*pumps, until_cut, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, OSError):
                    raise result


class Talker:
    """One client, what it says, and what it has heard."""

    def __init__(self, name: str, url: str, group: str | None, dice: random.Random, wrong: list[str]) -> None:
        self.name = name
        self.said = 0
        self.heard: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.is_ready = asyncio.Event()
        self._group = group
        self._dice = dice
        self._wrong = wrong
        self.client = Client(url, self._on, first_wait=0.05, longest_wait=1, answer_within=3)

    def say(self) -> None:
        """Say the next line: of any length, as text or binary."""
        self.said += 1
        filler = self._dice.choice("xé中😀") * int(self._dice.expovariate(1 / 60))
        line = {"by": self.name, "n": self.said, "filler": filler}
        if self._group:
            text = json.dumps({"gw": "publish", "group": self._group, "message": line}, separators=(",", ":"))
            self.client.send(text.encode() if self._dice.random() < 0.3 else text)
        else:
            self.client.send(json.dumps({"type": "chat", "content": json.dumps(line)}))

    def _on(self, action: Deliver | Lost | Told) -> None:
        if isinstance(action, Lost):
            self._wrong.append(f"{self.name} is lost: {action.why}, {len(action.unsure)} messages unsure")
        elif isinstance(action, Told):
            self.told[action.name] += 1
            if action.name == "hello" and self._group:
                self.client.send(json.dumps({"gw": "join", "group": self._group, "id": 1}, separators=(",", ":")))
            elif action.name == "hello":
                self.is_ready.set()
        else:
            self._hear(json.loads(action.message))

    def _hear(self, said: dict) -> None:
        if said.get("gw") == "join" and said.get("ok"):
            self.is_ready.set()
        elif said.get("ok") is False or said.get("type") == "error":
            self._wrong.append(f"{self.name} is told {said}")
        if said.get("gw") == "message":
            line = said["message"]
        elif said.get("type") == "chat" and said["content"].startswith('{"by"'):
            line = json.loads(said["content"])
        else:
            return
        by, number = line["by"], line["n"]
        if number != self.heard[by] + 1:
            self._wrong.append(f"{self.name} hears line {number} of {by} after line {self.heard[by]}")
        self.heard[by] = max(number, self.heard[by])


async def walk(options: argparse.Namespace) -> int:
    """The whole walk. Returns the exit status."""
    dice = random.Random(options.seed)
    group = f"walk-{options.seed}-{time.time_ns()}" if options.talk == "group" else None
    wrong: list[str] = []
    cutter = Cutter(options.url, options.cuts, dice)
    url = await cutter.listen()
    talkers = [Talker(f"{name}{time.time_ns()}", url, group, dice, wrong) for name in "ab"]
    began = time.monotonic()
    runs = [asyncio.create_task(talker.client.run()) for talker in talkers]
    last_change, last_figures, after = began, None, 0
    try:
        while not wrong:
            await asyncio.sleep(dice.uniform(0, 0.01) if group else 1.1)
            ready = all(talker.is_ready.is_set() for talker in talkers)
            cutter.may_stall = ready and all((t.client.state.ping_ms or 60_000) <= 2000 for t in talkers)
            complete = ready and all(t.heard[by.name] == by.said for t in talkers for by in talkers)
            if ready and cutter.left <= 0 and after >= LINES_AFTER_THE_CUTS:
                if complete:
                    break
            elif ready:
                after += cutter.left <= 0
                for talker in talkers:
                    # What is not heard yet has to stay below resume_bytes.
                    if talker.said - min(t.heard[talker.name] for t in talkers) < options.window:
                        talker.say()
            figures = (cutter.left, *(t.heard.total() for t in talkers))
            if figures != last_figures:
                last_change, last_figures = time.monotonic(), figures
            elif time.monotonic() - last_change > STUCK_SECONDS:
                wrong.append(f"nothing has come for {STUCK_SECONDS:.0f} s, {cutter.left} cuts are left")
            for talker, run in zip(talkers, runs):
                if run.done():
                    wrong.append(f"{talker.name} has ended: {run.result()}")
    finally:
        for talker in talkers:
            talker.client.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(*runs)
        await cutter.end()
    for talker in talkers:
        for by in talkers:
            if talker.heard[by.name] != by.said:
                wrong.append(f"{talker.name} has heard {talker.heard[by.name]} of the {by.said} lines of {by.name}")
    told = sum((talker.told for talker in talkers), Counter())
    kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(cutter.done.items()))
    print(
        f"seed {options.seed}: {cutter.done.total()} cuts ({kinds}), "
        f"{sum(t.client.connections for t in talkers)} connections, hello {told['hello']}, resumed {told['resumed']}, "
        f"lines said {sum(t.said for t in talkers)}, heard {sum(t.heard.total() for t in talkers)}, "
        f"{time.monotonic() - began:.1f} s: {'WRONG' if wrong else 'all there, once, in order'}"
    )
    for line in wrong[:20]:
        print(f"  {line}", file=sys.stderr)
    return 1 if wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Two clients of gw.1 talk over a line that is cut again and again.")
    parser.add_argument("--url", default="ws://127.0.0.1:8289", help="the gateway")
    parser.add_argument("--cuts", type=int, default=100, help="how often a connection is cut")
    parser.add_argument("--seed", type=int, default=1, help="where and how it is cut")
    parser.add_argument("--talk", choices=["group", "chat"], default="group", help="publish to a group, or chat")
    parser.add_argument("--window", type=int, default=24, help="how many lines of a client may be on their way")
    return asyncio.run(walk(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())

"""The part of RFC 6455 that a client needs, over asyncio's streams.

One `Connection` is one WebSocket connection: its handshake, whole messages in both directions, and
its end. Text is `str`, binary is `bytes`. It answers pings, and knows nothing of what is said.
No extensions, no TLS, no proxies: for tests, and for reading.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from urllib.parse import urlsplit

Message = str | bytes

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_MESSAGE = 64 * 1024 * 1024


class Refused(Exception):
    """The server did not answer the handshake with 101 as it has to. `status` is 0 where there was none."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(f"the handshake was answered with {status}: {why}")
        self.status = status


class Ended(Exception):
    """The connection is over. `code` is that of the close frame, 1005 where the frame had none, and None
    where there was no close frame: the connection was cut."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(f"ended with {code} {reason}")
        self.code = code
        self.reason = reason


def encode(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """One frame of a client: masked."""
    size = len(payload)
    head = bytearray([(0x80 if fin else 0) | opcode])
    if size < 126:
        head.append(0x80 | size)
    elif size < 1 << 16:
        head.append(0x80 | 126)
        head += size.to_bytes(2, "big")
    else:
        head.append(0x80 | 127)
        head += size.to_bytes(8, "big")
    mask = os.urandom(4)
    head += mask
    return bytes(head) + _masked(payload, mask)


def _masked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")


class Connection:
    """A connection whose handshake is done. Make it with `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, subprotocol: str | None) -> None:
        self._reader = reader
        self._writer = writer
        self.subprotocol = subprotocol

    def send(self, message: Message) -> None:
        """Queue a message. What cannot be sent any more is dropped: `receive` says that the connection is over."""
        if isinstance(message, str):
            self.send_frame(TEXT, message.encode())
        else:
            self.send_frame(BINARY, message)

    def send_frame(self, opcode: int, payload: bytes, fin: bool = True) -> None:
        """Queue one frame, which may be a fragment."""
        if not self._writer.is_closing():
            self._writer.write(encode(opcode, payload, fin))

    async def drain(self) -> None:
        """Wait until not too much is queued."""
        try:
            await self._writer.drain()
        except OSError:
            pass

    async def receive(self) -> Message:
        """The next message, when it is whole. Raises `Ended`."""
        kind, parts, size = 0, [], 0
        while True:
            fin, opcode, payload = await self._frame()
            if opcode == PING:
                self.send_frame(PONG, payload)
            elif opcode == CLOSE:
                code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
                self.send_frame(CLOSE, payload)
                raise Ended(code, payload[2:].decode(errors="replace"))
            elif opcode in (TEXT, BINARY, CONTINUATION):
                if (opcode == CONTINUATION) != bool(parts):
                    raise self._mistake(1002)
                kind = kind or opcode
                parts.append(payload)
                size += len(payload)
                if size > _MAX_MESSAGE:
                    raise self._mistake(1009)
                if fin:
                    return self._whole(kind, b"".join(parts))
            elif opcode != PONG:
                raise self._mistake(1002)

    def _whole(self, kind: int, payload: bytes) -> Message:
        if kind == BINARY:
            return payload
        try:
            return payload.decode()
        except UnicodeDecodeError:
            raise self._mistake(1007) from None

    async def _frame(self) -> tuple[bool, int, bytes]:
        try:
            first, second = await self._reader.readexactly(2)
            size = second & 0x7F
            if first & 0x70 or second & 0x80 or (first & 0x08 and (size > 125 or not first & 0x80)):
                raise self._mistake(1002)
            if size >= 126:
                size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
            if size > _MAX_MESSAGE:
                raise self._mistake(1009)
            return bool(first & 0x80), first & 0x0F, await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            raise Ended(None) from None

    def _mistake(self, code: int) -> Ended:
        """The server broke RFC 6455: tell it, and take the connection for cut."""
        self.send_frame(CLOSE, code.to_bytes(2, "big"))
        return Ended(None)

    async def close(self, code: int | None = None, reason: str = "", timeout: float = 2.0) -> Ended:
        """Send a close frame, wait for the answer, and end the connection. Messages that still come are dropped."""
        self.send_frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason.encode())
        try:
            async with asyncio.timeout(timeout):
                while True:
                    await self.receive()
        except Ended as ended:
            return ended
        except TimeoutError:
            return Ended(None)
        finally:
            self.abort()

    def abort(self) -> None:
        """End the connection without a close frame of ours, but send what is queued."""
        self._writer.close()


async def connect(url: str, subprotocols: list[str], headers: dict[str, str] | None = None) -> Connection:
    """Open a connection. Raises `OSError` where there is nobody, and `Refused` where the answer is not 101."""
    parts = urlsplit(url)
    if parts.scheme != "ws":
        raise ValueError(f"only ws:// is spoken here: {url}")
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    reader, writer = await asyncio.open_connection(host, port)
    try:
        key = base64.b64encode(os.urandom(16)).decode()
        request = {
            "Host": f"{host}:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": ", ".join(subprotocols),
            **(headers or {}),
        }
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"GET {target} HTTP/1.1"] + [f"{name}: {value}" for name, value in request.items() if value]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        return Connection(reader, writer, _chosen(answer, key, subprotocols))
    except asyncio.IncompleteReadError:
        writer.close()
        raise ConnectionResetError("cut in the handshake") from None
    except BaseException:
        writer.close()
        raise


def _chosen(answer: bytes, key: str, offered: list[str]) -> str | None:
    """The subprotocol of an answer to a handshake."""
    status_line, *lines = answer.decode("latin-1").split("\r\n")
    words = status_line.split(" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    if status != 101:
        raise Refused(status, status_line)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
    if headers.get("sec-websocket-accept") != accept or headers.get("upgrade", "").lower() != "websocket":
        raise Refused(status, "this is no WebSocket")
    chosen = headers.get("sec-websocket-protocol")
    if chosen is not None and chosen not in offered:
        raise Refused(status, f"{chosen} was not offered")
    return chosen

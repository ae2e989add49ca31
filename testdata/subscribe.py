"""Runs a statement and has its result pushed, with a WebSocket client that nobody here wrote: PyPI's websockets.

subscribe.py URL < SQL; prints the result that came in chunks, and ends with 1 if it is not what its sha256 says.
"""

import asyncio
import hashlib
import json
import sys
import urllib.request

import websockets


async def main(url: str, sql: str) -> None:
    request = urllib.request.Request(f"{url}/v1/queries", json.dumps({"sql": sql}).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        execution = json.load(answer)["executionId"]
    socket = url.replace("http", "ws", 1) + "/v1/ws"
    async with websockets.connect(socket, subprotocols=["penstock.v1"], proxy=None) as connection:
        await connection.send(json.dumps({"action": "subscribe", "executionId": execution, "deliver": "inline"}))
        result = b""
        chunks = 0
        async for message in connection:
            message = json.loads(message)
            assert message["executionId"] == execution, message
            match message["type"]:
                case "chunk":
                    assert message["seq"] == chunks, message["seq"]
                    chunks += 1
                    result += message["data"].encode()
                case "end":
                    assert message["sha256"] == hashlib.sha256(result).hexdigest(), message
                    break
                case "error":
                    sys.exit(message["detail"])
        sys.stdout.buffer.write(result)


asyncio.run(main(sys.argv[1], sys.stdin.read()))

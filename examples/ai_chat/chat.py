"""A conversation as a stream: what its messages are, and how an answer gets into it, once.

::

    {"type": "question", "turn": 1, "text": "Why is the sky blue?"}
    {"type": "piece", "turn": 1, "text": "Because "}
    {"type": "end", "turn": 1}                           or, with a reason, {"type": "end", …, "error": "…"}
"""

from collections.abc import Sequence
from typing import Any

import httpx

from durafold import DurableStream, IdempotentProducer
from models import Model, Turn

STOPPED = "The program that wrote this answer was stopped."


class Chat:
    """One conversation. `is_busy` from a question until its answer is complete, in this process."""

    def __init__(self, stream: DurableStream) -> None:
        self.stream = stream
        self.is_busy = False

    async def messages(self) -> list[dict[str, Any]]:
        await self.stream.create()
        return await self.stream.read_json()

    async def settle(self) -> None:
        """End an answer that an earlier run of this program has left unfinished."""
        messages = await self.messages()
        turn = _open_turn(messages)
        if turn is not None and not self.is_busy:
            await self.stream.append({"type": "end", "turn": turn, "error": STOPPED})

    async def ask(self, text: str) -> int:
        """Append a question; returns its turn, which has to be answered then."""
        self.is_busy = True
        try:
            turn = 1 + sum(message["type"] == "question" for message in await self.messages())
            await self.stream.append({"type": "question", "turn": turn, "text": text})
        except BaseException:
            self.is_busy = False
            raise
        return turn

    async def answer(self, turn: int, model: Model) -> None:
        """Let the model answer, into the stream. Runs to its end whether or not anybody watches."""
        try:
            # The producer numbers what it sends: a piece whose reply got lost is sent again and counts once.
            async with IdempotentProducer(self.stream, f"answer-{turn}", linger_s=0.02) as producer:
                end: dict[str, Any] = {"type": "end", "turn": turn}
                try:
                    async for text in model(conversation(await self.messages())):
                        await producer.append({"type": "piece", "turn": turn, "text": text})
                except (httpx.HTTPError, ValueError) as exc:  # or what it says is no JSON
                    end["error"] = f"The model does not answer: {exc}"
                await producer.append(end)
        finally:
            self.is_busy = False


def conversation(messages: Sequence[dict[str, Any]]) -> list[Turn]:
    """What a model is told: whole turns, and the question that is open."""
    turns: list[Turn] = []
    for message in messages:
        match message:
            case {"type": "question", "text": text}:
                turns.append({"role": "user", "content": text})
            case {"type": "piece", "text": text} if turns and turns[-1]["role"] == "assistant":
                turns[-1]["content"] += text
            case {"type": "piece", "text": text}:
                turns.append({"role": "assistant", "content": text})
    return turns


def _open_turn(messages: Sequence[dict[str, Any]]) -> int | None:
    """The turn that has a question and no end."""
    asked = {message["turn"] for message in messages if message["type"] == "question"}
    ended = {message["turn"] for message in messages if message["type"] == "end"}
    return max(asked - ended, default=None)

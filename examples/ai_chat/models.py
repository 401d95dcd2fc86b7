"""Where answers come from: an OpenAI-compatible endpoint, or a stand-in that needs no network."""

import json
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import anyio
import httpx
from httpx_sse import aconnect_sse

Turn = dict[str, str]
"""`{"role": "user" | "assistant", "content": text}`, as the OpenAI API has it."""

Model = Callable[[Sequence[Turn]], AsyncIterator[str]]
"""The conversation so far → the answer, piece by piece."""


def chosen_model() -> Model:
    """The endpoint that OPENAI_BASE_URL, OPENAI_MODEL and OPENAI_API_KEY name, or else the stand-in.

    Raises:
        SystemExit: OPENAI_BASE_URL is set without OPENAI_MODEL.
    """
    base_url = os.environ.get("OPENAI_BASE_URL")
    if base_url is None:
        return stand_in(pause_s=float(os.environ.get("PAUSE_S", "0.06")))
    if "OPENAI_MODEL" not in os.environ:
        raise SystemExit("OPENAI_BASE_URL is set, but not OPENAI_MODEL: the name of a model there")
    return openai_compatible(base_url, os.environ["OPENAI_MODEL"], os.environ.get("OPENAI_API_KEY", ""))


def openai_compatible(base_url: str, model: str, api_key: str) -> Model:
    """A model behind the chat completions API, streamed.

    Args:
        base_url: such as `https://api.openai.com/v1`.
        model: its name there.
        api_key: sent as a bearer token; empty for servers that want none.
    """

    async def answer(conversation: Sequence[Turn]) -> AsyncIterator[str]:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        request = {"model": model, "messages": list(conversation), "stream": True}
        async with (
            httpx.AsyncClient(base_url=base_url, headers=headers, timeout=60) as client,
            aconnect_sse(client, "POST", "chat/completions", json=request) as events,
        ):
            events.response.raise_for_status()
            async for event in events.aiter_sse():
                if event.data == "[DONE]":
                    return
                if piece := _piece(json.loads(event.data)):
                    yield piece

    return answer


def _piece(chunk: dict[str, Any]) -> str | None:
    choices = chunk.get("choices") or [{}]
    piece: str | None = choices[0].get("delta", {}).get("content")
    return piece


def stand_in(pause_s: float) -> Model:
    """Speaks of what it was asked about, a word at a time, and always says the same."""

    async def answer(conversation: Sequence[Turn]) -> AsyncIterator[str]:
        question = conversation[-1]["content"]
        for word in re.findall(r"\S+\s*", _text(question)):
            await anyio.sleep(pause_s)
            yield word

    return answer


def _text(question: str) -> str:
    topic = question.strip().rstrip("?!.") or "nothing at all"
    return (
        f"You asked about “{topic}”. I am a stand-in that runs on your machine, so I can only tell you how "
        "this answer travels: every word is appended to a durable stream the moment it is made, and your "
        "page reads that stream. Reload in the middle of this sentence, or open the same address on another "
        "device, and it goes on at the same word, because the answer is made once, whoever watches. Close "
        "the page, and it is finished all the same."
    )

"""JSON mode (PROTOCOL §9.1)."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

import anyio

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import expect_equal, expect_that
from durafold_server.conformance.target import CLOSED, JSON, Server

JSON_MODE: Final = Topic("json", "9.1", "JSON mode")


async def _expect_messages(server: Server, *bodies: bytes, messages: list[Any]) -> None:
    """Append each body to a new stream, and expect it to hold these messages."""
    stream = await server.create(JSON)
    for body in bodies:
        (await stream.post(body)).expect(204)
    await stream.expect_messages(messages)


async def _expect_refused(server: Server, *bodies: bytes) -> None:
    stream = await server.create(JSON, b"[0]")
    for body in bodies:
        (await stream.post(body)).expect(400)
    await stream.expect_messages([0])


# Messages


@JSON_MODE.must("9.1.1")
async def one_value_is_one_message(server: Server) -> None:
    await _expect_messages(server, b'{"event":"created"}', messages=[{"event": "created"}])


@JSON_MODE.must("9.1.2")
async def an_array_is_one_message_per_element(server: Server) -> None:
    await _expect_messages(
        server, b'[{"event":"a"},{"event":"b"}]', messages=[{"event": "a"}, {"event": "b"}]
    )


@JSON_MODE.must("9.1.2")
async def only_one_level_of_arrays_is_taken_apart(server: Server) -> None:
    await _expect_messages(server, b"[[1,2],[3,4]]", messages=[[1, 2], [3, 4]])
    await _expect_messages(server, b"[[[1,2,3]]]", messages=[[[1, 2, 3]]])


@JSON_MODE.must("9.1.2")
async def an_array_in_an_array_is_one_message(server: Server) -> None:
    await _expect_messages(server, b"[[1,2,3]]", messages=[[1, 2, 3]])
    await _expect_messages(server, b"[[]]", messages=[[]])


@JSON_MODE.must("9.1.2")
async def elements_of_all_kinds_are_messages(server: Server) -> None:
    await _expect_messages(
        server, b'[1,"two",null,true,{"a":[]},[]]', messages=[1, "two", None, True, {"a": []}, []]
    )


@JSON_MODE.must("9.1.1")
async def scalars_are_messages(server: Server) -> None:
    bodies = (b"42", b"-1.5", b'"text"', b"true", b"false", b"null", b'""', b"0")
    await _expect_messages(server, *bodies, messages=[42, -1.5, "text", True, False, None, "", 0])


@JSON_MODE.must("9.1.1")
async def appends_add_up_to_one_array(server: Server) -> None:
    await _expect_messages(
        server, b"1", b"[2,3]", b'{"four":4}', b"[[5]]", messages=[1, 2, 3, {"four": 4}, [5]]
    )


@JSON_MODE.must("9.1.1")
async def whitespace_around_and_inside_does_not_matter(server: Server) -> None:
    await _expect_messages(server, b' \r\n\t[ 1 ,\n{ "a" : 2 } ] \n', b" 3 ", messages=[1, {"a": 2}, 3])


@JSON_MODE.must("9.1.2")
async def brackets_and_commas_inside_strings_divide_nothing(server: Server) -> None:
    messages = ["],[", '"', "\\", '\\"],', "{}", "a,b", "\\\\"]
    await _expect_messages(server, json.dumps(messages).encode(), messages=messages)


@JSON_MODE.must("9.1.1")
async def a_body_at_creation_is_taken_apart_alike(server: Server) -> None:
    stream = await server.create(JSON, b'[{"a":1},[2]]')
    await stream.expect_messages([{"a": 1}, [2]])


@JSON_MODE.must("9.1.3")
async def an_empty_array_at_creation_makes_an_empty_stream(server: Server) -> None:
    stream = await server.create(JSON, b"[]")
    await stream.expect_messages([])
    await stream.append(b"[1]")
    await stream.expect_messages([1])


@JSON_MODE.must("9.1.3")
async def an_empty_array_at_creation_may_close_the_stream(server: Server) -> None:
    stream = server.unused(content_type=JSON)
    (await stream.put(b"[]", headers=CLOSED)).expect(201).expect_closed()
    (await stream.get()).expect(200).expect_json([]).expect_closed()


@JSON_MODE.must("9.1.3")
async def an_empty_array_cannot_be_appended(server: Server) -> None:
    await _expect_refused(server, b"[]", b" [ ] ", b"\n[\n]\n")


# Validation


@JSON_MODE.must("9.1.4")
async def a_body_that_is_no_json_is_refused(server: Server) -> None:
    await _expect_refused(server, b"{broken", b"plain text", b"[1,2", b'"open', b"}", b"nul", b"True")


@JSON_MODE.must("9.1.4")
async def two_values_in_a_row_are_refused(server: Server) -> None:
    await _expect_refused(
        server, b"1 2", b'{"a":1}{"b":2}', b'{"a":1}\n{"b":2}\n', b"[1][2]", b"[1],[2]", b"1,2"
    )


@JSON_MODE.must("9.1.4")
async def a_comma_too_many_is_refused(server: Server) -> None:
    await _expect_refused(server, b"[1,]", b"[,1]", b"[1,,2]", b'{"a":1,}', b"[,]")


@JSON_MODE.must("9.1.4")
async def nan_and_infinity_are_refused(server: Server) -> None:
    await _expect_refused(server, b"NaN", b"[Infinity]", b'{"a":-Infinity}', b"[1,NaN]")


@JSON_MODE.must("9.1.4")
async def what_other_dialects_allow_is_refused(server: Server) -> None:
    await _expect_refused(
        server,
        b"{'a':1}",
        b"{a:1}",
        b"[1] // comment",
        b"/* */ 1",
        b"[01]",
        b"[+1]",
        b"[.5]",
        b"[1.]",
        b"0x10",
    )


@JSON_MODE.must("9.1.4")
async def control_characters_inside_strings_are_refused(server: Server) -> None:
    await _expect_refused(server, b'"line\nbreak"', b'"tab\there"', b'"nul\x00"')


@JSON_MODE.must("9.1.4")
async def invalid_escapes_are_refused(server: Server) -> None:
    await _expect_refused(server, b'"\\x41"', b'"\\u12"', b'"\\u12G4"', b'"\\')


@JSON_MODE.must("9.1.4, RFC 8259 §8.1")
async def json_that_is_not_utf_8_is_refused(server: Server) -> None:
    surrogate, overlong = b'"\xed\xa0\x80"', b'"\xc0\xaf"'
    await _expect_refused(server, b'"caf\xe9"', b'"\xff"', b'"\xe2\x98"', surrogate, overlong, b'{"\xff":1}')


@JSON_MODE.must("9.1.4")
async def an_array_with_one_bad_element_is_refused_whole(server: Server) -> None:
    await _expect_refused(server, b'[{"good":1},{"bad":]', b"[1,2,nope]")


# Answers


@JSON_MODE.must("9.1.5")
async def an_empty_stream_is_an_empty_array(server: Server) -> None:
    stream = await server.create(JSON)
    (await stream.get()).expect(200).expect_json([]).expect_header("Content-Type", JSON).expect_up_to_date()


@JSON_MODE.must("9.1.5")
async def the_tail_of_a_stream_is_an_empty_array(server: Server) -> None:
    stream = await server.create(JSON, b"[1,2]")
    (await stream.get(await stream.tail())).expect(200).expect_json([]).expect_up_to_date()


@JSON_MODE.must("9.1.5")
async def a_read_from_an_offset_is_an_array_of_what_follows(server: Server) -> None:
    stream = await server.create(JSON, b"[1]")
    middle = (await stream.append(b"[2,[3]]")).next_offset
    await stream.append(b'{"four":[4]}')
    await stream.append(b"5")
    (await stream.get(middle)).expect(200).expect_json([{"four": [4]}, 5])


@JSON_MODE.must("9.1")
async def a_charset_does_not_change_the_mode(server: Server) -> None:
    stream = await server.create("application/json; charset=utf-8", b"[1,2]")
    await stream.append(b'{"three":3}')
    await stream.expect_messages([1, 2, {"three": 3}])


@JSON_MODE.quality("9.1")
async def other_types_that_hold_json_are_not_taken_apart(server: Server) -> None:
    for content_type in ("application/vnd.api+json", "application/ndjson", "text/plain"):
        stream = await server.create(content_type)
        await stream.append(b"[1,2]")
        await stream.append(b"{no json")
        await stream.expect_content(b"[1,2]{no json")


# Values


@JSON_MODE.must("9.1.1")
async def structure_is_kept(server: Server) -> None:
    value = {"deep": {"er": [{"est": [[], {}, [[1]]]}]}, "": {"empty key": None}, "z": 1, "a": 2}
    await _expect_messages(server, json.dumps(value).encode(), messages=[value])


@JSON_MODE.must("9.1.1")
async def unicode_is_kept(server: Server) -> None:
    values = ["é ж 漢 🂡", "\u2028\u2029\ufeff\x7f", "e\u0301", {"ключ": "значение"}, "\x00\x1f", "a/b"]
    await _expect_messages(server, json.dumps(values, ensure_ascii=False).encode(), messages=values)
    await _expect_messages(server, json.dumps(values).encode(), messages=values)


async def _expect_exact(server: Server, text: str) -> None:
    """Numbers keep their digits and objects their members, whatever a parser would make of them."""
    stream = await server.create(JSON)
    await stream.append(text.encode())
    came = "".join(page.body.decode() for page in await stream.pages())
    expect_equal(_undecoded(came), _undecoded(text), "the messages, with numbers as text,")


def _undecoded(text: str) -> Any:
    return json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=list)


@JSON_MODE.quality("9.1.1")
async def big_integers_keep_all_digits(server: Server) -> None:
    await _expect_exact(
        server, "[9007199254740993,-9223372036854775809,18446744073709551616,1" + "0" * 100 + "]"
    )


@JSON_MODE.quality("9.1.1")
async def numbers_keep_their_form(server: Server) -> None:
    await _expect_exact(
        server, "[1.0,1.10,1e2,1E+2,-0,-0.0,0.1000000000000000055511151231257827,1e400,5e-324]"
    )


@JSON_MODE.quality("9.1.1")
async def members_keep_their_order_and_repeated_names(server: Server) -> None:
    await _expect_exact(server, '[{"b":1,"a":2,"b":3,"10":4,"2":5},{"__proto__":{"x":1}}]')


@JSON_MODE.quality("9.1.1")
async def escapes_keep_their_meaning(server: Server) -> None:
    await _expect_exact(server, r'["\u00e9\/\b\f\n\r\t\"\\","\ud83c\udca1","\u0000"]')


@JSON_MODE.quality("9.1.4")
async def a_lone_surrogate_escape_is_kept_or_refused(server: Server) -> None:
    stream = await server.create(JSON, b"[0]")
    reply = (await stream.post(rb'["\ud800"]')).expect(204, 400)
    await stream.expect_messages([0, "\ud800"] if reply.status == 204 else [0])


@JSON_MODE.quality("9.1.4")
async def a_number_of_5000_digits_is_kept_or_refused(server: Server) -> None:
    stream = await server.create(JSON, b"[0]")
    digits = "1" + "0" * 4999
    reply = (await stream.post(f"[{digits}]".encode())).expect(204, 400)
    page = (await stream.get()).expect(200)
    expect_equal(digits in page.body.decode(), reply.status == 204, "whether the number can be read")


@JSON_MODE.quality("9.1.4")
async def a_hundred_levels_are_taken(server: Server) -> None:
    stream = await server.create(JSON)
    (await stream.post(b'{"a":' * 50 + b"[" * 50 + b"]" * 50 + b"}" * 50)).expect(204)
    expect_that((await stream.get()).body.count(b"[") == 51, "all levels", "fewer")


@JSON_MODE.quality("9.1.4")
async def endless_nesting_is_taken_or_refused(server: Server) -> None:
    stream = await server.create(JSON, b"[0]")
    for depth in (1000, 5000, 100_000):
        (await stream.post(b"[" * depth + b"]" * depth)).expect(204, 400, 413)
        (await stream.post(b'{"a":' * depth + b"1" + b"}" * depth)).expect(204, 400, 413)
        (await stream.post(b"[" * depth)).expect(400, 413)
    (await stream.get()).expect(200)


@JSON_MODE.must("9.1.2")
async def ten_thousand_messages_fit_one_append(server: Server) -> None:
    numbers = list(range(10_000))
    await _expect_messages(server, json.dumps(numbers).encode(), messages=numbers)


@JSON_MODE.must("9.1.1")
async def concurrent_batches_stay_together(server: Server) -> None:
    stream = await server.create(JSON)
    async with anyio.create_task_group() as tasks:
        for writer in range(12):
            tasks.start_soon(stream.append, json.dumps([[writer, part] for part in range(5)]).encode())
    messages = await stream.messages()
    batches = [tuple(map(tuple, messages[at : at + 5])) for at in range(0, len(messages), 5)]
    expected = [tuple((writer, part) for part in range(5)) for writer in range(12)]
    expect_equal(Counter(batches), Counter(expected), "the batches")

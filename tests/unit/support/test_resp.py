from __future__ import annotations

import asyncio

import pytest

from tests.support.resp import Value, read_value


def reader_of(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


@pytest.mark.parametrize(
    "raw",
    [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":12\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"$4\r\na\r\nb\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*3\r\n:1\r\n*2\r\n$1\r\nx\r\n$-1\r\n+a\r\n",
        b"%1\r\n$1\r\nk\r\n~1\r\n#t\r\n",
    ],
)
async def test_each_value_ends_where_the_next_begins(raw: bytes) -> None:
    reader = reader_of(raw + b"+NEXT\r\n")
    assert (await read_value(reader)).raw == raw
    assert (await read_value(reader)).raw == b"+NEXT\r\n"


async def test_a_command_has_words() -> None:
    value = await read_value(reader_of(b"*2\r\n$3\r\nGET\r\n$4\r\n\x00\r\n\xff\r\n"))
    assert value == Value(b"*2\r\n$3\r\nGET\r\n$4\r\n\x00\r\n\xff\r\n", (b"GET", b"\x00\r\n\xff"))


async def test_half_a_value_is_none() -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await read_value(reader_of(b"*2\r\n$3\r\nGET\r\n$4\r\nab"))


async def test_bytes_that_are_no_resp_are_refused() -> None:
    with pytest.raises(ValueError, match="no RESP type"):
        await read_value(reader_of(b"?1\r\n"))

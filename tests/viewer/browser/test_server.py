"""The server as a page has it: real sockets of this machine, a session that remembers."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.browser_session import QUARTERS, FakeSession, Running, in_child, number_in, served
from helpers.waiting import LONG, eventually
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from deepvis_caffe.errors import ImageError, ViewerError
from deepvis_caffe.image import encode_jpeg, encode_png, read_image
from deepvis_caffe.viewer.browser import app as app_module
from deepvis_caffe.viewer.browser.connection import MOST_WAITING, say_when_full
from deepvis_caffe.viewer.browser.gate import Gate
from deepvis_caffe.viewer.browser.messages import read_message
from deepvis_caffe.viewer.browser.serve import serve
from deepvis_caffe.viewer.browser.visitor import MOST, Pace
from deepvis_caffe.viewer.browser.webcam import MOST_BYTES, read_webcam


class Client:
    """A page without a browser. Waiting fails only where nothing comes."""

    def __init__(self, running: Running, path: str = "/ws", **options: Any) -> None:
        address = f"ws://127.0.0.1:{running.port}{path}"
        self._whole = connect(address, proxy=None, compression=None, **options)
        self.socket: ClientConnection = self._whole.__enter__()

    def say(self, type_: str, **content: Any) -> None:
        self.socket.send(json.dumps({"type": type_, **content}))

    def hear(self, type_: str, **content: Any) -> dict[str, Any]:
        """The next words of a type, with this in them; others and pictures are passed over."""
        while True:
            said = self.socket.recv(LONG)
            words = json.loads(said) if isinstance(said, str) else {}
            if words.get("type") == type_ and content.items() <= words.items():
                return words

    def see(self) -> np.ndarray:
        """The next picture; words are passed over. It is not acknowledged."""
        while isinstance(said := self.socket.recv(LONG), str):
            pass
        return read_image(said)

    def pictures_before(self, type_: str, **content: Any) -> int:
        """How many pictures come until those words do."""
        count = 0
        while True:
            said = self.socket.recv(LONG)
            count += isinstance(said, bytes)
            words = json.loads(said) if isinstance(said, str) else {}
            if words.get("type") == type_ and content.items() <= words.items():
                return count

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._whole.__exit__(None, None, None)


def http(url: str, **headers: str) -> tuple[int, str, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def test_the_picture_that_was_drawn_arrives(session: FakeSession, running: Running) -> None:
    with Client(running) as client:
        picture = client.see()
        assert picture.shape == (480, 640, 3)
        middles = picture[120::240, 160::320].astype(int)
        assert np.abs(middles - QUARTERS).max() <= 4, middles


def test_keys_and_mouse_arrive_in_order(session: FakeSession, running: Running) -> None:
    with Client(running) as client:
        client.see()
        client.say("key", key="A")
        client.say("key", key="pgup")
        client.say("mouse", kind="move", y=479, x=639)
        client.say("mouse", kind="wheel", y=3, x=5, steps=-2)
        client.say("mouse", kind="leave")
        client.say("size", width=800, height=600)
        client.say("key", key="~")
        eventually(lambda: ("press", "~") in session.told)
        assert session.told[-7:] == [
            ("press", "A"),
            ("press", "pgup"),
            ("mouse", "move", 479, 639, 0),
            ("mouse", "wheel", 3, 5, -2),
            ("mouse", "leave", 0, 0, 0),
            ("resize", 800, 600),
            ("press", "~"),
        ]


@pytest.mark.parametrize(
    ("asked", "got"), [((1, 1), (320, 240)), ((9999, 9999), (3840, 2160)), ((801, 600), (801, 600))]
)
def test_sizes_are_kept_within_reason(asked: tuple[int, int], got: tuple[int, int]) -> None:
    size = read_message(json.dumps({"type": "size", "width": asked[0], "height": asked[1]}))
    assert size.clamped == got  # type: ignore[union-attr]


JUNK = [
    "",
    "{",
    "[]",
    "null",
    '{"type":"key"}',
    '{"type":"key","key":"\\u00e9"}',
    '{"type":"key","key":"ab"}',
    '{"type":"key","key":" "}',
    '{"type":"key","key":7}',
    '{"type":"key","key":"a","more":1}',
    '{"type":"nonsense"}',
    '{"type":"mouse","kind":"drag","y":1,"x":1}',
    '{"type":"mouse","kind":"move","y":1.5,"x":1}',
    '{"type":"mouse","kind":"move","y":"1","x":1}',
    '{"type":"mouse","kind":"move","y":-1,"x":1}',
    '{"type":"mouse","kind":"move","y":true,"x":1}',
    '{"type":"mouse","kind":"move","y":1e400,"x":1}',
    '{"type":"mouse","kind":"wheel","y":1,"x":1,"steps":1000}',
    '{"type":"size","width":NaN,"height":600}',
    '{"type":"webcam","on":"yes"}',
    '{"type":"key","key":"' + "a" * 10_000 + '"}',
    "[" * 400,
    '"\\ud800"',
]


@pytest.mark.parametrize("text", JUNK)
def test_junk_is_no_message(text: str) -> None:
    with pytest.raises(ValueError, match=r"characters|validation error"):
        read_message(text)


def test_junk_is_left_out_and_closes_nothing(session: FakeSession, running: Running) -> None:
    with Client(running) as client:
        newest(client, session)
        before = len(session.told)
        for text in JUNK:
            client.socket.send(text)
        for content in (b"", b"\xff\xd8\xff", encode_jpeg(QUARTERS)):  # no webcam was announced
            client.socket.send(content)
        client.say("mouse", kind="click", y=480, x=0)  # under the picture
        for _ in range(5):
            client.say("ack")  # more than pictures
        client.say("key", key="z")
        eventually(lambda: len(session.told) > before)
        assert session.told[before:] == [("press", "z")]


def newest(client: Client, session: FakeSession) -> None:
    """Take pictures until there is none that is newer, and acknowledge them."""
    eventually(lambda: session.said("visitors"))  # by then nothing changes by itself
    while number_in(client.see()) < session.number:
        client.say("ack")
    client.say("ack")


def drawn_again(session: FakeSession) -> None:
    """Wait until a drawing was begun and ended that shows how the session is now."""
    before = session.draws
    eventually(lambda: session.draws > before + 1)


def test_nothing_is_sent_when_nothing_changed(session: FakeSession, running: Running) -> None:
    with Client(running) as client:
        newest(client, session)
        for _ in range(3):
            drawn_again(session)
        client.say("webcam", on=True)
        assert client.pictures_before("webcam", on=True) == 0
        client.say("key", key="a")
        assert number_in(client.see()) == session.number


@pytest.mark.slow
def test_a_slow_page_gets_only_the_newest(session: FakeSession, running: Running) -> None:
    with Client(running) as client:
        newest(client, session)
        sent = []
        for number in range(100, 1000, 100):  # it acknowledges none of them
            session.number = number
            drawn_again(session)
            client.say("webcam", on=True)
            sent.append(client.pictures_before("webcam", on=True))
        under_way = sum(sent)
        assert 1 <= under_way <= MOST
        assert sent == [1] * under_way + [0] * (len(sent) - under_way)
        for _ in range(under_way):
            client.say("ack")
        assert number_in(client.see()) == number, "no picture from between was kept for it"


@pytest.mark.slow
def test_a_page_that_takes_nothing_does_not_hold_up_another(
    session: FakeSession, running: Running
) -> None:
    session.moving = True
    with Client(running), Client(running) as quick:
        shown = []
        for _ in range(30):
            shown.append(number_in(quick.see()))
            quick.say("ack")
        assert shown == sorted(set(shown)), "each is newer than the one before"


@pytest.mark.slow
def test_the_session_goes_on_while_nobody_looks(session: FakeSession, running: Running) -> None:
    drawn = session.draws
    eventually(lambda: session.draws >= drawn + 3)


def test_control_goes_from_one_to_the_next(session: FakeSession, running: Running) -> None:
    with Client(running) as second_to_leave:
        first = Client(running)
        assert second_to_leave.hear("status", visitors=2)["controller"] == 1
        words = first.hear("status")
        assert (words["visitor"], words["controller"], words["title"]) == (2, 1, session.title)
        first.say("size", width=700, height=500)
        first.say("key", key="x")  # not in control
        first.say("webcam", on=True)
        first.hear("webcam", on=False)
        first.say("take")
        first.hear("status", controller=2)
        second_to_leave.hear("status", controller=2)
        eventually(lambda: ("resize", 700, 500) in session.told)
        second_to_leave.say("size", width=900, height=500)
        second_to_leave.say("key", key="y")
        first.say("key", key="z")
        eventually(lambda: session.said("press"))
        assert session.said("press") == [("z",)]
        assert session.said("resize") == [(700, 500)]
        first.close()
        second_to_leave.hear("status", controller=1, visitors=1)
        eventually(lambda: session.said("resize")[-1] == (900, 500))
    eventually(lambda: session.said("visitors")[-1] == (0,))
    assert session.said("visitors") == [(1,), (2,), (1,), (0,)]
    with Client(running) as third:
        assert third.hear("status")["controller"] == 3


def test_a_webcam_becomes_the_input_and_gives_it_back(
    session: FakeSession, running: Running
) -> None:
    picture = np.kron(QUARTERS, np.ones((60, 80, 1), np.uint8))
    with Client(running) as client:
        client.say("webcam", on=True)
        for expected in (1, 2):
            client.hear("webcam", on=True)  # the next may come
            client.socket.send(encode_jpeg(picture, 95))
            eventually(lambda expected=expected: len(session.said("push")) == expected)
        assert session.said("push") == [("webcam of visitor 1",)] * 2
        assert np.abs(session.pushed[1][30::60, 40::80].astype(int) - QUARTERS).max() <= 4
        client.hear("webcam", on=True)
        client.socket.send(b"\xff\xd8 no picture")
        assert "cannot be read" in client.hear("webcam", on=True)["trouble"]
        client.say("webcam", on=False)
        client.hear("webcam", on=False)
        client.socket.send(encode_jpeg(picture))
        client.say("key", key="a")
        eventually(lambda: session.said("press"))
        assert [what[0] for what in session.told[-2:]] == ["end_push", "press"]
        assert len(session.pushed) == 2


@pytest.mark.parametrize("how", ["leaves", "loses control"])
def test_a_webcam_ends_with_control(session: FakeSession, running: Running, how: str) -> None:
    with Client(running) as client, Client(running) as other:
        client.say("webcam", on=True)
        client.hear("webcam", on=True)
        if how == "leaves":
            client.close()
        else:
            other.say("take")
            client.hear("webcam", on=False)
        eventually(lambda: session.said("end_push"))
        other.hear("status", controller=2)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot be read"),
        (encode_png(QUARTERS), "cannot be read"),
        (encode_jpeg(np.zeros((200, 200, 3), np.uint8))[:400], "cannot be read"),
        (b"\xff\xd8" + bytes(MOST_BYTES), "bytes; at most"),
        (encode_jpeg(np.zeros((3000, 3000, 3), np.uint8)), "3000 x 3000 pixels"),
    ],
)
def test_what_is_no_webcam_picture(content: bytes, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        read_webcam(content)


def test_q_ends_it_for_all(session: FakeSession, running: Running) -> None:
    with Client(running) as client, Client(running) as other:
        other.hear("status")
        client.say("key", key="q")
        client.hear("quit")
        client.say("quit")
        for one in (client, other):
            assert one.hear("ended")["reason"] == ""
            with pytest.raises(ConnectionClosed):
                one.hear("nothing more")
        running.join()
    assert running.errors == []


def test_an_error_of_the_session_ends_it_and_is_told(
    session: FakeSession, running: Running
) -> None:
    with Client(running) as client:
        client.see()
        session.broken = ViewerError("the net is gone")
        assert client.hear("ended")["reason"] == "the net is gone"
        running.join()
    assert running.errors == [session.broken]


def test_the_page_is_whole_and_asks_for_nothing_else(
    session: FakeSession, running: Running
) -> None:
    status, html, headers = http(running.url)
    assert status == 200
    assert "<title>a &lt;net&gt; &amp; more</title>" in html
    assert not re.search(r"https?://|@import|url\(", html.replace("http://www.w3.org", ""))
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert http(f"{running.url}other")[0] == 404


def test_names_that_are_not_ours_are_refused(running: Running) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "[::1", "", "evil.example:8008"):
        status, text, _ = http(running.url, Host=host)
        assert status in (400, 403), host
        assert "<" not in text
    for host in ("localhost:9000", "127.0.0.1", "[::1]:8008", "LOCALHOST:1"):
        assert http(running.url, Host=host)[0] == 200, "a tunnel may have another port"


def test_other_pages_may_not_watch(session: FakeSession, running: Running) -> None:
    own = f"http://127.0.0.1:{running.port}"
    others = (
        "http://evil.example",
        "http://127.0.0.1:1",
        "null",
        own.replace("127.0.0.1", "localhost"),
    )
    for origin in (*others, "[", f"{own}.evil.example"):
        with pytest.raises(InvalidStatus, match="403"):
            Client(running, origin=origin)
    assert session.said("visitors") == []
    with Client(running, origin=own) as client:
        client.see()


def test_elsewhere_a_token_is_needed(session: FakeSession) -> None:
    with served(session, host="0.0.0.0") as running:
        token = running.url.partition("?token=")[2]
        assert len(token) >= 20
        here = f"http://127.0.0.1:{running.port}/"
        assert http(f"{here}?token={token}", Host="gpu7.example:8008")[0] == 200
        for wrong in ("", "?token=", f"?token={token[:-1]}", f"?token={token}x", "?token=%C3%A9"):
            assert http(here + wrong)[0] == 403
            with pytest.raises(InvalidStatus, match="403"):
                Client(running, f"/ws{wrong}")
        with pytest.raises(InvalidStatus, match="403"):
            Client(running, f"/ws?token={token}", origin="http://evil.example")
        with Client(running, f"/ws?token={token}") as client:
            client.see()


def test_a_token_may_be_asked_for_here_too(session: FakeSession) -> None:
    with served(session, token="s3cret") as running:
        assert running.url.endswith("/?token=s3cret")
        assert http(running.url)[0] == 200
        assert http(running.url[:-1])[0] == 403


@pytest.mark.parametrize("token", ["", "  "])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_an_empty_token_is_refused(session: FakeSession, host: str, token: str) -> None:
    """As from a shell variable that is not set: everybody would get in."""
    with pytest.raises(ViewerError, match="the token is empty"):
        serve(session, host, 0, token)
    with pytest.raises(ViewerError, match="lets everybody in"):
        Gate(host, token)


def test_the_printed_address_quotes_the_token(session: FakeSession) -> None:
    with served(session, token="a b&c#d/é") as running:
        assert "?token=a%20b%26c%23d%2F%C3%A9" in running.url
        assert http(running.url)[0] == 200


def test_no_answer_can_be_framed_or_kept(session: FakeSession, running: Running) -> None:
    for headers in ({}, {"Host": "evil.example"}):
        _, _, answer = http(running.url, **headers)
        assert "frame-ancestors 'none'" in answer["content-security-policy"]
        assert answer["x-frame-options"] == "DENY"
        assert answer["cross-origin-resource-policy"] == "same-origin"
        assert answer["cache-control"] == "no-store"


def test_a_connection_that_says_nothing_is_ended(session: FakeSession) -> None:
    """Nothing at all, half a request, and half of a second one; a page that stays is left alone."""
    with served(session, patience=0.3) as running, Client(running) as page:
        for said in (b"", b"GET / HTTP/1.1\r\nHost: 127", b"GET / HTTP/1.1\r\n\r\nGET / HT"):
            with socket.create_connection(("127.0.0.1", running.port), timeout=LONG) as idle:
                idle.sendall(said)
                while idle.recv(65536):  # until the server closes it
                    pass
        page.say("key", key="a")
        eventually(lambda: session.said("press"))


def test_many_idle_connections_shut_nobody_out(session: FakeSession) -> None:
    """The one that has waited longest makes room for the next."""
    with served(session, patience=LONG) as running:
        idle = [
            socket.create_connection(("127.0.0.1", running.port), timeout=LONG)
            for _ in range(MOST_WAITING + 20)
        ]
        try:
            assert http(running.url)[0] == 200
            assert idle[0].recv(1) == b""  # ended
            with Client(running) as page:
                page.hear("status")
        finally:
            for one in idle:
                one.close()


def test_running_out_of_file_descriptors_is_one_line() -> None:
    lines: list[str] = []
    handle = say_when_full(lines.append)
    loop = asyncio.new_event_loop()
    for _ in range(3):
        full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        handle(loop, {"message": "socket.accept() out of system resource", "exception": full})
    loop.close()
    assert len(lines) == 1
    assert "too many connections" in lines[0]


def test_a_gate_shows_no_token() -> None:
    assert "s3cret" not in repr(Gate("0.0.0.0", "s3cret"))


def test_a_port_in_use_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ViewerError, match=rf"port {port}: another program .*--port {port + 1}"):
            serve(FakeSession(), "127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port", "why"),
    [("no.such.host.invalid", 8008, "no such host"), ("127.0.0.1", 70000, "between 0 and 65535")],
)
def test_a_wrong_place_says_why(host: str, port: int, why: str) -> None:
    with pytest.raises(ViewerError, match=why):
        serve(FakeSession(), host=host, port=port)


@pytest.mark.parametrize("package", ["uvicorn", "websockets", "starlette"])
def test_a_missing_extra_says_how_to_get_it(monkeypatch: Any, package: str) -> None:
    monkeypatch.delitem(sys.modules, "deepvis_caffe.viewer.browser.app", raising=False)
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ViewerError, match=rf"{package}.*pip install .*\[browser\]"):
        serve(FakeSession(), "127.0.0.1", 0)


def test_the_same_port_again_and_the_page_comes_back(session: FakeSession) -> None:
    with served(session) as running:
        client = Client(running)
        client.see()
    with served(FakeSession(), port=running.port) as again, Client(again) as back:
        assert back.see().shape == (480, 640, 3)
    client.close()


# A server that tells its pages of the end for as long as it takes.
PATIENCE = f"import sys; sys.modules[{serve.__module__!r}].FAREWELL = 1e9"


@pytest.mark.process
@pytest.mark.parametrize(
    ("number", "code", "last"), [(signal.SIGINT, 0, "whole\n"), (signal.SIGTERM, -15, "")]
)
def test_a_signal_ends_it_and_is_told_to_open_pages(number: int, code: int, last: str) -> None:
    with in_child(before=PATIENCE) as (address, child):
        running = Running([address], threading.current_thread(), [])
        with Client(running) as client, Client(running) as other:
            for one in (client, other):
                one.see()
            child.send_signal(number)
            for one in (client, other):
                assert one.hear("ended")["reason"] == ""
                with pytest.raises(ConnectionClosed) as closed:
                    one.hear("nothing more")
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1000
        said, errors = child.communicate(timeout=LONG)
        assert (child.returncode, said, errors) == (code, last, "")


@pytest.mark.process
def test_a_second_ctrl_c_does_not_wait_for_pages() -> None:
    with in_child(before=PATIENCE) as (address, child):
        port = Running([address], threading.current_thread(), []).port
        with socket.create_connection(("127.0.0.1", port)) as deaf:  # answers to no farewell
            deaf.sendall(
                b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            came = b""
            while b"status" not in came:
                came += deaf.recv(4096)
            child.send_signal(signal.SIGINT)
            while b"ended" not in came:
                came += deaf.recv(4096)
            assert child.poll() is None, "it waits"
            child.send_signal(signal.SIGINT)
            said, _ = child.communicate(timeout=LONG)
        assert (child.returncode, said) == (0, "whole\n")


def test_the_pace_grows_on_a_long_line_and_falls_on_a_full_one() -> None:
    pace, now = Pace(), 0.0
    for _ in range(60):  # 100 ms away, as wide as can be
        while pace.ready:
            pace.sent(now)
        now += 0.1 / pace.window
        pace.acknowledged(now + 0.1)
    assert pace.window == MOST
    slow, now = Pace(), 0.0
    sent: list[float] = []
    done = 0.0
    for _ in range(60):  # a picture takes 200 ms of the line, and waits for those before it
        while slow.ready:
            slow.sent(now)
            done = max(done, now) + 0.2
            sent.append(done)
        now = sent.pop(0)
        slow.acknowledged(now)
    assert slow.window <= 2
    assert Pace().acknowledged(1.0) is False


# -- image files of visitors, and what was saved ---------------------------------------------------


def post(url: str, content: bytes, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, content, headers, method="POST")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)


def test_an_image_file_of_the_visitor_in_control_becomes_the_input(
    session: FakeSession, running: Running
) -> None:
    with Client(running) as client, Client(running) as other:
        own, second = (one.hear("status")["visitor"] for one in (client, other))
        client.hear("status", visitors=2, controller=own)
        url = f"{running.url}image?visitor="
        assert post(f"{url}{own}&name=cat.png", encode_png(NOISE)) == (200, "")
        eventually(lambda: session.said("open"))
        assert session.said("open") == [("cat.png",)]
        np.testing.assert_array_equal(session.opened[0], NOISE)
        for wrong in (str(second), "", "x", "99"):
            status, said = post(f"{url}{wrong}&name=cat.png", encode_png(NOISE))
            assert (status, said) == (409, "another visitor is in control\n")
        status, said = post(f"{url}{own}&name=no.txt", b"no image")
        assert status == 400
        assert "cannot read" in said
        large = encode_png(np.zeros((1001, 1001, 3), np.uint8))
        status, said = post(f"{url}{own}&name=large.png", large)
        assert status == 400
        assert "1,001 x 1,001 pixels, but at most 1 million" in said
        name = "../../" + "a" * 500 + ".png"
        assert post(f"{url}{own}&name={name}", encode_png(NOISE))[0] == 200
        eventually(lambda: len(session.said("open")) == 2)
        assert session.said("open")[1] == ("a" * 100,)


def test_an_image_file_has_an_end(
    session: FakeSession, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "DROPPED_IMAGE", 1 << 20)
    with Client(running) as client:
        own = client.hear("status")["visitor"]
        url = f"{running.url}image?visitor={own}&name=x.png"
        status, said = post(url, bytes((1 << 20) + 1))
        assert (status, said) == (
            400,
            "the image file is larger than 1 MiB, the largest accepted\n",
        )
        assert post(url, encode_png(NOISE))[0] == 200, "and the next one is taken"
    assert len(session.opened) <= 1


def test_only_who_may_open_the_page_may_send_and_download(tmp_path: Path) -> None:
    session = FakeSession()
    path = tmp_path / "shot_0001.png"
    path.write_bytes(b"a picture")
    session.saved = [path]
    with served(session, token="secret") as running:
        here = f"http://127.0.0.1:{running.port}/"
        assert post(f"{here}image?visitor=1", encode_png(NOISE))[0] == 403
        assert http(f"{here}saved/shot_0001.png")[0] == 403
        assert http(f"{here}saved/shot_0001.png?token=secret")[0] == 200
    open_to_all = FakeSession()
    open_to_all.saved = [path]
    with served(open_to_all) as running:
        url, evil = running.url, "http://evil.example"
        assert post(f"{url}image?visitor=1", encode_png(NOISE), Origin=evil)[0] == 403
        assert http(f"{url}saved/shot_0001.png", Origin=evil)[0] == 403
        assert http(f"{url}saved/shot_0001.png")[0] == 200
    assert session.opened == open_to_all.opened == []


def test_what_was_saved_is_told_and_can_be_downloaded_and_nothing_else(
    session: FakeSession, running: Running, tmp_path: Path
) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    with Client(running) as client:
        assert client.hear("status")["saved"] == []
        for name in ("shot_0001.png", "video_0001.mp4"):
            (tmp_path / name).write_bytes(name.encode())
            session.saved = [*session.saved, tmp_path / name]
        client.hear("status", saved=["shot_0001.png", "video_0001.mp4"])
    status, text, headers = http(f"{running.url}saved/video_0001.mp4")
    assert (status, text) == (200, "video_0001.mp4")
    assert headers["content-disposition"] == 'attachment; filename="video_0001.mp4"'
    for name in ("secret.png", "..%2fsecret.png", "../secret.png", "", "shot_0002.png"):
        assert http(f"{running.url}saved/{name}")[0] == 404
    session.saved[0].unlink()
    assert http(f"{running.url}saved/shot_0001.png")[0] == 404


def test_a_key_that_would_end_it_for_everybody_is_asked_about(
    session: FakeSession, running: Running
) -> None:
    with Client(running) as client, Client(running) as other:
        own = client.hear("status")["visitor"]
        client.hear("status", visitors=2, controller=own)
        client.say("key", key="q")
        assert client.hear("quit") == {"type": "quit", "visitors": 2}
        other.say("quit")  # who is not in control does not end it
        client.say("key", key="z")
        eventually(lambda: ("press", "z") in session.told)
        assert session.running
        assert ("press", "q") not in session.told
        client.say("quit")
        assert client.hear("ended")["reason"] == ""
        assert other.hear("ended")["reason"] == ""
    running.join()

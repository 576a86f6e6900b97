"""A person of the Ask page without a browser: Streamlit's messages, sent and read, and nothing drawn.

Shows what the page takes where the browser computes on another machine than the models.
"""

import json
import time
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

READY_SECONDS, ANSWER_SECONDS, REST_SECONDS = 180, 60, 1.5
QUERY = "max_new_tokens=8"


def first_tokens_elsewhere(address: str, question: str) -> tuple[float, float]:
    """Seconds from the click's message until one has arrived that holds a token, and until one holds one of each lane.

    The page asks to be looked at again every fifth of a second; that is kept to, as a browser would.
    """
    stream = f"{address.replace('http', 'ws', 1)}/_stcore/stream"
    with connect(stream, origin=address, subprotocols=["streamlit"], max_size=None) as connection:
        widgets = _opened(connection)
        time.sleep(REST_SECONDS)
        started = time.perf_counter()
        connection.send(_asked(widgets, question, pressed=True))
        first, every = _await_tokens(connection, widgets, question)
        return first - started, every - started


def _opened(connection: ClientConnection) -> dict[str, str]:
    """Opens the page; its widgets' identities by label."""
    connection.send(_asked({}, "", pressed=False))
    widgets: dict[str, str] = {}
    while True:
        message = ForwardMsg.FromString(connection.recv(READY_SECONDS, decode=False))
        element = _element(message)
        kind = element.WhichOneof("type")
        if kind in ("text_area", "button"):
            widgets.setdefault(getattr(element, kind).label, getattr(element, kind).id)
        if message.WhichOneof("type") == "script_finished" and "Run" in widgets:
            return widgets


def _await_tokens(connection: ClientConnection, widgets: dict[str, str], question: str) -> tuple[float, float]:
    """When a token, and when one of each lane had arrived, in `perf_counter` seconds."""
    fragment, interval, due, first = "", 0.0, float("inf"), 0.0
    while True:
        wait = min(ANSWER_SECONDS, max(0.0, due - time.perf_counter()))
        try:
            message = ForwardMsg.FromString(connection.recv(wait, decode=False))
        except TimeoutError:
            if due == float("inf"):
                raise
            connection.send(_asked(widgets, question, pressed=False, fragment=fragment))
            due = time.perf_counter() + interval
            continue
        if message.WhichOneof("type") == "auto_rerun":
            fragment, interval = message.auto_rerun.fragment_id, message.auto_rerun.interval
            due = time.perf_counter() + interval
        begun = len([lane for lane in _lanes(_element(message)) if lane["running"] and lane["tokens"]])
        first = first or (time.perf_counter() if begun else 0.0)
        if begun == 3:
            return first, time.perf_counter()


def _asked(widgets: dict[str, str], question: str, pressed: bool, fragment: str = "") -> bytes:
    """A browser's message: run the page, or a fragment of it, with the question as it stands."""
    message = BackMsg()
    message.rerun_script.query_string = QUERY
    message.rerun_script.fragment_id = fragment
    message.rerun_script.is_auto_rerun = bool(fragment)
    if widgets:
        message.rerun_script.widget_states.widgets.add(id=widgets["Question"], string_value=question)
    if pressed:
        message.rerun_script.widget_states.widgets.add(id=widgets["Run"], trigger_value=True)
    data: bytes = message.SerializeToString()
    return data


def _element(message: Any) -> Any:
    """What a message puts on the page; an empty element where it does not."""
    if message.WhichOneof("type") != "delta" or message.delta.WhichOneof("type") != "new_element":
        return Element()
    return message.delta.new_element


def _lanes(element: Any) -> list[dict[str, Any]]:
    """The lanes of a token strip; none in any other element."""
    if element.WhichOneof("type") != "bidi_component" or element.bidi_component.component_name != "graft_token_strip":
        return []
    found: list[dict[str, Any]] = json.loads(element.bidi_component.json)["lanes"]
    return found

"""A connection that can be cut: forwards TCP to a server until told to drop everything."""

import socket
import threading
from contextlib import suppress


class Proxy:
    """Forwards one local port to another.

    Attributes:
        port: where to connect.
    """

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Drops every connection and refuses new ones."""
        self._cut = True
        for side in self._open:
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()
        self._open.clear()

    def mend(self) -> None:
        """Lets connections through again."""
        self._cut = False

    def close(self) -> None:
        """Ends for good."""
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                incoming, _ = self._listener.accept()
            except OSError:
                return
            if self._cut:
                incoming.close()
                continue
            outgoing = socket.create_connection(("127.0.0.1", self._target))
            self._open += [incoming, outgoing]
            for source, sink in ((incoming, outgoing), (outgoing, incoming)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for side in (source, sink):
                side.close()

"""One of OpenStack's WSGI applications under a small threaded server: serve.py ADDRESS PORT MODULE."""

import importlib
import socketserver
import sys
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 256

    def setup_environ(self) -> None:
        """As WSGIServer's, without asking the name service for our own name."""
        self.server_name = str(self.server_address[0])
        super().setup_environ()

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class Request(WSGIRequestHandler):
    """Nothing of each request into the log, and no name service."""

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass

    def address_string(self) -> str:
        return str(self.client_address[0])


def main(address: str, port: str, module: str) -> None:
    del sys.argv[1:]  # the application reads its configuration's options from there
    ServerHandler.wsgi_multithread = True
    server = Server((address, int(port)), Request)
    server.set_app(importlib.import_module(module).application)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:4])

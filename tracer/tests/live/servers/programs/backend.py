"""A server behind a proxy, slow in a way of its choice.

backend.py PORT HOW [SECONDS]

  prompt SECONDS  answers every request after SECONDS and keeps the connection
  silent          reads requests and never answers them; closes when the other end has closed
  late SECONDS    answers after SECONDS, in two writes
  deaf SECONDS    reads nothing, and closes after SECONDS
"""

import socket
import sys
import threading
import time

port, how = int(sys.argv[1]), sys.argv[2]
seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
open("/proc/self/comm", "w").write("backend")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


def read(sock):
    try:
        return sock.recv(1 << 16)
    except ConnectionResetError:
        return b""


def serve(sock):
    if how == "deaf":
        time.sleep(seconds)
    while how != "deaf" and read(sock):
        if how == "prompt":
            time.sleep(seconds)
            sock.sendall(HEAD % 2 + b"ok")
        if how == "late":
            time.sleep(seconds)
            try:
                sock.sendall(HEAD % 8192 + bytes(4096))
                time.sleep(0.02)
                sock.sendall(bytes(4096))
            except (BrokenPipeError, ConnectionResetError):
                pass
            break
    sock.close()


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if how == "deaf":
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
listener.bind(("127.0.0.1", port))
listener.listen(128)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

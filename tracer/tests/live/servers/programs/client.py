"""A client that does exactly what it is told, several times at once.

client.py PORT TIMES TEXT HOW [SECONDS]

Connects TIMES times to PORT on loopback and sends TEXT on each; in it \\r and \\n are written out, and {500} stands
for 500 bytes.
  read          reads until the server closes, then closes
  hold SECONDS  reads, and closes after SECONDS at the latest
  deaf SECONDS  reads nothing, and closes after SECONDS
"""

import re
import selectors
import socket
import sys
import time

port, times, how = int(sys.argv[1]), int(sys.argv[2]), sys.argv[4]
text = re.sub(r"\{(\d+)\}", lambda size: "x" * int(size[1]), sys.argv[3]).encode()
text = text.replace(b"\\r", b"\r").replace(b"\\n", b"\n")
seconds = float(sys.argv[5]) if len(sys.argv) > 5 else 60.0
open("/proc/self/comm", "w").write("client")

reading = selectors.DefaultSelector()
sockets = []
for _ in range(times):
    sock = socket.socket()
    if how == "deaf":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sockets.append(sock)
    reading.register(sock, selectors.EVENT_READ)
    sock.sendall(text)

deadline = time.monotonic() + seconds
if how == "deaf":
    time.sleep(seconds)
    sys.exit()
while reading.get_map() and time.monotonic() < deadline:
    for key, _ in reading.select(deadline - time.monotonic()):
        try:
            gone = not key.fileobj.recv(1 << 16)
        except ConnectionResetError:
            gone = True
        if gone:
            reading.unregister(key.fileobj)
            key.fileobj.close()
for sock in sockets:
    sock.close()

"""Requests with a timeout of 2 s, several at once: requests_client.py TIMES PORT…"""

import sys
import threading

import requests


def get(port):
    try:
        requests.get(f"http://127.0.0.1:{port}/", timeout=2)
    except requests.exceptions.Timeout:
        pass


for port in sys.argv[2:]:
    for _ in range(int(sys.argv[1])):
        threading.Thread(target=get, args=(port,)).start()

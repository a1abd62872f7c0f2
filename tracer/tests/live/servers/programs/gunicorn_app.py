"""Handlers that never come to an answer, and one that does."""

import signal
import time


def prompt(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def slow(environ, start_response):
    time.sleep(60)
    return prompt(environ, start_response)


def deaf(environ, start_response):
    """As in a library that lets no signal handler of Python's run."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGABRT])
    return slow(environ, start_response)

#!/usr/bin/env python3
"""A client of a Quarterdeck session in plain Python: no package is needed.

From within a task (the session's folder stands in QD_SESSION) it counts up a value that all tasks share, by compare and set:

    Task(id: "count", run: "python3 examples/clients/client.py count visits 20")

From another terminal it does what a person could do at the keys:

    python3 examples/clients/client.py --session FOLDER ps
    python3 examples/clients/client.py --session FOLDER hold 'roll-*'

The protocol is described in docs/protocol.md: lines of JSON on a Unix socket.
"""

import argparse
import json
import os
import socket
import sys

PROTOCOL = 1


class Refused(Exception):
    """The session says why it did not do what it was asked."""


class Session:
    """A connection to a session that runs."""

    def __init__(self, folder, source="client.py"):
        self.source = source
        self.last_id = 0
        self.context = {}
        if "QD_TOKEN" in os.environ:
            # It names the task and the attempt.
            self.context = {"token": os.environ["QD_TOKEN"]}
        # The path of a socket is at most 107 bytes long; through the folder's descriptor any path will do.
        self.folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(f"/proc/self/fd/{self.folder}/socket")
        self.lines = self.socket.makefile("r", encoding="utf-8")
        hello = self._hear()
        if hello.get("protocol") != PROTOCOL:
            raise Refused(hello.get("error", f"it speaks protocol {hello.get('protocol')}, and this {PROTOCOL}"))

    def _hear(self):
        line = self.lines.readline()
        if not line:
            raise ConnectionError("the session has ended")
        return json.loads(line)["content"]["parameters"]

    def ask(self, action, **parameters):
        """Asks, and returns what is answered once it is stored."""
        self.last_id += 1
        message = {
            "type": "query",
            "id": str(self.last_id),
            "content": {"action": action, "parameters": parameters, "context": self.context},
            "metadata": {"source": self.source},
        }
        self.socket.sendall(json.dumps(message).encode() + b"\n")
        answer = self._hear()
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def count_up(self, key):
        """Adds one to a shared value that others change too; returns what it came to."""
        while True:
            seen = self.ask("state", op="get", key=key)
            value = (seen["value"] or 0) + 1
            try:
                self.ask("state", op="set", key=key, value=value, version=seen["version"])
                return value
            except Refused as why:
                # Somebody was faster: look again. Anything else is told.
                if "not as expected" not in str(why):
                    raise


def main():
    parser = argparse.ArgumentParser(description="a client of a Quarterdeck session")
    parser.add_argument("--session", default=os.environ.get("QD_SESSION"), help="the session's folder")
    commands = parser.add_subparsers(dest="command", required=True)
    count = commands.add_parser("count", help="count up a shared value, telling how far it has come")
    count.add_argument("key")
    count.add_argument("times", type=int)
    commands.add_parser("ps", help="list the tasks")
    for name in ("hold", "release", "cancel", "retry", "skip"):
        commands.add_parser(name).add_argument("tasks", nargs="+", help="ids or globs")
    args = parser.parse_args()
    if not args.session:
        parser.error("which session? --session FOLDER, or QD_SESSION within a task")
    session = Session(args.session)
    if args.command == "count":
        for n in range(1, args.times + 1):
            value = session.count_up(args.key)
            session.ask("progress", done=n, of=args.times, text=f"{args.key} is {value}")
        session.ask("message", op="post", text=f"counted {args.key} up {args.times} times")
    elif args.command == "ps":
        for task in session.ask("ps")["tasks"]:
            print(f"{task['state']:<10} {task['task']}")
    else:
        print(session.ask("command", command=args.command, tasks=args.tasks)["done"])


if __name__ == "__main__":
    try:
        main()
    except (Refused, OSError) as why:
        sys.exit(f"client.py: {why}")

"""Asks an embedded engine the questions of deploy/fleet, over the recordings in the folder recordings/.

ask.py duckdb|clickhouse FOLDER-OF-SQL: one JSON object, question to rows.
"""

import glob
import json
import os
import sys

QUESTIONS = ["by-address", "who-hangs-up", "timeouts", "alone"]
PAIRS = (
    "SELECT client_conn, server_conn, client_node, server_node, closer "
    "FROM connections ORDER BY client_conn, server_conn"
)


def statements(folder, name):
    """Of a file, without its comments."""
    with open(os.path.join(folder, name + ".sql"), encoding="utf-8") as file:
        lines = [line for line in file if not line.lstrip().startswith("--")]
    return [text for text in "".join(lines).split(";\n") if text.strip()]


class DuckDb:
    def __init__(self):
        import duckdb

        self.connection = duckdb.connect()

    def do(self, sql):
        self.connection.execute(sql)

    def rows(self, sql):
        result = self.connection.execute(sql)
        names = [column[0] for column in result.description]
        return [dict(zip(names, row)) for row in result.fetchall()]

    def load(self):
        pass  # The view reads the files.


class ClickHouse:
    """As Vector's sink sends them: JSONEachRow, unknown keys skipped, times in any form."""

    def __init__(self):
        from chdb import session

        self.session = session.Session()
        self.do("CREATE DATABASE fleet ENGINE = Atomic")
        self.do("USE fleet")

    def do(self, sql):
        self.session.query(sql)

    def rows(self, sql):
        # 64-bit integers as numbers; what they count here is far below 2^53.
        setting = " SETTINGS output_format_json_quote_64bit_integers = 0"
        text = str(self.session.query(sql.rstrip().rstrip(";") + setting, "JSONEachRow"))
        return [json.loads(line) for line in text.splitlines()]

    def load(self):
        for name in sorted(glob.glob("recordings/*.ndjson")):
            with open(name, encoding="utf-8") as file:
                ends = [line for line in file if '"event":"tcp_close"' in line or '"event":"tcp_connect_failed"' in line]
            self.do(
                "INSERT INTO tcp_ends SETTINGS input_format_skip_unknown_fields = 1, "
                "date_time_input_format = 'best_effort' FORMAT JSONEachRow\n" + "".join(ends)
            )


def main():
    kind, folder = sys.argv[1:]
    engine = DuckDb() if kind == "duckdb" else ClickHouse()
    for name in [kind, "connections"]:
        for sql in statements(folder, name):
            engine.do(sql)
        if name == kind:
            engine.load()
    answers = {"pairs": engine.rows(PAIRS)}
    for question in QUESTIONS:
        (sql,) = statements(folder, question)
        answers[question] = engine.rows(sql)
    json.dump(answers, sys.stdout, default=str)


main()

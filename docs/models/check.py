#!/usr/bin/env python3
"""Runs the Verifpal models and compares the outcome of each query with README.md's table.

    check.py            all models, with the number of sessions under `quick`
    check.py --slow     all models, with the number of sessions under `slow`
    check.py NAME…      these alone, as --slow runs them

`verifpal` 1.6.7 must be on the PATH. A model that isn't in the table, a query that isn't, and a row
without its query are failures too.
"""
import json
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
OUTCOMES = {"no attack found": False, "attack found": True}


def table():
    """model → (quick sessions, slow sessions, {query: whether an attack is expected})"""
    models, rows = {}, (HERE / "README.md").read_text().splitlines()
    for row in rows:
        cells = [cell.strip().strip("`") for cell in row.strip("|").split("|")]
        if len(cells) != 5 or cells[2] not in OUTCOMES:
            continue
        name, query, outcome, quick, slow = cells
        if name:
            models[name] = (quick, slow, {})
        else:
            name = list(models)[-1]
        models[name][2][query] = OUTCOMES[outcome]
    return models


def verify(name, sessions):
    """{query: whether an attack was found}"""
    command = ["verifpal", "verify", f"{name}.vp", "--sessions", sessions, "--format", "json"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    analysis = json.loads(done.stdout)["models"][0]["analysis"]
    return {" ".join(query["query"].split()): query["resolved"] for query in analysis["queries"]}


def main(arguments):
    models, wrong = table(), 0
    files = {path.stem for path in HERE.glob("*.vp")}
    if files != set(models):
        print("not both a file and rows in the table:", *sorted(files ^ set(models)))
        wrong += 1
    slowly = "--slow" in arguments
    named = [argument for argument in arguments if argument != "--slow"]
    if unknown := set(named) - set(models):
        print("no such model:", *sorted(unknown))
        return 1
    for name, (quick, slow, expected) in models.items():
        sessions = slow if slowly or named else quick
        if named and name not in named:
            continue
        start = time.monotonic()
        found = verify(name, sessions)
        print(f"{name}: sessions {sessions}, {time.monotonic() - start:.1f} s")
        for query in expected.keys() | found.keys():
            said, got = expected.get(query), found.get(query)
            word = {None: "nothing", True: "attack found", False: "no attack found within bounds"}
            if said == got:
                print(f"  as documented: {query}: {word[got]}")
            else:
                print(f"  WRONG: {query}: documented {word[said]}, verifpal says {word[got]}")
                wrong += 1
    return 1 if wrong else 0


sys.exit(main(sys.argv[1:]))

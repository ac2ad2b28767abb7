# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a Python program does all day, for recording: json, re, xml; with a number of threads if one is given.

python3 work.py DOCUMENTS [THREADS]
"""

import json
import random
import re
import sys
import threading
import xml.etree.ElementTree as ElementTree


def work(seed: int, count: int) -> int:
    """Build, print, parse and search documents; the number of matches."""
    rng = random.Random(seed)
    documents = [
        {"id": i, "name": f"name{i}", "tags": [str(rng.random()) for _ in range(8)], "value": rng.random()}
        for i in range(count)
    ]
    text = json.dumps(documents)
    again = json.loads(text)
    root = ElementTree.Element("root")
    for document in again[: count // 2]:
        ElementTree.SubElement(root, "document", id=str(document["id"])).text = document["name"]
    parsed = ElementTree.fromstring(ElementTree.tostring(root))
    return len(re.findall(r"[a-z]+\d+", text)) + len(parsed)


def main(count: int, threads: int) -> None:
    """All of it, in three waves of threads."""
    results = [work(0, count)]
    for _ in range(3 if threads else 0):
        wave = [threading.Thread(target=lambda i=i: results.append(work(i, count))) for i in range(threads // 3)]
        for thread in wave:
            thread.start()
        for thread in wave:
            thread.join()
    print(sum(results))


main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)

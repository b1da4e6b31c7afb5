"""What do 100,000 configurations of 20 parameters cost to encode and to decode?   python bench/encode_decode.py [--repeats 9]"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import rows

from jaxhp import Categorical, Float, Int, Ordinal, Space


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    space = Space(
        {f"float{i}": Float(1e-5, 1.0, log=i % 2 == 0) for i in range(8)}
        | {f"int{i}": Int(1, 512, log=i % 2 == 0) for i in range(6)}
        | {f"ordinal{i}": Ordinal([16, 32, 64, 128]) for i in range(3)}
        | {f"choice{i}": Categorical(["sgd", "adam", "lion", "lamb"]) for i in range(3)}
    )
    u = space.snap(np.random.default_rng(0).random((100_000, space.d)))
    times: dict[str, list[float]] = {"decode_ms": [], "encode_ms": []}
    for _ in range(repeats):
        start = time.thread_time()
        columns = space.decode(u)
        middle = time.thread_time()
        back = space.encode(columns)
        times["decode_ms"].append((middle - start) * 1e3)
        times["encode_ms"].append((time.thread_time() - middle) * 1e3)
    if not np.allclose(back, u, rtol=0, atol=1e-14):
        raise SystemExit("encode(decode(u)) differs from u")
    row: dict[str, object] = {key: statistics.median(values) for key, values in times.items()} | {"repeats": repeats}
    print(f"100,000 x 20: decode {row['decode_ms']:.1f} ms, encode {row['encode_ms']:.1f} ms (targets <= 50 each)")
    rows.append("encode_decode", row)


if __name__ == "__main__":
    main()

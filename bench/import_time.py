"""What does `import jaxhp` cost beyond `import numpy`?   python bench/import_time.py [--repeats 21]

Fresh processes, interleaved, CPU time of the import statement after numpy is in; the first use of `jaxhp.Study` is told beside it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

import rows

_CODE = {
    "import_ms": "import jaxhp",
    "study_ms": "import jaxhp; jaxhp.Study(jaxhp.Space({'x': jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.random_search()).ask()",
}


def once(code: str) -> float:
    script = f"import numpy, time; t = time.process_time(); {code}; print((time.process_time() - t) * 1e3)"
    return float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=21)
    repeats = parser.parse_args().repeats
    samples: dict[str, list[float]] = {key: [] for key in _CODE}
    for _ in range(repeats):
        for key, code in _CODE.items():
            samples[key].append(once(code))
    row: dict[str, object] = {key: statistics.median(values) for key, values in samples.items()} | {"repeats": repeats}
    print(f"import jaxhp: {row['import_ms']:.1f} ms beyond numpy (target <= 50); to a study's first suggestion: {row['study_ms']:.1f} ms")
    rows.append("import_time", row)


if __name__ == "__main__":
    main()

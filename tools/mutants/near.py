"""Which test files are likely to notice a change of a module, by what they say, without running them."""

import re
from functools import cache
from pathlib import Path

WORD = re.compile(r"[A-Za-z_]\w{4,}")


def nearest(path: str, speech: dict[str, float], tests: dict[str, str]) -> list[str]:
    """Test files (name → text), the nearest to the module at `path` first: those that import it, whose names speak of it or of
    the folders it lies in, or whose texts have words that few others have of what is changed, `speech` (text → its weight);
    of a kind also those that ask for it by name, its family's contract, and the one that compares settings with the schema;
    the rest by name."""
    *folders, stem = Path(path).with_suffix("").parts
    folders = folders[folders.index("certflow") + 1 :] if "certflow" in folders else folders[-1:]
    module, around = ".".join([*folders, stem]), ".".join(folders)
    said = {file: _words(text) for file, text in tests.items()}
    weight = {word: most for text, most in speech.items() for word in WORD.findall(text)}
    holders = {word: sum(word in words for words in said.values()) for word in weight}

    def distance(file: str) -> tuple[float, str]:
        text, name = tests[file], Path(file).stem
        near = 8 * (f".{module} import" in text) + 6 * (f"_{stem}_" in f"_{name}_") + 2 * (stem in said[file])
        near += 3 * sum(part in name for part in folders) + (f".{around} import" in text)
        if "kinds" in folders:
            contract = Path(file).parent.name == "contracts" and f"test_{folders[0][:4]}" in name
            near += 4 * (f'"{stem}"' in text) + 12 * (contract or name == "test_generated")
        return -near - sum(weight[word] / holders[word] for word in weight if word in said[file]), file

    return sorted(tests, key=distance)


@cache
def _words(text: str) -> set[str]:
    return set(WORD.findall(text))

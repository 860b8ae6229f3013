"""Write the pages of `docs/reference/` that are generated from the code, and print those that changed."""

from __future__ import annotations

from tools.reference.pages import FOLDER, PAGES


def main() -> None:
    for name, text in PAGES.items():
        path, new = FOLDER / name, text()
        if not path.exists() or path.read_text() != new:
            path.write_text(new)
            print(f"docs/reference/{name}: written")


main()

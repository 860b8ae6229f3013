"""Write the dashboards that are generated from the code, and print those that changed."""

from __future__ import annotations

from pathlib import Path

from tools.dashboards import scaling, services
from tools.dashboards.grafana import encode

FOLDER = Path(__file__).parent.parent.parent / "deploy/observability/dashboards"
PAGES = (scaling.PAGE, *services.PAGES)


def main() -> None:
    for page in PAGES:
        path, new = FOLDER / f"{page.name}.json", encode(page)
        if not path.exists() or path.read_text() != new:
            path.parent.mkdir(exist_ok=True)
            path.write_text(new)
            print(f"{path.relative_to(FOLDER.parent.parent.parent)}: written")


if __name__ == "__main__":
    main()

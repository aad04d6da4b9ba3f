"""What is not understood is counted and said, and never means "nothing there"."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.common.errors import UserError
from stages.common.tables import read_table, write_table
from stages.labels.exchange import import_labels
from tests.stages.labels.foreign import CASES, A, B, C, Foreign


def world(root: Path, case: Foreign) -> Path:
    """The shop's pictures, and the case's file or folder, which is returned."""
    shop = [
        {"sha256": s, "width": 200, "height": 100, "exif_orientation": turn, "product": "shirt"}
        for s, turn in ((A, 1), (B, 1), (C, 6))
    ]
    write_table(root / "raw/manifest.jsonl", shop)
    for name, content in case.files.items():
        path = root / "file" / name if name else root / "file"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root / "file"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.format_}: {case.name}")
def test_a_file_is_read_as_meant_or_refused_in_one_line(case: Foreign, tmp_path: Path) -> None:
    path, said = world(tmp_path, case), []
    target = tmp_path / "brand/labels.jsonl"
    arguments = (case.format_, path, tmp_path / "brand", tmp_path / "raw", case.labels, case.leave_out, said.append)
    if case.rows is None:
        with pytest.raises(UserError) as error:
            import_labels(*arguments)
        for piece in case.told:
            assert piece in str(error.value)
        assert str(error.value).isprintable()
        assert not target.exists()
        return
    assert import_labels(*arguments) == len(case.rows)
    rows = {row["sha256"]: row["boxes"] for row in read_table(target)}
    assert rows == {sha256: [pytest.approx(box, abs=0.02) for box in boxes] for sha256, boxes in case.rows.items()}
    for piece in case.said:
        assert piece in "\n".join(said)

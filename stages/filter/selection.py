"""One decision and one reason for each row: duplicates, a person's word, the logo, its size."""

from __future__ import annotations

from collections import defaultdict

from stages.common.params import Params
from stages.common.tables import Row
from stages.filter.finding import Finding
from stages.filter.near_duplicates import is_near_duplicate


def decide(
    params: Params, rows: list[Row], findings: dict[str, Finding], decisions: dict[str, tuple[str, str]]
) -> list[Row]:
    """The rows with the columns file, box, logo_width, large_enough, decision_source and drop_reason added."""
    decided: list[Row] = []
    first_of: dict[str, str] = {}
    for row in rows:
        row = row | {"file": None, "box": None, "logo_width": None, "large_enough": False, "decision_source": "machine"}
        decided.append(row)
        if row["drop_reason"] or not row["sha256"]:
            continue
        found, (decision, reason) = findings[row["sha256"]], decisions.get(row["sha256"], ("", ""))
        if decision:
            row["decision_source"] = "person"
        row["drop_reason"] = found.reason
        if found.reason is None and row["sha256"] in first_of:
            row["drop_reason"] = f"same file as {first_of[row['sha256']]}"
            continue
        first_of.setdefault(row["sha256"], row["image_url"])
        if found.reason is not None:
            continue
        if found.box:
            row["box"] = list(found.box)
            row["logo_width"] = logo_width(found, params.resolution)
        if decision == "drop":
            row["drop_reason"] = f"a person: {reason or 'drop'}"
        elif found.box is None and decision != "keep":
            row["drop_reason"] = "no logo found"
    _drop_near_duplicates(params.filter.duplicate_distance, decided, findings, decisions)
    for row in decided:
        if row["sha256"] and not row["drop_reason"]:
            row["file"] = f"images/{row['sha256']}.png"
            row["large_enough"] = _is_large_enough(row, params, decisions)
            if not row["large_enough"]:
                row["drop_reason"] = f"logo narrower than {params.filter.min_logo_width} px"
    return decided


def logo_width(found: Finding, resolution: int) -> float:
    """The logo's width in pixels once the whole picture fits a square of `resolution`."""
    assert found.box is not None
    return round((found.box[2] - found.box[0]) * resolution / max(found.width, found.height), 2)


def _is_large_enough(row: Row, params: Params, decisions: dict[str, tuple[str, str]]) -> bool:
    kept_by_hand = decisions.get(row["sha256"], ("", ""))[0] == "keep"
    return bool(kept_by_hand or (row["logo_width"] or 0) >= params.filter.min_logo_width)


def _drop_near_duplicates(
    distance: int, rows: list[Row], findings: dict[str, Finding], decisions: dict[str, tuple[str, str]]
) -> None:
    """Of pictures of one product that differ only in compression or size, keep the largest; mark the others."""
    of_product: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["sha256"] and not row["drop_reason"]:
            of_product[row["page_url"]].append(row)
    for members in of_product.values():

        def rank(row: Row) -> tuple[bool, int, int, str]:
            kept_by_hand = decisions.get(row["sha256"], ("", ""))[0] == "keep"
            return (not kept_by_hand, -row["width"] * row["height"], -row["bytes"], row["image_url"])

        kept: list[Row] = []
        for row in sorted(members, key=rank):
            by_hand = decisions.get(row["sha256"], ("", ""))[0] == "keep"
            twin = next(
                (k for k in kept if is_near_duplicate(findings[row["sha256"]], findings[k["sha256"]], distance)), None
            )
            if twin is None or by_hand:
                kept.append(row)
            else:
                row["drop_reason"] = f"near-duplicate of {twin['image_url']}"

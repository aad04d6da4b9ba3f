"""Which bytes are taken for each picture: those of its largest address that answers; thumbnails are marked as such.

Bytes stay in the store, on disk: a shop's pictures are more than a memory holds.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from stages.common.images import UnreadableImage, decode
from stages.scrape.fetch import Fetcher
from stages.scrape.image_urls import larger_guesses
from stages.scrape.look import Look, is_thumbnail, look_at
from stages.scrape.products import Picture, Product
from stages.scrape.store import Fetched
from stages.scrape.urls import origin_of

SMALLER_COPY = "smaller copy of"
OVER_BUDGET = "over scrape.max_megabytes"
MOST_MEGAPIXELS = 25.0
"""Above this, pictures are not compared during the crawl, which decodes them; their bytes are kept all the same."""
SMALLER = 0.65
"""Share of another picture's width below which a picture of the same product may be its thumbnail. By hand: shops
scale down by a third and more."""
THUMBNAIL_SIDE, ALIKE = 8, 12
"""Pictures are compared at 8 x 8 pixels in grey; copies differ by fewer than 12 of 256 levels on average, chosen by
hand: JPEG and resampling change such a small picture by a few levels, another photograph by dozens."""
PATIENCE = 4
"""Guessed addresses that a host may fail to answer before it is asked for no more. By hand."""
LEAST_BLOCK = 8
"""Pictures that are fetched side by side at least, so that a host's slowest answer holds up few others."""


@dataclass(frozen=True)
class Taken:
    """A picture of a product and what came of fetching it."""

    product: Product
    picture: Picture
    fetched: Fetched
    """Without its body."""
    look: Look | None = None
    """What its bytes say of themselves, where they are taken."""
    thumbnail: bool = False
    """Whether the shop gave no larger copy than a thumbnail."""


async def take_pictures(fetcher: Fetcher, products: list[Product]) -> list[Taken]:
    """Fetch all pictures of the products at their largest, in order, until scrape.max_megabytes are spent.

    Pictures beyond the budget are among the returned, too, with OVER_BUDGET as their error.
    """
    wanted = [(product, picture) for product in products for picture in product.pictures]
    guesses, taken = _Guesses(), list[Taken]()
    block = max(LEAST_BLOCK, fetcher.params.concurrency * 2)
    for first in range(0, len(wanted), block):
        part = wanted[first : first + block]
        if fetcher.is_over_budget:
            taken += [Taken(p, q, Fetched(q.urls[0], q.urls[0], error=OVER_BUDGET)) for p, q in wanted[first:]]
            break
        asked = [guesses.of(picture) for _, picture in part]
        answers = await asyncio.gather(*(_take(fetcher, q, g) for (_, q), g in zip(part, asked, strict=True)))
        for (product, picture), guessed, answer in zip(part, asked, answers, strict=True):
            if guessed:
                guesses.learn(picture, won=answer.url in guessed)
            look = None if answer.error else look_at(answer.body)
            small = look is not None and is_thumbnail(look, answer.final_url)
            taken.append(Taken(product, picture, replace(answer, body=b""), look, small))
    return _without_smaller_copies(fetcher, taken)


class _Guesses:
    """Larger addresses that pages do not name are only asked for as long as the shop answers them."""

    def __init__(self) -> None:
        self.won: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def of(self, picture: Picture) -> list[str]:
        host = origin_of(picture.urls[0])
        if self.lost[host] >= PATIENCE and not self.won[host]:
            return []
        return [url for url in larger_guesses(picture.urls[0]) if url not in picture.urls]

    def learn(self, picture: Picture, won: bool) -> None:
        (self.won if won else self.lost)[origin_of(picture.urls[0])] += 1


def _without_smaller_copies(fetcher: Fetcher, taken: list[Taken]) -> list[Taken]:
    """Mark thumbnails that no address gave away: shop systems that name scaled pictures by hashes show both sizes."""
    of_product: dict[str, list[Taken]] = defaultdict(list)
    for item in taken:
        if item.look is not None:
            of_product[item.product.url].append(item)
    copies: dict[int, str] = {}
    for members in of_product.values():
        widths = [item.look.width for item in members if item.look is not None]
        if not any(0 < width < SMALLER * max(widths) for width in widths):
            continue
        seen = [_grey_thumbnail(_body(fetcher, item)) for item in members]
        for width, item, thumbnail in zip(widths, members, seen, strict=True):
            for other_width, other, other_thumbnail in zip(widths, members, seen, strict=True):
                if 0 < width < SMALLER * other_width and _alike(thumbnail, other_thumbnail):
                    copies[id(item)] = other.fetched.url
                    break
    return [
        Taken(item.product, item.picture, replace(item.fetched, error=f"{SMALLER_COPY} {copies[id(item)]}"))
        if id(item) in copies
        else item
        for item in taken
    ]


def _body(fetcher: Fetcher, item: Taken) -> bytes:
    """A taken picture's bytes, from disk."""
    known = fetcher.store.get(item.fetched.url)
    return known.body if known else b""


async def _take(fetcher: Fetcher, picture: Picture, guesses: list[str]) -> Fetched:
    """The picture's bytes from the best of its addresses that gives any."""
    plain = await _first_good(fetcher, picture.urls)
    for guess in guesses if not plain.error else []:
        answer = await fetcher.fetch(guess, "picture")
        if not answer.error and _is_larger_copy(answer.body, plain.body):
            return answer
    return plain


async def _first_good(fetcher: Fetcher, urls: list[str]) -> Fetched:
    """The first of the addresses that gives a picture; the failure of the first where none does."""
    answers = []
    for url in urls:
        answer = await fetcher.fetch(url, "picture")
        if not answer.error and look_at(answer.body).width:
            return answer
        answers.append(answer)
        if answer.robots != "allowed":
            break
    return answers[0]


def _is_larger_copy(large: bytes, small: bytes) -> bool:
    """Whether a guessed address gave the same picture, only larger: a shop may answer anything with a placeholder."""
    return look_at(large).width > look_at(small).width and _alike(_grey_thumbnail(large), _grey_thumbnail(small))


def _grey_thumbnail(content: bytes) -> bytes | None:
    """A picture at 8 x 8 pixels, grey; None for what cannot be decoded, or is too large to be worth it."""
    try:
        return decode(content, MOST_MEGAPIXELS).convert("L").resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE)).tobytes()
    except UnreadableImage:
        return None


def _alike(a: bytes | None, b: bytes | None) -> bool:
    return a is not None and b is not None and sum(abs(p - q) for p, q in zip(a, b, strict=True)) / len(a) < ALIKE

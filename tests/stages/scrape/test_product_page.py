"""One product, declared in each of the ways that shops know: all give the same name, colour and pictures."""

from __future__ import annotations

import json

import pytest

from stages.scrape.page import read_page

URL = "https://shop.test/p/red-mug"
PICTURES = ["https://shop.test/large/1.jpg", "https://shop.test/large/2.jpg"]
BODY = '<h1>HUGO Mug</h1><img src="/large/1.jpg" width=800 height=800><img src="/large/2.jpg" width=800 height=800>'

JSON_LD = {"@context": "https://schema.org", "@type": "Product", "name": "HUGO Mug", "color": "red", "image": PICTURES}
WAYS = {
    "json-ld": f'<html><head><script type="application/ld+json">{json.dumps(JSON_LD)}</script></head><body>{BODY}',
    "json-ld in a graph": '<html><head><script type="application/ld+json">'
    f"{json.dumps({'@graph': [{'@type': 'WebPage'}, JSON_LD]})}</script></head><body>{BODY}",
    "json-ld in CDATA": '<html><head><script type="application/ld+json">//<![CDATA['
    f"\n{json.dumps(JSON_LD)};\n//]]></script></head><body>{BODY}",
    "json-ld with comments and commas too many": '<html><head><script type="application/ld+json">{ // the shop\'s own\n'
    f'"@type": "Product", /* one of many */ "name": "HUGO Mug", "color": "red",'
    f' "image": {json.dumps(PICTURES)[:-1]},],}}</script></head><body>{BODY}',
    "json-ld in entities": '<html><head><script type="application/ld+json">'
    f"{json.dumps(JSON_LD).replace(chr(34), '&quot;')}</script></head><body>{BODY}",
    "microdata": f"""<html><body itemscope itemtype="https://schema.org/Product"><meta itemprop="color" content="red">
        <span itemprop="name">HUGO Mug</span><link itemprop="image" href="/large/1.jpg">
        <link itemprop="image" href="/large/2.jpg">{BODY}""",
    "rdfa": f"""<html><body vocab="https://schema.org/" typeof="Product"><meta property="color" content="red">
        <span property="name">HUGO Mug</span><img property="image" src="/large/1.jpg">
        <img property="image" src="/large/2.jpg">{BODY}""",
    "rdfa with a prefix": f"""<html prefix="s: http://schema.org/"><body><div typeof="s:Product">
        <meta property="s:color" content="red"><span property="s:name">HUGO Mug</span>
        <img property="s:image" src="/large/1.jpg"><img property="s:image" src="/large/2.jpg"></div>{BODY}""",
    "opengraph": f"""<html><head><meta property="og:type" content="product">
        <meta property="og:title" content="HUGO Mug">
        <meta property="product:color" content="red"><meta property="og:image" content="{PICTURES[0]}">
        <meta property="og:image" content="{PICTURES[1]}"></head><body>{BODY}""",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_product_is_found_however_it_is_declared(way: str) -> None:
    product = read_page(URL, "text/html; charset=utf-8", WAYS[way].encode()).product
    assert product is not None
    assert product.name == "HUGO Mug"
    assert product.colour == "red"
    assert [picture.urls[0] for picture in product.pictures] == PICTURES


def test_a_list_of_products_is_no_product() -> None:
    items = [{"@type": "ListItem", "position": n, "item": {**JSON_LD, "url": f"/p/{n}"}} for n in range(3)]
    declared = {"@context": "https://schema.org", "@type": "ItemList", "itemListElement": items}
    page = f'<html><head><script type="application/ld+json">{json.dumps(declared)}</script></head><body>{BODY}'
    assert read_page("https://shop.test/mugs", "text/html", page.encode()).product is None


def test_what_only_json_ld_declares_needs_no_sign_of_a_product_on_the_page() -> None:
    """No price, no button, no picture in the markup."""
    declared = """{ // the shop's own
        "@context": "https://schema.org", "@type": "Product", "name": "HUGO Tee",
        "image": ["/img/1.jpg", "/img/2.jpg"], }"""
    for written in (declared, declared.replace('"', "&quot;")):
        head = f'<html><head><script type="application/ld+json">{written}</script></head>'
        product = read_page(URL, "text/html", f"{head}<body><h1>HUGO Tee</h1><p>soft</p></body>".encode()).product
        assert product is not None
        assert [p.urls[0] for p in product.pictures] == ["https://shop.test/img/1.jpg", "https://shop.test/img/2.jpg"]


def test_relative_addresses_are_the_bases() -> None:
    for base in ("/sub/", "https://shop.test/sub/", "//shop.test/sub/"):
        body = f"<html><head><!-- <base href='/no/'> --><base href='{base}'></head><body>{BODY}".replace(
            '"/large', '"large'
        )
        markup = body.replace("</head>", '<meta property="og:type" content="product"></head>')
        product = read_page(URL, "text/html", markup.encode()).product
        assert product is not None
        assert product.pictures[0].urls[0] == "https://shop.test/sub/large/1.jpg"


def test_nested_lists_in_structured_data_are_no_entries() -> None:
    declared = {
        "@context": "https://schema.org",
        "@type": "ItemList",
        "itemListElement": [[["/p/1"]], {"item": "/p/2"}],
    }
    page = f'<html><head><script type="application/ld+json">{json.dumps(declared)}</script></head><body>{BODY}'
    assert [link.url for link in read_page(URL, "text/html", page.encode()).links] == ["https://shop.test/p/2"]

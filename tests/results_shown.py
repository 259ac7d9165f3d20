"""Results of the form as tests see them: shown, found by class, read as a browser reads them."""

from html.parser import HTMLParser

from casesearch_pd.form.results.results import Results

WAIT = 60  # seconds until a test gives up
BAD = "<img src=x onerror=\"alert('1')\"><script>alert(2)</script>"


def shown(frame, interactive=False, **given):
    results = Results(interactive=interactive)
    results.show(frame, **({"code": "df = …", "plan": None} | given))
    return results


def by_class(root, name):
    """Find the one widget of a class, as a browser would find it."""
    found = [one for one in tree(root) if name in one._dom_classes]
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


def tree(root):
    yield root
    for child in getattr(root, "children", ()):
        yield from tree(child)


class Seen(HTMLParser):
    """The tags and the text that a browser makes of HTML."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        """Note an element and its attributes."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        """Note a text."""
        self.texts.append(data)


def looked_at(results, title):
    results._tabs.selected_index = results._tabs.titles.index(title)
    assert results.chart.wait(WAIT)
    return results

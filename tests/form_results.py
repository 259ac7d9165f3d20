"""Results of a form as tests see them: widgets by class, and HTML as a browser reads it."""

from html.parser import HTMLParser

from casesearch_pd.form.results.results import Results

WAIT = 60  # seconds until a test gives up
MARKUP = "<img src=x onerror=\"alert('1')\"><script>alert(2)</script>"


def show_results(frame, interactive=False, **options):
    results = Results(interactive=interactive)
    results.show(frame, **({"code": "df = …", "plan": None} | options))
    return results


def by_class(root, css):
    """Return the one widget of a class, as a browser would find it."""
    matches = [widget for widget in widgets_in(root) if css in widget._dom_classes]
    assert len(matches) == 1, f"{css}: {matches}"
    return matches[0]


def widgets_in(root):
    """Yield a widget and everything inside it."""
    yield root
    for child in getattr(root, "children", ()):
        yield from widgets_in(child)


class ParsedHtml(HTMLParser):
    """The tags, attributes and texts that a browser finds in HTML."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        """Add an element and its attributes."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        """Add a text."""
        self.texts.append(data)


def open_tab(results, title):
    results._tabs.selected_index = results._tabs.titles.index(title)
    assert results.chart.wait(WAIT)
    return results

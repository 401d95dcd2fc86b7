"""Counters and histograms, and the text that Prometheus reads."""

from __future__ import annotations

from durafold_server.metrics import Exposition, Histogram


def test_a_value_on_a_bound_counts_below_it() -> None:
    histogram = Histogram((1, 2, 4))

    for value in (0.5, 1, 1.5, 4, 5):
        histogram.observe(value)

    assert histogram.counts == [2, 1, 1, 1]
    assert (histogram.count, histogram.total) == (5, 12.0)


def test_a_histogram_is_written_cumulatively() -> None:
    histogram = Histogram((1, 2.5))
    histogram.observe(0.5)
    histogram.observe(2)
    histogram.observe(3)
    page = Exposition()

    page.histogram("took_seconds", "How long it took.", histogram)

    assert page.text() == (
        "# HELP took_seconds How long it took.\n"
        "# TYPE took_seconds histogram\n"
        'took_seconds_bucket{le="1"} 1\n'
        'took_seconds_bucket{le="2.5"} 2\n'
        'took_seconds_bucket{le="+Inf"} 3\n'
        "took_seconds_sum 5.5\n"
        "took_seconds_count 3\n"
    )


def test_labels_are_escaped() -> None:
    page = Exposition()

    page.labelled("things", "gauge", "Things.", [({"of": 'a"\\\nb', "is": 1}, 2)])

    assert page.text().splitlines()[2] == 'things{of="a\\"\\\\\\nb",is="1"} 2'


def test_counters_and_gauges_are_one_line_each() -> None:
    page = Exposition()

    page.counter("a_total", "A.", 12345678901)
    page.gauge("b", "B.", 1.5)

    assert page.text() == (
        "# HELP a_total A.\n# TYPE a_total counter\na_total 12345678901\n# HELP b B.\n# TYPE b gauge\nb 1.5\n"
    )

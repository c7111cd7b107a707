"""The report of a run: one HTML file and a table, made from records and small files alone.

```
run_facts   what ran, how long, what failed, what limited its speed
outputs     which tables there are, with their numbers and files
(ranking)   how much each video needs a look
summary     summary.csv
payload     what a video's section shows, within the size that a page may have
page        the HTML
```

Names of videos and models may be anything: the template escapes them, scripts set them as text,
and the page's content security policy allows its own script and style only, by their digests.
"""

from raypose.report.html.page import PAGE, SUMMARY, write_report

__all__ = ["PAGE", "SUMMARY", "write_report"]

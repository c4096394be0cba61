"""A study's report: one page that holds all that was found and all that it rests on, in HTML, Markdown or pictures."""

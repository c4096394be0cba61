"""The plots of a study, as plotly figures: each a pure function of plain rows, in one style.

A plot is told in words beside it (`Plot.finding`), for people who do not see it and for pages that cannot show it.
Importing a module of this package loads plotly.
"""

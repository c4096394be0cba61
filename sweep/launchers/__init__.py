"""Ways to run a trial somewhere: a launcher starts runs, a run is iterated for its reports."""

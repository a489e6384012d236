"""`report.html`: what a run found, in one file to be read and sent."""

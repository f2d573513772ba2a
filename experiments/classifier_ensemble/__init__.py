"""An ensemble of finished document classifiers."""

"""Checks of hand-derived gradients: `case` says what is checked, `check` how."""

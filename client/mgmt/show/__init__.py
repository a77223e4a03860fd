"""Everything that a person or a program sees; `output` alone writes."""

"""Many entries at once: delete what a filter finds, replace what a source says (changes); jobs, for very many."""

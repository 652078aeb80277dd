"""Replayed: the shape of upstream's package, bare as its roots have to be made to import a skillset."""

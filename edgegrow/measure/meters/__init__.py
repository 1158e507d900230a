"""Energy meters: what each reads, and how its readings become energy per inference."""

"""Pages for people, made on the server; what little script there is makes them livelier."""

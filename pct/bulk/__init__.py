"""Archives of any size to tokens: rows in, parts of token tables out, resumable; needs no cluster, and fits on one."""

"""Where rows come from, and what is done with them before anything is learned from them."""

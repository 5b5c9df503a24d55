"""LangChain tools: typed functions that say what they do, and whether they change anything."""

"""Live, versioned LLM provider configurations for notebooks."""

__version__ = "0.1.0"

"""KServe model servers for the two models."""

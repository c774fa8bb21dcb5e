"""KServe model servers."""

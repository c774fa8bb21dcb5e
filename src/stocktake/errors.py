"""Every error that stocktake raises on purpose.

    StocktakeError
    ├── DataError        photos, labels or an index are not what they should be
    ├── StoreError       a store cannot be reached, read or written
    ├── ModelError       a model dir, its card or its weights cannot be used
    ├── SettingsError    a parameter or an environment variable has an impossible value
    └── BadRequest       a client sent something that cannot be answered
        └── UnsupportedImage   the bytes are not a photo that we can read
            └── PhotoTooLarge      a photo, but of more bytes or pixels than we read

A message names the file or field, what was found, and what to do. Programs print it without a traceback.
"""


class StocktakeError(Exception):
    """Base of all errors below; catching it catches what a user can fix."""


class DataError(StocktakeError):
    """Photos, labels or an index are not what they should be."""


class StoreError(StocktakeError):
    """A store cannot be reached, read or written."""


class ModelError(StocktakeError):
    """A model dir, its card or its weights cannot be used."""


class SettingsError(StocktakeError):
    """A parameter or an environment variable has an impossible value."""


class BadRequest(StocktakeError):
    """A client sent something that cannot be answered."""


class UnsupportedImage(BadRequest):
    """The bytes are not a photo that we can read."""


class PhotoTooLarge(UnsupportedImage):
    """A photo of more bytes or pixels than we read."""
